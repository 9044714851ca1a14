"""The light path: instructions that need no model, what is done with them, and that it equals Pillow's own."""

import re
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from pydantic import TypeAdapter

from qwen_image_studio.adjusting.apply import adjust
from qwen_image_studio.adjusting.engine import AdjustEngine
from qwen_image_studio.contract.adjustments import (
    Adjustment,
    Blur,
    Crop,
    Flip,
    Grayscale,
    Hue,
    Position,
    Region,
    Resize,
    Rotate,
    Tone,
)
from qwen_image_studio.contract.errors import NotAdjustments, StudioError
from qwen_image_studio.contract.words import Lane, OutputFormat
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.prompts.grammar import Instruction, parse_adjustments
from qwen_image_studio.settings import Settings
from tests.support.plans import plan_of

ADJUSTMENT: TypeAdapter[Adjustment] = TypeAdapter(Adjustment)


def read_light(said: str) -> Instruction | None:
    """What it says; None where a model is needed."""
    try:
        return parse_adjustments(said)
    except NotAdjustments:
        return None


BRIGHTER = Tone(do="brightness", factor=1.2)


@pytest.mark.parametrize(
    ("english", "chinese", "meant"),
    [
        ("rotate it 90 degrees", "旋转90度", [Rotate(degrees=90)]),
        ("Please rotate the image 90 degrees to the left.", "请把图片向左旋转90度。", [Rotate(degrees=-90)]),
        ("rotate 30° clockwise", "顺时针旋转30度", [Rotate(degrees=30)]),
        ("crop to a square", "裁剪成正方形", [Crop(aspect_ratio="1:1")]),
        ("crop the photo to 16:9", "把照片裁剪为16:9", [Crop(aspect_ratio="16:9")]),
        ("crop to 800x600", "裁剪成800x600", [Crop(width=800, height=600)]),
        ("resize to 800x600", "把图片缩放到800x600", [Resize(width=800, height=600)]),
        ("scale it to 50%", "缩放到50%", [Resize(scale=0.5)]),
        ("resize the image to 1024 px wide", "宽度调整为1024像素", [Resize(width=1024)]),
        ("flip the picture horizontally", "水平翻转图片", [Flip(axis="horizontal")]),
        ("mirror the picture", "镜像图片", [Flip(axis="horizontal")]),
        ("flip it vertically", "上下翻转", [Flip(axis="vertical")]),
        ("make it a bit brighter", "调亮一点", [Tone(do="brightness", factor=1.1)]),
        ("make it much darker", "把照片调暗很多", [Tone(do="brightness", factor=0.6)]),
        ("increase the contrast by 30%", "对比度提高30%", [Tone(do="contrast", factor=1.3)]),
        ("reduce the saturation by 25%", "饱和度降低25%", [Tone(do="saturation", factor=0.75)]),
        ("set the brightness to 120%", "亮度设为120%", [Tone(do="brightness", factor=1.2)]),
        ("sharpen it", "锐化", [Tone(do="sharpness", factor=2.0)]),
        ("sharpen it by 20%", "锐度提高20%", [Tone(do="sharpness", factor=1.2)]),
        ("make it 20% brighter", "把亮度提高20%", [BRIGHTER]),
        ("turn it left 90 degrees", "逆时针旋转图片90度", [Rotate(degrees=-90)]),
        ("Make it brighter. Then rotate it 90 degrees.", "把图片调亮。然后旋转90度。", [BRIGHTER, Rotate(degrees=90)]),
        ("could you please make it brighter?", "调亮图片", [BRIGHTER]),
        ("crop the image to 16:9", "裁剪图片到16:9", [Crop(aspect_ratio="16:9")]),
        ("shift the hue by 30 degrees", "色相偏移30度", [Hue(degrees=30)]),
        ("make it black and white", "变成黑白", [Grayscale()]),
        ("convert to grayscale", "把图片变成灰度图", [Grayscale()]),
        ("blur it slightly", "模糊一点", [Blur(radius=1)]),
        ("blur the picture with a radius of 5 pixels", "高斯模糊半径5像素", [Blur(radius=5)]),
        (
            "crop to a square, then rotate it 90 degrees and make it brighter",
            "裁剪成正方形，然后旋转90度，再调亮",
            [Crop(aspect_ratio="1:1"), Rotate(degrees=90), BRIGHTER],
        ),
    ],
)
def test_both_languages_say_the_same(english: str, chinese: str, meant: list[Adjustment]) -> None:
    for said in (english, chinese):
        read = read_light(said)
        assert read is not None, said
        assert list(read.adjustments) == meant, said


