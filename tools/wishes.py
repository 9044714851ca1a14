"""A wish, and the plain prompt that rules make from it: they invent nothing and leave nothing out.

Text in quotation marks ("lettering") is to be painted into the picture, so it is kept letter for letter.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: Mapping[Language, str] = {"en": "English", "zh": "Simplified Chinese"}
"""What a language model is told that they are called."""
Purpose = Literal["generate", "edit"]

_LETTER = r"[^\W\u3040-\ud7ff]"
"""Pattern of the characters next to an apostrophe: letters and digits, except in scripts written without spaces."""


def _single(first: str, last: str, never: str) -> str:
    """Return the pattern of lettering in single marks. Marks inside it are apostrophes, and the opening one is not:
    rock 'n' roll, the '90s.
    """
    inside = f"(?:[^‘’'{never}]|(?<={_LETTER})['’](?={_LETTER}))"
    year = rf"\s['’]\d\d{inside}*?"
    return rf"(?<!{_LETTER}){first}(?!\s|n['’]|\d0s)({inside}+?(?:{year})?)(?<!\s){last}(?!{_LETTER})"


_LETTERING = re.compile(
    "|".join(
        (
            # Straight and curly marks may hold a pair of the other kind; a straight one after a digit may mean inches.
            r'“((?:[^“”"]|(?<=\d)"|(?<!\d)"(?!\s)[^“”"]*(?<!\s)")+)”',
            r'(?:(?<!\d)"|"(?![\sx×,.;)]|$))((?:[^“”"]|“[^“”"]*”)+)"',
            r'(?<!\d)[“”"]([^“”"\n]+)[”"]',  # two marks of different kinds
            r"„([^„“”]+)[“”]",
            *(f"{first}([^{first}{last}]+){last}" for first, last in ("「」", "『』", "«»", "‹›", "＂＂")),
            _single("‘", "’", never=""),
            _single("['‘]", "['’]", never=r"\n"),
            r"(?:[写印刻题][着有上]|文字|标题|标语|口号|字样|大字)(?:\s*[:：是为])?\s*《([^《》]+)》",
            r"《([^《》]+)》(?=\s*(?:字样|大字|[一二三四五六七八九十]个大?字))",
        )
    )
)

QUALITY: Mapping[Language, str] = {"en": "Ultra HD, 4K, cinematic composition", "zh": "超清，4K，电影级构图"}
"""The words for quality that Qwen-Image's authors put at the end of every description."""

_STOPS: Mapping[Language, tuple[str, str, str]] = {"en": (". ", ", ", "."), "zh": ("。", "，", "。")}
"""The punctuation between sentences, before the words for quality, and at the end."""

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

_STYLES: Mapping[str, str] = {
    "photo": "摄影照片",
    "photograph": "摄影照片",
    "product photo": "产品摄影",
    "product photograph": "产品摄影",
    "watercolour": "水彩",
    "watercolor": "水彩",
    "oil painting": "油画",
    "flat illustration": "扁平插画",
    "illustration": "插画",
    "3d render": "3D 渲染",
    "3d rendering": "3D 渲染",
    "ink painting": "水墨画",
    "paper cut": "剪纸",
    "pencil drawing": "铅笔画",
    "sketch": "素描",
    "line art": "线稿",
    "pixel art": "像素画",
    "anime": "动漫",
    "cartoon": "卡通",
    "comic": "漫画",
    "cyberpunk": "赛博朋克",
    "minimalist": "极简",
    "vintage": "复古",
}
"""Chinese words for styles that forms offer in English."""

HAN = r"[\u3400-\u9fff]"
"""Pattern of a Chinese character."""
_SAYS_WHAT_STAYS = r"(?i)\b(keep|keeping|unchanged|as (it|they) (is|are)|nothing else)\b|保持|不变|保留|不要改"

_KINDS: Mapping[str, str] = {
    "9:16": "phone wallpaper|iphone wallpaper|mobile wallpaper|phone background|lock screen|lockscreen|instagram story"
    "|instagram stories|instagram reel|snapchat story|facebook story|whatsapp story|手机壁纸|锁屏|锁屏壁纸",
    "16:9": "banner|panorama|desktop wallpaper|computer wallpaper|laptop wallpaper|desktop background|widescreen"
    "|widescreen wallpaper|横幅|全景|全景图|电脑壁纸|桌面壁纸|宽屏|宽屏壁纸|宽屏画面",
    "3:4": "poster|portrait|portrait photo|book cover|flyer|海报|肖像|人像|封面|传单",
    "1:1": "avatar|icon|logo|sticker|头像|图标|标志|贴纸|主图",
}
"""Kinds of pictures, by their usual aspect ratio."""

