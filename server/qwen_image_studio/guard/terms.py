"""What this server does not paint: the operator's list of terms, looked for in the words of a request.

The list is a text file with one term per line, in any language; an empty line or one that begins with # says nothing.
A term is a whole word or several; ``gun*`` also finds longer words. A line ``!chicken breast`` is an exception: where
it stands, no term is found in it. Letters match whatever their case and width, also struck through, circled, or with
something invisible between them. Each process reads the list once, at its start.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from qwen_image_studio.contract.errors import BadTerms, StudioError
from qwen_image_studio.prompts.cleaning import clean

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Kana, Han and Hangul: written without spaces, so that a term ends wherever it ends."""
_LETTER = rf"[^\W_{_CJK}]"
"""A letter or digit of any script that has spaces between its words."""
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
"""Of Unicode's Default_Ignorable_Code_Point what is not of the category Cf: joiners, fillers, variation selectors and
what is kept free for more of them.
"""
_START, _KEY = 4, 32
"""Characters of a term by which a place in a text is looked up first, and at most: a longer term's beginning."""


@dataclass(frozen=True)
class Term:
    """One line of the list, as :func:`_plain` has it, without its sign."""

    words: str
    is_beginning: bool = False
    """Whether longer words that begin so are meant, too."""

    @cached_property
    def squeezed(self) -> str:
        """Without spaces: a text without it, spaces left out, has not the term."""
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
class Listed:
    """Terms in the order of the list, which may have tens of thousands: a text is gone through once for all of them."""

    terms: Sequence[Term] = ()

    def within(self, plain: str) -> list[Term]:
        """Those that can be in the text: their letters are there, whatever is around and between them."""
        if not self.terms:
            return []
        squeezed = "".join(plain.split())
        numbers: set[int] = set()
        for at in range(len(squeezed)):
            for start in range(1, _START + 1):
                for length in self._lengths.get(squeezed[at : at + start], ()):
                    numbers.update(self._numbers.get(squeezed[at : at + length], ()))
        return [term for number in sorted(numbers) if (term := self.terms[number]).squeezed in squeezed]

    @cached_property
    def _numbers(self) -> Mapping[str, Sequence[int]]:
        """Which terms begin so, by up to `_KEY` characters."""
        found: dict[str, list[int]] = {}
        for number, term in enumerate(self.terms):
            found.setdefault(term.squeezed[:_KEY], []).append(number)
        return found

    @cached_property
    def _lengths(self) -> Mapping[str, set[int]]:
        """How long the keys are that begin so, by up to `_START` characters."""
        found: dict[str, set[int]] = {}
        for key in self._numbers:
            found.setdefault(key[:_START], set()).add(len(key))
        return found


@dataclass(frozen=True)
class Terms:
    """A list of terms, and of exceptions to them."""

    blocked: Listed = field(default_factory=Listed)
    excepted: Listed = field(default_factory=Listed)

    def found(self, text: str) -> str | None:
        """The first blocked term in the text, as it stands there; None where there is none."""
        plain = _plain(text)
        for term in self.excepted.within(plain):
            plain = term.pattern.sub("\n.\n", plain)  # no term reaches across the gap
        found = [match for term in self.blocked.within(plain) if (match := term.pattern.search(plain))]
        return min(found, key=re.Match.start).group() if found else None


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


def _listed(lines: Iterable[str]) -> Listed:
    stems = dict.fromkeys((line.rstrip("* ").strip(), line.endswith("*")) for line in lines)
    return Listed(tuple(Term(words, is_beginning) for words, is_beginning in stems if words))


def check_words(texts: Iterable[tuple[str, str]], file: Path | None) -> None:
    """Raise StudioError ``content_blocked`` where one of the texts, each with its parameter, has a term in it."""
    listed = terms(file)
    for param, text in texts:
        painted = dict.fromkeys((clean(text), text.strip()))  # the first by a model; a watermark is written as sent
        if (term := next(filter(None, map(listed.found, painted)), None)) is not None:
            message = (
                f"{param}: this server does not paint '{term}'. Say it otherwise; what is not painted here is decided "
                "by the server's operator."
            )
            raise StudioError("content_blocked", message, param=param)


def _plain(text: str) -> str:
    """The text as terms are compared: one width and case of letters (NFKC), and nothing invisible."""
    for _ in range(2):  # what was taken out may have kept a letter from its accent, and one form may hide in another
        unseen = {ord(letter): None for letter in set(text) if _is_unseen(letter)}
        text = unicodedata.normalize("NFKC", text.translate(unseen)).casefold()
    return text.strip()


def _is_unseen(letter: str) -> bool:
    """Whether it shows nothing of its own, or only a stroke through the letter before it or a circle around that."""
    category = unicodedata.category(letter)
    return (
        category in {"Cf", "Co", "Me"}
        or (category == "Cc" and not letter.isspace())
        or unicodedata.combining(letter) == 1  # overlays; accents, which make other letters, are of other classes
        or _IGNORABLE.match(letter) is not None
    )
