"""The VAE for one frame: Qwen-Image's is made for films, and a picture is a film of a single frame.

Its convolutions reach over that frame and two before it, which for a picture are zeros, and its norms take the
lengths of vectors that lie across memory, which torch does slowly. Without those two thirds of the work, and with
sums of squares, the same numbers come out but for their rounding (about 1e-6 of the range), several times as fast on
a CPU. Pictures of ``quality`` are to stay what they always were to the bit, so that tier does without.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d, QwenImageRMS_norm
from torch.nn import functional

from qwen_image_studio.contract.words import Tier
from qwen_image_studio.painting.hooks import Call, Hook

_FRAMES = 3
"""Frames over which a kernel reaches."""
_LEAST = 1e-12
"""Length that no vector is taken to be below, as in ``torch.nn.functional.normalize``."""


class OneFrame(Hook):
    """A hook that spares the VAE the frames that there are not, at every tier but ``quality``."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, Any]] = []

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Put what works on one frame in place, or what is the VAE's own where a call within a call wants that."""
        for part in call.pipeline.vae.modules():
            if (quick := _quick(part)) is not None:
                self._before.append((part, vars(part).get("forward")))
                _set(part, None if call.plan.tier is Tier.QUALITY else quick)
        return {}

    def end(self) -> None:
        """Put back what was there."""
        for part, forward in self._before:
            _set(part, forward)
        self._before = []


def _set(part: Any, forward: Callable[..., torch.Tensor] | None) -> None:
    """Have a module answer by this function, or by its class's own."""
    vars(part).pop("forward", None)
    if forward is not None:
        part.forward = forward


def _quick(part: Any) -> Callable[..., torch.Tensor] | None:
    """Return what a part of the VAE may do instead; None where there is nothing."""
    if isinstance(part, QwenImageCausalConv3d) and part.kernel_size == (_FRAMES,) * 3:
        return _flat(part)
    return _normed(part) if isinstance(part, QwenImageRMS_norm) and part.channel_first else None


def _normed(part: Any) -> Callable[..., torch.Tensor]:
    """Return a norm's own function, but with lengths from sums of squares where those cannot overflow."""

    def forward(frames: torch.Tensor) -> torch.Tensor:
        if frames.dtype is not torch.float32:
            return type(part).forward(part, frames)  # type: ignore[no-any-return]
        length = frames.square().sum(1, keepdim=True).sqrt_().clamp_min_(_LEAST)
        return frames / length * part.scale * part.gamma + part.bias  # type: ignore[no-any-return]

    return forward


def _flat(part: Any) -> Callable[..., torch.Tensor]:
    """Return a convolution's own function, but for one frame without others before it by the last third of it alone."""

    def forward(frames: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
        if frames.shape[2] != 1 or cache_x is not None:
            return type(part).forward(part, frames, cache_x)  # type: ignore[no-any-return]
        padded = functional.pad(frames[:, :, 0], part._padding[:4])
        return functional.conv2d(padded, part.weight[:, :, -1], part.bias, part.stride[1:])[:, :, None]

    return forward
