"""The watch over what must never last: a job that could be claimed, beside a worker that is ready and does nothing.

It has been seen once, at high load, and its cause is not known. So the supervisor looks for it; the log gets all that a
claim depends on and where the worker's threads are, and the bell for new work is rung again.
"""

import logging
from collections.abc import Collection, Sequence

from qwen_image_studio.contract.words import LIGHT_DEVICE, SAFETY_DEVICE, Lane, WorkerState
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.jobs.leases import Unclaimed
from qwen_image_studio.jobs.news import work
from qwen_image_studio.planning.offers import read_offer
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.seats import seat_of

_log = logging.getLogger(__name__)

LOOK_S = 2.0
"""Time between two looks, in seconds."""
STALLED_S = 10.0
"""Time in seconds for which a job may wait beside an idle worker; one that is told of starts it anew."""
FRESH_S = 15.0
"""Age of a report, in seconds, from which it no longer tells that a worker is ready."""


class StalledJobs:
    """The watch over the lanes of one server."""

    def __init__(self, store: JobStore, models: Collection[str], settings: Settings) -> None:
        """`models` are those that the workers which paint were told to serve; their seats are in DATA_DIR."""
        self._store, self._data_dir, self._unserved_s = store, settings.data_dir, settings.unserved_s
        self._models = {Lane.PAINT: list(models), Lane.LIGHT: list[str]()}
        self._next_at = 0.0
        self._since: dict[Lane, float] = {}
        """Since when (Unix seconds) each lane has been found so at every look."""

    def look(self, now: float | None = None) -> Sequence[str]:
        """Look at all lanes, now and then; tell of those that stall, and return the names of their idle workers.

        `now` is in Unix seconds. Raises StudioError where the job store cannot be read.
        """
        now = self._store.database.now() if now is None else now
        if self._next_at - LOOK_S <= now < self._next_at:  # not so where the clock was set back
            return []
        self._next_at = now + LOOK_S
        held = set(self._store.leases.holders())
        idle = [one for one in self._store.workers.all() if one.name not in held and self._is_ready(one, now)]
        return [name for lane in Lane for name in self._look_at(lane, [one for one in idle if _is_of(one, lane)], now)]

    def _is_ready(self, report: WorkerReport, now: float) -> bool:
        """Return whether a worker of this DATA_DIR is ready, by a report of its own and not of one before it."""
        if report.state is not WorkerState.READY or now - report.seen_at >= FRESH_S:
            return False
        seat = seat_of(self._data_dir, report.device)
        return report.name == seat.name and seat.taken

    def _look_at(self, lane: Lane, idle: Sequence[WorkerReport], now: float) -> Sequence[str]:
        waiting = self._waiting(lane, idle, now) if idle else None
        if waiting is None or now - max(waiting.queued_at, waiting.lane_served_at) < STALLED_S:
            self._since.pop(lane, None)
            return []
        since = self._since.setdefault(lane, now)
        if now - since < STALLED_S:
            return []
        self._since[lane] = now
        workers = "; ".join(
            f"{one.name}, which has {one.model or 'nothing'} loaded and reported {now - one.seen_at:.0f} s ago"
            for one in idle
        )
        _log.error(
            "job %s waits although a worker is ready and idle: lane %s, queued %.0f s ago, for %s; "
            "the lane was last served %.0f s ago; models %s; idle: %s. Ringing again",
            waiting.job_id, lane.value, now - waiting.queued_at, waiting.variant or "no model",
            now - waiting.lane_served_at, self._models[lane], workers,
        )  # fmt: skip
        self._store.bell.ring(work(lane), {lane})
        return [one.name for one in idle]

    def _waiting(self, lane: Lane, idle: Sequence[WorkerReport], now: float) -> Unclaimed | None:
        """Return a job that an idle worker would take: one that is not left to others, who may be on other hosts."""
        left: list[str] = []
        while (waiting := self._store.leases.unclaimed(lane, self._models[lane], now, left)) is not None:
            if lane is Lane.LIGHT or any(self._takes(worker, waiting.variant) for worker in idle):
                break
            left.append(waiting.variant)
        return waiting

    def _takes(self, worker: WorkerReport, variant: str) -> bool:
        """Return whether a worker takes a variant; not so where it said that it cannot paint it, and another can."""
        if worker.offers is None or read_offer(worker.offers).takes(variant):
            return True
        seen = self._store.workers.seen_within(self._unserved_s)
        return not any(read_offer(each.offers).takes(variant) for each in seen)


def _is_of(report: WorkerReport, lane: Lane) -> bool:
    return report.device != SAFETY_DEVICE and (report.device == LIGHT_DEVICE) is (lane is Lane.LIGHT)
