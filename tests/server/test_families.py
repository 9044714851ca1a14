"""Families, tiers, precisions and names: what a row of the table of models says, and what is asked of its families."""

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Precision, Tier, Way
from qwen_image_studio.loading import weights as weights_module
from qwen_image_studio.loading.weights import DTYPES
from qwen_image_studio.models.architectures import GIB
from qwen_image_studio.models.families import FAMILIES, Family
from qwen_image_studio.models.families.qwen_image import QwenImage
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.models.table import MODELS, Model, find_model
from qwen_image_studio.models.tiers import Recipe
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.plan import PaintPlan, Variant
from qwen_image_studio.settings import Settings
from tests.support.pictures import picture
from tests.support.plans import a_plan, painted, plan_of

pytestmark = pytest.mark.usefixtures("one_thread")


def planned(models: Mapping[str, Model], **asked: Any) -> tuple[PaintPlan, list[str]]:
    """The plan of a request that paints "a red apple", and its warnings."""
    return plan_of({"operation": "generate", "prompt": "a red apple", **asked}, models)


# a new family: a class and two rows


class Plain(QwenImage):
    """The miniature's parts and pipeline, as a family that paints from noise alone and without guidance."""

    takes_guidance = starts_from_image = takes_strength = holds = False

    def __init__(self) -> None:
        self.calls: list[set[str]] = []

    def pipeline(self) -> Any:
        """Return a pipeline that notes with which arguments it is called."""
        calls, base = self.calls, super().pipeline()

        def call(pipeline: Any, **named: Any) -> Any:
            calls.append(set(named))
            return base.__call__(pipeline, **named)

        return type(base.__name__, (base,), {"__call__": call, "__module__": base.__module__})


@pytest.fixture
def plain(miniature: Model, monkeypatch: pytest.MonkeyPatch) -> Plain:
    """A family that the registry knows, and a model of it that the table knows."""
    family = Plain()
    row = replace(
        miniature,
        name="Plain-1",
        aliases=("plain",),
        families={Way.GENERATE: "plain"},
        tiers={Tier.QUALITY: Recipe(steps=3, guidance_scale=1.0)},
        miniature=False,
    )
    monkeypatch.setitem(FAMILIES, "plain", family)
    monkeypatch.setitem(MODELS, row.name, row)
    return family


def test_a_family_that_is_added_by_rows_paints(plain: Plain) -> None:
    models = configured_models(Settings(models=("plain",)), card_gib=0)
    assert list(models) == ["Plain-1"]
    made, warnings = planned(models, guidance_scale=5, width=64, height=64, seed=1)
    assert (made.model, made.steps, made.guidance_scale) == ("Plain-1", 3, 1.0)
    assert "guidance_scale and negative_prompt have no effect: Plain-1 paints without guidance." in warnings
    engine = QwenEngine(models, "cpu")
    (one,) = engine.paint(made, ())
    assert one.image.size == (64, 64)
    given = {"prompt", "width", "height", "num_inference_steps", "max_sequence_length", "generator"}
    assert plain.calls == [given | {"callback_on_step_end"}]
    assert engine.loaded == Variant("Plain-1", Tier.QUALITY, Precision.BF16)


def test_a_family_without_guidance_runs_its_transformer_once_a_step(plain: Plain) -> None:
    engine = QwenEngine(MODELS, "cpu")
    engine.load("Plain-1")
    row = MODELS["Plain-1"]
    calls: list[None] = []
    transformer = engine._weights.parts(row, Precision.BF16)["transformer"]
    hook = transformer.register_forward_pre_hook(lambda *_: calls.append(None))
    try:
        painted(engine, model="Plain-1", steps=3, guidance_scale=4.0)
    finally:
        hook.remove()
    assert len(calls) == 3


def test_a_family_that_cannot_start_from_an_image_is_not_asked_to(plain: Plain) -> None:
    models = {"Plain-1": MODELS["Plain-1"]}
    request = {"operation": "generate", "prompt": "a red apple", "image": "i" * 26}
    with pytest.raises(StudioError, match="image: Plain-1 cannot start from an image; use the edit operation"):
        plan_of(request, models, [(64, 64)])
    engine = QwenEngine(models, "cpu")
    list(engine.paint(a_plan(model="Plain-1"), [picture()]))
    assert not {"latents", "sigmas"} & plain.calls[0]


