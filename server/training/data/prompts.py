"""What people say to get a scene, in English and in Chinese; made on the fly from templates."""

import re
from collections.abc import Sequence

import numpy as np

from training.data.scenes import Effect, Layout, Scene
from training.data.things import BY_ICON, COLOURS, Thing

LANGUAGES = ("en", "zh")

# Where an object stands ({x} is the object); one of these is drawn for the layout.
_ENGLISH_PLACES = {
    Layout.LEFT: ("{x} on the left", "{x} on the left side", "{x} at the left"),
    Layout.RIGHT: ("{x} on the right", "{x} on the right side", "{x} at the right"),
    Layout.TOP: ("{x} at the top", "{x} on top", "{x} in the upper part"),
    Layout.BOTTOM: ("{x} at the bottom", "{x} in the lower part"),
    Layout.PAIR: (
        "{x} and {y}",
        "{x} and {y} side by side",
        "{x} next to {y}",
        "{x} on the left and {y} on the right",
        "{y} on the right and {x} on the left",
        "{x} to the left of {y}",
        "{y} to the right of {x}",
        "{x} beside {y}",
    ),
}
_ENGLISH_BACKGROUNDS = (
    "{s} on a {c} background",
    "{s} on a {c} background",
    "{s}, {c} background",
    "{s} with a {c} background",
    "{s} in front of a {c} background",
    "{s} against a {c} background",
    "{s} on {c}",
    "{c} background, {s}",
    "{c} background with {s}",
    "a picture of {s} on a {c} background",
    "a photo of {s}, {c} background",
    "an icon of {s}, flat {c} background",
    "draw {s} on a {c} background",
    "paint {s}, the background is {c}",
    "{s}, plain {c} background",
)
_ENGLISH_PLAIN = ("{s}", "a picture of {s}", "draw {s}")
_ENGLISH_STYLES = ("cute", "simple", "flat", "high quality", "detailed", "cartoon style", "icon", "clean")
_ENGLISH_SIZES = {Layout.BIG: ("big", "large", "huge"), Layout.SMALL: ("small", "tiny", "little")}
_ENGLISH_NUMBERS = {Layout.TWO: ("two", "2", "a pair of"), Layout.THREE: ("three", "3")}
_IRREGULAR = {
    "mouse": "mice",
    "sheep": "sheep",
    "fish": "fish",
    "leaf": "leaves",
    "loaf": "loaves",
    "wolf": "wolves",
    "snowman": "snowmen",
}
_IN_PAIRS = ("glasses", "jeans", "trousers", "headphones")

_CHINESE_PLACES = {
    Layout.LEFT: ("{x}在左边", "左边有{x}", "左边是{x}", "左侧有{x}", "{x}在左侧"),
    Layout.RIGHT: ("{x}在右边", "右边有{x}", "右边是{x}", "右侧有{x}", "{x}在右侧"),
    Layout.TOP: ("{x}在上面", "上面有{x}", "上方有{x}", "{x}在上方", "{x}在顶部"),
    Layout.BOTTOM: ("{x}在下面", "下面有{x}", "下方有{x}", "{x}在下方", "{x}在底部"),
    Layout.PAIR: (
        "{x}和{y}",
        "{x}与{y}",
        "{x}和{y}并排",
        "左边是{x}，右边是{y}",
        "{x}在左边，{y}在右边",
        "右边是{y}，左边是{x}",
        "{x}右边是{y}",
        "{y}左边是{x}",
    ),
}
_CHINESE_BACKGROUNDS = (
    "{c}背景上的{s}",
    "{c}背景上的{s}",
    "{s}，{c}背景",
    "{s}，背景是{c}",
    "{s}，背景为{c}",
    "{c}背景，{s}",
    "{c}背景下的{s}",
    "{c}的背景上有{s}",
    "画{s}，{c}背景",
    "一张{s}的图片，{c}背景",
    "生成{s}，背景是{c}的",
    "{c}底色，{s}",
    "{s}，纯{c}背景",
)
_CHINESE_SENTENCES = tuple(one for one in _CHINESE_BACKGROUNDS if "，" in one and "一张" not in one)
_CHINESE_PLAIN = ("{s}", "画{s}", "一张{s}的图片")
_CHINESE_STYLES = ("可爱", "简洁", "扁平风格", "高清", "卡通风格", "细节丰富", "图标")
_CHINESE_SIZES = {Layout.BIG: ("大", "大大的", "很大的"), Layout.SMALL: ("小", "小小的", "很小的")}
_CHINESE_NUMBERS = {Layout.TWO: ("两", "2"), Layout.THREE: ("三", "3")}

