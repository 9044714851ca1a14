"""The normal form of prompts, in which those are equal that differ in nothing that can be seen.

Nothing is guessed: where a difference may show, the forms differ, and all that is lost is that a picture is painted
that was there. So words are fillers only where they can be nothing else, and parts keep their order wherever one may
belong to the part beside it.
"""

import re
import unicodedata
from collections.abc import Sequence

from qwen_image_studio.prompts.templates import COLOURS

_QUOTE = re.compile(
    "[\"'`\u00b4\u00ab\u00bb\u02bb-\u02bd\u2018-\u201f\u2032-\u2037\u2039\u203a\u275b-\u2760\u2e42"
    "\u3008-\u3011\u3016-\u301f\ufe41-\ufe44\uff02\uff07\uff40]"
)
"""What stands around lettering, in either language: quotation marks, primes in their place, and Chinese brackets."""
_LETTERING = re.compile(
    r"\b(?:say|says|said|saying|read|reads|reading|writ\w+|wrote|text|texts|word|words|letters?|lettering|lettered|"
    r"spel\w+|titled?|headlines?|captions?|captioned|slogans?|inscri\w+|engraved|labels?|labell?ed|monograms?|initials?|"
    r"signs?|logos?|named|called|vitamins?|size)\b|[写字题签牌名]|标语|口号|文案|文本|商标",
    re.IGNORECASE,
)
"""What tells of lettering, or of a name, without marks around it."""
_WIDTHS = ("<wide>", "<narrow>")
_COMMA = re.compile(r"(?<!\d),|,(?!\d)")
_FILLERS = (
    re.compile(r"please,? (?=\S)"),
    re.compile(
        r"(?:请你?|麻烦你?|帮我)(?=请|帮我|[把将在让用为给]|生成|创建|绘制|画|添加|加上|删除|去掉|移除|换|改|保持)"
    ),
    re.compile(r"(?:(?:generate|create|give me|show me|i want) )?(?:an? )?(?:picture|image) of (?=\S)"),
    re.compile(r"(?:生成|创建)一[张幅](?:图片|图像)[:,] ?(?=\S)"),
)
"""Words that ask for a picture and say nothing of it, in their order at the beginning of a prompt. A "photo of" and
"draw" say how it looks."""
_ASKED_FOR = re.compile(r"(?:(?:生成|创建)一[张幅]|一幅)(.+)的(?:图片|图像)")
"""The same around a prompt. 一张 alone may be a table's."""

_SAYS_MORE = re.compile(
    r"[.!?;:。！？；：…|()\[\]]|\b(?:no|not|never|none|without|except|but|instead|only|respectively)\b|[不没无非别未勿除只仅]|分别"
    r"|\b(?:rows?|columns?|order|orders|ordered|sequence|series|queue|lines?|lists?|steps?|stages?|phases|panels?|grid|"
    r"timeline|gradient|flags?|stripes?|layers?|layered|stacked|tricolou?r)\b|[排列旗层叠]|顺序|依次|步骤|阶段|分格|渐变|条纹"
    r"|\b(?:with|of|\w+ing|holds|has|wears) \S|[着和]"
)
"""What may reach beyond its part: the end of a sentence, a negation, a bracket, an order of things, and what a thing
has or does.
"""
_BOUND = re.compile(
    r"(?:and|or|nor|then|so|as|with|in|on|at|of|from|to|into|onto|over|under|above|below|beside|between|behind|before|"
    r"after|near|next|inside|outside|around|against|along|across|through|for|by|like|it|its|he|his|him|she|her|they|"
    r"them|their|that|this|these|those|which|who|whose|where|while|when|one|another|other|others|both|each|either|"
    r"all|also|first|second|third|last|same|left|right|top|bottom|\w+ing|\w+ed|\w+ly)\b"
    r"|[在和与及或但而然接并它他她其这那左右上下前后中里旁另穿戴拿持身头手坐站躺正是有]"
)
"""The beginning of a part that belongs to another one."""
_ATTRIBUTES = frozenset({
    *(name.casefold() for names in COLOURS.values() for name in names.values()),
    "big", "large", "huge", "small", "little", "tiny", "tall", "short", "long", "old", "young", "new", "dark", "light",
    "大", "小", "高", "矮", "长", "短", "老", "旧", "新", "大的", "小的", "深色", "浅色",
})  # fmt: skip
"""Parts that are nothing but a quality, of whatever stands beside them."""
_COUNTED = re.compile(r"(?:an?|the|some|two|three|four|five|six|seven|eight|nine|ten)\b|\d|[一二两三四五六七八九十几]")
"""The beginning of a part that is a thing by itself."""


def alike(prompt: str) -> str:
    """Return a prompt in its normal form: letters of one width and case, single blanks, no fillers, and parts between
    commas in one order. One with lettering stays as it is.
    """
    if _QUOTE.search(prompt) or _LETTERING.search(prompt):
        return prompt
    # Not NFKC, to which 10⁵ is 105; nor with its case folded, to which ß is ss.
    one_width = unicodedata.normalize("NFC", "".join(map(_of_one_width, prompt)))
    text = _without_fillers(" ".join(one_width.lower().split()))
    parts = [part for each in _COMMA.split(text) if (part := each.strip())]
    return ", ".join(sorted(parts) if _are_apart(text, parts) else parts)


def _of_one_width(letter: str) -> str:
    is_of_other_width = unicodedata.decomposition(letter).startswith(_WIDTHS)
    return unicodedata.normalize("NFKC", letter) if is_of_other_width else letter


def _without_fillers(text: str) -> str:
    for filler in _FILLERS:
        while match := filler.match(text):
            text = text[match.end() :]
    match = _ASKED_FOR.fullmatch(text)
    return text if match is None else match[1]


def _are_apart(text: str, parts: Sequence[str]) -> bool:
    """Return whether no part of a text belongs to the one beside it: each is a thing, or all but one say how the whole
    looks.
    """
    if _SAYS_MORE.search(text) or any(part in _ATTRIBUTES or _BOUND.match(part) for part in parts):
        return False
    return sum(_COUNTED.match(part) is not None for part in parts) in {0, 1, len(parts)}
