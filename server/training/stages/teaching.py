"""What a distilled tier learns from: the shipped weights paint as for quality, and every picture's way is kept.

The way of a picture is its noise, what is left of the noise at each of the student's levels, and the end. Between two
of the teacher's steps it is a straight line, so it can be read at any level.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from qwen_image_studio.painting.schedule import set_levels
from training.data.edits import Edit
from training.data.scenes import Scene
from training.data.sprites import Atlas
from training.stages.attention import make_seeing, make_trainable
from training.stages.encoder import Encoded
from training.stages.eyes import Eyes
from training.stages.flow import OBJECT_WEIGHT, pack
from training.stages.run import DEVICE, fast_numbers, torch_random_of
from training.stages.table import SceneEncoder, Table
from training.stages.text import NOTHING, Prompter, Views

Shapes = tuple[tuple[int, int, int], ...]
"""Moments, height and width in tokens of the picture that is painted, and of the sources behind it."""


@dataclass(frozen=True)
class Asked:
    """What a batch of pictures is painted from."""

    text: Encoded
    sources: torch.Tensor
    """Tokens of the clean pictures behind the noisy one, none for a prompt alone. (n x tokens x 64)"""
    shapes: Shapes

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """Return the shape of the tokens that are painted."""
        _, height, width = self.shapes[0]
        return len(self.text[0]), height * width, self.sources.shape[2]

    def doubled(self, other: Encoded) -> "Asked":
        """Return these pictures, and after them the same with other texts."""
        text = tuple(torch.cat(both) for both in zip(self.text, other, strict=True))
        return Asked((text[0], text[1]), self.sources.repeat(2, 1, 1), self.shapes)


@dataclass(frozen=True)
class Lesson:
    """A batch of pictures with the way that the teacher went to each."""

    asked: Asked
    way: torch.Tensor
    """The picture at each of the student's levels, and its end. (levels + 1 x n x tokens x 64)"""
    weight: torch.Tensor
    """How much each token counts. (n x tokens)"""


def noise_left(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, tokens: int) -> list[float]:
    """Return the share of noise before each step of a picture of so many tokens, and after the last, as painting has
    them.
    """
    set_levels(scheduler, tokens, np.linspace(1.0, 1 / steps, steps))
    levels: list[float] = scheduler.sigmas.tolist()
    return levels


def flow(transformer: QwenImageTransformer2DModel, asked: Asked, noisy: torch.Tensor, level: float) -> torch.Tensor:
    """Return the flow that the transformer predicts, from picture to noise. (n x tokens x 64)"""
    with fast_numbers():
        predicted = transformer(
            hidden_states=torch.cat([noisy, asked.sources], dim=1),
            encoder_hidden_states=asked.text[0],
            encoder_hidden_states_mask=asked.text[1],
            timestep=torch.full((len(noisy),), level, device=DEVICE),
            img_shapes=[list(asked.shapes)] * len(noisy),
            return_dict=False,
        )[0]
    slope: torch.Tensor = predicted[:, : noisy.shape[1]].float()
    return slope


def guided(told: torch.Tensor, empty: torch.Tensor, scale: float) -> torch.Tensor:
    """Return the flow led away from that of an empty prompt, as long for each token as the one that was told.

    Method: Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022, with the length that the pipelines give it.
    """
    led = empty + scale * (told - empty)
    longer: torch.Tensor = told.norm(dim=-1, keepdim=True) / led.norm(dim=-1, keepdim=True)
    return led * longer