# A scene without objects.
_EMPTY = {
    "en": ("{c} background", "a plain {c} background", "an empty {c} background", "nothing but {c}", "plain {c}"),
    "zh": ("{c}背景", "纯{c}背景", "空白的{c}背景", "只有{c}背景", "{c}底色，什么都没有"),
}
MADE_OF = {
    "en": {Effect.GOLDEN: ("golden", "gold", "shiny gold"), Effect.SILVER: ("silver", "silvery", "shiny silver")},
    "zh": {Effect.GOLDEN: ("金色的", "黄金的", "金子做的"), Effect.SILVER: ("银色的", "白银的", "银子做的")},
}
"""What something of a material is called."""

_WAYS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str]] = {
    "en": (_ENGLISH_BACKGROUNDS, _ENGLISH_PLAIN, _ENGLISH_STYLES, ", "),
    "zh": (_CHINESE_BACKGROUNDS, _CHINESE_PLAIN, _CHINESE_STYLES, "，"),
}
SIZE_SAID = 0.3  # how often "big" is said: it is what comes without a word
STYLE_SAID = 0.08
BACKGROUND_LEFT_OUT = 0.25  # of white backgrounds: white is what comes without a word
CHOSEN_FIRST = 0.6  # how often the usual name is taken where there are several


def tell(rng: np.random.Generator, scene: Scene, language: str) -> str:
    """Return one of the many ways to ask for this scene, at random."""
    templates, plain, styles, comma = _WAYS[language]
    if language == "zh":
        subject = _chinese_subject(rng, scene)
        if scene.layout in _CHINESE_PLACES:  # what says where something stands is a sentence of its own
            templates = _CHINESE_SENTENCES
    else:
        subject = _english_subject(rng, scene)
    if scene.layout is Layout.EMPTY:
        templates = _EMPTY[language]
    elif scene.colour == "white" and rng.random() < BACKGROUND_LEFT_OUT:
        templates = plain
    text = one_of(rng, templates).format(s=subject, c=name_of(rng, colour_names(scene.colour, language)))
    if rng.random() < STYLE_SAID:
        text += comma + one_of(rng, styles)
    if language == "zh":
        return "一张" + text[4:] if text.startswith("一张一") else text  # a picture of it, not of one of it
    text = articled(text)
    return text[0].upper() + text[1:] if rng.random() < 0.15 else text


def colour_names(colour: str, language: str) -> tuple[str, ...]:
    """Return a name of the background. Only Chinese names with 色 read well before 背景."""
    named = COLOURS[colour]
    return named.english if language == "en" else tuple(one for one in named.chinese if one.endswith("色"))


