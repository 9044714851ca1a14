"""``make bench-tiers``: how much faster each tier of the miniature paints than quality, in turns, on one thread.

A turn paints one prompt and seed at every tier, in an order drawn anew. The next turn paints another, since how much
may be skipped depends on the picture: held-out prompts in both languages, as the evaluation asks them. What counts is
the median of the ratios within turns. A picture is timed whole, with its texts, its VAE and its canvas.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence

from PIL import Image

from benchmarks import Row, show
from qwen_image_studio.contract.words import Tier
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.painting.qwen import QwenEngine
from tests.support.plans import plan_of
from training.evaluation.tasks import prompts

MODEL = MODELS["miniature"]
SIZE = (128, 128)
LEAST: Mapping[Tier, float] = {Tier.BALANCED: 1.7, Tier.TURBO: 5.0}
"""How many times faster than quality a picture from a prompt has to be."""
EDIT: Mapping[str, object] = {"operation": "edit", "prompt": "make the background green"}


def main() -> int:
    """Paint in turns, and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--turns", type=int, default=24, help="pictures to paint at each tier; half as many edits")
    options = arguments.parse_args()
    engine = QwenEngine({MODEL.name: MODEL}, "cpu")
    engine.load(MODEL.name)
    told = [{"operation": "generate", "prompt": each.prompt} for each in prompts(options.turns // 2 + 1)]
    edits = [EDIT] * (options.turns // 2 + 1)
    rows = [
        *compared(engine, "picture", told[: options.turns + 1], []),
        *compared(engine, "edit", edits, [Image.new("RGB", SIZE, "red")]),
    ]
    show(rows)
    return 0 if all(good for *_, good in rows) else 1


def compared(
    engine: QwenEngine, kind: str, asked: Sequence[Mapping[str, object]], images: Sequence[Image.Image]
) -> list[Row]:
    """Return the rows of one kind of picture: the median of the turns for each tier."""
    taken: dict[Tier, list[float]] = {tier: [] for tier in MODEL.tiers}
    order = random.Random(0)  # noqa: S311 - an order, no secret
    for turn, each in enumerate(asked):  # the first warms all of them up
        for tier in order.sample([*taken], len(taken)):
            spent = seconds(engine, each, images, tier, seed=turn)
            taken[tier] += [spent] if turn else []
    return [row_of(kind, tier, taken) for tier in taken]


def seconds(
    engine: QwenEngine, asked: Mapping[str, object], images: Sequence[Image.Image], tier: Tier, seed: int
) -> float:
    """Paint one picture, and return how long it took."""
    plan, _ = plan_of({**asked, "tier": tier.value, "seed": seed}, {MODEL.name: MODEL}, [SIZE] * len(images))
    began = time.perf_counter()
    list(engine.paint(plan, images))
    return time.perf_counter() - began


def row_of(kind: str, tier: Tier, taken: Mapping[Tier, Sequence[float]]) -> Row:
    """Return a tier's row: its median time, and how many times faster than quality it is."""
    ratios = [whole / own for whole, own in zip(taken[Tier.QUALITY], taken[tier], strict=True)]
    ratio, least = statistics.median(ratios), LEAST.get(tier, 0.0) if kind == "picture" else 0.0
    recipe = MODEL.recipe(tier)
    what = f"{kind}, {tier.value}: {recipe.steps} steps, guidance {recipe.guidance_scale:g}"
    figure = f"{ratio:.2f} x ({1000 * statistics.median(taken[tier]):.0f} ms)"
    return what, figure, f">= {least:g} x" if least else "", ratio >= least


if __name__ == "__main__":
    sys.exit(main())
