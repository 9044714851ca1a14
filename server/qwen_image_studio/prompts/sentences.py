"""The sentences that ask for one adjustment each, in English and Chinese, and the steps that they ask for."""

import math
import re
from collections.abc import Callable, Mapping

from qwen_image_studio.contract.adjustments import (
    Adjustment,
    Blur,
    Crop,
    Flip,
    Grayscale,
    Hue,
    Position,
    Resize,
    Rotate,
    Tone,
    Watermark,
)
from qwen_image_studio.contract.errors import OutOfRange
from qwen_image_studio.contract.words import OutputFormat

LITTLE, SOME, MUCH = 0.1, 0.2, 0.4
"""Change of a tone's factor for "a bit", for no such word, and for "a lot"."""
LEAST_SIDE = 16
"""Least number that is a side in pixels; two smaller ones are a shape, such as 4x3."""

Values = Mapping[str, str]
Step = Adjustment | OutputFormat
Make = Callable[[Values], Step]

# -- the words -----------------------------------------------------------------------------------------------------

_PARTS = {
    "it": r"(?: (?:it|(?:the |this |my )?(?:whole )?(?:image|picture|photo|photograph)))?",
    "size": r"(?P<w>[0-9]{1,9}) ?(?:x|×|\*|by|乘) ?(?P<h>[0-9]{1,9})(?: ?(?:px|pixels|像素))?",
    "ratio": r"(?P<ratio>[0-9]{1,9}[:：][0-9]{1,9})",
    "px": r"(?P<n>[0-9]{1,9})(?: ?(?:px|pixels?|像素))?",
    "pct": r"(?P<pct>[0-9]{1,9}(?:\.[0-9])?) ?(?:%|％|percent)",
    "zhpct": r"(?:(?P<pct>[0-9]{1,9}(?:\.[0-9])?) ?[%％]|百分之 ?(?P<pct2>[0-9]{1,9}))",
    "deg": r"(?P<n>-?[0-9]{1,9}(?:\.[0-9]{1,2})?) ?(?:degrees?|°|度)",
    "right": r"(?:to the right|right|clockwise)",
    "left": r"(?:to the left|left|counter-?clockwise|anti-?clockwise)",
    "some": r"(?: (?P<little>slightly|a bit|a little|a little bit|somewhat)| (?P<much>a lot|much|strongly))?",
    "zhsome": r"(?:(?P<little>一点点|一点|一些|点|些)|(?P<much>很多|许多|得多))",
    "quality": r"(?:the )?(?P<quality>brightness|contrast|saturation|sharpness){of}",
    "of": r"(?: of (?:it|the (?:image|picture|photo)))?",
    "zhquality": r"(?P<quality>亮度|对比度|饱和度|锐度|清晰度)",
    "zhit": r"(?:[把将给对在]?(?:它|(?:这张|这幅|整张|该)?(?:图片|照片|图像|画面|图))|[把将])?",
    "zhwhole": r"(?:这张|这幅|整张|该)?(?:图片|照片|图像|画面)?",
    "format": r"(?P<format>png|jpe?g|webp)",
    "text": "\ue000(?P<text>[0-9]{1,2})\ue001",
    "place": r"(?: (?:in|at|on) the (?P<place>{corner}|cent(?:er|re)|middle)(?: corner)?)?",
    "corner": r"(?:top|upper|bottom|lower) (?:left|right)",
    "zhplace": r"(?:放?在?(?P<place>[左右][上下]角|中间|中央|正中))?",
}
_QUALITIES = {
    "亮度": "brightness",
    "对比度": "contrast",
    "饱和度": "saturation",
    "锐度": "sharpness",
    "清晰度": "sharpness",
}
_ADJECTIVES: Mapping[str, tuple[str, int]] = {
    "brighter": ("brightness", 1),
    "lighter": ("brightness", 1),
    "darker": ("brightness", -1),
    "sharper": ("sharpness", 1),
    "more colorful": ("saturation", 1),
    "more colourful": ("saturation", 1),
    "more vivid": ("saturation", 1),
    "more saturated": ("saturation", 1),
    "less saturated": ("saturation", -1),
    "brighten": ("brightness", 1),
    "lighten": ("brightness", 1),
    "darken": ("brightness", -1),
    "sharpen": ("sharpness", 1),
    "亮": ("brightness", 1),
    "暗": ("brightness", -1),
    "锐化": ("sharpness", 1),
    "鲜艳": ("saturation", 1),
}
_PLACES = {
    "左上角": Position.TOP_LEFT,
    "右上角": Position.TOP_RIGHT,
    "左下角": Position.BOTTOM_LEFT,
    "右下角": Position.BOTTOM_RIGHT,
}


