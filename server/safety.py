"""What this server does not paint: the operator's list of terms, looked for in the words of a request.

The list is a text file with one term per line, in any language; an empty line or one that begins with # says nothing.
A term is a whole word or several; ``gun*`` also finds longer words. A line ``!chicken breast`` is an exception: where
it stands, no term is found in it. Letters match whatever their case and width, with no invisible characters between.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from server.errors import StudioError
from server.schemas import BatchRequest, Request

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Kana, Han and Hangul: written without spaces, so that a term ends wherever it ends."""
_BEFORE, _AFTER = rf"(?<![^\W{_CJK}])", rf"(?![^\W{_CJK}])"


class BadTerms(ValueError):
    """The operator's file cannot be read; the message says why."""


@dataclass(frozen=True)
class Terms:
    """A list of terms, as one pattern each for what is blocked and what is an exception to it."""

    blocked: re.Pattern[str] | None = None
    excepted: re.Pattern[str] | None = None

    def found(self, text: str) -> str | None:
        """The first blocked term in the text, as it stands there; None where there is none."""
        if self.blocked is None:
            return None
        plain = _plain(text)
        if self.excepted is not None:
            plain = self.excepted.sub("\n", plain)  # no term reaches across the gap
        match = self.blocked.search(plain)
        return match.group() if match else None


@cache
def terms(file: Path | None) -> Terms:
    """The terms in the operator's file; none without one. Raises BadTerms."""
    if file is None:
        return Terms()
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise BadTerms(f"the terms in {file} cannot be read: {error}") from error
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    excepted = [line.removeprefix("!") for line in lines if line.startswith("!")]
    return Terms(_any_of([line for line in lines if not line.startswith("!")]), _any_of(excepted))


def check_words(request: Request, file: Path | None) -> None:
    """Raise StudioError ``content_blocked`` where the request asks for what a term names.

    A negative prompt may name anything: it says what must not be seen.
    """
    if isinstance(request, BatchRequest):
        return  # its rows are requests of their own
    listed = terms(file)
    texts = [("prompt", request.prompt or "")]
    for index, adjustment in enumerate(getattr(request, "adjustments", [])):
        texts.append((f"adjustments[{index}].text", getattr(adjustment, "text", "")))
    for param, text in texts:
        if (term := listed.found(text)) is not None:
            message = (
                f"{param}: this server does not paint '{term}'. Say it otherwise; what is not painted here is decided "
                "by the server's operator."
            )
            raise StudioError("content_blocked", message, param=param)


def _plain(text: str) -> str:
    """The text as terms are compared: one width and case of letters (NFKC), nothing invisible (category Cf)."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")


def _any_of(listed: list[str]) -> re.Pattern[str] | None:
    patterns = [pattern for pattern in map(_pattern, listed) if pattern]
    return re.compile("|".join(patterns)) if patterns else None


def _pattern(term: str) -> str:
    """A term as a regular expression: spaces in it match any, and Chinese matches with spaces in between as well."""
    words = _plain(term).rstrip("*").split()
    if not words:
        return ""
    between = rf"(?<=[{_CJK}])(?=[{_CJK}])"
    inner = r"\s+".join(r"\s*".join(map(re.escape, re.split(between, word))) for word in words)
    return f"{_BEFORE if _is_spaced(words[0][0]) else ''}{inner}" + (
        _AFTER if _is_spaced(words[-1][-1]) and not term.endswith("*") else ""
    )


def _is_spaced(letter: str) -> bool:
    """Whether words of this letter's script have spaces between them."""
    return not re.match(f"[{_CJK}]", letter)
