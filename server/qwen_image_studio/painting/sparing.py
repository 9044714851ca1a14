"""Sparing memory, for an attempt before which it had run out: the same numbers, fewer of them on the device at once.

What is left there while the transformer works is the transformer alone, of the one model that paints. Decoding in tiles
is the only part that changes pixels, by rounding and by the blending of tiles, so only that is told to people.
"""

from collections.abc import Mapping
from typing import Any

import torch

from qwen_image_studio.models.weights import memory_of
from qwen_image_studio.painting.hooks import Call, Hook

TILED_WARNING = (
    "Memory had run out, so pictures were encoded and decoded in tiles; this one may differ very slightly from one "
    "that was not."
)
_ROOM = 1.1  # free memory of the machine that the text encoder needs, as a multiple of its size


class Sparing(Hook):
    """A hook that keeps the text encoder in the machine's memory while the transformer works."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._handle: Any = None

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Wait for the transformer, whose first turn comes once all texts are encoded."""
        encoder = call.pipeline.text_encoder
        self._handle = call.pipeline.transformer.register_forward_pre_hook(lambda *_: put_away(encoder, self._device))
        return {}

    def end(self) -> None:
        """Leave the encoder where it is: the next call brings it back, once there is room again."""
        if self._handle is not None:
            self._handle.remove()


def put_away(encoder: torch.nn.Module, device: str) -> None:
    """Move the text encoder out of a card's memory, where the machine has room for it."""
    if not device.startswith("cuda") or _is_away(encoder):
        return
    size = sum(each.numel() * each.element_size() for each in encoder.parameters())
    if memory_of("cpu")[0] > size * _ROOM:
        encoder.to("cpu")
        torch.cuda.empty_cache()


def bring_back(encoder: torch.nn.Module, device: str) -> None:
    """Move the text encoder to the device, where any of it was put away."""
    if device.startswith("cuda") and _is_away(encoder):
        encoder.to(device)


def _is_away(encoder: torch.nn.Module) -> bool:
    return any(each.device.type == "cpu" for each in encoder.parameters())


def tiles(vae: Any, size: tuple[int, int]) -> bool:
    """Return whether a VAE that may tile does so for a picture of that size in pixels."""
    return bool(size[0] > vae.tile_sample_min_width or size[1] > vae.tile_sample_min_height)
