"""Parts of pictures without a model: masks, windows, passes, canvases. Any box, any size, any side."""

from io import BytesIO
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings
from PIL import Image, ImageDraw

from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.imaging.masks import Mask, mask_from, open_mask, region_mask
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.painting.canvas import Canvas, matched, soft_inward
from qwen_image_studio.planning.plan import PaintPlan
from qwen_image_studio.planning.regions import growing_passes, region_pass
from tests.support.plans import plan_of

MODEL_NAMES = ("Qwen-Image", "Qwen-Image-Edit-2509", "miniature")
Size = tuple[int, int]
Box = tuple[int, int, int, int]
LIMITS = {"max_bytes": 10**6, "max_pixels": 10**6}


@st.composite
def boxes(draw: st.DrawFn, longest: int = 4096) -> tuple[Box, Size]:
    """A picture's size and a box inside it."""
    width, height = draw(st.integers(8, longest)), draw(st.integers(8, longest))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
    return (left, top, right, bottom), (width, height)


def planned(model: Model, frame: Size, mask: Mask | None = None, **asked: Any) -> tuple[PaintPlan, list[str]]:
    return plan_of({"prompt": "a cat", **asked}, {model.name: model}, [frame], mask)


def file(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


# -- windows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODEL_NAMES)
@given(drawn=boxes())
def test_a_window_holds_its_box_with_context_and_is_painted_on_the_grid(name: str, drawn: tuple[Box, Size]) -> None:
    box, frame = drawn
    model = MODELS[name]
    once = region_pass(box, frame, model.limits)
    window = once.window
    assert 0 <= window[0] <= box[0] < box[2] <= window[2] <= frame[0]
    assert 0 <= window[1] <= box[1] < box[3] <= window[3] <= frame[1]
    context = max(model.grid, max(frame) // 16)
    for low, high, edge in ((0, 2, frame[0]), (1, 3, frame[1])):
        assert box[low] - window[low] >= min(context, box[low])
        assert window[high] - box[high] >= min(context, edge - box[high])
    assert once.width % model.grid == once.height % model.grid == 0
    assert once.width * once.height <= model.paint_pixels[1]


def test_a_part_of_a_large_frame_is_painted_pixel_by_pixel() -> None:
    once = region_pass((384, 384, 640, 640), (1024, 1024), MODELS["Qwen-Image"].limits)
    assert once.window == (320, 320, 704, 704)
    assert (once.width, once.height) == (384, 384)


def test_a_small_part_is_enlarged_for_the_model() -> None:
    once = region_pass((500, 500, 520, 520), (1024, 1024), MODELS["Qwen-Image"].limits)
    assert once.width * once.height >= 0.9 * 384 * 384
    assert once.window[2] - once.window[0] < 200


@given(box=boxes(3000), model=st.sampled_from([MODELS[name] for name in MODEL_NAMES]))
def test_a_canvas_grows_to_its_size_and_each_pass_sees_what_is_there(box: tuple[Box, Size], model: Model) -> None:
    place, canvas = box
    assume(place != (0, 0, *canvas))
    assume(min(place[2] - place[0], place[3] - place[1]) >= 8)
    passes = growing_passes(place, canvas, model.limits)
    assert len(passes) <= 60
    known = place
    for one in passes:
        assert one.known == known
        window = one.window
        assert 0 <= window[0] < window[2] <= canvas[0]
        assert 0 <= window[1] < window[3] <= canvas[1]
        seen = [max(window[0], known[0]), max(window[1], known[1]), min(window[2], known[2]), min(window[3], known[3])]
        share = (seen[2] - seen[0]) * (seen[3] - seen[1]) / ((window[2] - window[0]) * (window[3] - window[1]))
        assert share >= 0.49  # it never invents more than it sees
        assert one.width % model.grid == one.height % model.grid == 0
        assert one.width * one.height <= model.paint_pixels[1]
        known = tuple((min, max)[edge > 1](known[edge], window[edge]) for edge in range(4))  # type: ignore[assignment]
    assert known == (0, 0, *canvas)


# -- masks ---------------------------------------------------------------------------------------------------------


def test_white_from_the_middle_grey_on() -> None:
    mask = mask_from(Image.linear_gradient("L"), (256, 256))
    assert mask.box == (0, 128, 256, 256)
    assert (mask.share, mask.warnings) == (1.0, ())


def test_a_mask_of_another_size_is_stretched_and_of_another_shape_refused() -> None:
    half = Image.new("L", (50, 40))
    half.paste(255, (25, 0, 50, 40))
    mask = mask_from(half, (100, 80))
    assert (mask.image.size, mask.box) == ((100, 80), (50, 0, 100, 80))
    assert mask.warnings == ("The mask of 50x40 was stretched to the image's 100x80.",)
    with pytest.raises(StudioError, match=r"^mask: has 50x40 pixels and the image 80x100, another shape"):
        mask_from(half, (80, 100))


def test_an_empty_mask_is_refused_and_a_full_one_is_the_whole_picture() -> None:
    with pytest.raises(StudioError, match=r"^mask: is black all over.*; paint white what is to change"):
        mask_from(Image.new("L", (20, 20), 127), (20, 20))
    full = mask_from(Image.new("L", (20, 20), 128), (20, 20))
    assert (full.box, full.share) == ((0, 0, 20, 20), 1.0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_masks_come_in_any_mode(mode: str) -> None:
    image = Image.new("L", (40, 30))
    image.paste(255, (10, 5, 20, 25))
    picture = image.point(lambda value: value * 257, "I").convert("I;16") if mode == "I;16" else image.convert(mode)
    assert open_mask(file(picture), (40, 30), **LIMITS).box == (10, 5, 20, 25)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparency_is_not_guessed_at(mode: str) -> None:
    image = Image.new("RGBA", (40, 30), "white")
    image.putpixel((3, 3), (0, 0, 0, 0))
    data = file(image.convert(mode) if mode != "P" else image.quantize(8))
    with pytest.raises(StudioError, match="mask: has transparent pixels"):
        open_mask(data, (40, 30), **LIMITS)


def test_a_mask_is_opened_as_any_picture_is() -> None:
    for data, code in ((b"", "unsupported_image"), (b"x" * 10**6 + b"y", "image_too_large")):
        with pytest.raises(StudioError) as caught:
            open_mask(data, (40, 30), **LIMITS)
        assert (caught.value.code, caught.value.param) == (code, "mask")


def test_scattered_and_large_masks_are_told() -> None:
    model, frame = MODELS["Qwen-Image"], (1024, 1024)
    islands = Image.new("L", frame)
    for corner in ((0, 0, 30, 30), (994, 994, 1024, 1024)):
        islands.paste(255, corner)
    made, warnings = planned(model, frame, mask_from(islands, frame), operation="inpaint")
    assert made.passes[0].window == (0, 0, 1024, 1024)
    assert any(warning.startswith("What may change spans 100% of the image") for warning in warnings)
    assert any(warning.startswith("The mask fills 1% of the box around it") for warning in warnings)
    small = region_mask(Region(x=100, y=100, width=10, height=10), (256, 256))
    assert not [warning for warning in planned(model, (256, 256), small, operation="inpaint")[1] if "spans" in warning]
    box = region_mask(Region(x=0.35, y=0.35, width=0.3, height=0.3), frame)
    assert planned(model, frame, box, operation="inpaint")[1] == []


# -- feathers ------------------------------------------------------------------------------------------------------


@given(
    ellipses=st.lists(st.tuples(*[st.integers(0, 150)] * 4), min_size=1, max_size=4),
    size=st.tuples(st.integers(8, 150), st.integers(8, 150)),
)
def test_a_feather_is_inside_and_every_piece_reaches_full_strength(
    ellipses: list[tuple[int, int, int, int]], size: Size
) -> None:
    mask = Image.new("L", size)
    for x, y, across, down in ellipses:
        ImageDraw.Draw(mask).ellipse((x, y, x + across, y + down), fill=255)
    alpha, hard = np.asarray(soft_inward(mask, 4)), np.asarray(mask)
    assert (alpha[hard == 0] == 0).all()
    assert (alpha[hard > 0] > 0).all()
    if hard.any():
        assert alpha.max() == 255


def test_a_feather_is_soft_where_there_is_room() -> None:
    mask = Image.new("L", (400, 400))
    mask.paste(255, (100, 100, 300, 300))
    row = np.asarray(soft_inward(mask, 4))[200]
    assert row[98:106].tolist() == [0, 0, 64, 128, 191, 255, 255, 255]
    thin = Image.new("L", (400, 400))
    thin.paste(255, (100, 0, 103, 400))
    assert np.asarray(soft_inward(thin, 4))[200, 100:103].tolist() == [255] * 3
    edge = Image.new("L", (400, 400))
    edge.paste(255, (0, 0, 100, 400))
    assert np.asarray(soft_inward(edge, 4))[0, 0] == 255  # beyond the picture there is nothing to blend with


@pytest.mark.parametrize("feather", [0, 1, 16, 64, 256])
def test_a_feather_that_is_asked_for_is_as_wide_as_that_and_inside(feather: int) -> None:
    made, _ = planned(
        MODELS["Qwen-Image"],
        (256, 256),
        region_mask(Region(x=64, y=64, width=128, height=128), (256, 256)),
        operation="inpaint",
        feather=feather,
    )
    mask = region_mask(Region(x=64, y=64, width=128, height=128), (256, 256)).image
    before = Image.new("RGB", (256, 256), "black")
    canvas = Canvas(made, [before, mask])
    canvas.begin()
    [one] = made.passes
    canvas.put(0, Image.new("RGB", (one.width, one.height), "white"))
    after = np.asarray(canvas.image)[:, :, 0].astype(int)
    assert (after[np.asarray(mask) == 0] == 0).all(), "outside nothing changes, bit for bit"
    row = after[128, 64:128]
    assert (np.diff(row) >= 0).all()
    assert (row < 255).sum() == max(0, min(feather, 64) - 1)
    assert row[-1] == 255, "it is full where it is deepest"


def test_beside_an_outpaints_seam_there_is_no_blur() -> None:
    """The ground below is a smooth smear; nothing of it may show."""
    made, _ = planned(MODELS["Qwen-Image"], (256, 256), operation="outpaint", right=64)
    canvas = Canvas(made, [speckled((256, 256))])
    canvas.begin()
    for number, one in enumerate(made.passes):
        canvas.put(number, speckled((one.width, one.height)))
    columns = np.asarray(canvas.image).astype(float).std(axis=(0, 2))
    assert columns[256:260].min() > 0.8 * columns[:250].mean()


def test_colours_that_the_model_shifted_are_brought_back() -> None:
    grey, darker = Image.new("RGB", (64, 64), (100, 120, 140)), Image.new("RGB", (64, 64), (97, 120, 135))
    free = Image.new("L", (64, 64))
    free.paste(255, (32, 0, 64, 64))
    assert matched(darker, grey, free, 16).tobytes() == grey.tobytes()
    other = Image.new("RGB", (64, 64), (160, 10, 10))  # not the VAE's doing
    assert matched(other, grey, free, 16).tobytes() == other.tobytes()
    assert matched(darker, grey, Image.new("L", (64, 64), 255), 16).tobytes() == darker.tobytes()


# -- canvases ------------------------------------------------------------------------------------------------------


def paint_over(made: PaintPlan, inputs: list[Image.Image]) -> Image.Image:
    """What comes of the plan where the model paints everything green."""
    canvas = Canvas(made, inputs)
    canvas.begin()
    for number in range(len(made.passes)):
        given = canvas.pass_input(number)
        assert given.start is not None
        assert given.free is not None
        assert given.size == given.start.size == given.free.size == given.sources[0].size
        assert given.free.getbbox() is not None
        canvas.put(number, Image.new("RGB", given.size, (0, 255, 0)))
    return canvas.image


def speckled(size: Size) -> Image.Image:
    """A picture without green in which every pixel is another."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    pixels[..., 1] = 0
    return Image.fromarray(pixels)


@pytest.mark.parametrize("name", MODEL_NAMES)
@settings(max_examples=40)
@given(drawn=boxes(160), hole=st.booleans())
def test_outside_a_mask_every_pixel_is_the_inputs(name: str, drawn: tuple[Box, Size], hole: bool) -> None:
    box, size = drawn
    white = Image.new("L", size, 0)
    white.paste(255, box)
    if hole:
        white.putpixel(box[:2], 0)
    assume(white.getbbox() is not None)
    mask, picture = mask_from(white, size), speckled(size)
    made, _ = planned(MODELS[name], size, mask, operation="inpaint")
    before, after, free = np.asarray(picture), np.asarray(paint_over(made, [picture, mask.image])), np.asarray(white)
    assert after.shape == before.shape
    assert (after[free == 0] == before[free == 0]).all()
    assert (after[free > 0][:, 1] > 0).all()
    # The soft edge may be as wide as the piece; its middle is the model's.
    assert (after[free > 0] == (0, 255, 0)).all(axis=1).any()


@pytest.mark.parametrize("name", MODEL_NAMES)
@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(8, 150), st.integers(8, 150)),
    sides=st.tuples(*[st.integers(0, 150)] * 4).filter(any),
)
def test_an_outpaint_has_the_size_asked_for_and_keeps_the_original(
    name: str, size: Size, sides: tuple[int, int, int, int]
) -> None:
    named: dict[str, Any] = dict(zip(("left", "top", "right", "bottom"), sides, strict=True))
    canvas = (size[0] + sides[0] + sides[2], size[1] + sides[1] + sides[3])
    picture = speckled(size)
    made, _ = planned(MODELS[name], size, operation="outpaint", **named)
    after = np.asarray(paint_over(made, [picture]))
    assert after.shape[:2] == (canvas[1], canvas[0])
    left, top = sides[:2]
    kept = after[top : top + size[1], left : left + size[0]]
    assert (kept == np.asarray(picture)).all()
    rest = np.ones(after.shape[:2], bool)
    rest[top : top + size[1], left : left + size[0]] = False
    assert (after[rest][:, 1] > 0).all()


@pytest.mark.parametrize(
    ("asked", "canvas", "place"),
    [
        ({"aspect_ratio": "16:9"}, (1778, 1000), (389, 0, 1389, 1000)),
        ({"aspect_ratio": "16:9", "anchor": "left"}, (1778, 1000), (0, 0, 1000, 1000)),
        ({"aspect_ratio": "9:16", "anchor": "bottom"}, (1000, 1778), (0, 778, 1000, 1778)),
        ({"size": "1200x1100"}, (1200, 1100), (100, 50, 1100, 1050)),
        ({"width": 1001, "height": 1000}, (1001, 1000), (0, 0, 1000, 1000)),
        ({"left": 1, "bottom": 7}, (1001, 1007), (1, 0, 1001, 1000)),
    ],
)
def test_the_ways_to_say_how_far(asked: dict[str, Any], canvas: Size, place: Box) -> None:
    made, warnings = planned(MODELS["Qwen-Image"], (1000, 1000), operation="outpaint", **asked)
    assert ((made.width, made.height), made.place) == (canvas, place)
    assert made.passes
    assert bool([warning for warning in warnings if "passes" in warning]) is (len(made.passes) > 1)


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({"size": "999x2000"}, "size", "999x2000 is smaller than the image of 1000x1000"),
        ({"aspect_ratio": "4:4"}, "aspect_ratio", "has that shape already"),
        ({"aspect_ratio": "0:4"}, "aspect_ratio", "write WIDTH:HEIGHT"),
        ({"left": 4000}, "left", "the result would be 5000x1000"),
        ({"aspect_ratio": "10:1"}, "aspect_ratio", "the result would be 10000x1000"),
    ],
)
def test_ways_that_lead_nowhere(asked: dict[str, Any], param: str, said: str) -> None:
    with pytest.raises(StudioError) as caught:
        planned(MODELS["Qwen-Image"], (1000, 1000), operation="outpaint", **asked)
    assert (caught.value.code, caught.value.param) == ("invalid_value", param)
    assert said in caught.value.message


def test_wide_extensions_come_in_passes() -> None:
    made, warnings = planned(MODELS["Qwen-Image"], (512, 512), operation="outpaint", right=1024)
    assert [one.window for one in made.passes] == [(0, 0, 768, 512), (0, 0, 1152, 512), (0, 0, 1536, 512)]
    assert any("in 3 passes" in warning for warning in warnings)


def test_a_large_image_is_extended_by_strips() -> None:
    made, warnings = planned(MODELS["Qwen-Image"], (2000, 2000), operation="outpaint", left=32)
    (one,) = made.passes
    assert one.window[0] == 0
    assert one.window[2] < 1200  # not all of its two thousand columns
    assert not [warning for warning in warnings if "resized" in warning]


@pytest.mark.parametrize(
    ("size", "asked"),
    [((31600, 1580), {"aspect_ratio": "1:1"}), ((6000, 4000), {"left": 100}), ((4096, 2000), {"top": 2097})],
)
def test_canvases_have_a_limit(size: Size, asked: dict[str, Any]) -> None:
    with pytest.raises(StudioError, match=r"it may have 4096 pixels on a side and 16777216 in all"):
        planned(MODELS["Qwen-Image"], size, operation="outpaint", **asked)


def test_a_thin_line_in_a_larger_mask_is_not_lost() -> None:
    line = Image.new("L", (2000, 2000))
    line.paste(255, (500, 0, 501, 2000))
    assert mask_from(line, (100, 100)).box == (25, 0, 26, 100)


def test_masks_as_pictures_are_read_as_files_are() -> None:
    dark = Image.new("I;16", (40, 30), 300)
    with pytest.raises(StudioError, match="black all over"):
        mask_from(dark, (40, 30))
    turned = Image.new("L", (30, 40))
    turned.paste(255, (0, 0, 30, 10))
    turned.getexif()[0x0112] = 6
    assert mask_from(turned, (40, 30)).box == (30, 0, 40, 30)
    with pytest.raises(StudioError, match="transparent pixels"):
        mask_from(Image.new("RGBA", (40, 30)), (40, 30))


def test_what_does_not_fit_the_shape_is_told() -> None:
    _, warnings = planned(MODELS["Qwen-Image"], (4000, 500), operation="generate", size="1024x1024")
    assert "The middle 500x500 of the image of 4000x500 was used, since the result has another shape." in warnings
    box = region_mask(Region(x=0.35, y=0.35, width=0.3, height=0.3), (1024, 1024))
    _, warnings = planned(MODELS["Qwen-Image"], (1024, 1024), box, operation="inpaint", output_format="jpeg")
    assert warnings == [
        "A jpeg file changes every pixel a little; ask for png to keep what was not painted bit for bit."
    ]
