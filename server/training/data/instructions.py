"""How people ask for an edit, in English and in Chinese.

In the templates {x} is the object that is there, {y} the other, {c} a colour, {m} a material and {p} a place.
"""

from dataclasses import dataclass

import numpy as np

from training.data.prompts import articled, colour_names, measure_of, name_of, one_of, with_article
from training.data.scenes import Effect, Layout
from training.data.things import BY_ICON

_ENGLISH = {
    "background": (
        "change the background to {c}",
        "make the background {c}",
        "turn the background {c}",
        "replace the background with {c}",
        "put the {x} on a {c} background",
        "a {c} background instead, please",
        "change the background colour to {c}, keep the {x}",
    ),
    "replace": (
        "replace the {x} with {ay}",
        "change the {x} to {ay}",
        "turn the {x} into {ay}",
        "swap the {x} for {ay}",
        "put {ay} instead of the {x}",
    ),
    "remove": ("remove the {y}", "delete the {y}", "take away the {y}", "erase the {y}", "get rid of the {y}"),
    "add": ("add {ay} {p}", "put {ay} {p}", "add {ay} {p} of the picture", "draw {ay} {p}"),
    "bigger": ("make the {x} bigger", "make it bigger", "make the {x} larger", "enlarge the {x}", "a bigger {x}"),
    "smaller": ("make the {x} smaller", "make it smaller", "shrink the {x}", "make the {x} small", "a smaller {x}"),
    "move": ("move the {x} {p}", "move it {p}", "put the {x} {p}", "shift the {x} {p}"),
    "grayscale": (
        "make it black and white",
        "turn the picture into grayscale",
        "convert to black and white",
        "remove all colours, grayscale",
    ),
    "material": ("make the {x} {m}", "turn the {x} {m}", "paint the {x} {m}", "make it {m}", "a {m} {x}, please"),
    "flip": ("flip the picture horizontally", "mirror the picture", "flip it left to right", "mirror it horizontally"),
    "join": (
        "put the {y} of picture 2 next to the {x} of picture 1",
        "put the {y} of image 2 beside the {x} of image 1",
        "add the {y} from the second picture to the first picture",
        "place the object of image 2 beside the one of image 1",
    ),
}
_CHINESE = {
    "background": (
        "把背景改成{c}",
        "把背景换成{c}",
        "将背景变成{c}",
        "背景改为{c}",
        "把{x}放在{c}背景上",
        "换成{c}背景，保持{x}不变",
    ),
    "replace": ("把{x}换成{y}", "将{x}替换为{y}", "把{x}变成{y}", "用{y}替换{x}", "把{x}改成{y}"),
    "remove": ("去掉{y}", "删除{y}", "把{y}去掉", "移除{y}", "擦除{y}"),
    "add": ("在{p}加{my}", "在{p}添加{my}", "{p}加上{my}", "在{p}画{my}"),
    "bigger": ("把{x}变大", "把{x}放大", "让{x}大一些", "放大{x}", "变大一点", "把它变大"),
    "smaller": ("把{x}变小", "把{x}缩小", "让{x}小一些", "缩小{x}", "变小一点", "把它变小"),
    "move": ("把{x}移到{p}", "将{x}移动到{p}", "把{x}放到{p}", "把它移到{p}"),
    "grayscale": ("变成黑白图片", "转成黑白", "把图片变成灰度图", "去掉颜色，变成黑白的"),
    "material": ("把{x}变成{m}的", "把{x}改成{m}", "让{x}变成{m}的", "把{x}做成{m}的", "把它变成{m}的"),
    "flip": ("水平翻转图片", "把图片左右翻转", "镜像图片", "左右镜像"),
    "join": (
        "把图2的{y}放在图1的{x}旁边",
        "把第二张图里的{y}放到第一张图的{x}旁边",
        "将图2中的{y}加到图1里",
        "把图2的物体放到图1的物体旁边",
    ),
}
_ENGLISH_PLACES = {
    Layout.LEFT: ("on the left", "to the left", "on the left side"),
    Layout.RIGHT: ("on the right", "to the right", "on the right side"),
    Layout.TOP: ("to the top", "at the top"),
    Layout.BOTTOM: ("to the bottom", "at the bottom"),
    Layout.SMALL: ("to the middle", "in the center", "to the centre"),
}
_CHINESE_PLACES = {
    Layout.LEFT: ("左边", "左侧"),
    Layout.RIGHT: ("右边", "右侧"),
    Layout.TOP: ("上面", "上方", "顶部"),
    Layout.BOTTOM: ("下面", "下方", "底部"),
    Layout.SMALL: ("中间", "中央"),
}
_MATERIALS = {
    "en": {Effect.GOLDEN: ("golden", "gold"), Effect.SILVER: ("silver", "silvery")},
    "zh": {Effect.GOLDEN: ("金色", "黄金"), Effect.SILVER: ("银色", "白银")},
}


@dataclass(frozen=True)
class Wish:
    """What is asked, without its words."""

    kind: str
    there: str
    """Icon of the object that is there."""
    other: str
    """Icon of the one that comes or goes."""
    colour: str
    place: Layout
    """Where something comes to stand."""
    effect: Effect


def instruct(rng: np.random.Generator, wish: Wish, language: str) -> str:
    """Return a random way to ask for the edit."""
    other = BY_ICON[wish.other]
    made_of = one_of(rng, _MATERIALS[language].get(wish.effect, ("",)))
    if language == "zh":
        x, y = (name_of(rng, BY_ICON[icon].chinese) for icon in (wish.there, wish.other))
        told = one_of(rng, _CHINESE_PLACES.get(wish.place, ("中间",)))
        named = name_of(rng, colour_names(wish.colour, language))
        measured = f"一{measure_of(other, y)}{y}" if other.measure else y
        return one_of(rng, _CHINESE[wish.kind]).format(x=x, y=y, my=measured, c=named, p=told, m=made_of)
    x, y = (name_of(rng, BY_ICON[icon].english) for icon in (wish.there, wish.other))
    told = one_of(rng, _ENGLISH_PLACES.get(wish.place, ("in the middle",)))
    written = bool(BY_ICON[wish.there].text)  # "a bigger the word SALE" is said by nobody
    text = one_of(rng, [one for one in _ENGLISH[wish.kind] if not (written and one.startswith("a "))])
    named = name_of(rng, colour_names(wish.colour, language))
    text = text.format(x=x, y=y, ay=with_article(rng, y), c=named, p=told, m=made_of).replace("the the ", "the ")
    text = articled(text)
    return text if rng.random() < 0.6 else text[0].upper() + text[1:]
