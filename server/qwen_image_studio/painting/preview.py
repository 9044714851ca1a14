"""Small pictures of what is becoming, from the latents alone: no decoder runs, so a preview costs next to nothing.

The colours of an image are nearly a linear function of its latents. The function is measured on the VAE that is loaded,
from one encoded chart of known colours, so it holds for every VAE of the family.
"""

import itertools
import time
from typing import Any
from weakref import WeakKeyDictionary

import torch
from PIL import Image

from qwen_image_studio.contract.words import Size
from qwen_image_studio.planning.engine import Show

PACE_S = 1.0
"""A preview at most this often; a job that is quicker has none."""
LONG_SIDE = 256
"""Of a preview, in pixels."""
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
COLUMNS = 12
PATCH = 32
"""Side of one colour on the chart in pixels; its rim is left out of the measure, where neighbours shine in."""


_COLOURS: WeakKeyDictionary[Any, torch.Tensor] = WeakKeyDictionary()
"""What was measured on each VAE."""


class Previewer:
    """Follows the latents of one picture and shows, now and then, the picture that they are heading for."""

    def __init__(self, view: Any, size: Size, show: Show) -> None:
        """`view` is the pipeline, `size` the painted width and height in pixels."""
        self._view, self._size, self._show = view, size, show
        self._due = time.monotonic() + PACE_S
        self._before: torch.Tensor | None = None

    def step(self, index: int, latents: torch.Tensor) -> None:
        """After denoising step `index`, with the packed latents that it made."""
        before, self._before = self._before, latents
        if before is None or time.monotonic() < self._due:
            return
        sigmas = self._view.scheduler.sigmas
        clean = heading_for(before, latents, float(sigmas[index]), float(sigmas[index + 1]))
        width, height = self._size
        unpacked = self._view._unpack_latents(clean, height, width, self._view.vae_scale_factor)[0, :, 0]
        vae = self._view.vae
        if vae not in _COLOURS:
            _COLOURS[vae] = measure_colours(vae)
        self._show(picture(unpacked, _COLOURS[vae]))
        self._due = time.monotonic() + PACE_S


def heading_for(before: torch.Tensor, after: torch.Tensor, sigma_before: float, sigma_after: float) -> torch.Tensor:
    """The clean latents at which a flow-matching Euler step aims: with x = (1 - s) clean + s noise, the step's velocity
    is (after - before) / (s_after - s_before), and clean = after - s_after * velocity.
    """
    velocity = (after.float() - before.float()) / (sigma_after - sigma_before)
    return after.float() - sigma_after * velocity


def measure_colours(vae: Any) -> torch.Tensor:
    """How the VAE's normalised latents become colours: (channels + 1, 3), the last row for the constant."""
    chart, colours = _chart()
    device, dtype = next(vae.parameters()).device, next(vae.parameters()).dtype
    with torch.no_grad():
        latents = vae.encode((chart * 2 - 1)[None, :, None].to(device, dtype)).latent_dist.mode()[0, :, 0].float().cpu()
    mean, std = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
    latents = (latents - mean[:, None, None]) / std[:, None, None]
    side = PATCH * latents.shape[-1] // chart.shape[-1]
    patches = latents.unfold(1, side, side).unfold(2, side, side)[..., side // 4 : -side // 4, side // 4 : -side // 4]
    inner = patches.mean(dim=(-2, -1)).flatten(1).T[: len(colours)]
    solution: torch.Tensor = torch.linalg.lstsq(_with_constant(inner), colours).solution
    return solution


def picture(latents: torch.Tensor, colours: torch.Tensor) -> Image.Image:
    """Normalised latents (channels, height, width) as a small RGB picture."""
    channels, height, width = latents.shape
    flat = latents.float().cpu().reshape(channels, -1).T
    pixels = (_with_constant(flat) @ colours).clamp(0, 1).mul(255).round().to(torch.uint8)
    image = Image.fromarray(pixels.reshape(height, width, 3).numpy(), "RGB")
    scale = LONG_SIDE / max(height, width)
    return image.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BICUBIC)


def _chart() -> tuple[torch.Tensor, torch.Tensor]:
    """A chart of colours (3, height, width) in 0..1, and its colours (count, 3) row by row."""
    colours = torch.tensor(list(itertools.product(LEVELS, repeat=3)))
    rows = -(-len(colours) // COLUMNS)
    grid = torch.zeros(rows * COLUMNS, 3)
    grid[: len(colours)] = colours
    small = grid.reshape(rows, COLUMNS, 3).permute(2, 0, 1)
    return small.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2), colours


def _with_constant(rows: torch.Tensor) -> torch.Tensor:
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
