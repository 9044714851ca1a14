"""Tiers: what their rows say, and what becomes of a request for one."""

from dataclasses import replace
from math import prod
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from PIL import Image

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import AspectRatio, Precision, Tier, Way
from qwen_image_studio.local.generator import QwenImageGenerator, one
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.models.tiers import Recipe, TierLora
from qwen_image_studio.operations.again import recovered
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.plan import PaintPlan, read_plan
from qwen_image_studio.planning.regions import growing_passes, region_pass
from tests.support.plans import plan_of

PAINTING = [name for name, model in MODELS.items() if {Way.GENERATE, Way.EDIT} & model.families.keys()]
LARGE = [name for name in PAINTING if not MODELS[name].miniature]
PAINTERS = [name for name in LARGE if Way.GENERATE in MODELS[name].families]
EDITORS = [name for name in LARGE if Way.EDIT in MODELS[name].families]
DRAFT_PIXELS = 768 * 768


def planned(model: Model, inputs: list[tuple[int, int]] | None = None, **asked: Any) -> tuple[PaintPlan, list[str]]:
    """The plan of a request, and its warnings; it edits where there are inputs."""
    how = {"operation": "edit", "prefer": "model"} if inputs else {"operation": "generate"}
    return plan_of({**how, "prompt": "a red apple", **asked}, {model.name: model}, inputs or [])


# -- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LARGE)
def test_a_large_model_has_all_tiers_each_with_less_work_than_the_one_before(name: str) -> None:
    model = MODELS[name]
    assert list(model.tiers) == list(Tier)
    quality, balanced, turbo, draft = model.tiers.values()
    assert (balanced.steps, balanced.guidance_scale) == (quality.steps, quality.guidance_scale)
    assert balanced.precision is Precision.FP8
    assert balanced.step_cache is not None
    assert 4 <= draft.steps <= turbo.steps <= 8 < quality.steps
    assert (turbo.guidance_scale, draft.guidance_scale) == (1.0, 1.0)
    assert (turbo.max_pixels, draft.max_pixels) == (None, DRAFT_PIXELS)
    assert [recipe.distilled for recipe in model.tiers.values()] == [False, False, True, True]
    for recipe in (turbo, draft):
        assert recipe.lora is not None
        assert recipe.lora.file.endswith(".safetensors")
        assert recipe.scheduler["shift_terminal"] is None
        if "2.1" not in name:  # whose files are not named after it
            assert f"{recipe.steps}steps" in recipe.lora.file


@pytest.mark.parametrize(("name", "tier"), [(name, tier) for name in PAINTING for tier in MODELS[name].tiers])
def test_a_plan_is_filled_in_from_the_row_of_its_tier(name: str, tier: Tier) -> None:
    model = MODELS[name]
    plan, _ = planned(model, None if Way.GENERATE in model.families else [(900, 900)], tier=tier.value)
    row = model.recipe(tier)
    guidance = row.guidance_scale if model.family(plan.way).takes_guidance else 1.0
    assert (plan.tier, plan.steps, plan.guidance_scale) == (tier, row.steps, guidance)
    assert plan.precision == (row.precision or model.precisions[0])
    assert str(plan.variant) == f"{name}/{plan.precision}/{tier.value}"


def test_a_tier_that_a_model_lacks_is_refused_with_those_it_has(miniature: Model) -> None:
    model = replace(miniature, tiers={Tier.QUALITY: Recipe(20, 3.0), Tier.TURBO: Recipe(8, 3.0)})
    for asked in ({}, {"width": 64, "height": 64}, {"aspect_ratio": "16:9"}):
        with pytest.raises(StudioError) as caught:
            planned(model, tier="draft", **asked)
        assert (caught.value.code, caught.value.param) == ("invalid_value", "tier")
        assert caught.value.message == "tier: miniature has no tier draft; it has: quality, turbo."


