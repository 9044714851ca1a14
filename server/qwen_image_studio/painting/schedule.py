"""The schedule of noise levels, set as diffusers' pipelines set it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift
from numpy.typing import NDArray

_SHIFT = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
"""Entries of a scheduler's config that shift levels, with what the pipelines take for those that it lacks."""


def set_levels(
    scheduler: Any,
    tokens: int,
    levels: Sequence[float] | NDArray[np.float64],
    device: torch.device | str | None = None,
) -> None:
    """Set the shares of noise before each step, 0 to 1, on a scheduler (FlowMatchEulerDiscreteScheduler), which shifts
    them by the number of a picture's tokens.
    """
    shift = calculate_shift(tokens, *(scheduler.config.get(name, usual) for name, usual in _SHIFT.items()))
    scheduler.set_timesteps(sigmas=levels, mu=shift, device=device)
