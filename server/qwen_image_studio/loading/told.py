"""What tells the weights that a plan is painted with: those on this machine, else those that workers say they have."""

import time
from collections.abc import Iterator, Sequence

from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.models.lora_files import tier_mark, with_loras
from qwen_image_studio.models.revision import revision_of
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.offers import ModelOffer, read_offer
from qwen_image_studio.planning.plan import PaintPlan

_SEEN_S = 60.0
"""Age of a report up to which it counts, in seconds."""
_FRESH_S = 5.0
"""Time for which reports are remembered, in seconds."""


class Revisions:
    """What one process knows of the weights that others have, where it has none itself: a web host needs none."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._read: tuple[float, Sequence[WorkerReport]] = (float("-inf"), ())
        """When the reports were read last (monotonic seconds), and what was read."""

    def of(self, model: Model, plan: PaintPlan) -> str | None:
        """Return what tells the weights of a plan from others; None where nobody has them all, or workers have others.

        Raises what the job store raises.
        """
        here = with_loras(revision_of(model), model, plan)
        if here is not None:
            return here
        told = {_told(offer, model, plan) for offer in self._offers(model, plan)}
        return told.pop() if len(told) == 1 else None

    def _offers(self, model: Model, plan: PaintPlan) -> Iterator[ModelOffer]:
        """Yield what each worker that can paint the plan has of the model."""
        now = time.monotonic()
        if now - self._read[0] > _FRESH_S:
            self._read = now, self._store.workers.seen_within(_SEEN_S)
        offers = (read_offer(report.offers) for report in self._read[1])
        yield from (offer.models[model.name] for offer in offers if offer.takes(str(plan.variant)))


def _told(offer: ModelOffer, model: Model, plan: PaintPlan) -> str | None:
    """Return what a worker says of its weights for a plan, as `with_loras` does of those here."""
    own = [tier_mark(plan.tier)] if model.recipe(plan.tier).lora is not None else []
    marks = [offer.marks.get(name) for name in (*own, *(use.name for use in plan.loras if use.name in model.loras))]
    told = [offer.revision, *marks]
    return None if None in told else " ".join(str(each) for each in told)