_ASKING = "please|can|could|you|i|we|want|need|would|like|to|have|make|create|generate|design|draw|paint|me|us|it|as"
_HELD = "an?|the|his|her|with|of|for|on|in|at|by|under|behind|holding"
_ABOUT_A_KIND = re.compile(
    rf"(?:(?:(?:{_ASKING}|an?|the) )*(?:(?!(?:{_HELD}) )[^\s\u3400-\u9fff]+ ){{0,5}}?"  # its first noun
    r"|(?:.*[^上里中边旁]的)?[^的着了满有在带看和挂贴举]*?"  # in Chinese the last one, not after a place, not in a hand
    rf"(?:(?=[^a-z])|(?<={HAN})|(?<={HAN} )))"  # which may be English, but not after English
    rf"({'|'.join(_KINDS.values())})(?:s(?= (?:of|for|with|about) )|设计|图|画|写真|摄影)?"
    r"(?:$| (?:of|for|with|about|that|showing|saying|announcing|in (?:[a-z]+ ){1,3}style)\b| [^a-z]|上[写印画有是])"
)

_SHAPES = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")
_SHAPE = "aspect|ratio|format|shape|比例|[宽长]高比|画幅|尺寸|vertical|horizontal|portrait|landscape|[竖横][版屏]"
_RATIO = re.compile(
    rf"(?P<before>(?:{_SHAPE}|\b(?:in|as)|用)(?:\s*(?:of|is|[:：=为是]))?"
    r"|(?:^|[,，、.。;；(（])(?=[\d :：比]+(?:$|[,，、.。;；!！?？)）])))?\s*"  # alone in its clause
    r"(?<![\d:：])(?P<width>16|9|[1-4])\s*[:：比]\s*(?P<height>16|9|[1-4])(?![\d:：]| scale)"
    rf"(?P<after>\s*(?:的\s*)?(?:{_SHAPE}|poster|photo|picture|image|banner|wallpaper|cover"
    r"|海报|图|照片|壁纸|封面|画面|横幅))?",
    re.IGNORECASE | re.MULTILINE,
)
"""Pattern of two numbers with words that make them a shape, and not a score, a time or a mixture."""


@dataclass(frozen=True)
class Wish:
    """A person's wish, in short; at least one of ``text``, ``product`` and ``theme`` is not empty."""

    text: str
    purpose: Purpose = "generate"
    product: str = ""
    theme: str = ""
    audience: str = ""
    style: str = ""
    language: Literal["auto", "en", "zh"] = "auto"

    @property
    def parts(self) -> Mapping[str, str]:
        """The texts that are not empty, by name."""
        named = {name: getattr(self, name) for name in ("text", "product", "theme", "audience", "style")}
        return {name: said for name, said in named.items() if said}

    @property
    def tongue(self) -> Language:
        """The language to write the prompt in: the one asked for, or that of the wish."""
        return language_of(" ".join(self.parts.values())) if self.language == "auto" else self.language

    @property
    def quoted(self) -> list[str]:
        """The lettering, without its quotation marks."""
        return [text for said in self.parts.values() for text in quoted(said)]


@dataclass(frozen=True)
class Written:
    """A prompt with its settings. The server chooses where ``negative_prompt`` is empty or the shape ``auto``."""

    prompt: str
    negative_prompt: str = ""
    aspect_ratio: str = "auto"
    reason: str = ""
    enhanced_by: Literal["", "llm", "rules"] = ""
    warnings: tuple[str, ...] = ()


def language_of(text: str) -> Language:
    """Return Chinese where the text has Chinese characters outside quotation marks and no kana, else English."""
    plain = _around(text)
    return "zh" if re.search(HAN, plain) and not re.search(r"[\u3041-\u30ff]", plain) else "en"


def main_language(text: str) -> Language:
    """Return the language as :func:`language_of` does, but English despite a few Chinese words in an English text."""
    plain = _around(text)
    return "en" if len(re.findall(HAN, plain)) < len(re.findall(r"[a-zA-Z]+", plain)) else language_of(text)


def quoted(text: str) -> list[str]:
    """Return the texts in the outermost quotation marks, without white space at their ends."""
    return [piece.strip() for piece, lettering in _pieces(text) if lettering and piece.strip()]


def one_line(text: str) -> str:
    """Return the text on one line: outside of quotation marks, all white space becomes one space."""
    pieces = (piece if lettering else re.sub(r"\s+", " ", piece) for piece, lettering in _pieces(text))
    return "".join(pieces).strip()


def as_spelled(own: Sequence[str], text: str) -> str:
    """Return the text with lettering replaced by that in ``own`` where the two differ in typography only."""
    spelled = {_folded(one): one for one in own} | {one: one for one in own}
    return "".join(
        spelled.get(piece, spelled.get(_folded(piece), piece)) if lettering else piece
        for piece, lettering in _pieces(text)
    )


def spelled(own: Sequence[str], text: str) -> str:
    """Return that text in ``own`` which differs from this one in typography only; else this one."""
    return text if text in own else next((one for one in own if _folded(one) == _folded(text)), text)


