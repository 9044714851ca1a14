"""Very small transformers with random weights, and forward passes through them as the pipelines make them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel

CHANNELS, TEXT = 16, 24
SIZES = ((4, 4), (6, 6), (3, 8), (8, 8), (5, 7), (2, 2), (12, 16))
"""Heights and widths in tokens; 16 tokens are as many as half a head has channels."""


def tiny(dtype: torch.dtype = torch.float32, *, zero_cond_t: bool = False, seed: int = 0) -> Any:
    """A transformer of two blocks; with `zero_cond_t` it is of the kind of Qwen-Image-Edit-2511."""
    torch.manual_seed(seed)
    made = QwenImageTransformer2DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS // 4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=32,
        joint_attention_dim=TEXT,
        axes_dims_rope=(8, 12, 12),
        zero_cond_t=zero_cond_t,
    )
    return (made if made.dtype is dtype else made.to(dtype=dtype)).eval().requires_grad_(False)


def given(
    dtype: torch.dtype = torch.float32,
    *,
    size: tuple[int, int] = (4, 4),
    references: int = 0,
    words: int = 7,
    timestep: float | torch.Tensor = 0.37,
) -> dict[str, Any]:
    """What a pipeline gives to the transformer for a picture of so many tokens, with so many references."""
    shapes = [(1, *size), *[(1, 6, 5)] * references]
    random = torch.Generator().manual_seed(words)
    tokens = sum(height * width for _, height, width in shapes)
    return {
        "hidden_states": torch.randn(1, tokens, CHANNELS, generator=random).to(dtype),
        "timestep": torch.as_tensor(timestep).reshape(1).to(dtype),
        "encoder_hidden_states": torch.randn(1, words, TEXT, generator=random).to(dtype),
        "img_shapes": [shapes],
        "attention_kwargs": {},
        "return_dict": False,
    }


@torch.no_grad()
def forward(transformer: Any, dtype: torch.dtype = torch.float32, **asked: Any) -> torch.Tensor:
    """What the transformer answers to `given`."""
    answer: torch.Tensor = transformer(**given(dtype, **asked))[0]
    return answer


def scheduled(steps: int = 4, tokens: int = 16) -> FlowMatchEulerDiscreteScheduler:
    """A scheduler, set as a pipeline sets it."""
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=0.5 + tokens / 1000)
    scheduler.set_begin_index(0)
    return scheduler


def denoised(transformer: Any, scheduler: Any, dtype: torch.dtype = torch.float32, **asked: Any) -> list[torch.Tensor]:
    """What the transformer answers at each step of a call, twice as guidance asks it."""
    answers = []
    for moment in scheduler.timesteps:
        timestep = moment.expand(1).to(dtype) / 1000
        passes = [forward(transformer, dtype, timestep=timestep, words=words, **asked) for words in (7, 3)]
        scheduler.step(passes[0], moment, passes[1])
        answers += passes
    return answers


def equal(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    """Whether two lists of tensors are equal to the bit."""
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))
