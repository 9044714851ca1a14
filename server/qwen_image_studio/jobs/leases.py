"""The jobs as workers see them: claim one, keep its lease, end it; and take back what lost workers held."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, select, text, update

from qwen_image_studio.contract.errors import LeaseLost
from qwen_image_studio.contract.words import Band, Lane, Review, State
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import QUEUED, RUNNING, images, jobs
from qwen_image_studio.jobs.events import Change, Events, JobEvent, Listener, clock
from qwen_image_studio.jobs.held import only_reviews_left
from qwen_image_studio.jobs.ranking import HAS_WORK, next_job
from qwen_image_studio.jobs.records import as_job
from qwen_image_studio.jobs.retries import RETRIES, WORKER_LOST, retry_of
from qwen_image_studio.jobs.states import Lease, Measured, Progress, StoredImage
from qwen_image_studio.planning.plan import Variant
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

_HOLDERS = text("SELECT DISTINCT leased_by FROM jobs WHERE state = 'running'")
_SERVED = text("SELECT MAX(served_at) FROM turns WHERE lane = :lane AND served_at <= :now")
_UNCLAIMED = select(jobs.c.id, jobs.c.created_at, jobs.c.variant).where(jobs.c.seq == bindparam("seq"))
_OVERDUE = text("SELECT leased_by FROM jobs WHERE state = 'running' AND leased_until < :now")
# Progress is no change of state: it has no version and no event, and one statement writes it.
_RENEW = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"), jobs.c.lease_token == bindparam("token"), RUNNING)
    .values(leased_until=bindparam("until"), **{name: bindparam(f"new_{name}") for name in asdict(Progress())})
    .returning(jobs.c.cancel_requested)
)


class Unclaimed(NamedTuple):
    """A job that a worker could claim; the times are in Unix seconds."""

    job_id: str
    queued_at: float
    variant: str
    lane_served_at: float
    """When a job of its lane was claimed last; 0 for never."""


class Leases:
    """The leases of a server's jobs. Every method is one transaction; `now` is in Unix seconds, as in `Jobs`."""

    def __init__(self, database: Database, events: Events, progress: Listener, settings: Settings) -> None:
        """`progress` is told of a job whose progress was written."""
        self._database, self._events, self._progress = database, events, progress
        self._max_attempts = settings.max_attempts
        self._lease_s = settings.lease_s
        self._patience_s = settings.affinity_patience_s

    # -- one attempt -----------------------------------------------------------------------------------------------

    def claim(
        self,
        worker: str,
        lane: Lane,
        models: Collection[str] = (),
        loaded: Variant | None = None,
        now: float | None = None,
    ) -> Lease | None:
        """Lease the next job of the lane to the worker, or return None where there is none; in the paint lane only
        jobs for one of `models` are taken. Before that, jobs with expired leases are queued again or failed.

        Parties take turns (`ranking`). Jobs of the loaded variant go first and after them those with the same weights,
        until the others have waited for `affinity_patience_s` since their variant last painted for their party. A
        batch can be claimed while it has rows that are not jobs yet and few rows under way, and again once all have
        ended.
        """
        now = clock(now)
        with self._database.reading() as connection:
            if not any(connection.execute(HAS_WORK, {"lane": lane, "now": now}).one()):
                return None
        with self._events.changing() as change:
            self._take_back(change, _expired(now), now)
            # Where several workers see the same job, one gets it, and the others look again.
            while (seq := next_job(change.connection, lane, models, loaded, now - self._patience_s, now)) is not None:
                if (row := change.claim(seq, worker, now + self._lease_s, now)) is not None:
                    return Lease(as_job(row), row.lease_token)
        return None

    def renew(self, lease: Lease, progress: Progress, now: float | None = None) -> bool:
        """Extend the lease, record the progress, and return whether the job is to stop. Raises LeaseLost."""
        values = {"job_id": lease.job.id, "token": lease.token, "until": clock(now) + self._lease_s}
        values |= {f"new_{name}": value for name, value in asdict(progress).items()}
        with self._database.writing() as connection:
            row = connection.execute(_RENEW, values).one_or_none()
        if row is None:
            raise LeaseLost(lease.job.id)
        job = lease.job
        cancelled = bool(row.cancel_requested)
        self._progress([JobEvent(job.id, job.parent_id, job.lane, State.RUNNING, cancelled)])
        return cancelled

    def finish(
        self,
        lease: Lease,
        images_: Sequence[StoredImage],
        warnings: Sequence[str],
        compute_saved: float | None = None,
        now: float | None = None,
        measured: Measured | None = None,
        band: Band | None = None,
    ) -> State:
        """End the job with its images and return its state: succeeded; review, and no end yet, where an image is held;
        or cancelled, without the images, where a cancel came first. `compute_saved` is the share of the model's work
        that was not needed, 0 to 1; `measured`, here and in other ends, is what the attempt cost; `band` is the
        worst of what a classifier found, None where it was not asked. Raises LeaseLost.
        """
        now = clock(now)
        with self._events.changing() as change:
            if change.check_lease(lease):
                change.end(lease.job.id, State.CANCELLED, now, **_cost(measured))
                return State.CANCELLED
            if images_:
                rows = [asdict(replace(image, created_at=now)) for image in images_]
                change.connection.execute(images.insert(), rows)
            result = {"warnings": list(warnings), "compute_saved": compute_saved, **_cost(measured), **_found(band)}
            if any(image.review is Review.HELD for image in images_):
                change.rest(lease.job.id, now, **result)
                return State.REVIEW
            change.end(lease.job.id, State.SUCCEEDED, now, **result)
            return State.SUCCEEDED

    def fail(
        self,
        lease: Lease,
        code: str,
        message: str,
        now: float | None = None,
        measured: Measured | None = None,
        reason: str | None = None,
        band: Band | None = None,
    ) -> State:
        """End the attempt with an error and return the job's state: queued where another attempt follows for `reason`,
        which is by default the code (`retries`); failed; or cancelled where a cancel came first. Raises LeaseLost.
        """
        now, job, reason = clock(now), lease.job, reason or code
        with self._events.changing() as change:
            if change.check_lease(lease):
                change.end(job.id, State.CANCELLED, now, **_cost(measured))
                return State.CANCELLED
            if (retry := retry_of(job, reason, self._max_attempts)) is not None:
                change.try_again(job, reason, retry, now)
                return State.QUEUED
            change.fail(job.id, code, message, now, **_cost(measured), **_found(band))
            return State.FAILED

    def stop(self, lease: Lease, now: float | None = None, measured: Measured | None = None) -> None:
        """End the job as cancelled. Raises LeaseLost."""
        with self._events.changing() as change:
            change.check_lease(lease)
            change.end(lease.job.id, State.CANCELLED, clock(now), **_cost(measured))

    def release(self, lease: Lease, now: float | None = None) -> None:
        """Put the job back in the queue; this attempt does not count. It ends as cancelled where a cancel came first; a
        batch whose rows have ended but for those that reviewers decide on is put aside until they have.

        Raises LeaseLost.
        """
        with self._events.changing() as change:
            if change.check_lease(lease):
                change.end(lease.job.id, State.CANCELLED, clock(now))
            elif lease.job.rows is not None and only_reviews_left(change.connection, lease.job.id, lease.job.rows):
                change.rest(lease.job.id, clock(now), attempt=jobs.c.attempt - 1)
            else:
                change.requeue(lease.job.id, attempt=jobs.c.attempt - 1)

    # -- lost attempts ---------------------------------------------------------------------------------------------

    def abandon(self, worker: str, now: float | None = None) -> int:
        """Take back the jobs of a worker that is known to be dead; return how many there were."""
        with self._events.changing() as change:
            held = RUNNING & (jobs.c.leased_by == worker)
            return self._take_back(change, held, clock(now))

    def expire(self, now: float | None = None) -> int:
        """Queue again or fail the jobs whose lease ran out; return how many there were."""
        with self._events.changing() as change:
            return self._take_back(change, _expired(clock(now)), clock(now))

    def overdue(self, now: float | None = None) -> Sequence[str]:
        """Return the names of the workers that hold an expired lease."""
        with self._database.reading() as connection:
            return [str(name) for name in connection.scalars(_OVERDUE, {"now": clock(now)})]

    def holders(self) -> Sequence[str]:
        """Return the names of the workers that hold a lease."""
        with self._database.reading() as connection:
            return [str(name) for name in connection.scalars(_HOLDERS)]

    def unclaimed(self, lane: Lane, models: Collection[str], now: float | None = None) -> Unclaimed | None:
        """Return a job that a worker of the lane with these models could claim, or None; nothing is changed."""
        now = clock(now)
        with self._database.reading() as connection:
            seq = next_job(connection, lane, models, None, now - self._patience_s, now)
            if seq is None:
                return None
            row = connection.execute(_UNCLAIMED, {"seq": seq}).one()
            served_at = connection.scalar(_SERVED, {"lane": lane, "now": now})
        return Unclaimed(row.id, row.created_at, row.variant, served_at or 0.0)

    def refuse_unserved(self, models: Collection[str], now: float | None = None) -> int:
        """Fail the queued jobs that need a model other than these, since no worker would ever claim them; return how
        many there were.
        """
        waiting = QUEUED & jobs.c.rows.is_(None)  # as the index of what waits has it; batches are not painted
        orphaned = waiting & (jobs.c.lane == Lane.PAINT) & jobs.c.model.not_in(models)
        with self._events.changing() as change:
            rows = change.connection.execute(select(jobs.c.id, jobs.c.model).where(orphaned).with_for_update()).all()
            for row in rows:
                message = f"The server was restarted without {row.model}, which this job is for; submit it again."
                change.fail(row.id, "model_unavailable", message, clock(now))
        return len(rows)

    def _take_back(self, change: Change, lost: ColumnElement[bool], now: float) -> int:
        """Queue the jobs of lost attempts again, or end those that were cancelled or have no attempt left; return how
        many there were.
        """
        found = select(jobs.c.id, jobs.c.attempt, jobs.c.retried_for, jobs.c.cancel_requested).where(lost)
        # Batches come last: one that fails also ends its rows, in whatever state this loop has left them.
        found = found.order_by(jobs.c.rows.is_not(None))
        rows = change.connection.execute(found.with_for_update(skip_locked=True)).all()
        for row in rows:
            if row.cancel_requested:
                change.end(row.id, State.CANCELLED, now)
            elif row.attempt < self._max_attempts:
                change.try_again(row, WORKER_LOST, RETRIES[WORKER_LOST], now)
                _log.warning("job %s: attempt %d has lost its worker; the next one follows", row.id, row.attempt)
            else:
                message = (
                    f"The worker died or fell silent {row.attempt} times while painting this job. A smaller size or "
                    "fewer images may pass; the server's log has the cause."
                )
                change.fail(row.id, WORKER_LOST, message, now)
        return len(rows)


def _cost(measured: Measured | None) -> dict[str, Any]:
    """Return the column of what an attempt cost; none where that was not measured."""
    return {} if measured is None else {"measured": asdict(measured)}


def _found(band: Band | None) -> dict[str, Any]:
    """Return the column of the classifier's band; none where it was not asked."""
    return {} if band is None else {"safety": band}


def _expired(now: float) -> ColumnElement[bool]:
    return RUNNING & (jobs.c.leased_until < now)
