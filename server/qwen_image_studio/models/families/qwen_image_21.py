"""Qwen-Image-2.1: a picture from a text, or from a text and pictures, with one pipeline for both."""

import math
from collections.abc import Mapping
from typing import Any

from qwen_image_studio.contract.words import Language
from qwen_image_studio.models.families.family import Family, Sources
from qwen_image_studio.models.families.texts import EncodesOnce, PillowProcessor, with_mixin

# The model's card has these two sentences around what a transparent picture shows, and no Chinese ones.
_BEFORE = "This is an RGBA image with transparency."
_AFTER = "The image has alpha channel and the background is transparent."
_ENDS = tuple(".!?…。！？")


class QwenImage21(Family):
    """The family with transparency and a VAE of its own, for which there is no start picture, hold or preview."""

    part_names = ("scheduler", "vae", "text_encoder", "processor", "transformer")
    starts_from_image = takes_strength = holds = previews = False
    alpha = float_latents = True
    key_value_cache = True
    references = 10
    marks_references = True
    pixels_per_latent = 16
    pixels_per_token = 16

    def parts(self) -> Mapping[str, Any]:
        """Return the class of each part of the pipeline."""
        from diffusers import AutoencoderKLQwenImage21, FlowMatchEulerDiscreteScheduler, QwenImage21Transformer2DModel
        from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

        return {
            "scheduler": FlowMatchEulerDiscreteScheduler,
            "vae": AutoencoderKLQwenImage21,
            "text_encoder": Qwen3VLForConditionalGeneration,
            "processor": with_mixin(PillowProcessor, Qwen3VLProcessor),
            "transformer": QwenImage21Transformer2DModel,
        }

    def pipeline(self) -> Any:
        """Return diffusers' pipeline, which here encodes each text once and can keep its latents in float32."""
        from diffusers import QwenImage21Pipeline

        return with_mixin(WidensLatents, with_mixin(EncodesOnce, QwenImage21Pipeline))

    def tokenizer(self, parts: Mapping[str, Any]) -> Any:
        """Return the tokenizer inside the processor."""
        return parts["processor"].tokenizer

    def transparent_prompt(self, text: str) -> str:
        """Return the text between the two sentences by which the model paints alpha, unless it has them itself."""
        if _BEFORE.casefold() in text.casefold():
            return text
        return f"{_BEFORE} {text if text.endswith(_ENDS) else f'{text}.'} {_AFTER}"

    def reference_name(self, number: int, language: Language) -> str:
        """Return the mark that the pipeline's template has before the picture, in every language."""
        return f"<image{number}>"

    def keywords(self, sources: Sources) -> dict[str, Any]:
        """Return the sources, and the side of a square in pixels: all sources are resized to its area."""
        return {
            "image": list(sources.images) or None,
            "output_resolution": math.isqrt(sources.first_pixels),
            "use_kv_cache": self.key_value_cache,
        }


class WidensLatents:
    """A pipeline that makes its latents in float32 where it is told so; its sources stay in the VAE's number format."""

    float_latents = False
    """Whether it does; whoever opens the pipeline sets it, and sees to it that the transformer takes them."""

    def prepare_latents(
        self, images: Any, batch: int, channels: int, height: int, width: int, dtype: Any, *others: Any
    ) -> tuple[Any, Any]:
        """Return the latents to start from, and those of the sources; `others` are device, generator and latents."""
        import torch

        prepare, size = super().prepare_latents, (batch, channels, height, width)  # type: ignore[misc]
        if not self.float_latents:
            made: tuple[Any, Any] = prepare(images, *size, dtype, *others)
            return made
        device, generator, given = others
        latents, _ = prepare(None, *size, torch.float32, device, generator, given)
        _, seen = prepare(images, *size, dtype, device, generator, latents)
        return latents, seen