class Teacher:
    """The weights of a folder, painting with many steps and guidance."""

    def __init__(self, weights: Path, atlas: Atlas, steps: int, scale: float, *, fast: bool = False) -> None:
        """`fast` compiles the blocks."""
        named: Mapping[str, Any] = {"torch_dtype": torch.float32, "local_files_only": True}
        self.scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(weights / "scheduler")
        self._steps, self._scale = steps, scale
        self._transformer = transformer_of(weights)
        make_trainable(self._transformer, fast=fast)
        self._encoder = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            weights / "text_encoder", dtype=torch.float32, local_files_only=True
        )
        self._encoder.eval().requires_grad_(False)
        make_seeing(self._encoder)
        torch.nn.Module.to(self._encoder, DEVICE)
        tokenizer = Qwen2Tokenizer.from_pretrained(weights / "tokenizer", local_files_only=True)
        self._prompter, self._edit = Prompter(tokenizer), Prompter(tokenizer, "edit")
        self._eyes = Eyes(atlas)
        vae = AutoencoderKLQwenImage.from_pretrained(weights / "vae", **named)
        self._table = Table([], torch.empty(0), SceneEncoder(vae, vae.config, atlas))

    @torch.no_grad()
    def paint(
        self, rng: np.random.Generator, scenes: Sequence[Scene], prompts: Sequence[str], levels: Sequence[float]
    ) -> Lesson:
        """Return the way from noise to a picture of each prompt; the scenes are those that the prompts tell."""
        texts = [
            self._prompter.encode(self._encoder, *self._prompter.tokens(told))
            for told in (prompts, [NOTHING] * len(prompts))
        ]
        shapes = ((1, scenes[0].height, scenes[0].width),)
        asked = Asked(texts[0], torch.zeros(len(scenes), 0, 64, device=DEVICE), shapes)
        shown = self._table.shown(scenes)
        return Lesson(asked, self._way(rng, asked, texts[1], levels), 1 + OBJECT_WEIGHT * shown)

    @torch.no_grad()
    def edit(
        self, rng: np.random.Generator, edits: Sequence[Edit], prompts: Sequence[str], levels: Sequence[float]
    ) -> Lesson:
        """Return the way from noise to each edited picture; the edits all have the same number of sources."""
        views = self._eyes.views([scene for edit in edits for scene in edit.sources])
        texts = [self._seeing(told, views, len(edits[0].sources)) for told in (prompts, [NOTHING] * len(prompts))]
        columns = [list(column) for column in zip(*(edit.sources for edit in edits), strict=True)]
        targets = [edit.target for edit in edits]
        shapes = tuple((1, scene.height, scene.width) for scene in (targets[0], *(column[0] for column in columns)))
        sources = torch.cat([pack(self._table.latents(column)) for column in columns], dim=1)
        asked = Asked(texts[0], sources, shapes)
        shown = self._table.shown(targets) | self._table.shown(columns[0])
        return Lesson(asked, self._way(rng, asked, texts[1], levels), 1 + OBJECT_WEIGHT * shown)

    def _seeing(self, prompts: Sequence[str], views: Views, pictures: int) -> Encoded:
        return self._edit.encode(self._encoder, *self._edit.tokens(prompts, views.seen[:pictures]), views)

    def _way(self, rng: np.random.Generator, asked: Asked, nothing: Encoded, levels: Sequence[float]) -> torch.Tensor:
        """Return the pictures at these levels, the first of which is 1 and the last 0, on the way from noise."""
        both = asked.doubled(nothing)
        picture = torch.randn(asked.noise_shape, generator=torch_random_of(rng)).to(DEVICE)
        own = noise_left(self.scheduler, self._steps, asked.noise_shape[1])
        way = [picture]
        for level, following in itertools.pairwise(own):
            told, empty = flow(self._transformer, both, picture.repeat(2, 1, 1), level).chunk(2)
            slope = guided(told, empty, self._scale)
            way += [picture + (one - level) * slope for one in levels if following <= one < level]
            picture = picture + (following - level) * slope
        return torch.stack(way)


def transformer_of(weights: Path) -> QwenImageTransformer2DModel:
    """Return the folder's transformer, which learns nothing."""
    transformer = QwenImageTransformer2DModel.from_pretrained(
        weights / "transformer", torch_dtype=torch.float32, local_files_only=True
    )
    torch.nn.Module.to(transformer, DEVICE)
    return transformer.eval().requires_grad_(False)
