"""The cost of a transformer's work in floating-point operations, counted from the tokens that it really saw."""

from collections.abc import Mapping
from typing import Any

from qwen_image_studio.contract.words import Way
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.hooks import Call, Hook
from qwen_image_studio.planning.plan import PaintPlan
from qwen_image_studio.planning.sizes import painted_size


def forward_flops(tokens: int, width: int, layers: int) -> float:
    """Return the FLOPs of one forward pass over `tokens`: those of the image, of its references and of the text.

    `width` is the length d of a token's vector. A double-stream block (Esser et al. 2024) costs 24 d^2 for each token
    (8 d^2 in the four projections of attention, 16 d^2 in the feed-forward net) and 4 d for each pair of tokens in
    attention itself. Work that does not depend on the size, such as the modulation, is left out.
    """
    return layers * tokens * (24.0 * width**2 + 4.0 * width * tokens)


class Meter(Hook):
    """A hook that counts what one image of a plan costs, and what painting the whole image at once would cost."""

    def __init__(self, plan: PaintPlan, model: Model) -> None:
        self._family = model.family(plan.way)
        guided = self._family.takes_guidance and plan.guidance_scale > 1
        self._passes = plan.steps * (2 if guided else 1)
        whole = painted_size((plan.width, plan.height), model.limits, model.region_pixels) if plan.passes else None
        self._whole = self._family.tokens_of(whole or (plan.paint_width, plan.paint_height))
        # An editing model sees the source beside the result, of the same size.
        self._times = 2 if plan.way is Way.EDIT else 1
        self._spent: list[float] = []
        self._of_whole: list[float] = []
        self._counter: Any = None

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Count the forward passes of the transformer, where their cost depends on their tokens alone."""
        if not self._family.counts_tokens:
            return {}
        config = call.pipeline.transformer.config
        width, layers = config.num_attention_heads * config.attention_head_dim, config.num_layers
        instead = self._times * (self._whole - self._family.tokens_of(call.pass_input.size))

        def count(module: Any, args: Any, named: dict[str, Any]) -> None:
            tokens = sum(named[name].shape[1] for name in ("hidden_states", "encoder_hidden_states"))
            self._spent.append(forward_flops(tokens, width, layers))
            self._of_whole.append(forward_flops(tokens + instead, width, layers))

        self._counter = call.pipeline.transformer.register_forward_pre_hook(count, with_kwargs=True)
        return {}

    def end(self) -> None:
        """Stop counting."""
        if self._counter is not None:
            self._counter.remove()
            self._counter = None

    def saved(self) -> float | None:
        """Return the share of the whole image's cost that was not spent, 0 to 1; None where nothing was saved."""
        if not self._spent:
            return None
        whole = self._passes * sum(self._of_whole) / len(self._of_whole)
        saved = 1 - sum(self._spent) / whole
        return round(saved, 4) if saved > 0 else None
