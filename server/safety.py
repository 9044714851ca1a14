"""What this server does not paint: the operator's list of terms, looked for in the words of a request.

The list is a text file with one term per line, in any language; an empty line or one that begins with # says nothing.
A term is a whole word or several; ``gun*`` also finds longer words. A line ``!chicken breast`` is an exception: where
it stands, no term is found in it. Letters match whatever their case and width, with no invisible characters between.
The list is read once, at the start.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from server.errors import StudioError
from server.schemas import BatchRequest, Request

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Kana, Han and Hangul: written without spaces, so that a term ends wherever it ends."""
_LETTER = rf"[^\W_{_CJK}]"
"""A letter or digit of any script that has spaces between its words."""
_UNSEEN = re.compile("[\u034f\u115f\u1160\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""What is invisible and yet not of the category Cf: joiners, fillers, variation selectors."""


class BadTerms(ValueError):
    """The operator's file cannot be read; the message says why."""


@dataclass(frozen=True)
class Term:
    """One line of the list, as :func:`_plain` has it, without its sign."""

    words: str
    is_beginning: bool = False
    """Whether longer words that begin so are meant, too."""

    @cached_property
    def squeezed(self) -> str:
        """Without spaces: a text without it, spaces left out, need not be looked through."""
        return "".join(self.words.split())

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Spaces in the term match any, and between two Chinese characters there may be some as well."""
        between = rf"(?<=[{_CJK}])(?=[{_CJK}])"
        words = [r"\s*".join(map(re.escape, re.split(between, word))) for word in self.words.split()]
        before = rf"(?<!{_LETTER})" if re.match(_LETTER, self.words[0]) else ""
        after = rf"(?!{_LETTER})" if re.match(_LETTER, self.words[-1]) and not self.is_beginning else ""
        return re.compile(before + r"\s+".join(words) + after)


@dataclass(frozen=True)
class Terms:
    """A list of terms, and of exceptions to them."""

    blocked: Sequence[Term] = ()
    excepted: Sequence[Term] = ()

    def found(self, text: str) -> str | None:
        """The first blocked term in the text, as it stands there; None where there is none."""
        plain = _plain(text)
        for term in _within(plain, self.excepted):
            plain = term.pattern.sub("\n.\n", plain)  # no term reaches across the gap
        found = [match for term in _within(plain, self.blocked) if (match := term.pattern.search(plain))]
        return min(found, key=re.Match.start).group() if found else None


def _within(plain: str, listed: Sequence[Term]) -> Iterable[Term]:
    """Those that can be in the text. Lists have tens of thousands of terms, so this must cost next to nothing each."""
    squeezed = "".join(plain.split())
    return (term for term in listed if term.squeezed in squeezed)


@cache
def terms(file: Path | None) -> Terms:
    """The terms in the operator's file; none without one. Raises BadTerms."""
    if file is None:
        return Terms()
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise BadTerms(f"the terms in {file} cannot be read: {error}") from error
    lines = [line for line in map(_plain, text.splitlines()) if line and not line.startswith("#")]
    excepted = [line.removeprefix("!") for line in lines if line.startswith("!")]
    return Terms(_listed(line for line in lines if not line.startswith("!")), _listed(excepted))


def _listed(lines: Iterable[str]) -> tuple[Term, ...]:
    stems = dict.fromkeys((line.rstrip("* ").strip(), line.endswith("*")) for line in lines)
    return tuple(Term(words, is_beginning) for words, is_beginning in stems if words)


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
    """The text as terms are compared: one width and case of letters (NFKC), and nothing invisible."""
    plain = _UNSEEN.sub("", unicodedata.normalize("NFKC", text).casefold())
    return "".join(letter for letter in plain if unicodedata.category(letter) != "Cf").strip()
