"""The base of a family of models: its parts, its pipeline and its traits.

A family is one file beside this one and an entry in ``FAMILIES``. Other modules ask only for its traits, never which
family it is. Nothing here imports torch or diffusers before a model is loaded, because the web process has families
too.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from qwen_image_studio.contract.words import Language, Size

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sources:
    """The pictures that a pipeline is shown, and the sizes to which they are resized."""

    images: Sequence[Image.Image]
    first_pixels: int
    """Area in pixels of the first picture for the VAE."""
    other_pixels: int
    """Area in pixels of each other picture for the VAE."""
    vision_pixels: int
    """Area in pixels of every picture for the text encoder."""
    grid: int
    """Number of pixels of which the sides are multiples."""
    layers: int = 0
    """Number of layers that the first picture is taken apart into; 0 where pictures are painted whole."""
    clear: bool = False
    """Whether what is painted has transparency, where the family can paint both."""


class Family(ABC):
    """One family: models that one pipeline runs, with parts of the same classes.

    Its traits are attributes. Their defaults, and the methods that are not abstract, suit a pipeline of diffusers that
    works on the latents of Qwen-Image's VAE; a family that differs overrides them.
    """

    part_names: tuple[str, ...] = ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")
    """Names of its `parts`, for whoever must not wait for torch."""
    starts_from_image = True
    """Whether a painting can start from the latents of a picture instead of noise."""
    takes_strength = True
    """Whether the caller may say how far to go from that picture."""
    holds = True
    """Whether pixels that may not change can be held in place while the rest is painted."""
    previews = True
    """Whether small pictures can be made from the latents of an unfinished painting."""
    takes_guidance = True
    """Whether the pipeline takes a negative prompt and ``true_cfg_scale``."""
    alpha = False
    """Whether its pictures can have transparency."""
    layers = False
    """Whether it takes a picture apart into layers."""
    float_latents = False
    """Whether its pipeline can keep latents in float32 whatever the weights are in."""
    key_value_cache = False
    """Whether the transformer keeps keys and values from step to step, so that a step costs less than its tokens."""
    references = 0
    """Largest number of pictures that the pipeline can be shown at once."""
    marks_references = False
    """Whether it knows pictures by marks of its own, and not also by ordinary words such as image 1."""
    pixels_per_latent = 8
    """Side in pixels of the square that one latent covers."""
    pixels_per_token = 16
    """Side in pixels of the square that one token of the transformer covers."""

    @property
    def counts_tokens(self) -> bool:
        """Return whether the cost of a step depends on its tokens alone."""
        return not self.key_value_cache

    @abstractmethod
    def parts(self) -> Mapping[str, Any]:
        """Return the class of each part of the pipeline, the VAE included, by the part's name."""

    @abstractmethod
    def pipeline(self) -> Any:
        """Return the class of the pipeline, whose constructor takes the parts."""

    def tokenizer(self, parts: Mapping[str, Any]) -> Any:
        """Return the tokenizer for texts from the loaded parts."""
        return parts["tokenizer"]

    def reference_name(self, number: int, language: Language) -> str:
        """Return how a prompt in that language calls the picture that is shown at that place, from 1."""
        return f"图{number}" if language is Language.ZH else f"Picture {number}"

    def keywords(self, sources: Sources) -> dict[str, Any]:
        """Return the keywords of the call besides texts, size, steps, guidance and seed."""
        return {}

    def transparent_prompt(self, text: str) -> str:
        """Return what the model is told for a transparent picture of what the text says; only where `alpha`."""
        return text

    def encode(self, pipeline: Any, picture: Image.Image) -> "torch.Tensor":
        """Return the picture's normalised latents, (1, channels, 1, height, width).

        The sides of the picture must be multiples of `pixels_per_token`.
        """
        import torch

        vae = pipeline.vae
        pixels = pipeline.image_processor.preprocess(picture, picture.height, picture.width).unsqueeze(2)
        with torch.no_grad():
            latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
        shape = (1, vae.config.z_dim, 1, 1, 1)
        mean = torch.tensor(vae.config.latents_mean).view(shape).to(latents)
        std = torch.tensor(vae.config.latents_std).view(shape).to(latents)
        normalised: torch.Tensor = (latents - mean) / std
        return normalised

    def pack(self, pipeline: Any, latents: "torch.Tensor") -> "torch.Tensor":
        """Return latents as the transformer's tokens, (1, tokens, channels of a token).

        `latents` are (1, channels, 1, height, width) or (1, 1, channels, height, width).
        """
        height, width = latents.shape[-2:]
        channels = latents.numel() // (height * width)
        flat = latents.reshape(1, channels, 1, height, width)
        packed: torch.Tensor = pipeline._pack_latents(flat, 1, channels, height, width)
        return packed

    def unpack(self, pipeline: Any, tokens: "torch.Tensor", size: Size) -> "torch.Tensor":
        """Return the transformer's tokens as latents, (channels, height, width), for a picture of `size` in pixels."""
        width, height = size
        unpacked: torch.Tensor = pipeline._unpack_latents(tokens, height, width, self.pixels_per_latent)[0, :, 0]
        return unpacked

    def tokens_of(self, size: Size) -> int:
        """Return the number of tokens of a picture of `size` in pixels."""
        return math.prod(side // self.pixels_per_token for side in size)
