"""``python -m benchmarks.fp8_ablation``: how much each kind of linear layer loses in fp8, for any weights and device.

A picture is painted in the model's own format, and what its transformer was asked and answered is kept. Then it is
asked the same again with some layers in fp8: each kind alone, and all but that kind. The figure is the norm of the
difference divided by that of the answer, as the mean over the steps. It says nothing about pictures.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import nn

from qwen_image_studio.contract.words import AspectRatio, Way
from qwen_image_studio.loading.fp8 import MODULATION, Choice, in_blocks, to_fp8
from qwen_image_studio.loading.weights import Weights
from qwen_image_studio.models.families import Sources
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.painting.qwen import open_pipeline

PROMPTS = ("a red apple on a blue background", "绿色背景上的一只猫")
ROW = "{:26} {:>7} {:>9} {:>12} {:>14}"
IN_BLOCK = re.compile(r"transformer_blocks\.(?P<block>\d+)\.(?P<kind>.+)")


@dataclass(frozen=True)
class Asked:
    """One forward pass: what the transformer was given, and what it answered."""

    named: dict[str, Any]
    answer: torch.Tensor


def main() -> None:
    """Measure every kind, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", default="miniature", choices=[*MODELS])
    arguments.add_argument("--weights", help="folder of the weights, by default the model's own")
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--steps", type=int, default=10)
    arguments.add_argument("--side", type=int, help="pixels of the picture, by default the model's native square")
    options = arguments.parse_args()
    row = MODELS[options.model]
    model = replace(row, repository=options.weights or row.repository)
    if options.device == "cpu" and model.cpu_threads is not None:
        torch.set_num_threads(model.cpu_threads)
    parts = Weights(options.device).parts(model, model.precisions[0])
    side = options.side or model.sizes[AspectRatio.SQUARE][0]
    asked = forward_passes(parts, model, options.steps, side)
    for line in table(parts["transformer"], asked):
        print(line, flush=True)


def forward_passes(parts: Mapping[str, Any], model: Model, steps: int, side: int) -> list[Asked]:
    """Return the forward passes of a picture for each prompt; an editing model edits a gray square."""
    family = model.family(next(way for way in (Way.GENERATE, Way.EDIT) if way in model.families))
    sources = Sources([Image.new("RGB", (side, side), "gray")], side**2, side**2, model.vision_pixels, model.input_grid)
    guidance = {"true_cfg_scale": model.recipe().guidance_scale, "negative_prompt": model.negative_prompt}
    found: list[Asked] = []

    def keep(_: nn.Module, args: Any, named: dict[str, Any], answer: Any) -> None:
        found.append(Asked(named, answer[0].clone()))

    hook = parts["transformer"].register_forward_hook(keep, with_kwargs=True)
    try:
        for prompt in PROMPTS:
            open_pipeline(family, parts)(
                **family.keywords(sources),
                **(guidance if family.takes_guidance else {}),
                prompt=prompt,
                width=side,
                height=side,
                num_inference_steps=steps,
                generator=torch.Generator("cpu").manual_seed(0),
                output_type="latent",
            )
    finally:
        hook.remove()
    return found


def table(transformer: nn.Module, asked: Sequence[Asked]) -> Iterator[str]:
    """Yield the lines: all matrices of the blocks but modulation, then each kind, the first and the last block."""
    names = names_of(transformer, in_blocks(transformer, MODULATION))
    yield ROW.format("in fp8", "layers", "of those", "it alone", "all but it")
    yield _line("all", names, names, transformer, asked)
    yield _line("all by default", names_of(transformer, in_blocks(transformer)), names, transformer, asked)
    for kind, some in groups(names).items():
        yield _line(kind, some, names, transformer, asked)


def names_of(transformer: nn.Module, chosen: Choice) -> list[str]:
    """Return the names of the linear layers that are chosen."""
    return [name for name, part in transformer.named_modules() if isinstance(part, nn.Linear) and chosen(name, part)]


def groups(names: Sequence[str]) -> dict[str, list[str]]:
    """Return layers by their place in a block, and those of the first and of the last block."""
    found: dict[str, list[str]] = {}
    blocks: dict[int, list[str]] = {}
    for name in names:
        place = IN_BLOCK.fullmatch(name)
        assert place is not None, name
        found.setdefault(place["kind"], []).append(name)
        blocks.setdefault(int(place["block"]), []).append(name)
    return {**found, "first block": blocks[min(blocks)], "last block": blocks[max(blocks)]}


def _line(title: str, some: Sequence[str], every: Sequence[str], transformer: nn.Module, asked: Sequence[Asked]) -> str:
    rest = [name for name in every if name not in some]
    share = _numbers(transformer, some) / _numbers(transformer, every)
    alone, without = (f"{loss(transformer, chosen, asked):.4f}" if chosen else "" for chosen in (some, rest))
    return ROW.format(title, len(some), f"{share:.1%}", alone, without)


def _numbers(transformer: nn.Module, names: Sequence[str]) -> int:
    return sum(transformer.get_parameter(f"{name}.weight").numel() for name in names)


@torch.no_grad()
def loss(transformer: nn.Module, names: Sequence[str], asked: Sequence[Asked]) -> float:
    """Return how far answers are off with these layers in fp8: norm of the difference by norm, mean over the passes."""
    with narrowed(transformer, names):
        off = [(transformer(**one.named)[0] - one.answer).norm() / one.answer.norm() for one in asked]
    return float(torch.stack(off).mean())


@contextmanager
def narrowed(transformer: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Bring layers to fp8 while the context is open, with what comes into them."""
    wide = {name: transformer.get_submodule(name) for name in names}
    to_fp8(transformer, lambda name, _: name in wide, rounds=True)
    try:
        yield
    finally:
        for name, linear in wide.items():
            transformer.set_submodule(name, linear)


if __name__ == "__main__":
    main()
