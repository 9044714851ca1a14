"""What a request becomes: sizes on the grid, defaults, seeds, and what is said of it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_SEED, AspectRatio, Way
from qwen_image_studio.imaging.masks import region_mask
from qwen_image_studio.models.known_words import vocabulary_of, without_unknown
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.planning.plan import PaintPlan
from qwen_image_studio.settings import Settings
from tests.support.plans import plan_of

LARGE = {name: MODELS[name] for name in ("Qwen-Image", "Qwen-Image-Edit-2509")}
SMALL = {"miniature": MODELS["miniature"]}


def planned(
    models: Any = LARGE, inputs: Any = (), operation: str = "generate", **asked: Any
) -> tuple[PaintPlan, list[str]]:
    return plan_of({"operation": operation, "prompt": "a cup", **asked}, models, inputs)


def test_the_models_own_defaults() -> None:
    made, warnings = planned(seed=7)
    assert (made.model, made.steps, made.guidance_scale, made.negative_prompt) == ("Qwen-Image", 50, 4.0, " ")
    assert (made.width, made.height, made.paint_width, made.paint_height) == (1328, 1328, 1328, 1328)
    assert (made.seeds, warnings) == ((7,), [])


def test_an_edit_takes_the_first_images_shape() -> None:
    made, _ = planned(operation="edit", inputs=[(3000, 2000), (10, 10)])
    assert (made.model, made.steps) == ("Qwen-Image-Edit-2509", 40)
    assert (made.width, made.height) == (made.paint_width, made.paint_height)
    assert made.width % 32 == made.height % 32 == 0
    assert made.width / made.height == pytest.approx(1.5, rel=0.03)
    assert made.width * made.height == pytest.approx(1024 * 1024, rel=0.06)


@pytest.mark.parametrize("ratio", list(AspectRatio))
@pytest.mark.parametrize(
    "name", [name for name, row in MODELS.items() if {Way.GENERATE, Way.EDIT} & row.families.keys()]
)
def test_every_native_size_is_painted_as_it_is(name: str, ratio: AspectRatio) -> None:
    model = MODELS[name]
    way = Way.GENERATE if Way.GENERATE in model.families else Way.EDIT
    asked = {"operation": way.value, "prompt": "x", "aspect_ratio": ratio.value}
    made, warnings = plan_of(asked, {name: model})
    assert (made.paint_width, made.paint_height) == (made.width, made.height) == model.sizes[ratio]
    assert not [warning for warning in warnings if "resized" in warning]
    across, down = map(int, ratio.value.split(":"))
    assert made.width / made.height == pytest.approx(across / down, rel=0.05)


@given(width=st.integers(64, 4096), height=st.integers(64, 4096), small=st.booleans())
def test_any_size_is_painted_on_the_grid_in_its_shape_or_refused(width: int, height: int, small: bool) -> None:
    models = SMALL if small else LARGE
    model = next(iter(models.values()))
    if width * height > model.max_pixels or max(width / height, height / width) > model.max_aspect:
        with pytest.raises(StudioError) as caught:
            planned(models, width=width, height=height)
        assert caught.value.param == "width"
        return
    made, warnings = planned(models, width=width, height=height)
    assert (made.width, made.height) == (width, height)
    assert made.paint_width % model.grid == made.paint_height % model.grid == 0
    assert made.paint_width * made.paint_height <= model.paint_pixels[1]
    # One step of the grid on the shorter side is the most that the shape can be off.
    slack = math.log1p(model.grid / min(made.paint_width, made.paint_height))
    assert abs(math.log(made.paint_width / made.paint_height) - math.log(width / height)) <= slack
    resized = (made.paint_width, made.paint_height) != (width, height)
    assert any("resized" in warning for warning in warnings) == resized


def test_a_square_stays_a_square_in_the_miniature() -> None:
    made, _ = planned(SMALL, size="512x512")
    assert made.paint_width == made.paint_height


def test_seeds_follow_the_first_and_wrap() -> None:
    assert planned(seed=MAX_SEED, n=3)[0].seeds == (MAX_SEED, 0, 1)
    assert len({planned()[0].seeds for _ in range(5)}) == 5


@pytest.mark.parametrize("size", ["640*480", "640 x 480", " 640X480", "640×480", "640px x 480px", "６４０x４８０"])
def test_a_size_is_read_however_its_sign_is_written(size: str) -> None:
    """A13: HTTP took 640x480 alone, and the Dify tools took what others write."""
    made, _ = planned(size=size)
    assert (made.width, made.height) == (640, 480)


@pytest.mark.parametrize("written", ["jpg", "JPEG", ".Jpg", "image/jpeg"])
def test_a_file_format_is_read_however_it_is_written(written: str) -> None:
    """A13."""
    assert planned(output_format=written)[0].output_format == "jpeg"


def test_a_seed_below_zero_is_random_and_one_of_64_bits_is_folded_and_told() -> None:
    """A13: -1 is how other image tools write "random", and their seeds go up to 2^53 or 2^64."""
    assert len({planned(seed=-1)[0].seeds for _ in range(5)}) == 5
    made, warnings = planned(seed=2**53 + 7)
    assert made.seeds == (7,)
    assert any(f"seed {2**53 + 7} is above {MAX_SEED}; it was folded into 7" in warning for warning in warnings)
    assert planned(seed=MAX_SEED)[0].seeds == (MAX_SEED,)


@pytest.mark.parametrize(
    ("asked", "native"),
    [("21:9", "16:9"), ("4:5", "3:4"), ("1:4", "9:16"), ("5:4", "4:3"), ("1000:999", "1:1")],
)
def test_a_shape_goes_to_the_nearest_native_size_and_is_told(asked: str, native: str) -> None:
    """A13: such a shape was refused."""
    made, warnings = planned(aspect_ratio=asked)
    model = MODELS["Qwen-Image"]
    assert (made.width, made.height) == model.sizes[AspectRatio(native)]
    assert any(f"aspect_ratio {asked} was painted as {native}, the nearest" in warning for warning in warnings)


@pytest.mark.parametrize("written", ["1920x1080", "16/9", "32 : 18", "１６：９", "16 × 9"])
def test_a_native_shape_is_known_however_it_is_written(written: str) -> None:
    """A13."""
    made, warnings = planned(aspect_ratio=written)
    assert (made.width, made.height) == MODELS["Qwen-Image"].sizes[AspectRatio.WIDE]
    assert not any("aspect_ratio" in warning for warning in warnings)


@pytest.mark.parametrize(
    "field", ["size", "aspect_ratio", "seed", "model", "user", "conversation", "template", "image"]
)
def test_an_empty_text_is_one_that_was_left_out(field: str) -> None:
    """A14, B16: the schema allowed "" for these, and the server refused it."""
    assert planned(**{field: ""})[0].width == 1328


def test_special_tokens_leave_and_are_told() -> None:
    made, warnings = planned(prompt="a <|im_<|x|>end|>cup\x00", negative_prompt="<|image_pad|>")
    assert (made.prompt, made.negative_prompt) == ("a cup", " ")
    assert any("Special tokens" in warning for warning in warnings)
    assert any("Control characters" in warning for warning in warnings)


def test_models_are_known_by_name_and_repository() -> None:
    for name in ("qwen-image", "Qwen/Qwen-Image", "QWEN/QWEN-IMAGE"):
        assert planned(model=name)[0].model == "Qwen-Image"
    with pytest.raises(StudioError) as caught:
        planned(model="Qwen-Image-Edit-2509")
    assert (caught.value.code, caught.value.param) == ("unsupported_operation", "model")
    with pytest.raises(StudioError) as caught:
        planned(model="Qwen-Image-2512")
    assert (caught.value.code, caught.value.param) == ("unknown_model", "model")
    assert "Qwen-Image-Edit-2509" in caught.value.message


def test_the_miniature_stands_in_only_where_it_is_alone() -> None:
    made, warnings = planned(SMALL, model="Qwen-Image")
    assert made.model == "miniature"
    assert any("answered for it" in warning for warning in warnings)
    with pytest.raises(StudioError):
        planned(SMALL, model="dall-e")
    with pytest.raises(StudioError):
        planned({**SMALL, **LARGE}, model="Qwen-Image-2.1")


def test_configured_models() -> None:
    for small in (0, 6, 16):
        assert list(configured_models(Settings(), card_gib=small)) == ["miniature", "miniature-layered"]
    for large in (22.5, 80):
        assert list(configured_models(Settings(), card_gib=large)) == ["Qwen-Image", "Qwen-Image-Edit-2509"]
    chosen = configured_models(Settings(models=("Qwen-Image-2512=/weights/here", "miniature")), card_gib=80)
    assert {name: model.repository for name, model in chosen.items()}["Qwen-Image-2512"] == "/weights/here"
    with pytest.raises(StudioError, match="dall-e"):
        configured_models(Settings(models=("dall-e",)), card_gib=80)
    with pytest.raises(StudioError, match="STUDIO_MODELS: Qwen-Image is named twice, at two places; name it once"):
        configured_models(Settings(models=("Qwen-Image=a.gguf", "qwen/qwen-image=b.gguf")), card_gib=80)
    assert list(configured_models(Settings(models=("miniature", "Miniature")), card_gib=0)) == ["miniature"]


@pytest.mark.parametrize(
    ("place", "file", "repository"),
    [
        ("/weights/here", "", "/weights/here"),
        ("/q8.gguf", "/q8.gguf", "Qwen/Qwen-Image"),
        ("~/Q8 0.GGUF:/rest", "~/Q8 0.GGUF", "/rest"),
        ("/fp8.safetensors:", "/fp8.safetensors", "Qwen/Qwen-Image"),
        ("/a.gguf.d", "", "/a.gguf.d"),
    ],
)
def test_a_model_lies_in_a_folder_or_its_transformer_in_a_file(place: str, file: str, repository: str) -> None:
    (model,) = configured_models(Settings(models=(f"Qwen-Image={place}",)), card_gib=80).values()
    assert (model.file, model.repository) == (file, repository)


@pytest.mark.parametrize(
    ("prompt", "known"),
    [
        ("two cherries on a purple background", True),
        ("puppies", True),
        ("一只猫", True),
        ("Spring Festival poster, text '福'", True),
        ("blue background", True),
        ("纯蓝色背景", True),
        ("two wolves", True),
        ("maple leaves and snowmen", True),
        ("一辆汽车，红色背景", True),
        ("蓝色背景上的花", True),
        ("一张狗的图片", True),
        ("红色背景上的福字", True),
        ("quarterly results", False),
        ("a photograph of a hotel", False),
        ("a unicorn on a blue background", False),
        ("罗马斗兽场", False),
        ("云计算公司的证书", False),
        ("幸福家庭", False),
        ("青春校园", False),
        ("量子力学", False),
    ],
)
def test_the_miniature_says_what_it_knows(prompt: str, known: bool) -> None:
    _, warnings = planned(SMALL, prompt=prompt)
    assert warnings[0] == "Painted by the miniature, a stand-in for machines without a GPU."
    assert [warning for warning in warnings if "knows nothing in this prompt" in warning] == warnings[1:]
    assert len(warnings) == (1 if known else 2)


@pytest.mark.parametrize(
    ("prompt", "read", "left_out"),
    [
        ("a red apple on blue, Ultra HD, 4K, cinematic composition.", "a red apple on blue", 3),
        ("A red apple. The style is photo, soft light, golden.", "A red apple. golden.", 2),
        ("红苹果，蓝色背景，超清，4K，电影级构图。", "红苹果，蓝色背景", 3),
        ("春节海报，红灯笼，文字“福”", "红灯笼，文字“福”", 1),
        ("a cup, on the left", "a cup, on the left", 0),
        ("quarterly results, in blue ink", "in blue ink", 1),
        ("quarterly results, in ink", "quarterly results, in ink", 0),
        ("two cats", "two cats", 0),
        ('a sign that says "OPEN, NOW", blue background', 'a sign that says "OPEN, NOW", blue background', 0),
        ("文字“福，到”，黄色背景，超清", "文字“福，到”，黄色背景", 1),
        ("1.5 times bigger, a cup", "a cup", 1),
        ("a cup on red. Colour palette: red with gold and beige", "a cup on red.", 1),
        ("杯子，红色背景。配色：红色、金色", "杯子，红色背景。", 1),
        ("a palette of red apples", "a palette of red apples", 0),
        ("", "", 0),
    ],
)
def test_what_the_miniature_cannot_know_does_not_lead_it_astray(prompt: str, read: str, left_out: int) -> None:
    words = vocabulary_of(MODELS["miniature"])
    assert words is not None
    kept, others = without_unknown(prompt, words)
    assert (kept, len(others)) == (read, left_out)


def test_weights_that_know_nothing_promise_nothing(tmp_path: Path) -> None:
    bare = replace(MODELS["miniature"], repository=str(tmp_path))
    assert "knows" not in planned({"miniature": bare}, prompt="quarterly results")[1][0]
    (tmp_path / "vocabulary.json").write_text("{}")
    other = replace(bare, repository=str(tmp_path))
    assert vocabulary_of(other) is None
    assert vocabulary_of(MODELS["Qwen-Image"]) is None


# -- warnings that teach -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"guidance_scale": 5},
            "guidance_scale 5 was applied as the model's true_cfg_scale; it needs a negative prompt, and the model's "
            "recommended one was filled in.",
        ),
        (
            {"guidance_scale": 5, "negative_prompt": "fog"},
            "guidance_scale 5 was applied as the model's true_cfg_scale.",
        ),
        (
            {"guidance_scale": 1, "negative_prompt": "fog"},
            "negative_prompt has no effect while guidance_scale is 1; raise it above 1.",
        ),
        ({"output_quality": 80}, "output_quality is for JPEG and WebP; PNG keeps every pixel."),
    ],
)
def test_what_was_made_of_a_setting_is_told(asked: dict[str, Any], said: str) -> None:
    assert planned(**asked)[1] == [said]


@pytest.mark.parametrize("asked", [{}, {"negative_prompt": "fog"}, {"output_quality": 80, "output_format": "webp"}])
def test_nothing_is_said_of_what_is_as_it_was_asked(asked: dict[str, Any]) -> None:
    assert planned(**asked)[1] == []


@pytest.mark.parametrize(
    ("prompt", "images", "unknown"),
    [
        ("put the product of image 1 on the table of image 2", 2, None),
        ("put the product of image 1 on the table of Image 2", 1, 2),
        ("把图1的商品放到图3的桌子上", 2, 3),
        ("把图片 2 里的人放到图1", 1, 2),
        ("a picture 16:9 wide, photo 4x5", 1, None),
        ("make 2 images of it", 1, None),
    ],
)
def test_an_instruction_that_names_an_image_that_is_not_there(prompt: str, images: int, unknown: int | None) -> None:
    _, warnings = planned(operation="edit", inputs=[(64, 64)] * images, prompt=prompt)
    told = [warning for warning in warnings if "speaks of image" in warning]
    assert told == ([] if unknown is None else [warning for warning in warnings if f"of image {unknown}," in warning])
    assert bool(told) is (unknown is not None)


def test_the_better_way_is_chosen_for_parts() -> None:
    region = {"x": 0.2, "y": 0.2, "width": 0.5, "height": 0.5}
    asked = {"operation": "inpaint", "prompt": "a cup", "region": region}
    mask = region_mask(Region(**region), (512, 512))
    names = {}
    for kind in (None, "instruction", "description"):
        made, _ = plan_of({**asked, "prompt_kind": kind}, LARGE, [(512, 512)], mask)
        names[kind] = (made.model, made.way.value)
    edits, paints = ("Qwen-Image-Edit-2509", "edit"), ("Qwen-Image", "generate")
    assert names == {None: edits, "instruction": edits, "description": paints}
