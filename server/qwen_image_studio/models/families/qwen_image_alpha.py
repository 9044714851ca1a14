"""Qwen-Image with transparency: from a description to a picture on clear ground, by the weights of a layered model."""

from typing import TYPE_CHECKING, Any

from PIL import Image

from qwen_image_studio.models.families.family import Sources
from qwen_image_studio.models.families.qwen_image import QwenImage
from qwen_image_studio.models.families.texts import with_mixin

if TYPE_CHECKING:
    import torch

RGBA, RGB = 0, 1
"""What the transformer of a layered model is told to paint."""


class QwenImageAlpha(QwenImage):
    """Text to image with a VAE of four channels."""

    alpha = True

    def pipeline(self) -> Any:
        """Return diffusers' pipeline, which here tells the transformer whether to paint transparency."""
        return with_mixin(TellsKind, super().pipeline())

    def keywords(self, sources: Sources) -> dict[str, Any]:
        """Return the longest encoding, and what is painted."""
        return {**super().keywords(sources), "kind": RGBA if sources.clear else RGB}

    def encode(self, pipeline: Any, picture: Image.Image) -> "torch.Tensor":
        """Return the picture's normalised latents; without an alpha channel it is opaque."""
        return super().encode(pipeline, picture.convert("RGBA"))


class TellsKind:
    """A pipeline whose transformer is told in every step what to paint; diffusers' own has no argument for it."""

    transformer: Any

    def __call__(self, *, kind: int, **named: Any) -> Any:
        """Paint that kind of picture; the other keywords, and what is returned, are those of diffusers' pipeline, but
        an opaque picture has no alpha channel.
        """
        import torch

        def tell(module: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            tokens = given["hidden_states"]
            kinds = torch.full((len(tokens),), kind, dtype=torch.long, device=tokens.device)
            return args, {**given, "additional_t_cond": kinds}

        told = self.transformer.register_forward_pre_hook(tell, with_kwargs=True)
        try:
            made = super().__call__(**named)  # type: ignore[misc]
        finally:
            told.remove()
        if kind == RGB:
            made.images = [image.convert("RGB") for image in made.images]
        return made