def _folded(text: str) -> str:
    """Return the text without mere typography: full width, the form of an apostrophe, a stop at the end."""
    return re.sub("[‘’ʼ]", "'", unicodedata.normalize("NFKC", text)).strip().rstrip(".,。")


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the text in pieces, each with whether it is lettering; quotation marks are in the other pieces."""
    position = 0
    for match in _LETTERING.finditer(text):
        start, end = match.span(match.lastindex or 0)
        yield from ((text[position:start], False), (text[start:end], True))
        position = end
    yield text[position:], False


def _around(text: str) -> str:
    """Return the text outside of quotation marks; the whole text where nothing is said there."""
    plain = _LETTERING.sub(" ", text)
    return plain if re.search(rf"[a-zA-Z]|{HAN}", plain) else text


def by_rules(wish: Wish) -> Written:
    """Return the parts of the wish as one sentence each, with the authors' ending of a prompt."""
    tongue, parts = wish.tongue, dict(wish.parts)
    frames, (between, before_quality, end) = _FRAMES[tongue], _STOPS[tongue]
    sentences = [parts.pop("text")] if wish.text else []
    if not sentences:
        sentences = [frames["alone"].format(parts.pop("product", "") or parts.pop("theme"))]
    sentences += [
        frames[name].format(_style_in(tongue, said) if name == "style" else said) for name, said in parts.items()
    ]
    said = "\n".join(wish.parts.values())
    if wish.purpose == "edit":
        sentences += [] if re.search(_SAYS_WHAT_STAYS, said) else [frames["rest"]]
        return Written(_joined(sentences, between) + end, reason=_reason(wish), enhanced_by="rules")
    sentences += [frames["lettering"]] if wish.quoted else []
    prompt = _with_quality(_joined(sentences, between), QUALITY[tongue], before_quality, end)
    return Written(prompt, aspect_ratio=shape_of(said), reason=_reason(wish), enhanced_by="rules")


def _style_in(tongue: Language, style: str) -> str:
    """Return a style in the language of the prompt, where it is one that forms offer."""
    if tongue == "zh":
        return _STYLES.get(" ".join(style.lower().replace("-", " ").split()), style)
    return next((english for english, chinese in _STYLES.items() if chinese == style.strip()), style)


def ended_well(description: str) -> str:
    """Return the description with the authors' words for quality at its end, in its own language."""
    tongue = main_language(description)
    _, before_quality, end = _STOPS[tongue]
    return _with_quality(_bare(description), QUALITY[tongue], before_quality, end)


def named_shape(text: str) -> str:
    """Return the aspect ratio that a wish names outside of quotation marks, else ``auto``."""
    for named in _RATIO.finditer(_in_lines(text)):
        shape = f"{named['width']}:{named['height']}"
        if shape in _SHAPES and (shape == "16:9" or named["before"] is not None or named["after"]):
            return shape
    return "auto"


def shape_of(text: str) -> str:
    """Return the aspect ratio that a wish names, else that of the kind of picture that it asks for, else ``auto``.

    A kind of picture counts where the first or the last clause of a sentence is about it: "a poster of a fox" or "a
    fox, poster", in Chinese also at the end of a clause. A poster that is held, hung or placed in the picture does not.
    """
    if (named := named_shape(text)) != "auto":
        return named
    plain = _in_lines(text).lower().replace("-", " ")
    if re.search("横版|横屏|in widescreen|landscape (?:format|orientation)", plain):
        return "16:9"
    if re.search("竖屏(?!电视|手机|显示)", plain):
        return "9:16"
    for sentence in re.split(r"[.。!！?？;；\n]", plain):
        clauses = [clause.strip() for clause in re.split(r"[,，、:：()（）]", sentence) if clause.strip()]
        for about in filter(None, map(_ABOUT_A_KIND.match, clauses[:1] + clauses[-1:])):
            return next(shape for shape, kinds in _KINDS.items() if about[1] in kinds.split("|"))
    return "3:4" if re.search("竖版|portrait (?:format|orientation)", plain) else "auto"


def _in_lines(text: str) -> str:
    """Return the text outside of quotation marks, with no white space but single spaces and line breaks."""
    lines = (" ".join(line.split()) for line in _LETTERING.sub(" ", text).splitlines())
    return "\n".join(filter(None, lines))


def _joined(sentences: Sequence[str], between: str) -> str:
    return between.join(_bare(one_line(sentence)) for sentence in sentences)


def _bare(sentence: str) -> str:
    """Return the sentence without its final stop; a stop inside closing quotation marks is lettering and stays."""
    return sentence.rstrip(" \t\r\n.。,，;；、!！?？")


def _with_quality(prompt: str, quality: str, before: str, end: str) -> str:
    folded = re.sub(r"[\s,，.。]+", " ", prompt).lower()
    is_there = re.sub(r"[\s,，.。]+", " ", quality).lower() in folded
    return f"{prompt}{end}" if is_there else f"{prompt}{before}{quality}{end}"


def _reason(wish: Wish) -> str:
    kind = (
        "The change, and that the rest stays"
        if wish.purpose == "edit"
        else "The wish and Qwen-Image's words for quality"
    )
    return f"{kind}, put together by rules without a language model."
