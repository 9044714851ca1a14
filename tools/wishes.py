"""A wish, and the plain prompt that rules make of it: nothing is invented, nothing of it is left out.

Text in quotation marks is to be painted into the picture, so it is kept letter for letter.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
Purpose = Literal["generate", "edit"]

QUOTATION_MARKS = (("“", "”"), ('"', '"'), ("「", "」"), ("『", "』"), ("‘", "’"))

QUALITY: Mapping[Language, str] = {"en": "Ultra HD, 4K, cinematic composition", "zh": "超清，4K，电影级构图"}
"""What Qwen-Image's authors put at the end of every description."""

_STOPS: Mapping[Language, tuple[str, str, str]] = {"en": (". ", ", ", "."), "zh": ("。", "，", "。")}
"""Between sentences, before the words for quality, and at the end."""

_FRAMES: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "alone": "A picture of {}",
        "product": "The product is {}",
        "theme": "The theme is {}",
        "audience": "It is made to appeal to {}",
        "style": "The style is {}",
        "lettering": "All lettering is sharp and legible",
        "rest": "Keep everything else as it is",
    },
    "zh": {
        "alone": "一幅关于{}的画面",
        "product": "产品是{}",
        "theme": "主题是{}",
        "audience": "面向{}",
        "style": "风格是{}",
        "lettering": "文字清晰可辨",
        "rest": "其余部分保持不变",
    },
}

_SAYS_WHAT_STAYS = r"(?i)\b(keep|keeping|unchanged|as (it|they) (is|are)|nothing else)\b|保持|不变|保留|不要改"

_SHAPES: Sequence[tuple[str, str]] = (
    (r"phone wallpaper|lock screen|\bstor(y|ies)\b|\breels?\b|手机壁纸|锁屏|竖屏", "9:16"),
    (r"\bposters?\b|\bportrait\b|book cover|\bflyers?\b|海报|肖像|人像|封面|竖版|传单", "3:4"),
    (r"\bbanners?\b|\bwallpapers?\b|widescreen|panorama|横幅|横版|宽屏|壁纸|全景", "16:9"),
    (r"\bavatars?\b|\bicons?\b|\blogos?\b|\bstickers?\b|头像|图标|标志|贴纸|主图", "1:1"),
)
"""Words that tell the shape of a picture, the more special ones first."""
_RATIO = r"(?<![\d:：])(16|9|4|3|2|1)\s*[:：]\s*(16|9|4|3|2|1)(?![\d:：])"


@dataclass(frozen=True)
class Wish:
    """What somebody wants, in short; at least one of ``text``, ``product`` and ``theme`` says something."""

    text: str
    purpose: Purpose = "generate"
    product: str = ""
    theme: str = ""
    audience: str = ""
    style: str = ""
    language: Literal["auto", "en", "zh"] = "auto"

    @property
    def parts(self) -> Mapping[str, str]:
        """What was said, by name."""
        named = {name: getattr(self, name) for name in ("text", "product", "theme", "audience", "style")}
        return {name: said for name, said in named.items() if said}

    @property
    def tongue(self) -> Language:
        """The language to write in: the one asked for, or the wish's own."""
        return language_of(" ".join(self.parts.values())) if self.language == "auto" else self.language

    @property
    def quoted(self) -> list[str]:
        """The texts to be painted, without their marks."""
        return [text for said in self.parts.values() for text in quoted(said)]


@dataclass(frozen=True)
class Written:
    """A prompt with what belongs to it. An empty ``negative_prompt`` leaves it to the server; so does ``auto``."""

    prompt: str
    negative_prompt: str = ""
    aspect_ratio: str = "auto"
    reason: str = ""
    enhanced_by: Literal["", "llm", "rules"] = ""
    warnings: tuple[str, ...] = ()


def language_of(text: str) -> Language:
    """Chinese where it has Chinese characters outside quotation marks and no kana, else English."""
    plain = text
    for marks in QUOTATION_MARKS:
        plain = re.sub(_pattern(marks), "", plain)
    if not re.search(r"[a-zA-Z\u3400-\u9fff]", plain):
        plain = text  # nothing but quoted text
    return "zh" if re.search(r"[\u3400-\u9fff]", plain) and not re.search(r"[\u3041-\u30ff]", plain) else "en"


def quoted(text: str) -> list[str]:
    """What stands in quotation marks, the outermost ones."""
    pattern = "|".join(_pattern(marks) for marks in QUOTATION_MARKS)
    return [match.group()[1:-1] for match in re.finditer(pattern, text)]


def _pattern(marks: tuple[str, str]) -> str:
    """As a regular expression; ’ ends a text only where it is no apostrophe."""
    first, last = marks
    return f"{first}[^{first}{last}]+{last}" if first != "‘" else r"(?<!\w)‘[^‘]+?’(?!\w)"


def by_rules(wish: Wish) -> Written:
    """The wish and what was said beside it, one sentence each, and how the authors end a prompt."""
    tongue, parts = wish.tongue, dict(wish.parts)
    frames, (between, before_quality, end) = _FRAMES[tongue], _STOPS[tongue]
    sentences = [parts.pop("text")] if wish.text else []
    if not sentences:
        sentences = [frames["alone"].format(parts.pop("product", "") or parts.pop("theme"))]
    sentences += [frames[name].format(said) for name, said in parts.items()]
    said = " ".join(wish.parts.values())
    if wish.purpose == "edit":
        sentences += [] if re.search(_SAYS_WHAT_STAYS, said) else [frames["rest"]]
        return Written(_joined(sentences, between) + end, reason=_reason(wish), enhanced_by="rules")
    sentences += [frames["lettering"]] if wish.quoted else []
    prompt = _with_quality(_joined(sentences, between), QUALITY[tongue], before_quality, end)
    return Written(prompt, aspect_ratio=shape_of(said), reason=_reason(wish), enhanced_by="rules")


def ended_well(description: str) -> str:
    """A description with the authors' words for quality at its end, in its own language."""
    tongue = language_of(description)
    _, before_quality, end = _STOPS[tongue]
    return _with_quality(_bare(description), QUALITY[tongue], before_quality, end)


def shape_of(text: str) -> str:
    """The aspect ratio that a wish names or that its words suggest, else ``auto``."""
    known = {shape for _, shape in _SHAPES} | {"4:3", "3:2", "2:3"}
    for match in re.finditer(_RATIO, text):
        if (named := ":".join(match.groups())) in known:
            return named
    return next((shape for words, shape in _SHAPES if re.search(words, text, re.IGNORECASE)), "auto")


def _joined(sentences: Sequence[str], between: str) -> str:
    return between.join(_bare(sentence) for sentence in sentences)


def _bare(sentence: str) -> str:
    """Without the stop at its end, which stands before a closing quotation mark where it is part of the text."""
    return sentence.rstrip(" \t\r\n.。,，;；、!！?？")


def _with_quality(prompt: str, quality: str, before: str, end: str) -> str:
    folded = re.sub(r"[\s,，.。]+", " ", prompt).lower()
    told = re.sub(r"[\s,，.。]+", " ", quality).lower() in folded
    return f"{prompt}{end}" if told else f"{prompt}{before}{quality}{end}"


def _reason(wish: Wish) -> str:
    kind = (
        "The change, and that the rest stays"
        if wish.purpose == "edit"
        else "The wish with Qwen-Image's words for quality"
    )
    return f"{kind}, put together by rules without a language model."
