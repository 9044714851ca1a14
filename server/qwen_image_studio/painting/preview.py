"""Previews: small pictures of an unfinished painting, from its latents alone. No decoder runs, so they cost little.

The colours of an image are nearly a linear function of its latents. That function is measured on the loaded VAE, from
one encoded chart of known colours, so it suits every VAE of the family.
"""

import itertools
import logging
import time
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from PIL import Image

from qwen_image_studio.painting.canvas import Canvas
from qwen_image_studio.painting.hooks import Call, Hook, Listener

LOG = logging.getLogger(__name__)
PACE_S = 1.0
"""Least time between two previews in seconds; a quicker job has no preview."""
LONG_SIDE = 256
"""Longest side of a preview in pixels."""
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Values of each channel on the chart, 0 to 1."""
COLUMNS = 12
"""Number of colours in a row of the chart."""
PATCH = 32
"""Side in pixels of one colour on the chart; its rim, which neighbouring colours affect, is not measured."""

_COLOURS: WeakKeyDictionary[Any, torch.Tensor] = WeakKeyDictionary()
"""Function from latents to colours, as measured on each VAE."""


class Preview(Hook):
    """A hook that now and then shows the picture that the latents are heading for, in its place in the image."""

    def __init__(self, listener: Listener, canvas: Canvas) -> None:
        self._listener, self._canvas = listener, canvas
        self._call: Call | None = None
        self._before: torch.Tensor | None = None
        self._due = 0.0

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Follow the call, where somebody wants previews and the family can make them."""
        self._call = call if self._listener.sees and call.family.previews else None
        self._due = time.monotonic() + PACE_S
        return {}

    def step(self, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Show a small picture when one is due."""
        if self._call is None:
            return latents
        before, self._before = self._before, latents
        if before is None or time.monotonic() < self._due:
            return latents
        try:
            small = self._picture(self._call, index, before, latents)
        except RuntimeError as error:  # no memory left for a preview: the painting itself goes on
            LOG.warning("no more previews of this picture: %s", error)
            self.end()
            return latents
        self._listener.show(self._canvas.preview(self._call.number, small))
        self._due = time.monotonic() + PACE_S
        return latents

    def end(self) -> None:
        """Free the latents."""
        self._call = self._before = None

    @staticmethod
    def _picture(call: Call, index: int, before: torch.Tensor, after: torch.Tensor) -> Image.Image:
        sigmas = call.pipeline.scheduler.sigmas
        clean = heading_for(before, after, float(sigmas[index]), float(sigmas[index + 1]))
        vae = call.pipeline.vae
        if vae not in _COLOURS:
            _COLOURS[vae] = measure_colours(vae)
        return picture(call.family.unpack(call.pipeline, clean, call.pass_input.size), _COLOURS[vae])


def heading_for(before: torch.Tensor, after: torch.Tensor, sigma_before: float, sigma_after: float) -> torch.Tensor:
    """Return the clean latents that a flow-matching Euler step aims at.

    With x = (1 - s) clean + s noise, the step's velocity is (after - before) / (s_after - s_before), and
    clean = after - s_after * velocity.
    """
    velocity = (after.float() - before.float()) / (sigma_after - sigma_before)
    return after.float() - sigma_after * velocity


def measure_colours(vae: Any) -> torch.Tensor:
    """Return the linear map from the VAE's normalised latents to colours: (channels + 1, 3), the last row constant."""
    chart, colours = _chart()
    device, dtype = next(vae.parameters()).device, next(vae.parameters()).dtype
    with torch.no_grad():
        pixels = _opaque(chart * 2 - 1, getattr(vae.config, "input_channels", 3))
        latents = vae.encode(pixels[None, :, None].to(device, dtype)).latent_dist.mode()[0, :, 0].float().cpu()
    mean, std = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
    latents = (latents - mean[:, None, None]) / std[:, None, None]
    side = PATCH * latents.shape[-1] // chart.shape[-1]
    patches = latents.unfold(1, side, side).unfold(2, side, side)[..., side // 4 : -side // 4, side // 4 : -side // 4]
    inner = patches.mean(dim=(-2, -1)).flatten(1).T[: len(colours)]
    solution: torch.Tensor = torch.linalg.lstsq(_with_constant(inner), colours).solution
    return solution


def picture(latents: torch.Tensor, colours: torch.Tensor) -> Image.Image:
    """Return normalised latents (channels, height, width) as a small RGB picture."""
    channels, height, width = latents.shape
    flat = latents.float().cpu().reshape(channels, -1).T
    pixels = (_with_constant(flat) @ colours).clamp(0, 1).mul(255).round().to(torch.uint8)
    image = Image.fromarray(pixels.reshape(height, width, 3).numpy(), "RGB")
    scale = LONG_SIDE / max(height, width)
    return image.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BICUBIC)


def _chart() -> tuple[torch.Tensor, torch.Tensor]:
    """Return a chart of colours (3, height, width) of 0 to 1, and its colours (count, 3) row by row."""
    colours = torch.tensor(list(itertools.product(LEVELS, repeat=3)))
    rows = -(-len(colours) // COLUMNS)
    grid = torch.zeros(rows * COLUMNS, 3)
    grid[: len(colours)] = colours
    small = grid.reshape(rows, COLUMNS, 3).permute(2, 0, 1)
    return small.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2), colours


def _opaque(pixels: torch.Tensor, channels: int) -> torch.Tensor:
    """Return pixels (3, height, width) with a channel of alpha where the VAE has one."""
    return torch.cat([pixels, torch.ones_like(pixels[:1])]) if channels > len(pixels) else pixels


def _with_constant(rows: torch.Tensor) -> torch.Tensor:
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
