"""Views: the diffusers pipelines as the engine uses them, one object per call over shared weights.

A pipeline keeps a call's state in itself and in its scheduler, so two calls on one object spoil each other. A view is
cheap (no weights are copied) and is thrown away after its call. It is made with the class constructor:
``from_pipe()`` would cast the shared weights to float32.
"""

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import torch
from diffusers import QwenImage21Pipeline, QwenImageEditPlusPipeline, QwenImagePipeline
from PIL import Image

from qwen_image_studio.models.table import Family, Model

StepEnd = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]
"""diffusers' ``callback_on_step_end``: (pipeline, step, timestep, tensors); has to return a dict."""


class _EncodesOnce:
    """A pipeline that encodes each text once: the images of a job differ by their seeds only."""

    previews = True
    """Whether small pictures can be made of its latents."""
    anchors = True
    """Whether a painting can start from a picture's latents and keep to them."""
    meters = True
    """Whether its tokens are counted as `cost` does."""

    def _get_qwen_prompt_embeds(self, prompt: str | list[str], *others: Any, **named: Any) -> Any:
        known: dict[str, Any] = self.__dict__.setdefault("_encoded", {})
        key = prompt if isinstance(prompt, str) else "\0".join(prompt)
        if key not in known:
            known[key] = super()._get_qwen_prompt_embeds(prompt, *others, **named)  # type: ignore[misc]
        return known[key]

    def forget_texts(self) -> None:
        """Encode the texts anew next time: an editing model reads them together with its pictures."""
        self.__dict__.pop("_encoded", None)

    @property
    def tokens(self) -> Any:
        """The tokenizer of the texts."""
        return self.tokenizer  # type: ignore[attr-defined]

    def keywords(self, model: Model, images: Sequence[Image.Image], first_pixels: int) -> dict[str, Any]:
        """What this family's call takes beside prompts, size, steps, guidance and seed.

        `first_pixels` is the area to which the first image is brought; the others have the model's own.
        """
        raise NotImplementedError


class GenerateView(_EncodesOnce, QwenImagePipeline):  # type: ignore[misc]
    """Text to image."""

    def keywords(self, model: Model, images: Sequence[Image.Image], first_pixels: int) -> dict[str, Any]:
        """The pipeline cuts encodings at 512 tokens unless told otherwise; 1024 is its limit."""
        return {"max_sequence_length": 1024}


_FOR_VAE = -1
"""In place of an area, where the pipeline asks at which size the VAE is to see the next source."""


class EditView(_EncodesOnce, QwenImageEditPlusPipeline):  # type: ignore[misc]
    """One to three images and an instruction to an image."""

    def keywords(self, model: Model, images: Sequence[Image.Image], first_pixels: int) -> dict[str, Any]:
        """The sources, and to which sizes they are brought."""
        return {"image": list(images), "model": model, "first_pixels": first_pixels}

    @torch.no_grad()
    def __call__(self, *, model: Model, first_pixels: int, **named: Any) -> Any:
        """Edit with the sources at our sizes, which the pipeline itself takes from its module's globals."""
        areas = itertools.chain([first_pixels], itertools.repeat(model.input_pixels))

        def sides(area: int, aspect: float) -> tuple[int, int]:
            return sides_for(next(areas) if area == _FOR_VAE else area, aspect, model.input_grid)

        call = with_globals(
            QwenImageEditPlusPipeline.__call__.__wrapped__,
            VAE_IMAGE_SIZE=_FOR_VAE,
            CONDITION_IMAGE_SIZE=model.vision_pixels,
            calculate_dimensions=sides,
        )
        return call(self, **named)


class UnifiedView(_EncodesOnce, QwenImage21Pipeline):  # type: ignore[misc]
    """Qwen-Image-2.1: text, and images where there are any, to an image."""

    # Its VAE is another one, with transparency: neither the chart of previews nor anchors are made for it. Its blocks
    # are others too, and it keeps keys and values from step to step.
    previews = anchors = meters = False

    @property
    def tokens(self) -> Any:
        """The tokenizer of the texts."""
        return self.processor.tokenizer

    def keywords(self, model: Model, images: Sequence[Image.Image], first_pixels: int) -> dict[str, Any]:
        """The sources, and the side in pixels of the square to whose area all of them are brought."""
        return {"image": list(images) or None, "output_resolution": math.isqrt(first_pixels)}


View = GenerateView | EditView | UnifiedView
_VIEWS: Mapping[Family, type[View]] = {
    Family.QWEN_IMAGE: GenerateView,
    Family.QWEN_IMAGE_EDIT_PLUS: EditView,
    Family.QWEN_IMAGE_21: UnifiedView,
}


def open_view(family: Family, parts: Mapping[str, Any]) -> View:
    """A pipeline of the family over these parts, with a scheduler of its own."""
    own = {**parts, "scheduler": copy.deepcopy(parts["scheduler"])}
    view = _VIEWS[family](**own)
    view.set_progress_bar_config(disable=True)
    return view


def sides_for(area: int, aspect: float, grid: int) -> tuple[int, int]:
    """Width and height of about that area in pixels and that aspect, in multiples of the grid.

    Equal to the pipeline's own ``calculate_dimensions`` where the grid is 32.
    """
    width = math.sqrt(area * aspect)
    return round(width / grid) * grid, round(width / aspect / grid) * grid


def with_globals(function: FunctionType, **values: Any) -> FunctionType:
    """The same function, seeing these globals instead of its module's: nothing outside this copy changes."""
    unknown = values.keys() - function.__globals__.keys()
    if unknown:
        raise LookupError(f"{function.__qualname__} has no global {', '.join(sorted(unknown))}")
    copied = FunctionType(
        function.__code__,
        {**function.__globals__, **values},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied
