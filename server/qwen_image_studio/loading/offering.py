"""What this host's worker of a device can paint: of each model its tiers, precisions and LoRAs. No torch."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from qwen_image_studio.contract.words import Precision
from qwen_image_studio.loading.memory import MemoryPlan, device_bytes, plan_for, working_bytes
from qwen_image_studio.models.architectures import GIB
from qwen_image_studio.models.footprints import Stored, shared_bytes
from qwen_image_studio.models.lora_files import marks_of, tier_mark
from qwen_image_studio.models.revision import revision_of
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.offers import ModelOffer, Offer
from qwen_image_studio.settings import Settings

FRESH_S = 4.0
"""Time after which files are looked for again, in seconds."""


class Offering:
    """What the worker of one device offers; its memory plan is made once."""

    def __init__(
        self, models: Mapping[str, Model], device: str, settings: Settings, common: Mapping[str, Any] | None = None
    ) -> None:
        """`common` is as in `Offer`."""
        self._models, self._common = models, common
        self._last: Offer | None = None
        self._looked_at = 0.0
        plan = plan_for(models, device, settings)
        self._precisions = {name: precisions(model, plan) for name, model in models.items()}

    def now(self) -> Offer:
        """Return what it offers with the files that are here now, or were a moment ago."""
        if self._last is None or time.monotonic() - self._looked_at > FRESH_S:
            self._last = Offer({name: self._of(model) for name, model in self._models.items()}, self._common)
            self._looked_at = time.monotonic()
        return self._last

    def _of(self, model: Model) -> ModelOffer:
        marks = marks_of(model)
        tiers = (tier for tier, recipe in model.tiers.items() if recipe.lora is None or tier_mark(tier) in marks)
        loras = marks.keys() & model.loras.keys()
        precisions = self._precisions[model.name]
        return ModelOffer(frozenset(tiers), precisions, frozenset(loras), _revision(model), marks)


def _revision(model: Model) -> str | None:
    """Return what tells a model's weights from others; None as well where they cannot be read, which loading tells."""
    with suppress(OSError):
        return revision_of(model)
    return None


def precisions(model: Model, plan: MemoryPlan | None) -> frozenset[str]:
    """Return the precisions in which a device paints a model as it is asked to; all of them where it has no plan.

    What is asked for in fp8 may be painted wider, but nothing narrower than it is asked for.
    """
    if plan is None:
        return frozenset(Precision)
    wide = {each for each in (Precision.FP16, Precision.FP32) if _has_room(model, Stored(each), plan)}
    return frozenset({Precision.FP8, plan.base.precision, *wide})


def _has_room(model: Model, stored: Stored, plan: MemoryPlan) -> bool:
    """Return whether a model stored so, and what it shares with others, fits the device by itself."""
    wider = 2 if stored.precision is Precision.FP32 else 1
    weights = device_bytes(model, stored) + wider * shared_bytes(model.network, plan.encoder)
    return weights + wider * working_bytes({model.name: model}, plan.tile_pixels) <= plan.machine.usable_gib * GIB
