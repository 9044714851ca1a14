"""Qwen-Image-Layered: from a picture to its layers, back to front, each with transparency."""

from collections.abc import Mapping
from typing import Any

from qwen_image_studio.models.families.family import Sources
from qwen_image_studio.models.families.qwen_image import QwenImage
from qwen_image_studio.models.families.qwen_image_edit import with_globals
from qwen_image_studio.models.families.texts import EncodesOnce, PillowProcessor, with_mixin

_ANY = 640
"""The pipeline's own resolution, which it asks for and which has no effect here."""


class QwenImageLayered(QwenImage):
    """The parts of Qwen-Image with a VAE of four channels, and a processor that the pipeline asks for."""

    part_names = (*QwenImage.part_names, "processor")
    starts_from_image = takes_strength = holds = previews = False
    alpha = layers = True
    references = 1

    def parts(self) -> Mapping[str, Any]:
        """Return the class of each part of the pipeline."""
        from transformers import Qwen2VLProcessor

        return {**super().parts(), "processor": with_mixin(PillowProcessor, Qwen2VLProcessor)}

    def pipeline(self) -> Any:
        """Return diffusers' pipeline, which here encodes each text once and takes a picture apart at any size."""
        from diffusers import QwenImageLayeredPipeline

        return with_mixin(TakesApart, with_mixin(EncodesOnce, QwenImageLayeredPipeline))

    def keywords(self, sources: Sources) -> dict[str, Any]:
        """Return the picture and the number of layers. Guidance is normalised, as the model's card has it."""
        return {**super().keywords(sources), "sources": sources, "cfg_normalize": True}


class TakesApart:
    """A layered pipeline that works at the size it is told; diffusers' own takes it from its module's globals.

    Where there is no prompt, diffusers' has the text encoder describe the picture. Here that is not done: the layer
    that names the next word is not loaded, since no painting needs it, and nobody could stop it. The picture then goes
    with an empty text.
    """

    def __call__(self, *, sources: Sources, width: int, height: int, **named: Any) -> Any:
        """Take the first source apart at `width` x `height` pixels; the other keywords are those of diffusers'
        pipeline, and the first of the `images` that it returns is the list of the layers.
        """
        import torch
        from diffusers import QwenImageLayeredPipeline

        def sides(area: int, aspect: float) -> tuple[int, int]:
            return width, height

        call = with_globals(QwenImageLayeredPipeline.__call__.__wrapped__, calculate_dimensions=sides)
        picture = sources.images[0].convert("RGBA")
        with torch.no_grad():
            return call(self, image=picture, layers=sources.layers, resolution=_ANY, **named)

    def get_image_caption(self, *others: Any, **named: Any) -> str:
        """Return the text of a picture that nobody has described."""
        return " "
