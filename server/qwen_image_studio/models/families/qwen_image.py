"""Qwen-Image and Qwen-Image-2512: from a description to a picture."""

from collections.abc import Mapping
from typing import Any

from qwen_image_studio.models.families.family import Family, Sources
from qwen_image_studio.models.families.texts import EncodesOnce, with_mixin


class QwenImage(Family):
    """Text to image."""

    def parts(self) -> Mapping[str, Any]:
        """Return the class of each part of the pipeline."""
        from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
        from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

        return {
            "scheduler": FlowMatchEulerDiscreteScheduler,
            "vae": AutoencoderKLQwenImage,
            "text_encoder": Qwen2_5_VLForConditionalGeneration,
            "tokenizer": Qwen2Tokenizer,
            "transformer": QwenImageTransformer2DModel,
        }

    def pipeline(self) -> Any:
        """Return diffusers' pipeline, which here encodes each text once."""
        from diffusers import QwenImagePipeline

        return with_mixin(EncodesOnce, QwenImagePipeline)

    def keywords(self, sources: Sources) -> dict[str, Any]:
        """Return the longest encoding: the pipeline cuts at 512 tokens unless told otherwise, at most at 1024."""
        return {"max_sequence_length": 1024}
