"""Blocked terms: the operator's list of what this server does not paint, searched for in the texts of a request.

The list is a text file with one term per line, in any language; empty lines and lines that begin with # are skipped. A
term is one or more whole words; ``gun*`` also finds longer words. A line ``!chicken breast`` is an exception: no term
is found inside these words. Letters match whatever their case and width, also struck through, circled, or with
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
"""Kana, Han and Hangul: written without spaces, so that a term needs no boundary before or after it."""
_LETTER = rf"[^\W_{_CJK}]"
"""Letter or digit of any script that has spaces between its words."""
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
"""Characters of Unicode's Default_Ignorable_Code_Point outside the category Cf: joiners, fillers, variation selectors,
and code points reserved for more of them.
"""
_START, _KEY = 4, 32
"""Number of a term's first characters that are looked up at each place of a text: to begin with, and at most."""


@dataclass(frozen=True)
class Term:
    """One term of the list, in the form of :func:`_plain`, without the signs ! and *."""

    words: str
    is_beginning: bool = False
    """Whether longer words that begin with the term are meant, too."""

    @cached_property
    def squeezed(self) -> str:
        """Return the term without spaces; a text that, without its spaces, lacks it cannot contain the term."""
        return "".join(self.words.split())

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Return the pattern of the term: its spaces match any white space, which may also part Chinese characters."""
        between = rf"(?<=[{_CJK}])(?=[{_CJK}])"
        words = [r"\s*".join(map(re.escape, re.split(between, word))) for word in self.words.split()]
        before = rf"(?<!{_LETTER})" if re.match(_LETTER, self.words[0]) else ""
        after = rf"(?!{_LETTER})" if re.match(_LETTER, self.words[-1]) and not self.is_beginning else ""
        return re.compile(before + r"\s+".join(words) + after)


@dataclass(frozen=True)
class Listed:
    """Terms in the order of the list, perhaps tens of thousands; one walk over a text looks for all of them."""

    terms: Sequence[Term] = ()

    def within(self, plain: str) -> list[Term]:
        """Return the terms that the text may contain: their letters are there, with or without spaces between."""
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
        """Return the numbers of the terms by their first characters, up to `_KEY` of them."""
        found: dict[str, list[int]] = {}
        for number, term in enumerate(self.terms):
            found.setdefault(term.squeezed[:_KEY], []).append(number)
        return found

    @cached_property
    def _lengths(self) -> Mapping[str, set[int]]:
        """Return the lengths of these keys by their first characters, up to `_START` of them."""
        found: dict[str, set[int]] = {}
        for key in self._numbers:
            found.setdefault(key[:_START], set()).add(len(key))
        return found


@dataclass(frozen=True)
class Terms:
    """A list of blocked terms, and of exceptions to them."""

    blocked: Listed = field(default_factory=Listed)
    excepted: Listed = field(default_factory=Listed)

    def found(self, text: str) -> str | None:
        """Return the first blocked term in the text, as it stands there; None where there is none."""
        plain = _plain(text)
        for term in self.excepted.within(plain):
            plain = term.pattern.sub("\n.\n", plain)  # no term reaches across the gap
        found = [match for term in self.blocked.within(plain) if (match := term.pattern.search(plain))]
        return min(found, key=re.Match.start).group() if found else None


@cache
def terms(file: Path | None) -> Terms:
    """Return the terms in the operator's file; none without a file. Raises BadTerms for one that cannot be read."""
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
    """Raise StudioError ``content_blocked`` where one of the texts, each with its parameter, contains a term."""
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
    """Return the text in the form in which terms are compared: NFKC, one case, and nothing invisible."""
    for _ in range(2):  # a removed character may have kept a letter from its accent, and one form may hide another
        unseen = {ord(letter): None for letter in set(text) if _is_unseen(letter)}
        text = unicodedata.normalize("NFKC", text.translate(unseen)).casefold()
    return text.strip()


def _is_unseen(letter: str) -> bool:
    """Return whether a character is invisible, or only strikes through or circles the letter before it."""
    category = unicodedata.category(letter)
    return (
        category in {"Cf", "Co", "Me"}
        or (category == "Cc" and not letter.isspace())
        or unicodedata.combining(letter) == 1  # overlays; accents, which make other letters, are of other classes
        or _IGNORABLE.match(letter) is not None
    )
