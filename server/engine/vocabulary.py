"""What a very small model knows, from the file beside its weights: told to callers, and held against their prompts."""

import re
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from server.engine import Model
from server.schemas import VocabularyView

FILE = "vocabulary.json"


def vocabulary_of(model: Model) -> VocabularyView | None:
    """All that the model knows; None where no file says so, as with the large models."""
    return _read(Path(model.repository) / FILE) if model.miniature else None


@cache
def _read(file: Path) -> VocabularyView | None:
    try:
        return VocabularyView.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError):  # random weights know nothing
        return None


def known_in(prompt: str, words: VocabularyView) -> bool:
    """Whether the prompt names an object, a text or a background that the model knows."""
    told = prompt.casefold()
    english = set(re.findall(r"[a-z]+", told))
    for names in (*words.objects, *words.backgrounds):
        if any(name in told for name in names.zh) or any(_is_said(name, english) for name in names.en):
            return True
    return any(text.casefold() in told for text in words.texts)


def _is_said(name: str, said: set[str]) -> bool:
    """Whether each of the name's words is there, as it stands or as more than one of it."""
    return all(
        {word, f"{word}s", f"{word}es", f"{word[:-1]}ies"} & said for word in re.findall(r"[a-z]+", name.casefold())
    )