# -- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAINTERS)
@pytest.mark.parametrize("ratio", AspectRatio)
def test_a_draft_of_a_shape_is_delivered_as_it_is_painted(name: str, ratio: AspectRatio) -> None:
    model = MODELS[name]
    plan, warnings = planned(model, tier="draft", aspect_ratio=ratio.value)
    size = (plan.width, plan.height)
    assert size == (plan.paint_width, plan.paint_height)
    assert 0.85 * DRAFT_PIXELS < prod(size) <= DRAFT_PIXELS
    assert {side % model.grid for side in size} == {0}
    own = model.sizes[ratio]
    assert size[0] / size[1] == pytest.approx(own[0] / own[1], rel=0.06)
    assert warnings == []


def test_a_draft_of_a_size_is_painted_small_and_resized_and_says_so() -> None:
    plan, warnings = planned(MODELS["Qwen-Image"], tier="draft", width=1664, height=928)
    assert (plan.width, plan.height) == (1664, 928)
    assert (plan.paint_width, plan.paint_height) == (1024, 576)
    [warning] = warnings
    assert "Painted at 1024x576 and resized to 1664x928" in warning
    assert "to 589824 pixels" in warning
    assert "at tier draft" in warning


def test_a_draft_that_is_small_anyway_is_painted_as_ever() -> None:
    for size in ((768, 768), (512, 512), (1024, 576)):
        plan, warnings = planned(MODELS["Qwen-Image"], tier="draft", width=size[0], height=size[1])
        assert ((plan.paint_width, plan.paint_height), warnings) == (size, [])


@pytest.mark.parametrize("tier", ["quality", "balanced", "turbo"])
def test_the_other_tiers_paint_native_sizes(tier: str) -> None:
    plan, warnings = planned(MODELS["Qwen-Image"], tier=tier)
    assert (plan.width, plan.height, plan.paint_width, plan.paint_height) == (1328, 1328, 1328, 1328)
    assert warnings == []


@pytest.mark.parametrize("name", EDITORS)
@given(width=st.integers(64, 4096), height=st.integers(64, 4096))
def test_a_draft_of_an_edit_has_its_images_shape(name: str, width: int, height: int) -> None:
    plan, _ = planned(MODELS[name], [(width, height)], tier="draft")
    assert prod((plan.paint_width, plan.paint_height)) <= DRAFT_PIXELS
    if max(width / height, height / width) <= MODELS[name].max_aspect:
        assert (plan.width, plan.height) == (plan.paint_width, plan.paint_height)
        assert plan.width / plan.height == pytest.approx(width / height, rel=0.1)


@pytest.mark.parametrize("name", [name for name in PAINTING if Tier.DRAFT in MODELS[name].tiers])
@given(frame=st.integers(600, 4096), left=st.integers(0, 500), side=st.integers(1, 600))
def test_a_drafts_region_is_the_same_window_painted_smaller(name: str, frame: int, left: int, side: int) -> None:
    model, box = MODELS[name], (left, left, min(frame, left + side), min(frame, left + side))
    own, draft = (region_pass(box, (frame, frame), model.limits_at(tier)) for tier in (Tier.QUALITY, Tier.DRAFT))
    most = model.recipe(Tier.DRAFT).max_pixels
    assert most is not None
    assert own.window == draft.window
    assert draft.width * draft.height <= min(most, own.width * own.height)
    assert draft.width % model.grid == draft.height % model.grid == 0


def test_a_drafts_outpaint_has_the_same_passes_painted_smaller() -> None:
    model = MODELS["Qwen-Image"]
    place, canvas = (0, 0, 1328, 1328), (3000, 1328)
    own, draft = (growing_passes(place, canvas, model.limits_at(tier)) for tier in (Tier.QUALITY, Tier.DRAFT))
    assert [each.window for each in own] == [each.window for each in draft]
    assert max(each.width * each.height for each in draft) <= DRAFT_PIXELS < own[0].width * own[0].height


def test_a_drafts_part_says_that_it_was_resized(miniature: Model) -> None:
    asked = {"operation": "outpaint", "prompt": "", "left": 64, "tier": "draft"}
    _, warnings = plan_of(asked, {"miniature": miniature}, [(128, 128)])
    assert any("resized: miniature paints parts of 12544 pixels at tier draft" in each for each in warnings)