def _amount(values: Values) -> float:
    percent = values.get("pct") or values.get("pct2")
    if percent:
        return float(percent) / 100
    return LITTLE if "little" in values else MUCH if "much" in values else SOME


def _tone(quality: str, sense: int, values: Values) -> Step:
    """Return the step to more of a quality (`sense` 1) or less of it (-1).

    Words raise sharpness five times as far, or nobody would see it.
    """
    percent = values.keys() & {"pct", "pct2"}
    amount = _amount(values) * (5 if quality == "sharpness" and sense > 0 and not percent else 1)
    return Tone.model_validate({"do": quality, "factor": round(1 + sense * amount, 4)})


def _worded(values: Values) -> Step:
    quality, sense = _ADJECTIVES[values["word"]]
    return _tone(quality, sense, values)


def _quality(values: Values) -> str:
    return _QUALITIES.get(values["quality"], values["quality"])


def _toned(sense: int) -> Make:
    return lambda values: _tone(_quality(values), sense, values)


def _set_to(values: Values) -> Step:
    return Tone.model_validate({"do": _quality(values), "factor": _amount(values)})


def _turned(sense: int) -> Make:
    """Return the step of a turn; more than a whole one ends where the rest of it does."""

    def make(values: Values) -> Step:
        asked = sense * float(values.get("n", 90))
        return Rotate(degrees=asked if abs(asked) <= 360 else math.fmod(asked, 360))

    return make


def _blurred(values: Values) -> Step:
    return Blur(radius=float(values.get("n", 1 if "little" in values else 6 if "much" in values else 3)))


def _both_sides(values: Values) -> tuple[int, int]:
    width, height = int(values["w"]), int(values["h"])
    if max(width, height) < LEAST_SIDE:
        raise OutOfRange(f"{width}x{height} is no size in pixels; write a shape as {width}:{height}")
    return width, height


def _sized(values: Values) -> Step:
    width, height = _both_sides(values)
    return Resize(width=width, height=height)


def _cut(values: Values) -> Step:
    width, height = _both_sides(values)
    return Crop(width=width, height=height)


def _shaped(values: Values) -> Step:
    return Crop(aspect_ratio=values["ratio"].replace("：", ":"))


def _scaled(values: Values) -> Step:
    return Resize(scale=_amount(values))


def _wide(values: Values) -> Step:
    return Resize(width=int(values["n"]))


def _high(values: Values) -> Step:
    return Resize(height=int(values["n"]))


def _shifted(values: Values) -> Step:
    return Hue(degrees=math.fmod(float(values["n"]), 360))


def _format(values: Values) -> Step:
    return OutputFormat(values["format"].replace("jpg", "jpeg"))


def _marked(values: Values) -> Step:
    place = values.get("place", "右下角")
    english = place.replace("upper", "top").replace("lower", "bottom").replace(" ", "_")
    known = {position.value for position in Position}
    return Watermark(
        text=values["text"],
        position=_PLACES.get(place) or Position(english if english in known else "center"),
    )


# -- the sentences -------------------------------------------------------------------------------------------------

