"""A user's text, made safe for a chat template and free of what nobody meant to be painted.

Every prompt, instruction and slot goes through :func:`clean`. All of it takes time in proportion to the text's length.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# Qwen's special tokens are all written <|name|>; inside a prompt they would rewrite the pipelines' chat template
# or be taken for a picture.
SPECIAL_TOKEN = re.compile(r"<\|[^<>|]*\|>")
_CHINESE = re.compile("[一-鿿]")
_MAX_NESTED = 2
"""Number of times that special tokens are taken out before a text counts as made to form ever new ones."""
MAX_MARKS = 200
"""Largest number of special tokens, and of marks of thoughts, that are taken out one by one."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+")
# How reasoning models fence off their thoughts: DeepSeek, Qwen, GLM (think), Claude (thinking), Gemma (thought),
# Seed (seed:think) and Kimi (the triangles).
_THOUGHT = re.compile(r"<(?:(/)\s?)?(?:seed:)?(?:think(?:ing)?|thoughts?|reasoning)\s?/?>", re.IGNORECASE)
_HINTS = ("think", "thought", "reasoning")

THOUGHTS_CUT = "The thoughts of a language model (<think> ... </think>) were cut out of the prompt."
CONTROL_REPLACED = "Control characters in the prompt were replaced by blanks."
TOKENS_REMOVED = "Special tokens such as <|im_end|> were taken out of the prompt."


class Cleaned(NamedTuple):
    """A text as it will be used, and a sentence for each kind of thing that was taken out of it."""

    text: str
    warnings: tuple[str, ...]
    spoken: str
    """The text without thoughts alone, for those who use it as it was sent."""


def has_chinese(text: str) -> bool:
    """Return whether the text has a Chinese character (CJK Unified Ideographs)."""
    return _CHINESE.search(text) is not None


def clean(text: str) -> str:
    """Return the text without thoughts, control characters and special tokens."""
    return cleaned(text).text


def cleaned(text: str) -> Cleaned:
    """Return the text without thoughts, control characters and special tokens, and what there was of them.

    The result holds no special token, however they were nested.
    """
    spoken = without_thoughts(text)
    printable = _CONTROL.sub(" ", spoken)
    plain = _without_tokens(printable)
    steps = ((text, spoken, THOUGHTS_CUT), (spoken, printable, CONTROL_REPLACED), (printable, plain, TOKENS_REMOVED))
    warnings = tuple(sentence for before, after, sentence in steps if before != after)
    return Cleaned(plain.strip(), warnings, spoken.strip())


def without_thoughts(text: str) -> str:
    """Return the text without what a language model thought before it answered.

    An opening mark that is never closed opens thoughts to the end; a closing mark alone, which some model servers leave
    over, ends thoughts that began with the text. What follows more marks than anybody writes is left out.
    """
    text = _with_usual_marks(text)
    kept: list[str] = []
    begin: int | None = 0
    """Where the answer goes on; None within thoughts."""
    for number, mark in enumerate(_marks(text)):
        if number == MAX_MARKS:
            return "".join(kept)
        if not mark[1]:
            if begin is not None:
                kept.append(text[begin : mark.start()])
            begin = None
            continue
        if begin is not None:
            kept.clear()
        begin = mark.end()
    if begin is not None:
        kept.append(text[begin:])
    return "".join(kept)


def glued(text: str) -> str:
    """Return the cleaned text as it reads where control characters are passed over, to look for words in it."""
    return clean(_CONTROL.sub("", text))


def _with_usual_marks(text: str) -> str:
    return text.replace("◁think▷", "<think>").replace("◁/think▷", "</think>") if "◁" in text else text


def _marks(text: str) -> Iterator[re.Match[str]]:
    """Return the marks of thoughts among the first angles of a text, so that very many cost no more than some."""
    plain = text.casefold()
    if not any(word in plain for word in _HINTS):
        return iter(())
    *looked_at, rest = text.split("<", 4 * MAX_MARKS)
    is_whole = len(looked_at) < 4 * MAX_MARKS
    return _THOUGHT.finditer(text, 0, len(text) if is_whole else len(text) - len(rest))


def without_leading_thoughts(text: str) -> str:
    """Return an answer without the thoughts before it, and everything behind them as it is.

    They begin with an opening mark, or end with a lone closing mark at the end of a line.
    """
    text = _with_usual_marks(text)
    marks = _marks(text)
    first = next(marks, None)
    if first is None:
        return text
    if first[1]:
        is_lone = text[first.end() :].partition("\n")[0].strip() == "" and next(marks, None) is None
        return text[first.end() :].lstrip("\r\n") if is_lone else text
    if text[: first.start()].strip():
        return text
    end = next((mark.end() for mark in marks if mark[1]), len(text))
    return text[end:].lstrip("\r\n")


def told(warnings: Iterable[Cleaned]) -> list[str]:
    """Return the warnings of several texts, each sentence once."""
    return list(dict.fromkeys(sentence for each in warnings for sentence in each.warnings))


def _without_tokens(text: str) -> str:
    """Return the text without special tokens. Where there are very many, or they are nested, without any bar."""
    if (count := text.count("|>")) == 0:
        return text
    if count > MAX_MARKS:
        return text.replace("|", "")
    for _ in range(_MAX_NESTED):
        shorter = SPECIAL_TOKEN.sub("", text)
        if shorter == text:
            return text
        text = shorter
    return text.replace("|", "") if SPECIAL_TOKEN.search(text) else text
