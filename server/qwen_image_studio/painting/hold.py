"""The hold: a painting starts from a picture, and keeps to it where it may not change.

The models are trained by flow matching: at noise level s a picture's latents are (1 - s) clean + s noise. A painting of
strength below 1 starts part of the way along that line. Where nothing may change, the latents are put back on the line
after every step, so that the part painted beside them grows to fit (RePaint, Lugmayr et al. 2022, without its
resampling). The pipelines take this in their own arguments ``latents``, ``sigmas`` and ``callback_on_step_end``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from qwen_image_studio.painting.hooks import Call, Hook
from qwen_image_studio.painting.schedule import set_levels


class Hold(Hook):
    """A hook that lets a pass start from its picture, and holds in place what may not change."""

    def __init__(self) -> None:
        self._hold: LatentHold | None = None

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Return the first latents and the noise levels, where pass and family start from a picture."""
        family, given = call.family, call.pass_input
        holds = family.holds and given.free is not None
        if given.start is None or not (family.starts_from_image or holds):
            return {}
        self._hold = LatentHold(call, given.start, given.free if holds else None)
        return self._hold.arguments()

    def step(self, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents, with those that may not change put back."""
        return latents if self._hold is None else self._hold.kept(index, latents)

    def end(self) -> None:
        """Free the picture's latents."""
        self._hold = None


class LatentHold:
    """The latents of the picture from which one pass starts and to which it keeps."""

    def __init__(self, call: Call, start: Image.Image, free: Image.Image | None) -> None:
        """Encode `start`; `free` is a mask of its size, white where pixels may change, None where all may."""
        self._pipeline, self._family = call.pipeline, call.family
        self._clean = self._family.encode(self._pipeline, start)
        generator = torch.Generator("cpu").manual_seed(call.seed)
        shape = (1, 1, self._clean.shape[1], *self._clean.shape[-2:])
        noise = torch.randn(shape, generator=generator).to(self._clean)
        mask = None if free is None else _latent_mask(free, shape, self._family.pixels_per_latent).to(self._clean)
        self._clean, self._noise = self._packed(self._clean), self._packed(noise)
        self._free = None if mask is None else self._packed(mask)
        # At strength 1 this is the pipelines' own schedule.
        plan = call.plan
        last = min(1 / plan.steps, plan.strength / plan.run_steps)
        self._sigmas = np.linspace(plan.strength, last, plan.run_steps)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that the pipeline takes for this, besides the others."""
        return {"latents": self._at(self._first_sigma()), "sigmas": self._sigmas}

    def kept(self, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents after step `index`, with those that may not change back on their line."""
        if self._free is None:
            return latents
        kept = self._at(float(self._pipeline.scheduler.sigmas[index + 1]))
        return (self._free * latents + (1 - self._free) * kept.to(latents)).to(latents.dtype)

    def _at(self, sigma: float) -> torch.Tensor:
        return (1 - sigma) * self._clean + sigma * self._noise

    def _first_sigma(self) -> float:
        """Return the noise level at which the pipeline will start: it shifts the schedule by the number of tokens."""
        scheduler = self._pipeline.scheduler
        set_levels(scheduler, self._clean.shape[1], self._sigmas)
        return float(scheduler.sigmas[0])

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        return self._family.pack(self._pipeline, latents)


def _latent_mask(free: Image.Image, shape: tuple[int, ...], side: int) -> torch.Tensor:
    """Return a mask of the latents' shape: 1 for a latent that covers any pixel that may change, else 0.

    `side` is the side in pixels of the square that one latent covers.
    """
    pixels = torch.from_numpy(np.asarray(free).copy()).float().div(255)[None, None]
    mask = torch.nn.functional.max_pool2d(pixels, side).ceil()
    return mask[:, :, None].expand(1, 1, *shape[2:])
