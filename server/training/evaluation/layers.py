"""How well pictures are taken apart: every layer beside the true one, of pairs that training never saw."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from qwen_image_studio.contract.words import OutputFormat, Tier, Way
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.painting.qwen import QwenEngine, open_engine
from qwen_image_studio.planning.plan import PaintPlan
from training.data.layers import Canvas, Stack, draw_stack, over, taken_apart, to_layer
from training.data.scenes import TOKEN
from training.data.sprites import Atlas, load_atlas

NAME = "miniature-layered"
SEED = 21
COUNTS = (2, 3, 4)  # layers that are asked for, by turns
GOOD = 0.9  # least IoU of a layer, as a mean over its place
NEAR = 2  # pixels beside an edge that count to it
LEVELS = 2  # of 255 that a recomposed picture may be off, away from edges
VISIBLE = 0.002  # share of a clear layer in which something may be seen
KEPT_CLEAR, EXACT = 0.9, 0.999

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Task:
    """A picture to take apart."""

    stack: Stack
    count: int
    """Number of layers."""
    seed: int


@dataclass(frozen=True)
class Found:
    """What became of one picture."""

    count: int
    overlaps: tuple[float | None, ...]
    """IoU of each layer with objects and the true one, from the back; None for one that is to be clear."""
    shown: tuple[float, ...]
    """Share of each of them in which something is to be seen."""
    ground: float
    """Mean difference of the background's colours where it is covered, in levels."""
    same: float
    """Share of the pixels away from edges at which the recomposed picture is within `LEVELS` of the input."""
    away: float
    """Share of the pixels that are away from edges."""


def tasks_of(count: int) -> list[Task]:
    """Return pictures to take apart, of held-out pairs alone."""
    rng = np.random.default_rng(SEED)
    return [Task(draw_stack(rng, unseen=True), COUNTS[number % len(COUNTS)], number) for number in range(count)]


def measure(tasks: Sequence[Task], weights: Path, cache: Path, workers: int | None = None) -> Iterator[Found]:
    """Take every picture apart with these weights, and say in order what became of it; `cache` has the drawings."""
    workers = workers or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, get_context("spawn"), _open, (weights, cache)) as pool:
        yield from pool.map(_find, tasks)


_HERE: list[tuple[QwenEngine, Atlas]] = []
"""This process's own, once it is open."""


def _open(weights: Path, cache: Path) -> None:
    torch.set_num_threads(1)
    _HERE[:] = [(engine_of(weights), load_atlas(cache))]


def engine_of(weights: Path) -> QwenEngine:
    """Return an engine with these weights, on the processor."""
    return open_engine({NAME: replace(MODELS[NAME], repository=str(weights))}, "cpu")


def _find(task: Task) -> Found:
    return found(task, *_HERE[0])


def found(task: Task, engine: QwenEngine, atlas: Atlas) -> Found:
    """Take one picture apart and compare the layers with the true ones."""
    true = taken_apart(task.stack, task.count, atlas)
    picture = Image.fromarray(to_layer(over(true))).convert("RGB")
    *layers, whole = [one.image for one in engine.paint(plan_of(task.count, picture.size, task.seed), [picture])]
    alphas = [np.asarray(layer)[..., 3] > 127 for layer in layers]
    masks = [layer[..., 3] > 0.5 for layer in true]
    overlaps = [_overlap(*both) if both[1].any() else None for both in zip(alphas[1:], masks[1:], strict=True)]
    covered = np.any(masks[1:], axis=0)
    behind = np.abs(np.asarray(layers[0]).astype(float)[..., :3] - true[0][..., :3])[covered]
    off = np.abs(np.asarray(whole.convert("RGB")).astype(int) - np.asarray(picture).astype(int)).max(axis=2)
    away = ~edges_of(true)
    return Found(
        task.count,
        tuple(overlaps),
        tuple(float(alpha.mean()) for alpha in alphas[1:]),
        float(behind.mean()) if behind.size else 0.0,
        float((off[away] <= LEVELS).mean()),
        float(away.mean()),
    )


def plan_of(count: int, size: tuple[int, int], seed: int, prompt: str = "") -> PaintPlan:
    """Return the plan to take a picture of that size apart as the server does, without a prompt by default."""
    row = MODELS[NAME]
    recipe = row.recipe()
    return PaintPlan(
        model=NAME,
        tier=Tier.QUALITY,
        prompt=prompt,
        negative_prompt=row.negative_prompt,
        width=size[0],
        height=size[1],
        paint_width=size[0] // TOKEN * TOKEN,
        paint_height=size[1] // TOKEN * TOKEN,
        steps=recipe.steps,
        guidance_scale=1.0,
        seeds=(seed,),
        output_format=OutputFormat.PNG,
        way=Way.LAYERS,
        layers=count,
    )


def edges_of(layers: Sequence[Canvas]) -> Mask:
    """Return where any true layer is neither clear nor opaque, or borders on what is, and `NEAR` pixels around."""
    edges = np.zeros(layers[0].shape[:2], dtype=bool)
    for layer in layers:
        alpha = layer[..., 3]
        high, low = ndimage.maximum_filter(alpha, 3), ndimage.minimum_filter(alpha, 3)
        edges |= (high - low > 0.02) | ((alpha > 0.02) & (alpha < 0.98))
    grown: Mask = ndimage.binary_dilation(edges, iterations=NEAR)
    return grown


def _overlap(one: Mask, other: Mask) -> float:
    """Return what two masks have in common, of what either has: IoU."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def report(weights: Path, cache: Path, count: int) -> tuple[list[str], bool]:
    """Return the figures over so many pictures in lines, and whether all bounds are met."""
    results = list(measure(tasks_of(count), weights, cache))
    lines = [f"Taken apart: {count} pictures of unseen pairs, into {', '.join(map(str, COUNTS))} layers by turns."]
    good = True

    def line(name: str, value: str, bound: str = "", *, met: bool = True) -> None:
        nonlocal good
        good = good and met
        state = "  " if not bound else "ok" if met else "NO"
        lines.append(f"{state}   {name:<58}{value:>9}{'  ' + bound if bound else ''}")

    for place in range(max(COUNTS) - 1):
        values = [one.overlaps[place] for one in results if place < len(one.overlaps)]
        there = [value for value in values if value is not None]
        if not there:
            continue
        mean = float(np.mean(there))
        line(
            f"layer {place + 1}: IoU with the true one, {len(there)} of them", f"{mean:.3f}", ">= 0.9", met=mean >= GOOD
        )
        line(
            f"  the median, and the share with {GOOD} or more",
            f"{np.median(there):.3f}, {np.mean(np.array(there) >= GOOD):.0%}",
        )
    clear = [
        shown <= VISIBLE
        for one in results
        for value, shown in zip(one.overlaps, one.shown, strict=True)
        if value is None
    ]
    if clear:
        share = float(np.mean(clear))
        line(
            f"layers for which there is no object: clear, of {len(clear)}",
            f"{share:.1%}",
            ">= 90%",
            met=share >= KEPT_CLEAR,
        )
    line("background behind objects: off by, in levels of 255", f"{np.mean([one.ground for one in results]):.1f}")
    same = float(np.average([one.same for one in results], weights=[one.away for one in results]))
    line(f"recomposed: pixels away from edges within {LEVELS} levels", f"{same:.3%}", ">= 99.9%", met=same >= EXACT)
    line(f"  pixels that are more than {NEAR} from an edge", f"{np.mean([one.away for one in results]):.1%}")
    return lines, good
