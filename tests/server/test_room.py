"""Room for references: counted before anything is loaded, what leaves the card for them, and what fits nowhere."""

import gc
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Precision, Tier, Way
from qwen_image_studio.loading.memory import Machine, MemoryPlan, plan_memory
from qwen_image_studio.loading.room import Spare
from qwen_image_studio.models.architectures import GIB
from qwen_image_studio.models.needs import job_bytes
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.painting import qwen
from qwen_image_studio.painting.foreseeing import spared, warning_of
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.painting.sparing import Rung, Sparing
from qwen_image_studio.planning.plan import PaintPlan
from tests.support.pictures import digest, picture
from tests.support.plans import a_plan, painted

EDIT, UNIFIED = "Qwen-Image-Edit-2509", "Qwen-Image-2.1"
RTX_4090, RTX_5090, A100_40, L40S, H100 = 23.99, 31.84, 40.0, 44.99, 79.65
MEGAPIXEL = 1024 * 1024


def an_edit(model: str, **changed: Any) -> PaintPlan:
    size = {"width": 1024, "height": 1024, "paint_width": 1024, "paint_height": 1024}
    guided = {"guidance_scale": MODELS[model].recipe().guidance_scale, "precision": Precision.BF16}
    return a_plan(**{"model": model, "way": Way.EDIT, **size, **guided, **changed})


def memory_of(card_gib: float, *names: str) -> tuple[MemoryPlan, Mapping[str, Model]]:
    models = {name: MODELS[name] for name in names}
    plan = plan_memory(models, Machine(card_gib, 200, (8, 9)))
    assert plan is not None
    return plan, models


def found(card_gib: float, model: str, count: int, *others: str, **changed: Any) -> Spare:
    plan, models = memory_of(card_gib, model, *others)
    return spared(an_edit(model, **changed), MODELS[model], count, plan, models, "cuda:0")


def test_each_reference_is_counted_with_what_is_kept_of_it() -> None:
    def needs(model: str, count: int, *, guided: bool = False) -> float:
        return job_bytes(MODELS[model], Way.EDIT, MEGAPIXEL, count * MEGAPIXEL, guided=guided) / GIB

    assert needs(EDIT, 3) - needs(EDIT, 2) == pytest.approx(0.35, abs=0.01)
    # 4096 tokens, of each keys and values of 32 layers, 4096 wide, in bf16; and its share of the first pass.
    assert needs(UNIFIED, 10) - needs(UNIFIED, 9) == pytest.approx(2 + 0.47, abs=0.01)
    assert needs(UNIFIED, 10, guided=True) - needs(UNIFIED, 10) == pytest.approx(21.0, abs=0.1)
    assert needs(EDIT, 3, guided=True) == needs(EDIT, 3), "nothing is kept there"


@pytest.mark.parametrize(
    ("card", "model", "count", "spare"),
    [
        (RTX_4090, EDIT, 3, Spare.NOTHING),
        (H100, UNIFIED, 10, Spare.NOTHING),
        (L40S, UNIFIED, 5, Spare.NOTHING),
        (L40S, UNIFIED, 10, Spare.ENCODER),
        (A100_40, UNIFIED, 10, Spare.WEIGHTS),
        (RTX_5090, UNIFIED, 5, Spare.NOTHING),
        (RTX_5090, UNIFIED, 10, Spare.WEIGHTS),
        (RTX_4090, UNIFIED, 3, Spare.WEIGHTS),
    ],
)
def test_what_leaves_a_card_for_references(card: float, model: str, count: int, spare: Spare) -> None:
    assert found(card, model, count) is spare


def test_other_models_leave_before_the_model_itself() -> None:
    plan, models = memory_of(H100, UNIFIED, EDIT)
    assert plan.together
    wanted = [spared(an_edit(UNIFIED), MODELS[UNIFIED], count, plan, models, "cuda:0") for count in (1, 10)]
    assert wanted == [Spare.NOTHING, Spare.OTHERS]


