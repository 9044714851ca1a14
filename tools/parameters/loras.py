"""LoRAs as people and models write them: names that the server's operator has given, each with a weight or without."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

from pydantic import BeforeValidator

from tools.parameters.tolerant import QUOTES, narrow, number, read_value

MAX_LORAS = 4
MAX_LORA_SCALE = 2.0
"""Largest weight, either side of 0."""
MAX_LORA_NAME_CHARS = 64
_HOW = "write names such as ink-wash or ink-wash:0.8, separated by commas"
_TAG = re.compile(r"<\s*lora\s*:([^<>]*)>", re.IGNORECASE)
"""A LoRA as prompts of other image tools have it: ``<lora:ink-wash:0.8>``."""


def some_loras(value: object) -> list[dict[str, Any]]:
    """Return the LoRAs in ``ink-wash:0.8, grain``, in JSON or in Python's notation, each as the server takes it.

    A weight that is not said is the LoRA's own, which the server knows. Raises ValueError for what cannot be read.
    """
    found = [_checked(name, scale) for name, scale in _pairs(_read(value))]
    if not found:
        raise ValueError(f"{_HOW}; not {_quoted(value)}")
    if len(found) > MAX_LORAS:
        raise ValueError(f"takes at most {MAX_LORAS}; not {len(found)}")
    names = [each["name"] for each in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ValueError(f"takes each one once; not {twice} twice")
    return found


def _read(value: object) -> object:
    """Return what a text holds in JSON or in Python's notation; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        with suppress(ValueError):
            return read_value(value)
    return value


def _pairs(value: object) -> Iterator[tuple[object, object]]:
    """Yield names with their weights, None where none is said, of a text, an object, or a list of either."""
    for entry in value if isinstance(value, list | tuple) else [value]:
        if not isinstance(entry, Mapping):
            yield from _written(str(entry))
        elif "name" in entry:
            yield entry["name"], entry.get("scale", entry.get("weight"))
        else:
            yield from entry.items()


def _written(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield the names and weights in a text of a person's own."""
    plain = _TAG.sub(r"\1,", narrow(text).replace("、", ",")).strip("[]")
    for part in re.split(r"[,;\n]", plain):
        name, _, scale = part.strip(QUOTES).replace("=", ":").partition(":")
        if name:
            yield name, scale.strip() or None


def _checked(name: object, scale: object) -> dict[str, Any]:
    plain = narrow(name).strip(QUOTES) if isinstance(name, str) else ""
    if not re.fullmatch(rf"\w[\w.-]{{0,{MAX_LORA_NAME_CHARS - 1}}}", plain):
        raise ValueError(f"{_HOW}; not {_quoted(name)}")
    return {"name": plain} if scale is None else {"name": plain, "scale": _scale(plain, scale)}


def _scale(name: str, value: object) -> float:
    """Return a weight; a percentage becomes a fraction. Raises ValueError for what is none."""
    with suppress(TypeError, ValueError, OverflowError):
        found = float(number(value))  # type: ignore[arg-type]
        if abs(found) <= MAX_LORA_SCALE:  # which NaN is not
            return found
    most = f"{MAX_LORA_SCALE:g}"
    raise ValueError(f"the weight of {name} must be a number from -{most} to {most}; not {_quoted(value)}")


def _quoted(value: object) -> str:
    """Return a value for a sentence about it: its beginning, without what cannot be printed or sent."""
    return "".join(sign for sign in str(value).strip() if sign.isprintable())[:40]


Loras = Annotated[list[dict[str, Any]] | None, BeforeValidator(some_loras)]
"""LoRAs as the server takes them: a name, and a scale where one was said."""
