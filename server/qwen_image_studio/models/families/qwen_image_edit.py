"""Qwen-Image-Edit-2509 and -2511: a picture from up to three pictures and an instruction."""

import itertools
import math
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from qwen_image_studio.models.families.family import Sources
from qwen_image_studio.models.families.qwen_image import QwenImage
from qwen_image_studio.models.families.texts import EncodesOnce, PillowProcessor, with_mixin

_FOR_VAE = -1
"""Mark in place of an area, with which the pipeline asks for the size of the next source for the VAE."""


class QwenImageEdit(QwenImage):
    """The parts of Qwen-Image, with a processor for the pictures that the text encoder sees."""

    part_names = (*QwenImage.part_names, "processor")
    references = 3

    def parts(self) -> Mapping[str, Any]:
        """Return the class of each part of the pipeline."""
        from transformers import Qwen2VLProcessor

        return {**super().parts(), "processor": with_mixin(PillowProcessor, Qwen2VLProcessor)}

    def pipeline(self) -> Any:
        """Return diffusers' pipeline, which here encodes each text once and takes sources with their sizes."""
        from diffusers import QwenImageEditPlusPipeline

        return with_mixin(SizesSources, with_mixin(EncodesOnce, QwenImageEditPlusPipeline))

    def keywords(self, sources: Sources) -> dict[str, Any]:
        """Return the sources."""
        return {"sources": sources}


class SizesSources:
    """An edit pipeline that brings its sources to our sizes; diffusers' own takes them from its module's globals."""

    def __call__(self, *, sources: Sources, **named: Any) -> Any:
        """Edit the sources; the other keywords, and what is returned, are those of diffusers' pipeline."""
        import torch
        from diffusers import QwenImageEditPlusPipeline

        areas = itertools.chain([sources.first_pixels], itertools.repeat(sources.other_pixels))

        def sides(area: int, aspect: float) -> tuple[int, int]:
            return sides_for(next(areas) if area == _FOR_VAE else area, aspect, sources.grid)

        call = with_globals(
            QwenImageEditPlusPipeline.__call__.__wrapped__,
            VAE_IMAGE_SIZE=_FOR_VAE,
            CONDITION_IMAGE_SIZE=sources.vision_pixels,
            calculate_dimensions=sides,
        )
        with torch.no_grad():
            return call(self, image=list(sources.images), **named)


def sides_for(area: int, aspect: float, grid: int) -> tuple[int, int]:
    """Return the width and height with about that area in pixels and that aspect, in multiples of the grid.

    The result equals that of the pipeline's own ``calculate_dimensions`` where the grid is 32.
    """
    width = math.sqrt(area * aspect)
    return round(width / grid) * grid, round(width / aspect / grid) * grid


def with_globals(function: FunctionType, **values: Any) -> FunctionType:
    """Return a copy of the function that sees these globals instead of its module's; the original does not change.

    Raises LookupError for a global that the module does not have.
    """
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
