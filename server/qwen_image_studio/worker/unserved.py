"""The watch over jobs for models that no worker of any host offers: they wait for one, and fail after a while.

A light worker keeps it, where several hosts share the job store. A model counts as offered for as long as a worker that
offers it was seen lately, whatever its state: one that is loading its weights, or is replaced, will be back.
"""

import logging
import time

from qwen_image_studio.jobs import JobStore
from qwen_image_studio.jobs.workers import SILENT_S
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

LOOK_S = 30.0
"""Longest time between two looks, in seconds."""


class Unserved:
    """The watch of one process, which judges nothing before it has looked on for the time of grace itself."""

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self._store, self._grace_s = store, settings.unserved_s
        self._pause_s = min(LOOK_S, max(1.0, settings.unserved_s / 4))
        self._next_at = time.monotonic() + settings.unserved_s

    def look(self) -> None:
        """Look now and then; fail what has waited for long enough. Raises StudioError."""
        if (now := time.monotonic()) < self._next_at:
            return
        self._next_at = now + self._pause_s
        waited_for = self._store.leases.waited_for(self._grace_s)
        living = self._store.workers.seen_within(max(self._grace_s, SILENT_S)) if waited_for else ()
        unserved = [model for model in waited_for if not any(each.offers_model(model) for each in living)]
        if unserved and (refused := self._store.leases.refuse_waiting(unserved, self._grace_s)):
            _log.warning("%d jobs have failed, since no worker paints %s", refused, ", ".join(sorted(unserved)))
