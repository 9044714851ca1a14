"""Linear layers in fp8: weights in e4m3 with a scale for each row, and with a scale for each token what comes in.

A scale per row and per token keeps outliers to themselves (e4m3: Micikevicius et al. 2022, arXiv 2209.05433). Cards of
capability 8.9 and above multiply both in fp8, at twice the rate of bf16. Elsewhere the weights are widened at every
use, which saves memory alone. Which layers stay wide is data, `WIDE`.
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from qwen_image_studio.models.cards import FP8_CAPABILITY

E4M3 = torch.float8_e4m3fn
MODULATION = ("*_mod.*", "*norm*")
"""Patterns of the names of layers in a transformer's blocks that depend on the timestep or normalise."""
WIDE = (*MODULATION, "*.attn.to_out.*", "transformer_blocks.{last}.*")
"""Patterns of those that stay in the transformer's own format, as do all outside of blocks; `last` is the last block.

Chosen by `benchmarks.fp8_ablation`: on the trained miniature, the image's output projections lose most for their size,
and after the last block nothing evens out what is lost in it. In a 20B transformer they take 0.73 GiB more than in fp8.
"""
_LARGEST = 448.0  # of e4m3
_LEAST_SCALE = 1e-12  # so that a row of zeros stays one
_MULTIPLE = 16  # of which the kernels want both sides of a matrix

Choice = Callable[[str, nn.Linear], bool]
"""Whether a linear layer is to be in fp8, by its full name in the module."""


def in_blocks(transformer: Any, wide: Sequence[str] = WIDE) -> Choice:
    """Return the choice of all linear layers in a transformer's blocks but those whose names match `wide`."""
    last = len(transformer.transformer_blocks) - 1
    patterns = [pattern.format(last=last) for pattern in wide]

    def choose(name: str, linear: nn.Linear) -> bool:
        return name.startswith("transformer_blocks.") and not any(fnmatchcase(name, each) for each in patterns)

    return choose


def multiplies_fp8(device: torch.device | str) -> bool:
    """Return whether a device multiplies matrices in fp8, and so is faster in it than in bf16."""
    place = torch.device(device)
    return place.type == "cuda" and torch.cuda.get_device_capability(place) >= FP8_CAPABILITY


def quantised(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a matrix in e4m3 of the same shape, and the scale of each row, (rows, 1) in float32."""
    scale = (rows.abs().amax(1, keepdim=True).float() / _LARGEST).clamp(min=_LEAST_SCALE)
    return (rows.float() / scale).to(E4M3), scale


class Fp8Linear(nn.Linear):
    """A linear layer whose weight is in e4m3. Its formats are its own: ``to()`` moves it, but casts nothing.

    It is an ``nn.Linear``, so PEFT puts LoRAs on it as on any other; `compute_dtype` tells PEFT their format.
    """

    scale: torch.Tensor
    """Scale of each row of the weight, (1, rows) in float32."""

    def __init__(self, linear: nn.Linear, device: torch.device | str | None = None, *, rounds: bool) -> None:
        """Convert a layer, on `device`, by default where it is.

        With `rounds`, what comes in is brought to e4m3 as well, as for a product in fp8; where the device has none, the
        same numbers are multiplied in a wider format. Without, the weight is widened at every use.
        """
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.compute_dtype = linear.weight.dtype
        self.rounds = rounds and linear.in_features % _MULTIPLE == linear.out_features % _MULTIPLE == 0
        self.register_buffer("scale", None)
        self.take(linear.weight if device is None else linear.weight.to(device))
        bias = linear.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(self.weight.device), requires_grad=False)

    @torch.no_grad()
    def take(self, weight: torch.Tensor) -> None:
        """Take a wide weight, (rows, columns), and stay on its device."""
        small, scale = quantised(weight.detach())
        self.weight = nn.Parameter(small, requires_grad=False)
        self.scale = scale.t()

    def wide(self) -> torch.Tensor:
        """Return the weight as it counts, in `compute_dtype`."""
        return (self.weight.float() * self.scale.t()).to(self.compute_dtype)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the layer's answer, (..., rows), in the format of what came in."""
        if not self.rounds:
            return functional.linear(input, self.wide().to(input.dtype), self.bias)
        small, scale = quantised(input.reshape(-1, self.in_features))
        answer = torch._scaled_mm(
            small,
            self.weight.t(),
            scale_a=scale,
            scale_b=self.scale,
            bias=self.bias,
            # On a card, products with a scale per row are given out in bf16 alone.
            out_dtype=torch.bfloat16 if input.is_cuda else input.dtype,
            use_fast_accum=True,
        )
        return answer.to(input.dtype).view(*input.shape[:-1], self.out_features)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "Fp8Linear":
        def moved(tensor: torch.Tensor) -> torch.Tensor:
            there = fn(tensor)
            return there if there.dtype is tensor.dtype else tensor.to(there.device)

        return cast(Fp8Linear, super()._apply(moved, recurse))  # type: ignore[no-untyped-call]


def to_fp8(
    module: nn.Module,
    chosen: Choice | None = None,
    device: torch.device | str | None = None,
    *,
    rounds: bool | None = None,
) -> int:
    """Bring the chosen linear layers of a module to fp8, in place; return how many.

    By default these are the ones of a transformer's blocks but `WIDE`; for a text encoder, pass another choice. Each is
    moved to `device` by itself, so that a module in the machine's memory is never wide on the device as a whole; what
    is not chosen stays where it is, for ``module.to(device)`` afterwards. `rounds` is that of `Fp8Linear`, by default
    whether the device multiplies fp8.
    """
    choose = chosen or in_blocks(module)
    found = [
        (name, part)
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and not isinstance(part, Fp8Linear) and choose(name, part)
    ]
    for name, linear in found:
        place = device or linear.weight.device
        small = Fp8Linear(linear, place, rounds=multiplies_fp8(place) if rounds is None else rounds)
        module.set_submodule(name, small.train(linear.training))
    return len(found)