@pytest.mark.usefixtures("one_thread")
def test_a_draft_changes_no_pixel_beyond_what_may_change(miniature: Model) -> None:
    studio = QwenImageGenerator("miniature", device="cpu", model_path=miniature.repository)
    before = Image.effect_noise((160, 160), 60).convert("RGB")
    made = one(studio.inpaint(before, prompt="a cat", region=(8, 8, 140, 140), tier="draft", num_inference_steps=2))
    for image in (before, made):
        assert image.size == (160, 160)
    assert made.tobytes() != before.tobytes()
    grown = one(studio.outpaint(before, prompt="a cat", left=40, tier="draft", num_inference_steps=2))
    assert grown.crop((40, 0, 200, 160)).tobytes() == before.tobytes()
    for image in (before, made):
        image.paste(0, (8, 8, 148, 148))
    assert made.tobytes() == before.tobytes()


# -- own figures ---------------------------------------------------------------------------------------------------


@pytest.fixture
def distilled(miniature: Model) -> Model:
    """The miniature with a turbo that a LoRA would distil, and tiers that none does."""
    turbo, own = Recipe(4, 1.0, lora=TierLora("somewhere", "four.safetensors")), Recipe(20, 3.0)
    return replace(miniature, tiers={Tier.QUALITY: own, Tier.BALANCED: own, Tier.TURBO: turbo})


@pytest.mark.parametrize(
    ("asked", "warnings"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"steps": 4, "guidance_scale": 1}, [], id="its own"),
        pytest.param({"steps": 9}, ["turbo is made for 4 steps; with 9 its pictures may be worse."], id="steps"),
        pytest.param(
            {"guidance_scale": 2.5},
            ["turbo is made for guidance_scale 1; with 2.5 its pictures may be worse."],
            id="guidance_scale",
        ),
    ],
)
def test_own_figures_with_a_distilled_tier_are_taken_and_warned_of(
    distilled: Model, asked: dict[str, Any], warnings: list[str]
) -> None:
    plan, told = planned(distilled, tier="turbo", **asked)
    assert (plan.steps, plan.guidance_scale) == (asked.get("steps", 4), asked.get("guidance_scale", 1))
    assert [each for each in told if "made for" in each] == warnings


def test_own_figures_with_other_tiers_are_nobodys_business(distilled: Model) -> None:
    for tier in ("quality", "balanced"):
        _, told = planned(distilled, tier=tier, steps=3, guidance_scale=2)
        assert not [each for each in told if "made for" in each]


# -- what was stored before there were four tiers ------------------------------------------------------------------

STORED = {
    "kind": "paint", "model": "miniature", "tier": "turbo", "precision": "fp16", "prompt": "a red apple",
    "negative_prompt": " ", "width": 64, "height": 64, "paint_width": 64, "paint_height": 64, "steps": 8,
    "guidance_scale": 3.0, "seeds": [7], "output_format": "png",
}  # fmt: skip
"""The plan of a turbo of 8 steps with guidance, as it lies in a database."""


@pytest.mark.usefixtures("one_thread")
def test_a_plan_of_before_is_painted_with_its_own_figures(engine: QwenEngine) -> None:
    plan, told = read_plan(STORED), []
    assert isinstance(plan, PaintPlan)
    [made] = engine.paint(plan, (), lambda phase, step, _: told.append((phase, step)))
    assert [step for phase, step in told if phase == "denoising"] == list(range(1, 9))
    assert (made.image.size, made.seed) == ((64, 64), 7)


def test_its_request_sent_again_keeps_its_figures_and_is_warned_of_them(miniature: Model) -> None:
    said = recovered("generate", STORED, [])
    assert said is not None
    plan, warnings = plan_of(said, {"miniature": miniature})
    assert (plan.tier, plan.steps, plan.guidance_scale, plan.seeds) == (Tier.TURBO, 8, 3.0, (7,))
    assert [each.partition(";")[0] for each in warnings if "made for" in each] == [
        "turbo is made for 4 steps",
        "turbo is made for guidance_scale 1",
    ]
