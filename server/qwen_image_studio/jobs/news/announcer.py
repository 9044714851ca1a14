"""The announcer: it rings a bell for what a transaction has changed."""

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection

from qwen_image_studio.contract.words import Lane, State
from qwen_image_studio.jobs.events import JobEvent
from qwen_image_studio.jobs.news.port import CANCELS, DELIVERIES, DUE, JOBS, QUEUE, Bell, TransactionalBell, work

PROGRESS_S = 2.0
"""Least time between two words of one job's mere progress within transactions, in seconds: PostgreSQL wakes whoever
listens in a database for each, so that every worker's progress costs a moment of all the others."""


class Announcer:
    """The listener that rings a bell: within the transaction where the bell can do that, else after its commit."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._within = bell if isinstance(bell, TransactionalBell) else None
        self._progress: tuple[str, float] = ("", 0.0)
        """The job whose progress was told last, and when."""

    def changing(self, connection: Connection, events: Sequence[JobEvent]) -> None:
        """Ring for changes of state that are about to be committed. Raises what the database raises."""
        if self._within is not None:
            self._within.ring_within(connection, _of_changes(events))

    def changed(self, events: Sequence[JobEvent]) -> None:
        """Ring for changes of state that were committed."""
        if self._within is None:
            self._ring(_of_changes(events))

    def progressing(self, connection: Connection, event: JobEvent) -> None:
        """Ring for mere progress, which changes no place and no batch, and is about to be committed, unless that was
        done a moment ago; nothing is amiss if a crash of the database loses it. Raises what the database raises.
        """
        if self._within is None:
            return
        (told, at), now = self._progress, time.monotonic()
        if told != event.job_id or now - at >= PROGRESS_S:
            self._progress = (event.job_id, now)
            self._within.ring_within(connection, {JOBS: {event.job_id}}, durable=False)

    def progressed(self, event: JobEvent) -> None:
        """Ring for mere progress that was committed."""
        if self._within is None:
            self._ring({JOBS: {event.job_id}})

    def _ring(self, rung: Mapping[str, Collection[str]]) -> None:
        for topic, words in rung.items():
            self._bell.ring(topic, words)


def _of_changes(events: Sequence[JobEvent]) -> Mapping[str, Collection[str]]:
    """Return the words for changes of state, by topic; of a job that was changed several times, for the last change."""
    rung: dict[str, set[str]] = defaultdict(set)
    for event in {event.job_id: event for event in events}.values():
        if event.state is State.QUEUED:
            rung[work(event.lane)].add(event.lane)
        if event.parent_id is not None and event.state.final:
            rung[work(Lane.LIGHT)].add(Lane.LIGHT)  # its batch may want more rows now, or have them all
        if event.cancel_requested and event.state is State.RUNNING:
            rung[CANCELS].add(event.job_id)
        if event.parent_id is None and event.state.final:
            rung[DELIVERIES].add(DUE)
        rung[JOBS] |= {name for name in (event.job_id, event.parent_id) if name}
        if event.state is not State.SUCCEEDED:
            rung[JOBS].add(QUEUE)
    return rung
