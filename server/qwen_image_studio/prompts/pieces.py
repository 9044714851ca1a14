"""The prompt of one piece of a campaign: what it shows, with its texts in it letter for letter."""

import re
from collections.abc import Mapping, Sequence

from qwen_image_studio.contract.campaign import Piece
from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.words import Language
from qwen_image_studio.prompts.directing import directed, followed_by, language_of
from qwen_image_studio.prompts.templates import colour_name

_PLACES = re.compile(r"(?P<before>[\"“「『]?)\{(?P<name>headline|subline|background)\}(?P<after>[\"”」』]?)")
_MARKS: Mapping[Language, Sequence[str]] = {Language.EN: ('""', "“”", "「」"), Language.ZH: ("“”", "「」", '""')}
"""Quotation marks by language, the usual ones first: a text with such marks in it stands in others."""
_LETTERED: Mapping[Language, Mapping[str, str]] = {
    Language.EN: {"headline": "The headline text {}.", "subline": "Below it the smaller text {}."},
    Language.ZH: {"headline": "标题文字{}。", "subline": "下方小字{}。"},
}
"""Sentences for the texts that a prompt has nowhere."""
_PLACED: Mapping[Language, str] = {
    Language.EN: "Place the product of image 1, unchanged, in this picture: ",
    Language.ZH: "把图1中的商品原样放进这幅画面：",
}
_IMAGE_1 = re.compile(r"\b(?:image|picture|photo)\s?1\b|图片?\s?[1一]", re.IGNORECASE)


def written(piece: Piece, direction: Direction, *, has_product: bool = False) -> str:
    """Return the prompt of a piece; with `has_product`, the instruction that places the product of image 1 in it.

    Raises StudioError ``invalid_value`` where it becomes longer than a prompt may be.
    """
    language = language_of(piece.prompt)
    told = directed(_lettered(piece, direction, language), direction, language)
    return _PLACED[language] + told if has_product and not _IMAGE_1.search(told) else told


def _lettered(piece: Piece, direction: Direction, language: Language) -> str:
    """Return what a piece shows with its texts; those that it has nowhere follow in sentences of their own."""
    texts = {"headline": piece.headline, "subline": piece.subline}

    def put(match: re.Match[str]) -> str:
        if match["name"] == "background":
            return match["before"] + _background(direction, language) + match["after"]
        return _marked(texts[match["name"]], language) if texts[match["name"]] else ""

    told = _PLACES.sub(put, piece.prompt).strip()
    missing = [
        _LETTERED[language][name].format(_marked(text, language)) for name, text in texts.items() if text not in told
    ]
    for sentence in missing:
        told = followed_by(told, sentence, language)
    return told


def _marked(text: str, language: Language) -> str:
    """Return a text in quotation marks, in such as it does not have itself."""
    marks = next((pair for pair in _MARKS[language] if not set(pair) & set(text)), _MARKS[language][0])
    return f"{marks[0]}{text}{marks[1]}"


def _background(direction: Direction, language: Language) -> str:
    """Return a background in the first colour of the direction."""
    ground = colour_name(direction.palette[0], language) if direction.palette else ""
    return f"{ground or '简洁'}背景" if language is Language.ZH else f"{ground or 'plain'} background"
