"""The step cache: what runs and what is skipped, what that does to pictures, and that nothing of it outlives a call."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Tier, Way
from qwen_image_studio.loading.preparing import Preparation
from qwen_image_studio.models.architectures import MINIATURE
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.models.tiers import StepCache
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.engine import Painted
from qwen_image_studio.planning.plan import PaintPlan, Pass
from tests.server.test_engine import part, write_unified
from tests.support.pictures import digest, picture
from tests.support.plans import a_plan, painted

pytestmark = pytest.mark.usefixtures("one_thread")
SOME, ALWAYS, NEVER = StepCache(0.25), StepCache(float("inf")), StepCache(-1.0)
"""Rules by which some of `STEPS` are skipped, all that may be, and none."""
BALANCED = MODELS["miniature"].recipe(Tier.BALANCED).step_cache or NEVER
STEPS = 8
PROMPTS = (
    "a red apple on a blue background",
    "a big cat on a green background",
    "a small bicycle on a yellow background",
    "a cake on a pink background",
    "蓝色背景上的红苹果",
    "绿色背景上的大猫",
    "黄色背景上的小自行车",
    "粉色背景上的蛋糕",
)


def engine_with(model: Model, rule: StepCache, **more: Any) -> QwenEngine:
    """An engine that paints alike at all tiers, but skips by that rule at ``balanced``."""
    tiers = {**dict.fromkeys(Tier, model.recipe()), Tier.BALANCED: replace(model.recipe(), step_cache=rule)}
    row = replace(model, tiers=tiers)
    return QwenEngine({row.name: row}, "cpu", **more)


@pytest.fixture(scope="module")
def engines(miniature: Model) -> Mapping[StepCache, QwenEngine]:
    row = replace(miniature, input_pixels=64 * 64)
    return {rule: engine_with(row, rule) for rule in (SOME, ALWAYS, NEVER)}


@pytest.fixture(scope="module")
def balanced(engines: Mapping[StepCache, QwenEngine]) -> QwenEngine:
    return engines[SOME]


def plan(**changed: Any) -> PaintPlan:
    return a_plan(**{"tier": Tier.BALANCED, "steps": STEPS, **changed})


def at(engine: QwenEngine, images: tuple[Image.Image, ...] = (), **changed: Any) -> str:
    """Digest of the picture of such a plan."""
    [found] = painted(engine, images, **{"tier": Tier.BALANCED, "steps": STEPS, **changed})
    return found


@contextmanager
def runs(engine: QwenEngine, model: str = "miniature") -> Iterator[Counter[int]]:
    """How often each block has run while the context is open."""
    found: Counter[int] = Counter()
    blocks = part(engine, "transformer", model).transformer_blocks
    hooks = [
        block.register_forward_pre_hook(lambda *_, index=index: found.update([index]))
        for index, block in enumerate(blocks)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


# What runs


CALLS: Mapping[str, tuple[tuple[Image.Image, ...], dict[str, Any], int, int]] = {
    "generate": ((), {}, STEPS, 2),
    "no guidance": ((), {"guidance_scale": 1.0}, STEPS, 1),
    "edit": ((picture(), picture("blue")), {"way": Way.EDIT}, STEPS, 2),
    "variation": ((picture(),), {"strength": 0.75}, 6, 2),
    "short variation": ((picture(),), {"strength": 0.5}, 4, 2),
    "two passes with hold": (
        (picture(), Image.new("L", (64, 64), 255)),
        {"mask": True, "passes": (Pass(window=(0, 0, 64, 64), width=64, height=64),) * 2},
        STEPS,
        2,
    ),
}
"""Images, what differs in the plan, steps of one call and forward passes of one step."""


@pytest.mark.parametrize("name", CALLS)
def test_the_first_four_and_the_last_step_run_whatever_the_threshold(
    engines: Mapping[StepCache, QwenEngine], name: str
) -> None:
    images, changed, steps, passes = CALLS[name]
    with runs(engines[ALWAYS]) as found:
        list(engines[ALWAYS].paint(plan(**changed), images))
    computed = min(steps, 5)
    times = len(changed.get("passes", (None,)))
    assert found[5] == times * computed * passes
    assert found[0] == times * (computed * passes + steps - computed), "for the decision, once a step"


@pytest.mark.parametrize("name", CALLS)
def test_where_no_step_is_skipped_the_picture_is_the_same_to_the_bit(
    engines: Mapping[StepCache, QwenEngine], name: str
) -> None:
    images, changed, *_ = CALLS[name]
    engine = engines[NEVER]
    under_watch, plain = (
        next(engine.paint(plan(tier=tier, **changed), images)) for tier in (Tier.BALANCED, Tier.TURBO)
    )
    assert digest(under_watch.image) == digest(plain.image)
    assert under_watch.compute_saved == plain.compute_saved


def test_one_decision_holds_for_both_passes(balanced: QwenEngine) -> None:
    with runs(balanced) as found:
        list(balanced.paint(plan(steps=20), ()))
    computed, rest = divmod(found[5], 2)
    assert rest == 0
    assert found[0] == found[5] + 20 - computed
    assert 5 <= computed < 15


def test_what_was_saved_is_what_has_not_run(engines: Mapping[StepCache, QwenEngine]) -> None:
    with runs(engines[ALWAYS]) as found:
        [one] = engines[ALWAYS].paint(plan(prompt="", guidance_scale=1.0), ())
    assert one.compute_saved == pytest.approx(1 - found.total() / (6 * STEPS), abs=1e-4)


# What it does to pictures


def psnr(one: Painted, other: Painted) -> float:
    """Peak signal-to-noise ratio of two pictures, in decibels."""
    pixels = [np.asarray(each.image, float) for each in (one, other)]
    return float(10 * np.log10(255**2 / np.square(pixels[0] - pixels[1]).mean()))


def test_balanced_pictures_are_those_of_quality_to_the_eye(miniature: Model) -> None:
    engine, noises = engine_with(miniature, BALANCED), list[float]()
    with runs(engine) as found:
        for seed, prompt in enumerate(PROMPTS):
            asked = {"prompt": prompt, "seeds": (seed,), "steps": 20}
            size = dict.fromkeys(("width", "height", "paint_width", "paint_height"), 128)
            both = [next(engine.paint(plan(tier=tier, **asked, **size), ())) for tier in (Tier.QUALITY, Tier.BALANCED)]
            noises.append(psnr(*both))
    blocks = 6 * 2 * 20 * len(PROMPTS)  # of quality, which is counted too
    assert min(noises) >= 35
    assert np.mean(noises) >= 48, "as the forecasts make it; without them it would be 46"
    assert found.total() - blocks <= 0.66 * blocks


# Nothing outlives a call


class Cancelled(Exception):
    """What a caller raises to stop."""


def test_a_cancel_at_any_step_leaves_nothing_to_the_next_call(balanced: QwenEngine) -> None:
    expected = at(balanced), at(balanced, paint_width=96, width=96)
    for last in range(STEPS):

        def cancel(phase: str, step: int, steps: int, last: int = last) -> None:
            if (phase, step) == ("denoising", last + 1):
                raise Cancelled

        with pytest.raises(Cancelled):
            list(balanced.paint(plan(prompt="a blue bird"), (), cancel))
        assert (at(balanced), at(balanced, paint_width=96, width=96)) == expected


def test_quality_is_the_same_before_and_after_balanced(balanced: QwenEngine) -> None:
    before = at(balanced, tier=Tier.QUALITY)
    with runs(balanced) as found:
        at(balanced)
    assert found[5] < 2 * STEPS, "a step was skipped"
    assert at(balanced, tier=Tier.QUALITY) == before


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), ValueError("wrong")])
@pytest.mark.parametrize("run", [1, 9])
def test_after_an_error_in_a_block_the_blocks_are_what_they_were(
    balanced: QwenEngine, error: Exception, run: int
) -> None:
    transformer = part(balanced, "transformer", "miniature")
    expected, blocks, names = at(balanced), transformer.transformer_blocks, [*transformer.state_dict()]
    left = iter(range(run))

    def fail(*_: object) -> None:
        if next(left, None) is None:
            raise error

    hook = blocks[3].register_forward_pre_hook(fail)
    try:
        with pytest.raises(StudioError):
            list(balanced.paint(plan(), ()))
    finally:
        hook.remove()
    assert transformer.transformer_blocks is blocks
    assert [*transformer.state_dict()] == names
    assert at(balanced) == expected


def test_a_call_within_a_step_is_a_call_of_its_own(balanced: QwenEngine) -> None:
    alone = {tier: at(balanced, tier=tier) for tier in (Tier.BALANCED, Tier.QUALITY)}
    inner = list[str]()

    def paint(phase: str, step: int, steps: int) -> None:
        if (phase, step) == ("denoising", 5):
            inner.extend(at(balanced, tier=tier) for tier in alone)

    [outer] = balanced.paint(plan(), (), paint)
    assert [digest(outer.image), *inner] == [alone[Tier.BALANCED], *alone.values()]


# Other transformers and compiled blocks


def test_compiled_blocks_paint_the_same(miniature: Model, balanced: QwenEngine) -> None:
    compiled = engine_with(miniature, SOME, preparation=Preparation(compiles=True, backend="eager"))
    assert at(compiled) == at(balanced)


def test_blocks_of_one_stream_with_kept_keys_and_values_are_skipped_too(miniature: Model, tmp_path: Path) -> None:
    write_unified(tmp_path, Path(miniature.repository) / "tokenizer")
    row = replace(MODELS["Qwen-Image-2.1"], repository=str(tmp_path), network=MINIATURE, input_pixels=64 * 64)
    engine = engine_with(row, ALWAYS)
    with runs(engine, row.name) as found:
        skipped = at(engine, (picture(),), model=row.name)
    assert found == Counter({0: 5 * 2 + 3, 1: 5 * 2})
    assert skipped != at(engine, (picture(),), model=row.name, tier=Tier.QUALITY)
