"""Anchors: a painting that starts from a picture, and keeps to it where it may not change.

The models are trained by flow matching: at noise level s a picture's latents are (1 - s) clean + s noise. A painting of
strength below 1 starts part of the way down that line. Where nothing may change, the latents are put back on the line
after every step, so what is painted beside it grows to fit (RePaint, Lugmayr et al. 2022, without its resampling).
The pipelines are told by their own arguments: ``latents``, ``sigmas`` and ``callback_on_step_end``.
"""

from typing import Any

import numpy as np
import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift
from PIL import Image

from qwen_image_studio.painting.canvas import Stage
from qwen_image_studio.planning.plan import Plan

LATENT_SIDE = 8
"""Pixels under one latent."""


class Anchor:
    """What one painting starts from and keeps to."""

    def __init__(self, view: Any, stage: Stage, *, plan: Plan, seed: int) -> None:
        """Encode the stage's start with the view's VAE; the plan says how far to go from it, in how many steps."""
        assert stage.start is not None  # noqa: S101
        self._view = view
        self._clean = encoded(view, stage.start)
        generator = torch.Generator("cpu").manual_seed(seed)
        shape = (1, 1, self._clean.shape[1], *self._clean.shape[-2:])
        noise = torch.randn(shape, generator=generator).to(self._clean)
        self._clean, self._noise = self._packed(self._clean), self._packed(noise)
        self._free = None if stage.free is None else self._packed(_latent_mask(stage.free, shape).to(self._clean))
        # At strength 1 the pipelines' own schedule.
        last = min(1 / plan.steps, plan.strength / plan.run_steps)
        self._sigmas = np.linspace(plan.strength, last, plan.run_steps)

    def arguments(self) -> dict[str, Any]:
        """What the pipeline is called with, beside the rest."""
        return {"latents": self._at(self._first_sigma()), "sigmas": self._sigmas}

    def hold(self, step: int, latents: torch.Tensor) -> torch.Tensor:
        """The latents after that step, with what may not change back on its line."""
        if self._free is None:
            return latents
        kept = self._at(float(self._view.scheduler.sigmas[step + 1]))
        return (self._free * latents + (1 - self._free) * kept.to(latents)).to(latents.dtype)

    def _at(self, sigma: float) -> torch.Tensor:
        return (1 - sigma) * self._clean + sigma * self._noise

    def _first_sigma(self) -> float:
        """The noise level at which the pipeline will start: it shifts the schedule by the number of tokens."""
        scheduler = self._view.scheduler
        config = scheduler.config
        names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
        values = [config.get(name, default) for name, default in zip(names, (256, 4096, 0.5, 1.15), strict=True)]
        scheduler.set_timesteps(sigmas=self._sigmas, mu=calculate_shift(self._clean.shape[1], *values))
        return float(scheduler.sigmas[0])

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        """(1, channels, 1, height, width) or (1, 1, channels, height, width) as the transformer's tokens."""
        height, width = latents.shape[-2:]
        channels = latents.numel() // (height * width)
        packed: torch.Tensor = self._view._pack_latents(
            latents.reshape(1, channels, 1, height, width), 1, channels, height, width
        )
        return packed


@torch.no_grad()
def encoded(view: Any, picture: Image.Image) -> torch.Tensor:
    """The picture's normalised latents, (1, channels, 1, height / 8, width / 8); its sides are multiples of 16."""
    vae = view.vae
    pixels = view.image_processor.preprocess(picture, picture.height, picture.width).unsqueeze(2)
    latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
    shape = (1, vae.config.z_dim, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean).view(shape).to(latents)
    std = torch.tensor(vae.config.latents_std).view(shape).to(latents)
    normalised: torch.Tensor = (latents - mean) / std
    return normalised


def _latent_mask(free: Image.Image, shape: tuple[int, ...]) -> torch.Tensor:
    """1 for every latent under which any pixel may change, else 0; of the latents' shape."""
    pixels = torch.from_numpy(np.asarray(free).copy()).float().div(255)[None, None]
    mask = torch.nn.functional.max_pool2d(pixels, LATENT_SIDE).ceil()
    return mask[:, :, None].expand(1, 1, *shape[2:])