def test_what_fits_nowhere_is_refused_with_the_number_that_does() -> None:
    with pytest.raises(StudioError) as refused:
        found(RTX_4090, UNIFIED, 10)
    assert (refused.value.code, refused.value.param) == ("out_of_memory", "image")
    assert refused.value.message == (
        "image: 10 images need 26.4 GiB on cuda:0, where 21.1 are left beside Qwen-Image-2.1; send 7 at most or ask "
        "for tier draft, which shows them smaller."
    )
    assert found(RTX_4090, UNIFIED, 7) is Spare.WEIGHTS
    assert found(RTX_4090, UNIFIED, 10, tier=Tier.DRAFT, paint_width=768, paint_height=768) is Spare.WEIGHTS


def test_a_machine_that_is_not_known_and_a_description_are_left_alone() -> None:
    plan, models = memory_of(RTX_4090, UNIFIED)
    model = MODELS[UNIFIED]
    assert spared(an_edit(UNIFIED), model, 10, None, models, "cpu") is Spare.NOTHING
    assert spared(an_edit(UNIFIED, way=Way.GENERATE), model, 10, plan, models, "cuda:0") is Spare.NOTHING


def test_nothing_is_loaded_for_what_does_not_fit() -> None:
    memory, models = memory_of(RTX_4090, UNIFIED)
    nowhere = {name: replace(model, repository="nowhere") for name, model in models.items()}
    engine = QwenEngine(nowhere, "cuda:0", memory=memory)
    told: list[str] = []
    with pytest.raises(StudioError, match="send 7 at most"):
        next(engine.paint(an_edit(UNIFIED), [picture()] * 10, lambda *said: told.append(said[0])))
    assert told == []


# what was foreseen is done


@pytest.mark.usefixtures("one_thread")
def test_what_was_foreseen_changes_no_picture_and_is_told(miniature: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {name: replace(miniature, name=name, input_pixels=64 * 64) for name in ("old", "new")}
    engine = QwenEngine(rows, "cpu")
    shown = [picture(), picture("blue")]
    before = painted(engine, shown, model="old")
    painted(engine, model="new")
    other = weakref.ref(engine._weights.parts(rows["new"], Precision.FP32)["transformer"])
    monkeypatch.setattr(qwen, "spared", lambda *_: Spare.OTHERS)
    [once] = engine.paint(a_plan(model="old", way=Way.EDIT), shown)
    assert [digest(once.image)] == before
    assert once.warnings[-1] == (
        "The memory that 2 images were to need was counted before: the text encoder left the card once the texts were "
        "encoded, and the other models left it before; the picture is the same, but took longer."
    )
    gc.collect()
    assert other() is None


class Weighing:
    """Weights that only note what is asked of them."""

    device = "cuda:0"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def stream(self, *_: Any) -> bool:
        self.asked.append("stream")
        return True

    def settle(self, *_: Any) -> None:
        self.asked.append("settle")


@pytest.mark.parametrize(
    ("spare", "rungs", "asked"),
    [
        (Spare.NOTHING, set(), []),
        (Spare.ENCODER, {Rung.ENCODER}, []),
        (Spare.OTHERS, {Rung.ENCODER, Rung.ALONE}, []),
        (Spare.WEIGHTS, {Rung.ENCODER, Rung.ALONE, Rung.STREAM}, ["stream", "settle"]),
    ],
)
def test_the_ladder_begins_where_it_was_foreseen(spare: Spare, rungs: set[Rung], asked: list[str]) -> None:
    weights: Any = Weighing()
    with Sparing(weights, MODELS[UNIFIED], Precision.BF16, tiled_pixels=1, foreseen=spare) as ladder:
        assert ladder._taken == rungs
        assert ladder.warnings == ()
    assert weights.asked == asked


def test_nothing_is_told_where_all_fits() -> None:
    assert warning_of(Spare.NOTHING, 3) == ()
    assert "1 image was to need" in warning_of(Spare.ENCODER, 1)[0]
