"""Paintings of transparent pictures, and of pictures that are longer than a model paints."""

import numpy as np
import pytest
from PIL import Image

from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.words import Way
from qwen_image_studio.gallery.judging import judge
from qwen_image_studio.imaging.masks import mask_from, region_mask
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.painting.canvas import Canvas
from tests.support.plans import plan_of

MODEL = {"miniature": MODELS["miniature"]}


def clear_picture(width: int = 160, height: int = 120) -> Image.Image:
    """A picture in which every pixel has a colour and an alpha of its own."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8))


def finished(canvas: Canvas, passes: int, colour: tuple[int, int, int]) -> Image.Image:
    canvas.begin()
    for number in range(passes):
        canvas.put(number, Image.new("RGB", canvas.pass_input(number).size, colour))
    return canvas.finished


def test_an_inpaint_keeps_alpha_outside_its_mask_bit_for_bit() -> None:
    """A4: pixels outside were opaque, against "bit for bit"."""
    picture = clear_picture()
    mask = region_mask(Region(x=40, y=30, width=60, height=50), picture.size)
    made, _ = plan_of({"operation": "inpaint", "prompt": "a cat"}, MODEL, [picture.size], mask)
    done = finished(Canvas(made, [picture, mask.image]), len(made.passes), (0, 255, 0))
    before, after, free = np.asarray(picture), np.asarray(done), np.asarray(mask.image)
    assert done.mode == "RGBA"
    assert (after[free == 0] == before[free == 0]).all()
    assert (after[45:65, 60:80] == (0, 255, 0, 255)).all(), "what is painted is opaque"
    assert (after[free > 0][:, 3] >= before[free > 0][:, 3].astype(int) - 1).all(), "and its edge runs over"


def test_no_white_is_left_at_the_edge_of_what_was_painted_on_clear_ground() -> None:
    """A4: the model sees white there, and nobody else does."""
    picture = Image.new("RGBA", (160, 120), (0, 0, 0, 0))
    white = Image.new("L", picture.size, 0)
    white.paste(255, (40, 30, 100, 80))
    mask = mask_from(white, picture.size)
    made, _ = plan_of({"operation": "inpaint", "prompt": "a cat"}, MODEL, [picture.size], mask)
    after = np.asarray(finished(Canvas(made, [picture, mask.image]), len(made.passes), (0, 128, 0))).astype(int)
    seen = after[after[..., 3] > 30]
    assert len(seen) > 2000
    assert np.abs(seen[:, :3] - (0, 128, 0)).max() <= 8


def test_an_outpaint_keeps_the_pictures_own_alpha() -> None:
    """A4: its own pixels stay as they are, and alpha is a part of them."""
    picture = clear_picture()
    made, _ = plan_of({"operation": "outpaint", "left": 40, "bottom": 16}, MODEL, [picture.size])
    after = np.asarray(finished(Canvas(made, [picture]), len(made.passes), (0, 255, 0)))
    assert np.array_equal(after[:120, 40:], np.asarray(picture))
    assert (after[:, :30, 3] == 255).all()


def test_opaque_pictures_are_painted_as_before() -> None:
    """A4: no alpha comes where none was."""
    picture = clear_picture().convert("RGB")
    mask = region_mask(Region(x=40, y=30, width=60, height=50), picture.size)
    made, _ = plan_of({"operation": "inpaint", "prompt": "a cat"}, MODEL, [picture.size], mask)
    assert finished(Canvas(made, [picture, mask.image]), len(made.passes), (0, 255, 0)).mode == "RGB"


@pytest.mark.parametrize("name", [name for name, model in sorted(MODELS.items()) if Way.EDIT in model.families])
@pytest.mark.parametrize("size", [(2400, 300), (728, 90), (40, 300), (2000, 100), (100, 2000), (1234, 987)])
def test_an_edit_has_the_shape_of_its_input(name: str, size: tuple[int, int]) -> None:
    """A5: 8:1 became 4:1, silently."""
    model = MODELS[name]
    made, warnings = plan_of({"operation": "edit", "prompt": "a hat"}, {name: model}, [size])
    assert abs(made.width * size[1] / (made.height * size[0]) - 1) < 0.04
    painted = made.paint_width / made.paint_height
    assert max(painted, 1 / painted) <= 2 * model.max_aspect * 1.1
    stretched = abs(painted * made.height / made.width - 1) > 0.15
    assert any("stretched to it" in warning for warning in warnings) is stretched


@pytest.mark.parametrize("after", [(640, 80), (320, 320), (64, 512)])
def test_an_edit_in_another_shape_is_measured_all_the_same(after: tuple[int, int]) -> None:
    """A5: `change` was null."""
    before = clear_picture(320, 240).convert("RGB")
    measured = judge([before], Image.new("RGB", after, "red"), place=None, has_mask=False, is_edit=True)
    assert measured.inside is not None
    assert measured.inside > 0.1
    assert measured.warning is None or after == (640, 80)
