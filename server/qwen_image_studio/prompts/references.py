"""References in prompts: by which words a text speaks of a picture, and what its role is called in a sentence."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from qwen_image_studio.contract.references import Derive, ReferenceRole, Role
from qwen_image_studio.contract.words import MAX_INPUTS, Language
from qwen_image_studio.prompts.directing import QUOTED

_ENGLISH = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_CHINESE = "一二三四五六七八九十"
_NUMBER = rf"(?:10|[1-9]|[{_CHINESE}](?![{_CHINESE}]))"
# A number goes on in 2.5, 3:4, 12 and 2x; and a measure word makes a verb of the sign before: to draw one picture.
_END = r"(?![0-9A-Za-z_×]|[.:：]\d)"
_ALONE = "(?<![0-9A-Za-z_])"
_NO_MEASURE = rf"(?:(?<![{_CHINESE}])|(?![张个幅下些点样起定乐共直边半层次种]))"
_NAMED = re.compile(
    rf"<\s?(?:image|picture)[\s_]?(?P<mark>\d{{1,2}})\s?>"
    rf"|{_ALONE}(?:image|picture|photo)[\s_#]{{0,2}}(?P<word>10|[1-9]){_END}"
    rf"|{_ALONE}(?:the\s)?(?P<ordinal>{'|'.join(_ENGLISH)})\s(?:input\s|reference\s)?image\b"
    # A map (地图), an illustration (插图), a screenshot (截图) and an intention (意图) are none.
    rf"|(?<![地插截意企试构版蓝])图(?:片|像)?\s?(?P<sign>{_NUMBER}){_END}{_NO_MEASURE}"
    rf"|第\s?(?P<counted>{_NUMBER})\s?(?:张|幅|个)?(?:参考|输入)?(?:图片|图像|图)",
    re.IGNORECASE,
)


class Mention(NamedTuple):
    """A place of a text that speaks of a picture by its number."""

    number: int
    start: int
    end: int
    is_mark: bool
    """Whether it is written as a mark, ``<image1>``, and not in ordinary words."""


def mentions(text: str) -> Iterator[Mention]:
    """Yield the places that speak of pictures by their numbers, in either language; not those within quotation marks,
    which are to be lettered.
    """
    quoted = [match.span() for match in QUOTED.finditer(text)]
    for match in _NAMED.finditer(text):
        start, end = match.span()
        if not any(begin <= start < stop for begin, stop in quoted):
            kind = str(match.lastgroup)
            yield Mention(_number(match[kind]), start, end, kind == "mark")


def unknown_image(text: str, images: int) -> int | None:
    """Return the number of a picture that a text names and that was not sent, or None."""
    return next((each.number for each in mentions(text) if not 1 <= each.number <= images), None)


def renamed(text: str, images: int, name: Callable[[int], str], *, only_marks: bool) -> str:
    """Return the text with the numbers of the pictures that were sent in other words; `only_marks` leaves those that
    are written in ordinary words.
    """
    parts, done = [], 0
    for each in mentions(text):
        if 1 <= each.number <= images and (each.is_mark or not only_marks):
            parts += [text[done : each.start], name(each.number)]
            done = each.end
    return "".join([*parts, text[done:]])


def role_sentences(roles: Sequence[ReferenceRole], language: Language, name: Callable[[int], str]) -> str:
    """Return a short sentence for each picture that has a role; `name` is how the model calls a picture."""
    space = "" if language is Language.ZH else " "
    told = [_sentence(each, language, name(number)) for number, each in enumerate(roles[:MAX_INPUTS], 1)]
    return space.join(filter(None, told))


_SENTENCES = {
    Role.SUBJECT: ("The subject is the one in {}.", "主体取自{}。"),
    Role.STYLE: ("The style is that of {}, not its content.", "风格参照{}，不取其内容。"),
    Role.CONTROL: ("{} is a control map: follow its composition.", "{}是控制图，请遵循其构图。"),
    Role.BACKGROUND: ("The background is that of {}.", "背景取自{}。"),
}
_OF_EDGES = ("{} is an edge map: follow its lines.", "{}是边缘图，请遵循其线条。")


def _sentence(reference: ReferenceRole, language: Language, name: str) -> str:
    if reference.role is None:
        return ""
    both = _OF_EDGES if reference.derive is Derive.EDGES else _SENTENCES[reference.role]
    return both[language is Language.ZH].format(name)


def _number(text: str) -> int:
    if text.isdecimal():
        return int(text)
    lowered = text.casefold()
    return _ENGLISH.index(lowered) + 1 if lowered in _ENGLISH else _CHINESE.index(text) + 1
