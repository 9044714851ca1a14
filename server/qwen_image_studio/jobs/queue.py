"""The queue as operators see it: what waits and what runs, of all owners; and how to empty it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import ADJUSTED, State
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import OPEN, QUEUED, RUNNING, images, jobs
from qwen_image_studio.jobs.callers import cancel
from qwen_image_studio.jobs.events import Events
from qwen_image_studio.jobs.held import HELD
from qwen_image_studio.jobs.ranking import places
from qwen_image_studio.jobs.records import JOBS, NO_BATCH, SHOWN_STATE, as_job, get_job
from qwen_image_studio.jobs.states import Job

_AT_ONCE = 20
"""Jobs that one transaction cancels, so that others have their turn in between."""
_WAITING = (
    select(jobs.c.model, func.count().label("number"), func.min(jobs.c.created_at).label("oldest"))
    .where(QUEUED, NO_BATCH)
    .group_by(jobs.c.model)
)
_RUNNING = select(jobs.c.model, func.count().label("number")).where(RUNNING, NO_BATCH).group_by(jobs.c.model)
_HELD = select(func.count()).select_from(images).where(HELD)


@dataclass
class OfModel:
    """What waits and runs for one model; batches are not counted, their rows are."""

    waiting: int = 0
    running: int = 0
    oldest_at: float | None = None
    """When the job was submitted that has waited longest, in Unix seconds."""


class Queue:
    """The queue of a server. `now` is in Unix seconds, as in `Jobs`."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database, self._events = database, events

    def by_model(self) -> dict[str, OfModel]:
        """Return what waits and runs, by model; jobs that need none are under `ADJUSTED`."""
        found: dict[str, OfModel] = {}
        with self._database.reading() as connection:
            for row in connection.execute(_WAITING):
                found[row.model or ADJUSTED] = OfModel(row.number, 0, row.oldest)
            for row in connection.execute(_RUNNING):
                found.setdefault(row.model or ADJUSTED, OfModel()).running = row.number
        return found

    def held(self) -> int:
        """Return how many images wait for a reviewer."""
        with self._database.reading() as connection:
            return connection.scalar(_HELD) or 0

    def page(self, limit: int, after: str | None = None) -> tuple[list[tuple[Job, int | None]], bool]:
        """Return one page of the jobs that have not ended, oldest first, each with its place if it waits, and whether
        more follow. `after` is the id of the last job of the page before.

        Raises StudioError ``not_found`` for an `after` that there is not.
        """
        query = JOBS.where(OPEN).order_by(jobs.c.seq + 0).limit(limit + 1)  # sorted: the index of the past is no help
        with self._database.reading() as connection:
            if after is not None:
                get_job(connection, after)
                query = query.where(jobs.c.seq + 0 > select(jobs.c.seq).where(jobs.c.id == after).scalar_subquery())
            found = [as_job(row) for row in connection.execute(query)]
            queued = [job.id for job in found[:limit] if job.state is State.QUEUED and job.rows is None]
            placed = places(connection, queued, self._database.now()) if queued else {}
        return [(job, placed.get(job.id)) for job in found[:limit]], len(found) > limit

    def cancel(self, states: Sequence[State], now: float | None = None) -> int:
        """Cancel the jobs of all owners that are seen in one of these states, batches with their rows; return how many
        there were. What is submitted meanwhile stays.
        """
        in_states = SHOWN_STATE.in_(states) & jobs.c.parent_id.is_(None) & ~jobs.c.cancel_requested
        query = select(jobs.c.id).where(OPEN, in_states).order_by(jobs.c.seq + 0)
        with self._database.reading() as connection:
            ids = list(connection.scalars(query))
        return sum(self._cancel(ids[start : start + _AT_ONCE], now) for start in range(0, len(ids), _AT_ONCE))

    def cancel_one(self, job_id: str, now: float | None = None) -> int:
        """Cancel one job of any owner, a batch with its rows; return 1, or 0 where it was cancelled already.

        Raises StudioError ``not_found`` and ``job_finished``.
        """
        with self._events.changing() as change:
            return int(cancel(change, get_job(change.connection, job_id, to_change=True), self._database.now(now)))

    def _cancel(self, ids: Sequence[str], now: float | None) -> int:
        number, now = 0, self._database.now(now)
        with self._events.changing() as change:
            for job_id in ids:
                try:
                    number += cancel(change, get_job(change.connection, job_id, to_change=True), now)
                except StudioError as error:  # it has ended meanwhile, or is deleted
                    if error.code not in {"not_found", "job_finished"}:
                        raise
        return number