def articled(text: str) -> str:
    """With "an" where a vowel follows: an orange background."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def _english_subject(rng: np.random.Generator, scene: Scene) -> str:
    names = [name_of(rng, BY_ICON[icon].english) for icon in scene.icons]
    if not names:
        return ""
    if scene.effect in MADE_OF["en"]:  # the usual name: others tell a colour, as red apple does
        names[0] = f"{one_of(rng, MADE_OF['en'][scene.effect])} {BY_ICON[scene.icons[0]].english[0]}"
    if scene.layout in _ENGLISH_NUMBERS:
        return _counted(one_of(rng, _ENGLISH_NUMBERS[scene.layout]), names[0])
    sizes = _ENGLISH_SIZES.get(scene.layout, ())
    if sizes and (scene.layout is Layout.SMALL or rng.random() < SIZE_SAID):
        size = one_of(rng, sizes)
        names[0] = f"{names[0]} in {size} letters" if BY_ICON[scene.icons[0]].text else f"{size} {names[0]}"
    said = dict(zip("xy", (with_article(rng, name) for name in names), strict=False))
    return one_of(rng, _ENGLISH_PLACES.get(scene.layout, ("{x}",))).format(**said)


def _counted(number: str, name: str) -> str:
    if name in _IN_PAIRS:
        return f"{number.replace('a pair of', 'two')} pairs of {name}"
    if is_plural(name) and number == "a pair of":
        return f"two {name}"
    return f"{number} {plural(name)}"


def _chinese_subject(rng: np.random.Generator, scene: Scene) -> str:
    things = [BY_ICON[icon] for icon in scene.icons]
    names = [name_of(rng, thing.chinese) for thing in things]
    if not names:
        return ""
    if scene.effect in MADE_OF["zh"]:
        names[0] = f"{one_of(rng, MADE_OF['zh'][scene.effect])}{things[0].chinese[0]}"
    if scene.layout in _CHINESE_NUMBERS:
        return f"{one_of(rng, _CHINESE_NUMBERS[scene.layout])}{measure_of(things[0], names[0])}{names[0]}"
    sizes = _CHINESE_SIZES.get(scene.layout, ())
    if sizes and (scene.layout is Layout.SMALL or rng.random() < SIZE_SAID):
        # 小鸡 is a chick, not a small hen, and 小大象 is neither.
        clear = len(names[0]) > 1 and names[0][0] not in "大小"
        names[0] = f"{one_of(rng, sizes if clear else sizes[1:])}{names[0]}"
    said = dict(zip("xy", (_measured(rng, *one) for one in zip(things, names, strict=True)), strict=False))
    return one_of(rng, _CHINESE_PLACES.get(scene.layout, ("{x}",))).format(**said)


def plural(name: str) -> str:
    """More than one of it: of "a slice of pizza" the slices, of "face with sunglasses" the faces."""
    head, of, rest = name.partition(" with " if " with " in name else " of ")
    before, space, noun = head.rpartition(" ")
    if is_plural(noun):
        return name
    if noun in _IRREGULAR:
        many = _IRREGULAR[noun]
    elif noun.endswith(("s", "x", "ch", "sh", "tomato")):
        many = noun + "es"
    elif noun.endswith("y") and noun[-2] not in "aeiou":
        many = noun[:-1] + "ies"
    else:
        many = noun + "s"
    return before + space + many + of + rest


def is_plural(noun: str) -> bool:
    """Return whether the word is a plural already, such as jeans or headphones."""
    return noun.endswith("s") and not noun.endswith(("us", "ss", "bus", "lens"))


def with_article(rng: np.random.Generator, name: str) -> str:
    """Return the word with its article, such as a cat, an apple, jeans; now and then without, as people write."""
    if (
        '"' in name
        or "'" in name
        or name.startswith(("the ", "text "))
        or is_plural(name.partition(" of ")[0])
        or rng.random() < 0.1
    ):
        return name
    return ("an " if name[0] in "aeiou" else "a ") + name


def _measured(rng: np.random.Generator, thing: Thing, name: str) -> str:
    return f"一{measure_of(thing, name)}{name}" if thing.measure and rng.random() < 0.5 else name


def measure_of(thing: Thing, name: str) -> str:
    """Return the measure word for that name: 一杯咖啡, but 一个杯子."""
    return "个" if name.startswith(thing.measure) else thing.measure


def name_of(rng: np.random.Generator, names: Sequence[str]) -> str:
    """Return the usual name, or at random one of all names."""
    return names[0] if rng.random() < CHOSEN_FIRST else one_of(rng, names)


def one_of(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """Any."""
    return choices[int(rng.integers(len(choices)))]
