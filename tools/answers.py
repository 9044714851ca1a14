"""Reading what a language model answers: JSON, with thoughts before it and words around it.

Nothing of Dify is imported: whoever asks passes in the function that does.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

MAX_ANSWER_CHARS = 20_000
_LONGEST_QUOTE = 60

_THOUGHTS = re.compile(
    r"<(?P<end>/?)(?P<kind>(?:\w+:)?(?:think(?:ing)?|thoughts?|reasoning|details))\b[^<>]*>"
    r"|\[(?P<last>/?)think\]",
    re.IGNORECASE,
)
"""Marks at the beginning and end of a model's thoughts, its own or Dify's. The beginning is often missing."""
_NOTHING = {"none", "empty", "nothing", "null", "n/a", "无", "没有", "空"}

Ask = Callable[[str, str], str]
"""Function that sends a system and a user message to a language model; it raises :class:`NoAnswer`."""


class NoAnswer(Exception):
    """There is no usable answer; ``str()`` tells why, as the rest of a sentence that begins "The language model"."""


def objects(answer: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in an answer, which may have fences and words around them; thoughts are left out.

    Raises :class:`NoAnswer` where there is nothing but thoughts, or those did not end.
    """
    said = _after_thoughts(answer[:MAX_ANSWER_CHARS])
    if not said.strip():
        raise NoAnswer("gave an empty answer")
    return _objects(said)


def says_something(text: str) -> bool:
    """Return whether the text has a letter of any script, which the "..." of a form has not."""
    return re.search(r"[^\W\d_]", text) is not None


def means_nothing(text: str) -> bool:
    """Return whether a text says that there is nothing to say."""
    return not says_something(text) or text.rstrip(".。").lower() in _NOTHING


def line(value: object) -> str:
    """Return a text on one line; empty for anything else."""
    return " ".join(value.split()) if isinstance(value, str) else ""


def short(text: str) -> str:
    """Return the beginning of a text, for a sentence about it."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _after_thoughts(answer: str) -> str:
    """Return what follows a language model's thoughts. Raises :class:`NoAnswer` where they did not end."""
    position, begun = 0, list[str]()
    for mark in _THOUGHTS.finditer(answer):
        kind = (mark["kind"] or "").lower()
        if not (mark["end"] or mark["last"]):
            begun.append(kind)
            continue
        position = mark.end()
        del begun[begun.index(kind) if kind in begun else 0 :]  # and all that began inside of it
    if begun:
        raise NoAnswer("did not come to the end of its thoughts")
    return answer[position:]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder, position = json.JSONDecoder(strict=False), text.find("{")
    while position >= 0:
        try:
            found, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            if isinstance(found, dict):
                yield found
        position = text.find("{", end)
