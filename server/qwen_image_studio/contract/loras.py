"""LoRAs in requests and answers: small adapters of a model's weights, which the operator offers by name.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
"""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from qwen_image_studio.contract.fields import entries_of, shaped
from qwen_image_studio.contract.words import MAX_LORA_SCALE, MAX_LORAS, MAX_NAME_CHARS

_NAME = r"^\w[\w.-]*$"
LoraName = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=_NAME),
    shaped(_NAME, "takes letters, digits, - . and _, such as ink-wash"),
]
"""The name that the operator has given a LoRA."""
_EXAMPLE = '[{"name": "ink-wash", "scale": 0.8}], or ink-wash:0.8'
_UNLIKE = f"takes names, each with a scale or without; send {_EXAMPLE}"
_WRITTEN = re.compile(r"(?P<name>[^:：=]+)(?:[:：=](?P<scale>.*))?", re.DOTALL)


class LoraUse(BaseModel):
    """A LoRA to paint with, and how strongly."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: LoraName
    """A name in /v1/models."""
    scale: float = Field(1.0, ge=-MAX_LORA_SCALE, le=MAX_LORA_SCALE, allow_inf_nan=False)
    """Weight of the LoRA, -2 to 2; at 0 it changes nothing."""

    def __str__(self) -> str:
        """Return it as requests may write it: ``ink-wash:0.8``."""
        return f"{self.name}:{self.scale:g}"


class LoraWish(BaseModel):
    """A LoRA that is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: LoraName
    """A name in /v1/models."""
    scale: float | None = Field(None, ge=-MAX_LORA_SCALE, le=MAX_LORA_SCALE, allow_inf_nan=False)
    """Weight of the LoRA, -2 to 2. Left out: the LoRA's own."""


def _as_written(value: object) -> object:
    """Return the entries of a list that is written as a text: as JSON, or as names with scales. Raises ValueError."""
    if isinstance(value, str):
        value = entries_of(value, r"[,，;；\n]", _EXAMPLE)
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list | tuple):
        raise ValueError(_UNLIKE)
    return [_entry(each) for each in entries if not (isinstance(each, str) and not each.strip())]


def _entry(value: object) -> object:
    """Return an entry as an object also where it is written as NAME or NAME:SCALE. Raises ValueError."""
    if isinstance(value, dict | BaseModel):
        return value
    if not isinstance(value, str) or (match := _WRITTEN.fullmatch(value.strip())) is None:
        raise ValueError(_UNLIKE)
    scale = (match["scale"] or "").strip()
    return {"name": match["name"].strip(), **({"scale": scale} if scale else {})}


LoraWishes = Annotated[list[LoraWish], BeforeValidator(_as_written), Field(max_length=MAX_LORAS)]
"""LoRAs to paint with: a list, or a text of JSON or of NAME:SCALE with commas between, as forms and tables have it."""
