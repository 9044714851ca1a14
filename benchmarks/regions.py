"""``make bench-pictures``: what a masked edit saves by painting only the part that may change.

The same picture is painted by a full-frame masked pipeline and by region, with the same steps, in turns. For the
text-to-image family that pipeline is diffusers' own; for editing models no library has one, so it is ours with a
window of the whole frame. The miniature's weights paint at 512 x 512 here, as a large model would. FLOPs are the
transformer's, counted by torch; beside them stands what the formula of `painting.cost` says from the tokens, and
the same for the 20B model.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import QwenImageInpaintPipeline
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import Row, show
from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.words import Operation, Way
from qwen_image_studio.imaging.masks import Mask, region_mask
from qwen_image_studio.models.architectures import forward_flops
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.plan import PaintPlan
from tests.support.plans import plan_of

SIDE = 512
FRAME = (SIDE, SIDE)
# Beside 1/16 of the frame and 1/4 of it: the least share of FLOPs to save, and of time where one is asked for.
BOXES = {"1/16": (128, 0.85, 0.70), "1/4": (256, 0.60, None)}
PROMPTS = {Operation.GENERATE: "a cat on a blue background", Operation.EDIT: "replace the apple with a cat"}
KINDS = {Operation.GENERATE: "description", Operation.EDIT: "instruction"}
LARGE = {"width": 3072, "layers": 60}
"""The transformer of Qwen-Image (QwenLM/Qwen-Image, transformer/config.json: 24 heads of 128, 60 layers)."""
TEXT_TOKENS = 60


def main() -> int:
    """Measure both families and both masks, and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--turns", type=int, default=3, help="paintings per side to time")
    arguments.add_argument("--steps", type=int, default=4)
    options = arguments.parse_args()
    model = replace(MODELS["miniature"], paint_pixels=(64 * 64, SIDE * SIDE), region_pixels=64 * 64)
    engine = QwenEngine({model.name: model}, "cpu")
    engine.load(model.name)
    rows = [
        row
        for family in (Operation.GENERATE, Operation.EDIT)
        for name in BOXES
        for row in compared(engine, model, family, name, options)
    ]
    print(f"\nregion against the whole frame of {SIDE}x{SIDE}, {options.steps} steps, {options.turns} turns")
    show(rows)
    return 0 if all(row[-1] for row in rows) else 1


def compared(engine: QwenEngine, model: Model, family: Operation, name: str, options: argparse.Namespace) -> list[Row]:
    """The rows of one family and one mask."""
    side, least_flops, least_time = BOXES[name]
    planned, mask = masked(model, family, side, options.steps)
    picture = noise()
    saved: list[float | None] = []

    def by_region() -> None:
        saved.append(next(iter(engine.paint(planned, [picture, mask.image]))).compute_saved)

    whole = whole_frame(engine, model, planned, mask, picture)
    flops = 1 - counted(engine, by_region) / counted(engine, whole)
    pairs = []
    for turn in range(options.turns + 1):  # the first warms both sides up
        pairs.append((timed(by_region), timed(whole)))
        print(f"\r{family.value} {name}: turn {turn}/{options.turns}", end="", file=sys.stderr, flush=True)
    faster = 1 - statistics.median(ours / theirs for ours, theirs in pairs[1:])
    once = planned.passes[0]
    label = f"{family.value} family, mask {name} of the frame"
    wanted = "" if least_time is None else f">= {least_time:.0%}"
    return [
        (f"{label}: transformer FLOPs saved", f"{flops:.1%}", f">= {least_flops:.0%}", flops >= least_flops),
        ("  by the formula, as compute_saved reports it", f"{saved[-1]:.1%}", "", True),
        ("  the same for the 20B model at 1024x1024", f"{saved_by_large(family, side):.1%}", "", True),
        ("  wall time saved", f"{faster:.1%}", wanted, least_time is None or faster >= least_time),
        ("  painted", f"{once.width}x{once.height} of {SIDE}x{SIDE}", "", True),
    ]


def masked(model: Model, family: Operation, side: int, steps: int) -> tuple[PaintPlan, Mask]:
    """The plan of a masked edit of a square in the middle, and its mask."""
    start = (SIDE - side) // 2
    asked = {"operation": "inpaint", "prompt": PROMPTS[family], "prompt_kind": KINDS[family], "steps": steps, "seed": 1}
    mask = region_mask(Region(x=start, y=start, width=side, height=side), FRAME)
    planned, _ = plan_of(asked, {model.name: model}, [FRAME], mask)
    return planned, mask


def whole_frame(
    engine: QwenEngine, model: Model, planned: PaintPlan, mask: Mask, picture: Image.Image
) -> Callable[[], object]:
    """What paints the same plan over the whole frame."""
    if planned.way is Way.EDIT:
        everything = planned.passes[0].model_copy(update={"window": (0, 0, *FRAME), "width": SIDE, "height": SIDE})
        whole = planned.model_copy(update={"passes": (everything,)})
        return lambda: list(engine.paint(whole, [picture, mask.image]))
    parts = engine._weights.parts(model, model.precision()[0])
    pipeline = QwenImageInpaintPipeline(**{name: parts[name] for name in model.family(Way.GENERATE).parts()})
    pipeline.set_progress_bar_config(disable=True)
    named: dict[str, Any] = {
        "prompt": planned.prompt,
        "negative_prompt": planned.negative_prompt,
        "true_cfg_scale": planned.guidance_scale,
        "num_inference_steps": planned.steps,
        "strength": 1.0,
        "width": SIDE,
        "height": SIDE,
        "image": picture,
        "mask_image": mask.image,
    }
    return lambda: pipeline(**named, generator=torch.Generator("cpu").manual_seed(1))


def counted(engine: QwenEngine, paint: Callable[[], object]) -> float:
    """FLOPs of the transformer while something is painted, as torch counts them."""
    # Only the plain kernel of attention is made of operations that the counter knows on a processor.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        paint()
    by_module = counter.get_flop_counts()
    return float(sum(sum(by_module[name].values()) for name in by_module if name == "QwenImageTransformer2DModel"))


def saved_by_large(family: Operation, side: int) -> float:
    """What the formula says of Qwen-Image for a mask of the same share of 1024 x 1024."""
    model = next(each for each in MODELS.values() if not each.miniature and Way(family) in each.families)
    times = 2 if family is Operation.EDIT else 1
    scale = 1024 // SIDE
    start = (1024 - side * scale) // 2
    box = Region(x=start, y=start, width=side * scale, height=side * scale)
    asked = {"operation": "inpaint", "prompt": "a cat", "prompt_kind": KINDS[family]}
    planned, _ = plan_of(asked, {model.name: model}, [(1024, 1024)], region_mask(box, (1024, 1024)))
    once = planned.passes[0]
    part, whole = (
        forward_flops(times * model.family(Way(family)).tokens_of(size) + TEXT_TOKENS, **LARGE)
        for size in ((once.width, once.height), (1024, 1024))
    )
    return 1 - part / whole


def noise() -> Image.Image:
    """A picture; what it shows costs nothing."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))


def timed(paint: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    paint()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
