"""Qwen-Image-Edit-2509 and -2511: one to three pictures and an instruction to a picture."""

import itertools
import math
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from PIL import Image

from qwen_image_studio.models.families.family import Sources
from qwen_image_studio.models.families.qwen_image import QwenImage
from qwen_image_studio.models.families.texts import EncodesOnce, PillowProcessor, with_mixin

_FOR_VAE = -1
"""In place of an area, where the pipeline asks at which size the VAE is to see the next source."""


class QwenImageEdit(QwenImage):
    """The parts of Qwen-Image, and a processor for the pictures that the text encoder sees."""

    references = 3

    def parts(self) -> Mapping[str, Any]:
        """Return the class of each part of the pipeline."""
        from transformers import Qwen2VLProcessor

        return {**super().parts(), "processor": with_mixin(PillowProcessor, Qwen2VLProcessor)}

    def pipeline(self) -> Any:
        """Return diffusers' pipeline, which here encodes each text once."""
        from diffusers import QwenImageEditPlusPipeline

        return with_mixin(EncodesOnce, QwenImageEditPlusPipeline)

    def keywords(self, sources: Sources) -> dict[str, Any]:
        """Return the source pictures."""
        return {"image": list(sources.images)}

    def paint(self, pipeline: Any, sources: Sources, named: Mapping[str, Any]) -> Image.Image:
        """Edit with the sources at our sizes, which the pipeline itself takes from its module's globals."""
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
            picture: Image.Image = call(pipeline, **self.keywords(sources), **named).images[0]
        return picture


def sides_for(area: int, aspect: float, grid: int) -> tuple[int, int]:
    """Return width and height of about that area in pixels and that aspect, in multiples of the grid.

    Equal to the pipeline's own ``calculate_dimensions`` where the grid is 32.
    """
    width = math.sqrt(area * aspect)
    return round(width / grid) * grid, round(width / aspect / grid) * grid


def with_globals(function: FunctionType, **values: Any) -> FunctionType:
    """Return the same function, seeing these globals instead of its module's: nothing outside this copy changes.

    Raise LookupError for a global that its module does not have.
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
