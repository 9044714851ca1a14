"""The cost of a transformer's work in floating-point operations, counted from the tokens that it really saw."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from qwen_image_studio.contract.words import Way
from qwen_image_studio.models.architectures import forward_flops
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.hooks import Call, Hook
from qwen_image_studio.painting.step_cache import Skipping
from qwen_image_studio.planning.plan import PaintPlan
from qwen_image_studio.planning.sizes import painted_size


class Meter(Hook):
    """A hook that counts what one image of a plan costs, and what every step of the whole image at once would."""

    def __init__(self, plan: PaintPlan, model: Model, skipping: Skipping) -> None:
        """Count for this plan; `skipping` tells how many blocks have run."""
        self._skipping = skipping
        self._family = model.family(plan.way)
        guided = self._family.takes_guidance and plan.guidance_scale > 1
        self._passes = plan.steps * (2 if guided else 1)
        limits = model.limits_at(plan.tier)
        whole = painted_size((plan.width, plan.height), limits, model.region_pixels) if plan.passes else None
        self._whole = self._family.tokens_of(whole or (plan.paint_width, plan.paint_height))
        # An editing model sees the source beside the result, of the same size.
        self._times = 2 if plan.way is Way.EDIT else 1  # a picture that is taken apart is never painted in parts
        self._spent: dict[int, list[float]] = {}
        self._of_whole: dict[int, list[float]] = {}
        self._counter: Any = None

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Count the forward passes of the transformer, where their cost depends on their tokens alone."""
        if not self._family.counts_tokens:
            return {}
        config = call.pipeline.transformer.config
        width, layers = config.num_attention_heads * config.attention_head_dim, config.num_layers
        # A pass that is painted again, since memory had run out, is counted once.
        spent, of_whole = self._spent[call.number], self._of_whole[call.number] = [], []
        instead = self._times * (self._whole - self._family.tokens_of(call.pass_input.size))

        def count(module: Any, args: Any, named: dict[str, Any], answer: Any) -> None:
            tokens = sum(named[name].shape[1] for name in ("hidden_states", "encoder_hidden_states"))
            ran = self._skipping.ran
            spent.append(forward_flops(tokens, width, layers if ran is None else ran))
            of_whole.append(forward_flops(tokens + instead, width, layers))

        self._counter = call.pipeline.transformer.register_forward_hook(count, with_kwargs=True)
        return {}

    def end(self) -> None:
        """Stop counting."""
        if self._counter is not None:
            self._counter.remove()
            self._counter = None

    def saved(self) -> float | None:
        """Return the share of the whole image's cost that was not spent, 0 to 1; None where nothing was saved."""
        spent, of_whole = (list(chain(*each.values())) for each in (self._spent, self._of_whole))
        if not spent:
            return None
        whole = self._passes * sum(of_whole) / len(of_whole)
        saved = 1 - sum(spent) / whole
        return round(saved, 4) if saved > 0 else None
