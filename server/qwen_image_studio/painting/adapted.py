"""Adapted: the LoRAs of a plan are on the transformer for its calls, and for nobody else's."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.loading.adapters import Adapter, Adapters
from qwen_image_studio.models.lora_files import InFile, bring, marked, name_of
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.hooks import Call, Hook
from qwen_image_studio.planning.plan import PaintPlan


class Adapted(Hook):
    """A hook that puts LoRAs on the transformer, loaded before if need be, and takes them off however a call ends."""

    def __init__(self, adapters: Adapters, wanted: Sequence[Adapter], frugal: bool) -> None:
        """Put on the `wanted` ones, of those that `adapters` has loaded; in a `frugal` attempt, keep no others."""
        self._adapters, self._wanted, self._frugal = adapters, wanted, frugal
        self._open = ExitStack()

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Put them on. Raises StudioError ``model_unavailable`` or ``out_of_memory``."""
        self._open.enter_context(self._adapters.on(call.pipeline.transformer, self._wanted, alone=self._frugal))
        return {}

    def end(self) -> None:
        """Leave the transformer as it was before."""
        self._open.close()


def adapters_of(plan: PaintPlan, model: Model) -> list[Adapter]:
    """Return the LoRAs of a plan: that of its tier, then those that were asked for.

    Files that are not on this machine are fetched. Raises StudioError ``unknown_lora`` or ``model_unavailable``.
    """
    own = model.recipe(plan.tier).lora
    found = [] if own is None else [_adapter(name_of(plan.tier), own, own.scale)]
    for use in plan.loras:
        if use.name not in model.loras:  # the job was planned before a restart with another allow-list
            message = f"loras: '{use.name}' is not offered for {model.name} any more; send the job again without it."
            raise StudioError("unknown_lora", message, param="loras")
        found.append(_adapter(use.name, model.loras[use.name], use.scale))
    return found


def _adapter(name: str, lora: InFile, scale: float) -> Adapter:
    path = bring(name, lora)
    return Adapter(name, path, marked(name, path), scale)