@pytest.mark.parametrize(("held", "given"), [(True, {"latents", "sigmas"}), (False, set())])
def test_pixels_are_held_where_the_family_can(
    plain: Plain, monkeypatch: pytest.MonkeyPatch, held: bool, given: set[str]
) -> None:
    from tests.server.test_parts import DESCRIPTION, whole_of

    monkeypatch.setattr(plain, "holds", held)
    mask = Image.new("RGB", (64, 64), "white")
    mask.paste("black", (0, 0, 32, 64))
    made = a_plan(**DESCRIPTION, model="Plain-1", passes=whole_of((64, 64)), mask=True)
    (one,) = QwenEngine(MODELS, "cpu").paint(made, [picture(), mask])
    assert plain.calls[0] & {"latents", "sigmas"} == given
    assert one.image.crop((0, 0, 32, 64)).tobytes() == picture().crop((0, 0, 32, 64)).tobytes()


def test_knowing_families_imports_no_torch() -> None:
    code = (
        "import sys; from qwen_image_studio.models.table import MODELS;"
        "[model.family(way).takes_guidance for model in MODELS.values() for way in model.families];"
        "print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("row", MODELS.values(), ids=MODELS)
def test_a_row_asks_no_more_than_its_families_can(row: Model) -> None:
    assert set(row.families.values()) <= FAMILIES.keys()
    assert Tier.QUALITY in row.tiers
    assert row.precisions
    assert row.licence
    assert 0 <= row.max_images <= max(row.family(way).references for way in row.families)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_family_names_its_parts_without_loading_torch(family: Family) -> None:
    assert set(family.part_names) == family.parts().keys()


def test_the_newest_family_differs_in_all_that_traits_tell() -> None:
    family = MODELS["Qwen-Image-2.1"].family(Way.EDIT)
    assert MODELS["Qwen-Image-2.1"].recipe().guidance_scale == 1.0
    assert (family.alpha, family.key_value_cache, family.counts_tokens, family.references) == (True, True, False, 10)
    assert family.parts()["vae"] is not FAMILIES["qwen-image"].parts()["vae"]


# tiers


def test_turbo_paints_with_four_steps_and_no_guidance(engine: QwenEngine, miniature: Model) -> None:
    models = {"miniature": miniature}
    turbo = planned(models, tier="turbo", width=64, height=64)[0]
    assert (turbo.tier, turbo.steps, turbo.guidance_scale) == (Tier.TURBO, 4, 1.0)
    told: list[tuple[str, int, int]] = []
    list(engine.paint(turbo, (), lambda *said: told.append(said)))
    assert [step for phase, step, _ in told if phase == "denoising"] == list(range(1, 5))
    assert engine.loaded == Variant("miniature", Tier.TURBO, Precision.BF16)
    assert planned(models, tier="turbo", steps=5)[0].steps == 5


# precisions


@pytest.mark.parametrize(
    ("model", "asked", "given"),
    [
        ("Qwen-Image", None, Precision.BF16),
        ("Qwen-Image", Precision.FP32, Precision.FP32),
        ("Qwen-Image", Precision.FP16, Precision.BF16),
        ("miniature", Precision.FP16, Precision.BF16),
    ],
)
def test_a_precision_in_which_a_model_is_wrong_is_replaced(
    model: str, asked: Precision | None, given: Precision
) -> None:
    found, warning = MODELS[model].precision(asked)
    assert found is given
    replaced = f"{model} does not paint right in fp16; bf16 was taken instead."
    assert warning == (replaced if asked is Precision.FP16 else None)


def test_weights_are_kept_apart_by_precision(miniature: Model) -> None:
    engine = QwenEngine({"miniature": miniature}, "cpu", DTYPES)
    for precision in (Precision.BF16, Precision.FP32):
        engine.load("miniature", precision)
        assert engine.loaded == Variant("miniature", Tier.QUALITY, precision)
    both = [engine._weights.parts(miniature, precision) for precision in (Precision.BF16, Precision.FP32)]
    for name in ("text_encoder", "vae", "transformer"):
        assert [parts[name].dtype for parts in both] == [torch.bfloat16, torch.float32]


def test_one_precision_goes_where_both_do_not_fit(miniature: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = QwenEngine({"miniature": miniature}, "cpu", DTYPES)
    engine.load("miniature", Precision.FP32)
    whole = int(0.5 * GIB)
    monkeypatch.setattr(weights_module, "memory_of", lambda device: (whole, whole))
    engine.load("miniature", Precision.BF16)
    assert not engine._weights.holds(miniature, Precision.FP32)
    assert engine._weights.holds(miniature, Precision.BF16)


def test_a_processor_computes_every_precision_in_the_same_weights(miniature: Model) -> None:
    engine = QwenEngine({"miniature": miniature}, "cpu")
    both = [engine._weights.parts(miniature, precision) for precision in (Precision.BF16, Precision.FP32)]
    assert both[0]["transformer"] is both[1]["transformer"]
    assert both[0]["transformer"].dtype is torch.float32


# names


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("qwen-image-20b", "Qwen-Image"),
        ("QWEN-IMAGE-20B", "Qwen-Image"),
        ("qwen/qwen-image", "Qwen-Image"),
        ("qwen-image-edit", "Qwen-Image-Edit-2509"),
        ("Qwen/Qwen-Image-Edit-2511", "Qwen-Image-Edit-2511"),
        ("Qwen/Qwen-Image-2.1", "Qwen-Image-2.1"),
    ],
)
def test_a_model_is_known_by_its_aliases_in_any_case(name: str, model: str) -> None:
    assert find_model(name, MODELS).name == model
    elsewhere = replace(MODELS[model], repository="/weights/here")
    assert find_model(name, {model: elsewhere}) is elsewhere


