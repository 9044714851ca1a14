"""Words that a very small model knows, from the file beside its weights: for callers to see, and to check prompts."""

import re
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from qwen_image_studio.contract.service import VocabularyView
from qwen_image_studio.models.table import Model
from qwen_image_studio.system.files import at_home

FILE = "vocabulary.json"


def vocabulary_of(model: Model) -> VocabularyView | None:
    """Return all words that the model knows; None where it has no such file, as the large models."""
    return _read(at_home(model.repository) / FILE) if model.miniature else None


@cache
def _read(file: Path) -> VocabularyView | None:
    try:
        return VocabularyView.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError):  # random weights know nothing
        return None


def known_in(prompt: str, words: VocabularyView) -> bool:
    """Return whether the prompt names an object or a text that the model knows, or asks for a background alone."""
    lowered = prompt.casefold()
    english = set(re.findall(r"[a-z]+", lowered))
    for names in words.objects:
        if any(_stands(name, lowered) for name in names.zh) or any(_is_named(name, english) for name in names.en):
            return True
    for text in words.texts:
        if text.casefold() in english or (not text.isascii() and (f"{text}字" in lowered or _stands(text, lowered))):
            return True
    return _asks_for_background(lowered, words)


def without_unknown(prompt: str, words: VocabularyView) -> tuple[str, list[str]]:
    """Return the prompt without the clauses in which the model knows no word, and the clauses that were left out.

    A very small model knows so few words that any other leads it astray. A prompt without any known word stays whole.
    Not for instructions, which need words such as "the rest" and "as it is".
    """
    clauses = [(clause, end, _says_something(clause, words)) for clause, end in _clauses(prompt)[:MOST_CLAUSES]]
    kept = "".join(clause + end for clause, end, is_known in clauses if is_known)
    left_out = [clause.strip() for clause, _, is_known in clauses if not is_known]
    return (kept.rstrip(",，;； \n"), left_out) if kept and left_out else (prompt, [])


_QUOTED = re.compile('"[^"]*"|“[^”]*”')
_STOP = re.compile(r"(?<!\d)[,.]+\s*|[,.]+(?!\d)\s*|[，。;；!！\n]+\s*")
"""End of a clause; a point or comma within a number is none."""
_PALETTE = re.compile(r"\bpalette\b|配色", re.IGNORECASE)
"""What says how a picture is coloured as a whole: several colours, of which none is the background."""
MOST_CLAUSES = 100
"""Largest number of clauses that are looked at; a very small model reads only the beginning of a prompt."""


def _clauses(prompt: str) -> list[tuple[str, str]]:
    """Return the clauses, each with the stop after it; text in quotation marks is not divided."""
    hidden = _QUOTED.sub(lambda quoted: "_" * len(quoted.group()), prompt)
    found, begin = [], 0
    for stop in _STOP.finditer(hidden):
        found.append((prompt[begin : stop.start()], prompt[stop.start() : stop.end()]))
        begin = stop.end()
    return [(clause, stop) for clause, stop in [*found, (prompt[begin:], "")] if clause.strip()]


def _says_something(clause: str, words: VocabularyView) -> bool:
    if known_in(clause, words):
        return True
    if _PALETTE.search(clause):
        return False
    text = clause.casefold()
    english = set(re.findall(r"[a-z]+", text))
    names = [*words.backgrounds, *words.materials, words.layouts]
    return any(_is_named(name, english) for one in names for name in one.en) or any(
        name in text for one in names for name in one.zh
    )


def _is_named(name: str, words_said: set[str]) -> bool:
    """Return whether each word of the English name was said, in the singular or the plural."""
    return all(_plurals(word) & words_said for word in re.findall(r"[a-z]+", name.casefold()))


def _plurals(word: str) -> set[str]:
    stem, *_ = re.split(r"fe?$", word)
    forms = {word, f"{word}s", f"{word}es", f"{word[:-1]}ies", f"{stem}ves"}
    return forms | {"mouse": {"mice"}, "snowman": {"snowmen"}}.get(word, set())


def _stands(name: str, text: str) -> bool:
    """Return whether the Chinese name is in the text; one character, part of many words, must stand alone."""
    if len(name) > 1:
        return name in text
    return re.search(rf"(?:^|[\W\d{_BEFORE}]){name}(?:$|[\W{_AFTER}])", text) is not None


_BEFORE = (
    "一两二三个只条头匹辆本朵棵片块把顶件串颗枚艘架座副部台支张团道份杯碗根列幅的和与是有画大小成换加上变放在图掉去除"
)
_AFTER = "和与在的背换变放移是有里上下左右旁大缩图"
_FILLING = "a|an|the|on|with|plain|empty|flat|background|nothing|but|only|picture|of|draw|paint"
_ZH_FILLING = "纯|空白|背景|底色|只有|的|什么都没有|画"


def _asks_for_background(text: str, words: VocabularyView) -> bool:
    """Return whether the prompt says nothing but a background's name and filling words."""
    colours = [name for names in words.backgrounds for name in (*names.en, *names.zh)]
    asked = "|".join(sorted(map(re.escape, colours), key=len, reverse=True))
    rest = re.sub(rf"\b(?:{asked})\b|(?:{asked})", " ", text)
    return rest != text and not re.sub(rf"\b(?:{_FILLING})\b|{_ZH_FILLING}|\W", "", rest)
