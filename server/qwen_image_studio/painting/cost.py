"""What a transformer's work costs, in floating-point operations, counted from the tokens that it really saw."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qwen_image_studio.contract.words import Size, Way
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.plan import Plan
from qwen_image_studio.planning.sizes import painted_size

TOKEN_SIDE = 16
"""Pixels under one token: the VAE makes one latent of 8 x 8 pixels, the transformer one token of 2 x 2 latents."""


def forward_flops(tokens: int, width: int, layers: int) -> float:
    """FLOPs of one forward pass over `tokens`, those of the image, of its references and of the text together.

    `width` is the length d of a token's vector. A double-stream block (Esser et al. 2024) costs 24 d^2 for each token,
    8 in the four projections of attention and 16 in the feed-forward net, and attention itself 4 d for each pair of
    tokens. What is computed once whatever the size, such as the modulation, is left out.
    """
    return layers * tokens * (24.0 * width**2 + 4.0 * width * tokens)


def image_tokens(width: int, height: int) -> int:
    """Tokens of a picture of that size in pixels."""
    return (width // TOKEN_SIDE) * (height // TOKEN_SIDE)


class Meter:
    """Counts what one image of a plan costs, beside what painting the whole image at once would."""

    def __init__(self, plan: Plan, model: Model) -> None:
        self._passes = plan.steps * (2 if plan.guidance_scale > 1 else 1)
        whole = painted_size((plan.width, plan.height), model.limits, model.region_pixels) if plan.passes else None
        self._whole = image_tokens(*(whole or (plan.paint_width, plan.paint_height)))
        # An editing model sees the source beside the result, of the same size.
        self._times = 2 if plan.way is Way.EDIT else 1
        self._spent: list[float] = []
        self._of_whole: list[float] = []

    @contextmanager
    def counting(self, view: Any, size: Size) -> Iterator[None]:
        """Count the forward passes of the view's transformer while the block paints a picture of that size in pixels.

        Those of views whose cost is another are not counted.
        """
        if not view.meters:
            yield
            return
        config = view.transformer.config
        width, layers = config.num_attention_heads * config.attention_head_dim, config.num_layers
        instead = self._times * (self._whole - image_tokens(*size))

        def count(module: Any, args: Any, named: dict[str, Any]) -> None:
            tokens = sum(named[name].shape[1] for name in ("hidden_states", "encoder_hidden_states"))
            self._spent.append(forward_flops(tokens, width, layers))
            self._of_whole.append(forward_flops(tokens + instead, width, layers))

        handle = view.transformer.register_forward_pre_hook(count, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def saved(self) -> float | None:
        """The share of the whole image's cost that was not spent, 0 to 1; None where nothing was saved."""
        if not self._spent:
            return None
        whole = self._passes * sum(self._of_whole) / len(self._of_whole)
        saved = 1 - sum(self._spent) / whole
        return round(saved, 4) if saved > 0 else None