def test_no_two_models_are_called_alike() -> None:
    names = Counter(name.casefold() for row in MODELS.values() for name in {row.name, row.repository, *row.aliases})
    twice = [name for name, count in names.items() if count > 1]
    assert twice == [], "replace() copies aliases; give the new row its own, or aliases=()"


def test_an_alias_of_a_large_model_is_answered_by_the_miniature_where_that_is_all(miniature: Model) -> None:
    made, warnings = planned({"miniature": miniature}, model="qwen-image-20b")
    assert made.model == "miniature"
    assert "qwen-image-20b is not on this server; the miniature answered for it." in warnings


# hooks


class Unseen(Exception):
    """What a caller raises who wants no more previews."""


def test_what_show_raises_comes_through_as_it_is(engine: QwenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_image_studio.painting.preview.PACE_S", 0.0)
    raised = Unseen()

    def show(preview: Image.Image) -> None:
        raise raised

    before = painted(engine)
    with pytest.raises(Unseen) as caught:
        list(engine.paint(a_plan(), (), show=show))
    assert caught.value is raised
    assert painted(engine) == before


def test_a_preview_without_memory_is_given_up_and_the_picture_is_not(
    engine: QwenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("qwen_image_studio.painting.preview.PACE_S", 0.0)
    monkeypatch.setattr("qwen_image_studio.painting.preview.heading_for", fail)
    shown: list[Image.Image] = []
    (one,) = engine.paint(a_plan(steps=4), (), show=shown.append)
    assert shown == []
    assert one.image.tobytes() == next(engine.paint(a_plan(steps=4), ())).image.tobytes()


def test_a_hold_without_memory_is_told_in_a_sentence(engine: QwenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    before = painted(engine)
    monkeypatch.setattr("qwen_image_studio.painting.hold.LatentHold.kept", fail)
    with pytest.raises(StudioError, match="64x64 does not fit into the memory of cpu") as caught:
        list(engine.paint(a_plan(strength=0.5, steps=4), [picture()]))
    assert caught.value.code == "out_of_memory"
    assert painted(engine) == before


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ({"mask": True}, "mark a smaller part"),
        ({"place": (0, 0, 64, 64)}, "send a smaller image, or add less to it"),
    ],
)
def test_out_of_memory_advises_what_the_plan_allows(engine: QwenEngine, shape: dict[str, Any], advice: str) -> None:
    from tests.server.test_parts import whole_of

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError

    engine.load("miniature")
    row = engine._models["miniature"]
    hook = engine._weights.parts(row, Precision.BF16)["transformer"].register_forward_pre_hook(fail)
    made = a_plan(way=Way.GENERATE, passes=whole_of((64, 64)), **shape)
    try:
        with pytest.raises(StudioError) as caught:
            list(engine.paint(made, [picture(), Image.new("RGB", (64, 64), "white")]))
    finally:
        hook.remove()
    assert f"cpu; {advice}, or send fewer input images." in caught.value.message
