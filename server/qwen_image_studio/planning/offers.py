"""Offers: what a worker can paint, as it tells other processes, so that each job goes to one that has what it needs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_HASHED = re.compile(r"[0-9a-f]{64}")
"""The names of a variant's LoRAs where they are too long together."""


@dataclass(frozen=True)
class ModelOffer:
    """What a worker has of one model."""

    tiers: frozenset[str]
    precisions: frozenset[str]
    loras: frozenset[str] = frozenset()
    """Names of those whose files it has."""
    revision: str | None = None
    """What tells its weights from others of that name (`models.revision`); None where they are not all there yet."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """What tells the file of each LoRA from others: those of tiers, by ``tier:`` and its name, and those offered."""


@dataclass(frozen=True)
class Offer:
    """What one worker can paint."""

    models: Mapping[str, ModelOffer] = field(default_factory=dict)
    common: Mapping[str, Any] | None = None
    """What it has in common with other hosts (`gallery.common`); None where there are none."""

    def takes(self, variant: str) -> bool:
        """Return whether the worker has all that a variant needs, by its key (`planning.plan.Variant`)."""
        model, *rest = variant.split("/", 3)
        if (offer := self.models.get(model)) is None:
            return False
        if len(rest) < 2:  # no key of ours
            return True
        precision, tier, *loras = rest
        return (
            precision in offer.precisions
            and tier in offer.tiers
            and all(_HASHED.fullmatch(lora) or set(lora.split("+")) <= offer.loras for lora in loras)
        )

    def as_row(self) -> dict[str, Any]:
        """Return it as JSON."""
        models = {
            name: {
                "tiers": sorted(offer.tiers),
                "precisions": sorted(offer.precisions),
                "loras": sorted(offer.loras),
                "revision": offer.revision,
                "marks": dict(offer.marks),
            }
            for name, offer in self.models.items()
        }
        return {"models": models} if self.common is None else {"models": models, "common": self.common}


def read_offer(row: Mapping[str, Any] | None) -> Offer:
    """Return the offer that a worker has reported; an empty one where it reported none."""
    models = (row or {}).get("models", {})
    return Offer({name: _read_model(each) for name, each in models.items()}, (row or {}).get("common"))


def _read_model(row: Mapping[str, Any]) -> ModelOffer:
    tiers, precisions, loras = (frozenset(row.get(kind, ())) for kind in ("tiers", "precisions", "loras"))
    return ModelOffer(tiers, precisions, loras, row.get("revision"), row.get("marks", {}))