@pytest.mark.parametrize(
    ("said", "text", "position"),
    [
        ('add a watermark "© Shop, 2026"', "© Shop, 2026", Position.BOTTOM_RIGHT),
        ('Add a watermark "Mine" in the upper left corner', "Mine", Position.TOP_LEFT),
        ("在左下角添加水印“小店”", "小店", Position.BOTTOM_LEFT),
        ("加水印「福」在中间", "福", Position.CENTER),
    ],
)
def test_a_watermark_keeps_its_text(said: str, text: str, position: Position) -> None:
    read = read_light(said)
    assert read is not None
    assert [(one.text, one.position) for one in read.adjustments if one.do == "watermark"] == [(text, position)]


@pytest.mark.parametrize(
    ("said", "wanted"), [("convert it to JPEG", "jpeg"), ("转为jpg格式", "jpeg"), ("save as webp", "webp")]
)
def test_a_format_is_read(said: str, wanted: str) -> None:
    read = read_light(said)
    assert read is not None
    assert (read.adjustments, read.output_format) == ((), OutputFormat(wanted))


@pytest.mark.parametrize(
    "said",
    [
        "make it smaller",
        "make the cat brighter",
        "blur the background",
        "rotate the cat 90 degrees",
        "rotate it 90 degrees and add a hat",
        "make it black and white except the red apple",
        "flip the coin",
        "turn it into a watercolour",
        "把猫变大",
        "把背景模糊",
        "把它变成金色的",
        "add watermark <5>",
        'add a watermark "A", add watermark \ue0000\ue001',
        "宽度改成800，高度改成600",
        "crop to 4x3",
        "改成50%",
        "scale it by 20%",
        "上下颠倒",
        "darken it by 150%",
        "把图片变清晰",
        ", ".join(["blur it"] * 25),
        "旋转90度，然后去掉杯子",
        "换成绿色背景",
        "resize to 0x0",
        "crop to 100:1",
        "",
        "。",
        "a" * 5000,
    ],
)
def test_anything_more_is_for_the_model(said: str) -> None:
    assert read_light(said) is None


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(said: str) -> None:
    read_light(said)