_HORIZONTAL: Make = lambda _: Flip(axis="horizontal")  # noqa: E731
_VERTICAL: Make = lambda _: Flip(axis="vertical")  # noqa: E731
_GRAY: Make = lambda _: Grayscale()  # noqa: E731
_TABLE: tuple[tuple[str, Make], ...] = (
    # English
    ("crop{it} to {ratio}(?: ratio)?", _shaped),
    ("crop{it} to (?:a )?square", lambda _: Crop(aspect_ratio="1:1")),
    ("crop{it} to {size}", _cut),
    ("(?:resize|scale){it} to {size}", _sized),
    ("(?:resize|scale){it} to {pct}(?: of its size)?", _scaled),
    ("(?:resize|scale){it} to (?:a )?width (?:of )?{px}", _wide),
    ("(?:resize|scale){it} to {px} wide", _wide),
    ("(?:resize|scale){it} to (?:a )?height (?:of )?{px}", _high),
    ("(?:resize|scale){it} to {px} (?:high|tall)", _high),
    ("(?:rotate|turn){it} (?:by )?{deg}(?: {right})?", _turned(1)),
    ("(?:rotate|turn){it} (?:by )?{deg} {left}", _turned(-1)),
    ("(?:rotate|turn){it} {right}(?: (?:by )?{deg})?", _turned(1)),
    ("(?:rotate|turn){it} {left}(?: (?:by )?{deg})?", _turned(-1)),
    ("(?:rotate|turn){it} upside down", lambda _: Rotate(degrees=180)),
    ("(?:flip|mirror){it} (?:horizontally|(?:from )?left to right)", _HORIZONTAL),
    ("mirror(?: it| (?:the |this )?(?:image|picture|photo))", _HORIZONTAL),
    ("(?:flip|mirror){it} (?:vertically|(?:from )?top to bottom)", _VERTICAL),
    (
        "(?:make|turn){it}(?:{some}| {pct})? (?P<word>brighter|lighter|darker|sharper|more colou?rful|more vivid"
        "|(?:more|less) saturated)",
        _worded,
    ),
    ("make{it} (?P<word>brighter|lighter|darker|sharper) by {pct}", _worded),
    ("(?P<word>brighten|lighten|darken|sharpen){it}(?:{some}| by {pct})", _worded),
    ("(?:increase|raise|boost) {quality}(?:{some}| by {pct})", _toned(1)),
    ("(?:decrease|reduce|lower) {quality}(?:{some}| by {pct})", _toned(-1)),
    ("set {quality} to {pct}", _set_to),
    ("(?:shift|rotate) the hue{of} by {deg}", _shifted),
    (
        "(?:make|turn|convert|change){it} (?:in|to|into)? ?(?:black and white|black-and-white|gr[ae]yscale|monochrome)",
        _GRAY,
    ),
    ("(?:gr[ae]yscale|desaturate{it} completely|remove (?:all )?(?:the )?colou?rs?)", _GRAY),
    ("blur{it}{some}", _blurred),
    ("(?:gaussian )?blur{it} (?:by|with (?:a )?radius(?: of)?) {px}", _blurred),
    ("(?:convert|save|export){it} (?:to|as|into) (?:a )?{format}(?: format| file)?", _format),
    ("add (?:a |the )?(?:text )?watermark (?:that says |saying |with the text |with )?{text}{place}", _marked),
    # Chinese
    ("{zhit}裁[剪切]?{zhwhole}[成为到] ?{ratio}(?:的?比例)?", _shaped),
    ("{zhit}裁[剪切]?{zhwhole}[成为到](?:正方形|方形)", lambda _: Crop(aspect_ratio="1:1")),
    ("{zhit}裁[剪切]?{zhwhole}[成为到] ?{size}", _cut),
    ("{zhit}(?:的?尺寸|的?大小)?(?:缩放|调整|缩小|放大|改){zhwhole}[到成为至] ?{size}", _sized),
    ("{zhit}(?:缩放|缩小|放大){zhwhole}[到成为至] ?(?:原来的 ?)?{zhpct}", _scaled),
    ("{zhit}(?:的?尺寸|的?大小)(?:调整|改)[到成为至] ?(?:原来的 ?)?{zhpct}", _scaled),
    ("{zhit}(?:缩放|调整|缩小|放大)[到成为至]宽度? ?{px}", _wide),
    ("{zhit}(?:缩放|调整|缩小|放大)[到成为至]高度? ?{px}", _high),
    ("{zhit}的?宽度(?:调整|改)[到成为至] ?{px}", _wide),
    ("{zhit}的?高度(?:调整|改)[到成为至] ?{px}", _high),
    ("{zhit}(?:顺时针|向右|往右)?(?:旋转|转){zhwhole} ?{deg}", _turned(1)),
    ("{zhit}(?:逆时针|向左|往左)(?:旋转|转){zhwhole} ?{deg}", _turned(-1)),
    ("{zhit}(?:水平|左右)(?:翻转|镜像){zhit}", _HORIZONTAL),
    ("镜像(?:图片|照片|图像|它)|[把将]?(?:图片|照片|图像|它)镜像", _HORIZONTAL),
    ("{zhit}(?:垂直|上下)(?:翻转|镜像){zhit}", _VERTICAL),
    ("{zhit}[调变弄](?P<word>亮|暗|鲜艳){zhwhole}{zhsome}?", _worded),
    ("{zhit}(?P<word>亮|暗|鲜艳){zhsome}", _worded),
    ("(?:锐化{zhit}|{zhit}锐化){zhsome}?", lambda values: _worded({"word": "锐化", **values})),
    ("{zhit}的?{zhquality}(?:提高|增加|调高|加强|增强|提升)(?:{zhsome}|了? ?{zhpct})?", _toned(1)),
    ("(?:提高|增加|调高|加强|增强|提升){zhit}的?{zhquality}(?:{zhsome}| ?{zhpct})?", _toned(1)),
    ("{zhit}的?{zhquality}(?:降低|减少|调低|减弱)(?:{zhsome}|了? ?{zhpct})?", _toned(-1)),
    ("(?:降低|减少|调低|减弱){zhit}的?{zhquality}(?:{zhsome}| ?{zhpct})?", _toned(-1)),
    ("{zhit}的?{zhquality}(?:设为|设置为|调到|调整到) ?{zhpct}", _set_to),
    ("{zhit}的?(?:色相|色调)(?:偏移|旋转) ?{deg}", _shifted),
    ("{zhit}(?:变成|变为|转成|转为|转换为|转换成|改成|调成)(?:黑白|灰度|单色)(?:的|照片|图片|图像|图)?", _GRAY),
    ("去[掉除](?:所有|全部)?(?:颜色|色彩)", _GRAY),
    ("{zhit}模糊{zhsome}?|模糊(?:图片|照片|图像|它)", _blurred),
    ("{zhit}(?:高斯)?模糊 ?(?:半径 ?)?{px}", _blurred),
    ("{zhit}(?:转成|转为|转换为|转换成|保存为|存为|另存为|导出为) ?{format} ?(?:格式|文件)?", _format),
    ("{zhit}{zhplace}(?:加上?|添加|打上)(?:文字)?水印 ?[:：]?{text}", _marked),
    ("{zhit}(?:加上?|添加|打上)(?:文字)?水印 ?[:：]?{text} ?{zhplace}", _marked),
)


def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile the pattern with its parts filled in, and the parts of these parts."""
    while (filled := re.sub(r"\{([a-z]+)\}", lambda match: _PARTS[match[1]], pattern)) != pattern:
        pattern = filled
    return re.compile(pattern)


SENTENCES = tuple((_compiled(pattern), make) for pattern, make in _TABLE)
"""Sentences as patterns, each with what makes the step that it asks for. It raises OutOfRange or ValidationError."""
