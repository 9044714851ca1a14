"""Which variants a worker leaves to others: those that it cannot paint as they are asked for, while somebody else can.

Where no other worker can, it takes them all the same: the job then ends with the error that says what is missing.
"""

import time
from collections.abc import Callable, Collection

from qwen_image_studio.jobs import JobStore
from qwen_image_studio.planning.offers import Offer, read_offer

REMEMBERED_S = 15.0
"""Time for which a decision stands, in seconds: workers come and go."""


class Choosing:
    """The choice of one worker (`jobs.leases.Choice`)."""

    def __init__(self, store: JobStore, name: str, offer: Callable[[], Offer], unserved_s: float) -> None:
        """`name` and `offer` are the worker's; others count while they were seen within `unserved_s` seconds."""
        self._store, self._name, self._offer, self._unserved_s = store, name, offer, unserved_s
        self._decided: dict[str, tuple[bool, float]] = {}
        """Whether a variant is taken that it does not offer, and until when (monotonic seconds) that stands."""

    @property
    def left(self) -> Collection[str]:
        """Return the variants that are left to others."""
        now = time.monotonic()
        self._decided = {variant: decided for variant, decided in self._decided.items() if decided[1] > now}
        return [variant for variant, (taken, _) in self._decided.items() if not taken]

    def takes(self, variant: str) -> bool:
        """Return whether a variant is known to be taken."""
        return self._decided.get(variant, (False, 0.0))[0] or self._offer().takes(variant)

    def decide(self, variant: str) -> None:
        """Leave a variant to others where one of them offers it, else take it. Raises StudioError where the job store
        cannot be read.
        """
        others = (each for each in self._store.workers.seen_within(self._unserved_s) if each.name != self._name)
        taken = not any(read_offer(each.offers).takes(variant) for each in others)
        self._decided[variant] = taken, time.monotonic() + REMEMBERED_S