def chart(size: tuple[int, int] = (60, 40)) -> Image.Image:
    """A picture without symmetry."""
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = np.stack([across * 4 % 256, down * 6 % 256, (across + 2 * down) * 3 % 256], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize(
    ("one", "pillow"),
    [
        (Crop(region=Region(x=10, y=5, width=20, height=30)), lambda p: p.crop((10, 5, 30, 35))),
        (Crop(region=Region(x=0.5, y=0, width=0.5, height=1)), lambda p: p.crop((30, 0, 60, 40))),
        (Crop(aspect_ratio="1:1"), lambda p: p.crop((10, 0, 50, 40))),
        (Crop(width=20, height=20), lambda p: p.crop((20, 10, 40, 30))),
        (Resize(width=30), lambda p: p.resize((30, 20), Image.Resampling.LANCZOS)),
        (Resize(scale=2), lambda p: p.resize((120, 80), Image.Resampling.LANCZOS)),
        (Rotate(degrees=90), lambda p: p.transpose(Image.Transpose.ROTATE_270)),
        (Rotate(degrees=-90), lambda p: p.transpose(Image.Transpose.ROTATE_90)),
        (Rotate(degrees=360), lambda p: p),
        (Rotate(degrees=30), lambda p: p.rotate(-30, Image.Resampling.BICUBIC, expand=True, fillcolor="white")),
        (Flip(axis="horizontal"), ImageOps.mirror),
        (Flip(axis="vertical"), ImageOps.flip),
        (BRIGHTER, lambda p: ImageEnhance.Brightness(p).enhance(1.2)),
        (Tone(do="contrast", factor=0.5), lambda p: ImageEnhance.Contrast(p).enhance(0.5)),
        (Tone(do="saturation", factor=2), lambda p: ImageEnhance.Color(p).enhance(2)),
        (Tone(do="sharpness", factor=3), lambda p: ImageEnhance.Sharpness(p).enhance(3)),
        (Grayscale(), lambda p: ImageOps.grayscale(p).convert("RGB")),
        (Blur(radius=3), lambda p: p.filter(ImageFilter.GaussianBlur(3))),
    ],
)
def test_each_adjustment_equals_pillows(one: Adjustment, pillow: Callable[[Image.Image], Image.Image]) -> None:
    assert np.array_equal(np.asarray(adjust(chart(), [one])), np.asarray(pillow(chart())))


def test_turning_the_hue_makes_red_green() -> None:
    turned = adjust(Image.new("RGB", (4, 4), (255, 0, 0)), [Hue(degrees=120)])
    red, green, blue = turned.getpixel((0, 0))  # type: ignore[misc]
    assert green > 240
    assert max(red, blue) < 15


def test_a_watermark_stands_in_its_corner_and_nowhere_else() -> None:
    plain = Image.new("RGB", (400, 300), (60, 90, 120))
    marked = adjust(plain, [ADJUSTMENT.validate_python({"do": "watermark", "text": "Shop", "position": "top_left"})])
    changed = np.abs(np.asarray(marked, int) - np.asarray(plain, int)).max(axis=2) > 0
    assert changed[:150, :200].any()
    assert not changed[150:].any()
    assert not changed[:, 200:].any()


def test_letters_without_a_font_are_refused_with_the_remedy() -> None:
    with pytest.raises(StudioError, match="STUDIO_FONT"):
        adjust(chart(), [ADJUSTMENT.validate_python({"do": "watermark", "text": "福"})])


ONE = st.one_of(
    st.builds(
        lambda x, y, w, h: Crop(region=Region(x=x, y=y, width=w, height=h)),
        *[st.floats(0, 0.99)] * 2,
        *[st.floats(0.001, 1)] * 2,
    ),
    st.builds(lambda w, h: Crop(aspect_ratio=f"{w}:{h}"), st.integers(1, 16), st.integers(1, 16)),
    st.builds(Resize, scale=st.floats(0.2, 2)),
    st.builds(Resize, width=st.integers(1, 300), height=st.none() | st.integers(1, 300)),
    st.builds(Rotate, degrees=st.floats(-360, 360)),
    st.builds(Flip, axis=st.sampled_from(["horizontal", "vertical"])),
    st.builds(Hue, degrees=st.floats(-360, 360)),
    st.builds(Blur, radius=st.floats(0.1, 20)),
    st.builds(Tone, do=st.sampled_from(["brightness", "contrast", "saturation", "sharpness"]), factor=st.floats(0, 4)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ONE, max_size=4), st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_any_adjustments_give_a_picture_or_a_clear_error(asked: list[Any], size: tuple[int, int]) -> None:
    done: Image.Image | StudioError
    try:
        done = adjust(chart(size), asked)
    except StudioError as error:
        done = error
    if isinstance(done, StudioError):
        assert done.code == "invalid_value"
        assert str(done.param).startswith("adjustments[")
        return
    assert done.mode == "RGB"
    assert 1 <= min(done.size) <= max(done.size) <= 4100


def planned(**asked: Any) -> Any:
    return plan_of({"operation": "edit", **asked}, {"miniature": MODELS["miniature"]}, [(60, 40)])


def test_an_edit_that_only_adjusts_needs_no_model() -> None:
    made, warnings = planned(prompt="rotate it 90 degrees")
    assert (made.lane, made.adjustments) == (Lane.LIGHT, (Rotate(degrees=90),))
    assert "prefer=model" in warnings[0]
    assert planned(prompt="rotate it 90 degrees", prefer="model")[0].model == "miniature"
    assert planned(prompt="make it smaller")[0].model == "miniature"
    assert planned(prompt="rotate it 90 degrees", n=2)[0].model == "miniature"
    assert planned(prompt="rotate it 90 degrees", model="miniature")[0].model == "miniature"
    assert planned(prompt="rotate it 90 degrees", size="64x64")[0].model == "miniature"
    assert planned(prompt="make it brighter", aspect_ratio="16:9")[0].model == "miniature"
    assert planned(prompt="make it brighter", model=None)[0].lane is Lane.LIGHT
    assert planned(prompt="crop to 2000x2000")[0].model == "miniature", "it does not fit; the model may try"
    assert planned(prompt="加水印“样品”")[0].model == "miniature", "there is no font for it"
    assert planned(prompt="convert it to webp", output_format="png")[0].output_format is OutputFormat.WEBP


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "miniature"}, "because of model; without that it is done exactly"),
        ({"size": "64x64", "n": 2, "negative_prompt": "red"}, "because of size, n, negative_prompt;"),
        ({"prompt": "crop to 2000x2000"}, "since it cannot be done without: the .*resize it first"),
    ],
)
def test_a_model_that_paints_what_could_be_adjusted_says_why(asked: dict[str, Any], said: str) -> None:
    made, warnings = planned(**{"prompt": "rotate it 90 degrees", **asked})
    assert made.model == "miniature"
    assert re.search(f"^Painted by the model, {said}", warnings[0])
    for other in ({"prompt": "remove the cup"}, {"prompt": "rotate it 90 degrees", "prefer": "model"}):
        assert not any("Painted by the model" in warning for warning in planned(**other, model="miniature")[1])


