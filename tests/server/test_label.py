"""The visible mark of painted pictures: legible at every size, the same twice, in letters that there are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qwen_image_studio.imaging.label import LEAST_PX, SHORT, Label, lacking
from qwen_image_studio.settings import Settings

SIZES = [(64, 64), (64, 4096), (4096, 64), (100, 400), (512, 512), (1328, 1328), (1664, 928), (4096, 4096)]
MARK = Label(mark="AI generated")


def changed(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int]:
    """The box of what the mark has covered."""
    differs = np.any(np.asarray(before) != np.asarray(after), axis=-1)
    down, across = np.where(differs.any(axis=1))[0], np.where(differs.any(axis=0))[0]
    return int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1


def letters(picture: Image.Image) -> tuple[int, int]:
    """Width and height in pixels of the bright letters on the dark ground."""
    bright = np.asarray(picture.convert("L")) > 128
    down, across = np.where(bright.any(axis=1))[0], np.where(bright.any(axis=0))[0]
    return int(across[-1] - across[0]) + 1, int(down[-1] - down[0]) + 1


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mark", ["AI generated", SHORT])
def test_the_letters_are_as_high_as_the_standard_asks_and_in_the_lower_right_corner(
    size: tuple[int, int], mark: str
) -> None:
    black = Image.new("RGB", size, "black")
    marked = Label(mark=mark).on(black)
    assert marked.size == size
    _, high = letters(marked)
    assert high >= max(LEAST_PX, 0.05 * min(size))
    assert high <= 0.35 * min(size), "and no higher than it has to be"
    left, top, right, bottom = changed(black, marked)
    assert left > 0
    assert top > size[1] / 2
    assert size[0] - right < 0.1 * min(size)
    assert size[1] - bottom < 0.1 * min(size)


@pytest.mark.parametrize("colour", ["white", "black", "gray", "red"])
def test_it_can_be_read_on_any_ground(colour: str) -> None:
    marked = MARK.on(Image.new("RGB", (512, 512), colour))
    left, top, right, bottom = changed(Image.new("RGB", (512, 512), colour), marked)
    shade = np.asarray(marked.convert("L").crop((left, top, right, bottom)), dtype=int)
    assert shade.max() - shade.min() > 200


def test_a_mark_on_a_marked_picture_changes_nothing() -> None:
    once = MARK.on(Image.effect_noise((300, 200), 60).convert("RGB"))
    assert MARK.on(once).tobytes() == once.tobytes()


def test_alpha_is_kept_but_for_the_mark_itself() -> None:
    clear = Image.new("RGBA", (256, 256), (10, 200, 30, 0))
    marked = MARK.on(clear)
    assert marked.mode == "RGBA"
    left, top, right, bottom = changed(clear, marked)
    alpha = np.asarray(marked.getchannel("A"))
    assert (alpha[top:bottom, left:right] == 255).all(), "a mark that nobody sees is none"
    outside = alpha.copy()
    outside[top:bottom, left:right] = 0
    assert not outside.any()


def test_without_a_mark_the_picture_is_the_same() -> None:
    picture = Image.effect_noise((64, 64), 60).convert("RGB")
    assert Label().on(picture) is picture


@pytest.mark.parametrize(
    ("settings", "mark"),
    [
        ({"mark": "AI generated"}, "AI generated"),
        ({"mark": "  KI  "}, "KI"),
        ({"mark": "AI生成"}, SHORT),
        ({"mark": ""}, ""),
        ({"mark": "   "}, ""),
        ({"mark": "Made by AI", "font": Path("no/such/font.ttf")}, SHORT),
    ],
)
def test_a_mark_whose_letters_are_missing_is_the_short_one(tmp_path: Path, settings: dict[str, Any], mark: str) -> None:
    asked = Settings(_env_file=None, data_dir=tmp_path, **settings)
    label = Label.of(asked)
    assert label.mark == mark
    sentence = lacking(asked)
    assert (sentence is not None) is (mark == SHORT)
    assert sentence is None or "STUDIO_FONT" in sentence
    assert label.on(Image.new("RGB", (64, 64), "red")).size == (64, 64)
