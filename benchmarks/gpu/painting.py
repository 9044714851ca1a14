"""A transformer of full size with random weights, and the steps of a picture painted with it."""

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel

from benchmarks.gpu.recording import Clock
from qwen_image_studio.models.tiers import Recipe
from qwen_image_studio.painting.schedule import set_levels

Architecture = Mapping[str, Any]
FULL: Architecture = {
    "num_layers": 60, "num_attention_heads": 24, "attention_head_dim": 128, "joint_attention_dim": 3584,
    "axes_dims_rope": (16, 56, 56),
}  # fmt: skip
TOY: Architecture = {
    "num_layers": 6, "num_attention_heads": 2, "attention_head_dim": 32, "joint_attention_dim": 64,
    "axes_dims_rope": (8, 12, 12),
}  # fmt: skip
"""Small enough for a processor, to see that every row works."""
PROMPT, NEGATIVE, INSTRUCTION = 96, 8, 260
"""Tokens of a long prompt, of a negative prompt that says nothing, and of an instruction with one picture."""
TOKEN = 16
"""Side in pixels of what one token covers."""
SCHEDULER: Mapping[str, Any] = {
    "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "base_image_seq_len": 256,
    "max_image_seq_len": 8192, "shift_terminal": 0.02, "time_shift_type": "exponential",
}  # fmt: skip
"""The config of the scheduler that comes with the 20B models."""


def random_transformer(architecture: Architecture, device: str, dtype: torch.dtype) -> QwenImageTransformer2DModel:
    """Return a transformer whose weights were made on the device."""
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            made = QwenImageTransformer2DModel(**architecture)
    finally:
        torch.set_default_dtype(before)
    return made.eval().requires_grad_(False)


def beside(transformer: QwenImageTransformer2DModel, architecture: Architecture) -> QwenImageTransformer2DModel:
    """Return another transformer over the same tensors, so that what is done to the modules of one spares the other."""
    with torch.device("meta"):
        other = QwenImageTransformer2DModel(**architecture)
    other.load_state_dict(transformer.state_dict(), assign=True)
    other.pos_embed = copy.deepcopy(transformer.pos_embed)  # its tables are no weights, and not in the state
    return other.eval().requires_grad_(False)


@dataclass(frozen=True)
class Picture:
    """What one picture is painted from; `references` are the sides in pixels of an edit's square sources."""

    width: int
    height: int
    references: tuple[int, ...] = ()

    @property
    def own(self) -> int:
        """Return the tokens of the picture itself."""
        return self.width // TOKEN * (self.height // TOKEN)

    @property
    def seen(self) -> int:
        """Return the tokens of the sources."""
        return sum((side // TOKEN) ** 2 for side in self.references)

    @property
    def texts(self) -> tuple[int, int]:
        """Return the tokens of what is said, and of the negative prompt."""
        seen_by_encoder = 188 * max(0, len(self.references) - 1)
        return (INSTRUCTION + seen_by_encoder, INSTRUCTION - 40) if self.references else (PROMPT, NEGATIVE)

    @property
    def shapes(self) -> list[list[tuple[int, int, int]]]:
        """Return the grids of tokens, as the transformer takes them."""
        sources = [(1, side // TOKEN, side // TOKEN) for side in self.references]
        return [[(1, self.height // TOKEN, self.width // TOKEN), *sources]]

    def __str__(self) -> str:
        """Name it: ``1024x1024``, and with sources ``1024x1024 + 2``."""
        size = f"{self.width}x{self.height}"
        return f"{size} + {len(self.references)}" if self.references else size


@dataclass(frozen=True)
class Painter:
    """A transformer and the ways in which it is called for a picture."""

    transformer: Any
    clock: Clock
    calling: Callable[[Any, int], AbstractContextManager[object]] = lambda scheduler, steps: nullcontext()
    """Opens whatever has to follow a call, for its scheduler and number of steps."""
    stepped: Callable[[], None] = lambda: None
    """Is told of the end of each step."""

    @property
    def _numbers(self) -> Mapping[str, Any]:
        weight = self.transformer.proj_out.weight
        return {"device": weight.device, "dtype": weight.dtype}

    @torch.no_grad()
    def steps(self, picture: Picture, recipe: Recipe, count: int) -> list[float]:
        """Return the seconds of `count` steps of a picture after its first, whose latents go through the scheduler as
        in diffusers' pipelines.

        Raises ArithmeticError where the latents are not finite: a card that computes those takes less power, and so its
        times say nothing.
        """
        scheduler = self._scheduler(picture, recipe, count + 2)  # the last step of all goes to no noise at all
        random = torch.Generator("cpu").manual_seed(1)

        def noise(tokens: int, channels: int) -> torch.Tensor:
            return torch.randn(1, tokens, channels, generator=random).to(**self._numbers)

        config = self.transformer.config
        latents, sources = noise(picture.own, config.in_channels), noise(picture.seen, config.in_channels)
        said, negative = (noise(tokens, config.joint_attention_dim) for tokens in picture.texts)
        marks = []
        with self.calling(scheduler, count + 2):
            for moment in scheduler.timesteps[: count + 1]:
                marks.append(self.clock.mark())
                flow = self._flow(picture, latents, sources, moment, said)
                if recipe.guidance_scale > 1:
                    other = self._flow(picture, latents, sources, moment, negative)
                    flow = guided(flow, other, recipe.guidance_scale)
                latents = scheduler.step(flow, moment, latents, return_dict=False)[0]
                self.stepped()
            marks.append(self.clock.mark())
        if not torch.isfinite(latents).all():
            raise ArithmeticError("the latents are not finite, so the times would say nothing")
        return [self.clock.between(first, last) for first, last in pairwise(marks[1:])]

    def _scheduler(self, picture: Picture, recipe: Recipe, steps: int) -> Any:
        """Return the scheduler as a pipeline sets it: on the transformer's device, for so many steps."""
        scheduler = FlowMatchEulerDiscreteScheduler(**{**SCHEDULER, **recipe.scheduler})
        set_levels(scheduler, picture.own, np.linspace(1.0, 1 / steps, steps), self._numbers["device"])
        scheduler.set_begin_index(0)
        return scheduler

    def _flow(
        self, picture: Picture, latents: torch.Tensor, sources: torch.Tensor, moment: torch.Tensor, text: torch.Tensor
    ) -> torch.Tensor:
        """Return what one forward pass predicts, made as the pipelines make it."""
        predicted: torch.Tensor = self.transformer(
            hidden_states=torch.cat([latents, sources], dim=1) if picture.seen else latents,
            timestep=moment.expand(1).to(latents.dtype) / 1000,
            encoder_hidden_states=text,
            encoder_hidden_states_mask=None,
            img_shapes=picture.shapes,
            attention_kwargs={},
            return_dict=False,
        )[0]
        return predicted[:, : picture.own]


def guided(told: torch.Tensor, other: torch.Tensor, scale: float) -> torch.Tensor:
    """Return the flow led away from the negative prompt's, as long for each token as the one that was told."""
    led = other + scale * (told - other)
    long: torch.Tensor = torch.norm(told, dim=-1, keepdim=True) / torch.norm(led, dim=-1, keepdim=True)
    return led * long