@pytest.mark.parametrize("asked", [{"prefer": "cv"}, {"operation": "adjust"}])
def test_what_needs_a_model_is_refused_where_none_may_be_used(asked: dict[str, str]) -> None:
    with pytest.raises(StudioError, match="only adjustments can be done") as raised:
        planned(prompt="remove the cup", **asked)
    assert raised.value.param == "prompt"


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({"prompt": "make it brighter", "n": 2}, "n", "leave n out"),
        ({"prompt": "make it brighter", "size": "64x64"}, "size", "leave size out"),
        ({"prompt": "crop to 2000x2000"}, "adjustments[0]", "resize it first"),
        ({"prompt": "加水印“样品”"}, "adjustments[0]", "STUDIO_FONT"),
        ({"prompt": "blur by 500 pixels"}, "prompt", "less than or equal to 200"),
        ({"prompt": "resize to 100x1"}, "adjustments", "20:1"),
    ],
)
def test_what_does_not_fit_is_said_before_the_job_is_taken(asked: dict[str, Any], param: str, said: str) -> None:
    with pytest.raises(StudioError, match=said) as raised:
        planned(prefer="cv", **asked)
    assert raised.value.param == param


def test_a_large_picture_may_be_made_smaller_and_no_webp_is_too_long() -> None:
    adjusted, _ = plan_of({"operation": "adjust", "prompt": "resize to 60%"}, {}, [(8000, 6000)])
    assert adjusted.lane is Lane.LIGHT
    asked = {"operation": "adjust", "prompt": "save as webp"}
    with pytest.raises(StudioError, match="16383"):
        plan_of(asked, {}, [(1080, 20000)])


def test_a_chain_can_be_stopped_between_its_links() -> None:
    def stop(number: int) -> None:
        if number == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        adjust(chart(), [BRIGHTER] * 5, report=stop)


def test_the_light_engine_paints_the_plan() -> None:
    made, _ = planned(operation="adjust", adjustments=[{"do": "flip", "axis": "horizontal"}])
    (painted,) = AdjustEngine(Settings()).paint(made, [chart()])
    assert painted.seed is None
    assert np.array_equal(np.asarray(painted.image), np.asarray(ImageOps.mirror(chart())))
