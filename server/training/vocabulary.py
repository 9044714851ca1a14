"""What the miniature knows, for people: the file ``vocabulary.json`` beside the weights."""

from typing import Any

from training.data.edits import Kind
from training.data.prompts import LANGUAGES, MADE_OF
from training.data.scenes import MATERIALS
from training.data.things import COLOURS, THINGS

LAYOUTS = {
    "en": ("big", "small", "on the left", "on the right", "at the top", "at the bottom", "two", "three", "A and B"),
    "zh": ("大", "小", "在左边", "在右边", "在上面", "在下面", "两个", "三个", "A和B"),
}
EDITS = {
    Kind.BACKGROUND: ("make the background green", "把背景改成绿色"),
    Kind.REPLACE: ("replace the apple with a cat", "把苹果换成猫"),
    Kind.REMOVE: ("remove the cup", "去掉杯子"),
    Kind.ADD: ("add a star on the left", "在左边加一颗星星"),
    Kind.BIGGER: ("make the apple bigger", "把苹果变大"),
    Kind.SMALLER: ("make the apple smaller", "把苹果变小"),
    Kind.MOVE: ("move the apple to the left", "把苹果移到左边"),
    Kind.MATERIAL: ("make the apple golden", "把苹果变成金色的"),
    Kind.GRAYSCALE: ("make it black and white", "变成黑白图片"),
    Kind.FLIP: ("flip the picture horizontally", "水平翻转图片"),
    Kind.JOIN: ("put the cat of image 2 beside the apple of image 1", "把图2的猫放在图1的苹果旁边"),
}


def vocabulary() -> dict[str, Any]:
    """Names in English and Chinese of all that can be asked for, the usual one first, and an example of each edit."""
    return {
        "objects": [{"en": list(thing.english), "zh": list(thing.chinese)} for thing in THINGS if not thing.text],
        "texts": [thing.text for thing in THINGS if thing.text],
        "backgrounds": [{"en": list(one.english), "zh": list(one.chinese)} for one in COLOURS.values()],
        "materials": [
            {language: list(MADE_OF[language][material]) for language in LANGUAGES} for material in MATERIALS
        ],
        "layouts": {language: list(words) for language, words in LAYOUTS.items()},
        "edits": {kind.value: {"en": [english], "zh": [chinese]} for kind, (english, chinese) in EDITS.items()},
    }
