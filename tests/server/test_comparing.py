"""Before and after: what the measure sees and where, and that the strip shows both whatever their shapes."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from qwen_image_studio.imaging.comparing import (
    STRIP_GAP,
    STRIP_HEIGHT,
    STRIP_PANEL_WIDTH,
    Box,
    comparison,
    measure_change,
    shared_outlines,
)
from tests.support import ROOT

SIZES = [(8, 8), (1, 1), (1, 400), (3000, 20), (20, 3000), (257, 255), (1400, 900)]


def scene(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Soft blots of colour, others for each seed."""
    blots = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(blots, "RGB").resize(size, Image.Resampling.BICUBIC)


def mask_of(size: tuple[int, int], box: Box) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def painted_over(picture: Image.Image, colour: str, box: Box) -> Image.Image:
    picture = picture.copy()
    picture.paste(colour, box)
    return picture


# -- the measure ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_same_picture_has_not_changed(size: tuple[int, int]) -> None:
    assert measure_change(scene(size), scene(size)) == (0.0, None, 0.0)
    half = mask_of(size, (0, 0, (size[0] + 1) // 2, size[1]))
    assert measure_change(scene(size), scene(size), half)[:2] == (0.0, 0.0 if size[0] > 1 else None)


@pytest.mark.parametrize("size", SIZES)
def test_another_picture_has_changed(size: tuple[int, int]) -> None:
    change = measure_change(Image.new("RGB", size, "blue"), Image.new("RGB", size, "yellow"))
    assert change.inside is not None
    assert 0.8 < change.inside <= change.strongest + 1e-6 <= 1.0 + 1e-6


def test_what_changed_in_the_area_counts_there_and_not_beyond() -> None:
    before, box = scene((300, 200)), (100, 50, 160, 110)
    change = measure_change(before, painted_over(before, "red", box), mask_of(before.size, box))
    assert change.inside is not None
    assert change.inside > 0.3
    assert change.outside == 0.0


def test_what_changed_beyond_the_area_counts_there_and_not_in_it() -> None:
    before, box = scene((300, 200)), (100, 50, 160, 110)
    change = measure_change(before, painted_over(before, "red", (160, 50, 220, 110)), mask_of(before.size, box))
    assert change.inside == change.strongest == 0.0
    assert change.outside is not None
    assert 0.01 < change.outside < 0.2


@pytest.mark.parametrize("edge", [1, 2, 3, 5])
def test_shrinking_for_the_measure_smears_nothing_over_the_edge(edge: int) -> None:
    """The area's edge lies within a pixel of the small picture that is measured."""
    size, box = (2560, 1280), (640, 320, 1280 + edge, 960 + edge)
    before = scene(size)
    change = measure_change(before, painted_over(before, "red", box), mask_of(size, box))
    assert change.outside == 0.0
    assert change.inside is not None
    assert change.inside > 0.3


def test_a_change_of_hue_at_the_same_grey_level_is_seen() -> None:
    red, green = Image.new("RGB", (64, 64), (200, 0, 0)), Image.new("RGB", (64, 64), (0, 102, 0))
    assert abs(red.convert("L").getpixel((0, 0)) - green.convert("L").getpixel((0, 0))) <= 1  # type: ignore[operator]
    change = measure_change(red, green)
    assert change.inside is not None
    assert change.inside > 0.5


def test_it_grows_with_what_the_eye_sees() -> None:
    before = scene((200, 200))
    changes = [measure_change(before, ImageEnhance.Brightness(before).enhance(much)) for much in (0.99, 0.9, 0.6, 0.2)]
    means = [change.inside or 0.0 for change in changes]
    assert means == sorted(means)
    assert means[0] < 0.1
    assert means[-1] > 0.5


def test_a_small_object_is_seen_in_the_strongest_and_not_in_the_mean() -> None:
    before = scene((768, 768))
    change = measure_change(before, painted_over(before, "red", (300, 300, 336, 336)))
    assert change.inside is not None
    assert change.inside < 0.01
    assert change.strongest > 0.4


def test_a_few_white_pixels_in_a_large_picture_are_enough_of_a_mask() -> None:
    size = (4000, 3000)
    before, mask = Image.new("RGB", size, "blue"), Image.new("L", size)
    for spot in ((0, 0), (3999, 2999)):
        mask.putpixel(spot, 255)
    after = before.copy()
    after.putpixel((0, 0), (255, 255, 0))
    change = measure_change(before, after, mask)
    assert change.inside is not None
    assert 0.0 < change.inside < 1.0
    assert change.outside == 0.0


def test_a_mask_that_is_white_or_black_all_over() -> None:
    before, after = scene((40, 30)), scene((40, 30), 1)
    assert measure_change(before, after, Image.new("L", (40, 30), 255)) == measure_change(before, after)
    nowhere = measure_change(before, after, Image.new("L", (40, 30)))
    assert nowhere == (None, measure_change(before, after).inside, 0.0)


@pytest.mark.parametrize("sizes", [((8, 8), (8, 9), (8, 8)), ((8, 8), (8, 8), (9, 8))])
def test_only_pictures_of_one_size_are_measured(sizes: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="one size"):
        measure_change(scene(sizes[0]), scene(sizes[1]), Image.new("L", sizes[2]))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_box_of_any_picture(data: st.DataObject) -> None:
    size = (data.draw(st.integers(1, 600)), data.draw(st.integers(1, 600)))
    left, top = (data.draw(st.integers(0, side - 1)) for side in size)
    right, bottom = data.draw(st.integers(left + 1, size[0])), data.draw(st.integers(top + 1, size[1]))
    box, before = (left, top, right, bottom), scene(size)
    change = measure_change(before, painted_over(before, "red", box), mask_of(size, box))
    assert change.inside is not None
    assert 0.0 <= change.inside <= 1.0
    assert 0.0 <= change.strongest <= 1.0
    assert change.outside == (None if box == (0, 0, *size) else 0.0)
    beyond = measure_change(before, painted_over(before, "red", box), ImageOps.invert(mask_of(size, box)))
    assert beyond[:2] == (change.outside, change.inside)


# -- outlines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(300, 200), (1400, 900), (64, 64)])
def test_another_style_shares_the_outlines_and_another_picture_does_not(size: tuple[int, int]) -> None:
    before = scene(size)
    assert shared_outlines(before, before) == pytest.approx(1)
    for style in (
        ImageOps.invert(before),
        ImageEnhance.Brightness(before).enhance(0.4),
        before.filter(ImageFilter.GaussianBlur(2)),
    ):
        assert shared_outlines(before, style) > 0.6
    assert abs(shared_outlines(before, scene(size, 1))) < 0.3


def test_a_picture_without_outlines_shares_none_but_with_its_like() -> None:
    red, blue = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")
    assert shared_outlines(red, blue) == 1.0
    assert shared_outlines(red, scene((64, 64))) == 0.0


# -- the strip -----------------------------------------------------------------------------------------------------


def test_both_stand_side_by_side_with_a_gap() -> None:
    strip = comparison(Image.new("RGB", (100, 50), "red"), Image.new("RGB", (100, 50), "blue"))
    assert strip.size == (200 + STRIP_GAP, 50)
    seen = [strip.getpixel((x, 25)) for x in (0, 99, 100, 107, 108, 207)]
    assert seen == [(255, 0, 0)] * 2 + [(128, 128, 128)] * 2 + [(0, 0, 255)] * 2


def test_a_large_picture_is_shown_smaller_and_a_small_one_beside_it_as_high() -> None:
    strip = comparison(Image.new("RGB", (200, 100), "red"), Image.new("RGB", (3000, 3000), "blue"))
    assert strip.size == (1024 + STRIP_GAP + 512, STRIP_HEIGHT)
    assert strip.getpixel((1023, 511)) == (255, 0, 0)
    assert strip.getpixel((1032, 0)) == (0, 0, 255)


def test_an_extended_picture_is_shown_where_it_stands() -> None:
    strip = comparison(Image.new("RGB", (60, 40), "red"), Image.new("RGB", (100, 80), "blue"), (10, 30, 70, 70))
    assert strip.size == (200 + STRIP_GAP, 80)
    assert strip.crop((10, 30, 70, 70)).getcolors() == [(60 * 40, (255, 0, 0))]
    assert strip.crop((0, 0, 100, 80)).getcolors() == [(2400, (255, 0, 0)), (5600, (224, 224, 224))]


@settings(max_examples=60, deadline=None)
@given(*[st.tuples(st.integers(1, 4096), st.integers(1, 600))] * 2, st.booleans())
def test_a_strip_of_any_two_shapes_fits(first: tuple[int, int], second: tuple[int, int], turned: bool) -> None:
    if turned:
        second = (second[1], second[0])
    strip = comparison(Image.new("RGB", first, "red"), Image.new("RGB", second, "blue"))
    assert strip.width <= 2 * STRIP_PANEL_WIDTH + STRIP_GAP
    assert strip.height <= STRIP_HEIGHT
    colours = {colour for _, colour in strip.getcolors(maxcolors=2**20) or []}
    assert colours >= {(255, 0, 0), (0, 0, 255), (128, 128, 128)}


def test_a_strip_needs_nothing_heavy() -> None:
    """The worker of the light path makes strips too, and it is meant to be small."""
    code = (
        "import sys, qwen_image_studio.worker.loop; from PIL import Image;"
        "from qwen_image_studio.imaging.comparing import comparison;"
        "comparison(Image.new('RGB', (9, 9)), Image.new('RGB', (9, 9)));"
        "print([name for name in ('numpy', 'scipy', 'flip_evaluator', 'torch') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
