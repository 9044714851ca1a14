"""The jobs as workers see them: claim one, keep its lease, end it; and take back what lost workers held."""

import logging
import random
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple, Protocol

from sqlalchemy import ColumnElement, bindparam, select, text, update

from qwen_image_studio.contract.errors import LeaseLost
from qwen_image_studio.contract.words import Band, Lane, Review, State
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import QUEUED, RUNNING, images, jobs
from qwen_image_studio.jobs.answering import answer_queued
from qwen_image_studio.jobs.events import Change, Events, JobEvent, Listener
from qwen_image_studio.jobs.held import only_reviews_left
from qwen_image_studio.jobs.ranking import HAS_WORK, next_job
from qwen_image_studio.jobs.records import as_job
from qwen_image_studio.jobs.retries import RETRIES, WORKER_LOST, retry_of
from qwen_image_studio.jobs.states import Lease, Measured, Progress, StoredImage
from qwen_image_studio.planning.plan import Variant
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

_TAKEN_S = 2.0
"""How long a claim looks again while others are about to claim all that waits, in seconds; they may give up."""
_PAUSE_S = (0.02, 0.1)
"""Least and longest time between two such looks, in seconds."""
# As the index of what waits has it; batches are not painted.
_WAITING = QUEUED & jobs.c.rows.is_(None) & (jobs.c.lane == Lane.PAINT)
_HOLDERS = text("SELECT DISTINCT leased_by FROM jobs WHERE state = 'running'")
_SERVED = text("SELECT MAX(served_at) FROM turns WHERE lane = :lane AND served_at <= :now")
_UNCLAIMED = select(jobs.c.id, jobs.c.created_at, jobs.c.variant).where(jobs.c.seq == bindparam("seq"))
_OVERDUE = text("SELECT leased_by FROM jobs WHERE state = 'running' AND leased_until < :now")
# Progress is no change of state: it has no version and no event, and one statement writes it.
_RENEW = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"), jobs.c.lease_token == bindparam("token"), jobs.c.state == State.RUNNING)
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


class Choice(Protocol):
    """Which variants a worker leaves to others, by their keys."""

    @property
    def left(self) -> Collection[str]:
        """Return those that are left to others."""

    def takes(self, variant: str) -> bool:
        """Return whether a variant is known to be taken; nothing is read for it."""

    def decide(self, variant: str) -> None:
        """Find out whether a variant is taken or left, if need be in the job store. Raises StudioError."""


class _All:
    """The choice of a worker that leaves nothing to others."""

    left: Collection[str] = ()

    def takes(self, variant: str) -> bool:
        return True

    def decide(self, variant: str) -> None:
        pass


ALL: Choice = _All()


class Leases:
    """The leases of a server's jobs. Every method is one transaction; `now` is in Unix seconds, as in `Jobs`."""

    def __init__(self, database: Database, events: Events, listener: Listener, settings: Settings) -> None:
        """`listener` is told of a job whose progress was written."""
        self._database, self._events, self._listener = database, events, listener
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
        choice: Choice = ALL,
    ) -> Lease | None:
        """Lease the next job of the lane to the worker, or return None where there is none; in the paint lane only
        jobs for one of `models` are taken, and of those what the `choice` does not leave to other workers. Before that,
        jobs with expired leases are queued again or failed.

        Parties take turns (`ranking`). Jobs of the loaded variant go first and after them those with the same weights,
        until the others have waited for `affinity_patience_s` since their variant last painted for their party. A
        batch can be claimed while it has rows that are not jobs yet and few rows under way, and again once all have
        ended. A job for which there are pictures by now is answered with them, and the next one is claimed.
        """
        given, patience = now, time.monotonic() + _TAKEN_S
        while self._has_work(lane, now := self._database.now(given)):
            since = now - self._patience_s
            with self._events.changing() as change:
                self._expire(change, now)
                # Where several workers see the same job, one gets it, and the others look for another.
                while found := next_job(
                    change.connection, lane, models, loaded, since, now, choice.left, to_claim=True
                ):
                    if not (found.is_free and choice.takes(found.variant)):
                        break
                    if answer_queued(change, found.seq, now):  # an equal one was painted meanwhile
                        continue
                    if (row := change.claim(found.seq, worker, now + self._lease_s, now)) is not None:
                        return Lease(as_job(row), row.lease_token)
            if found is None or (not found.is_free and time.monotonic() > patience):
                return None
            if found.is_free:
                choice.decide(found.variant)  # after the transaction, so that it keeps the job from nobody
            else:
                time.sleep(random.uniform(*_PAUSE_S))  # noqa: S311 - spreads load, guards nothing
        return None

    def _has_work(self, lane: Lane, now: float) -> bool:
        """Return whether a claim may find anything."""
        with self._database.reading() as connection:
            return any(connection.execute(HAS_WORK, {"lane": lane, "now": now}).one())

    def renew(self, lease: Lease, progress: Progress, now: float | None = None) -> bool:
        """Extend the lease, record the progress, and return whether the job is to stop. Raises LeaseLost."""
        values = {"job_id": lease.job.id, "token": lease.token, "until": self._database.now(now) + self._lease_s}
        values |= {f"new_{name}": value for name, value in asdict(progress).items()}
        job = lease.job
        with self._database.writing() as connection:
            row = connection.execute(_RENEW, values).one_or_none()
            if row is None:
                raise LeaseLost(job.id)
            event = JobEvent(job.id, job.parent_id, job.lane, State.RUNNING, bool(row.cancel_requested))
            self._listener.progressing(connection, event)
        self._listener.progressed(event)
        return event.cancel_requested

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
        now = self._database.now(now)
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
        now, job, reason = self._database.now(now), lease.job, reason or code
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
            change.end(lease.job.id, State.CANCELLED, self._database.now(now), **_cost(measured))

    def release(self, lease: Lease, now: float | None = None) -> None:
        """Put the job back in the queue; this attempt does not count. It ends as cancelled where a cancel came first; a
        batch whose rows have ended but for those that reviewers decide on is put aside until they have.

        Raises LeaseLost.
        """
        with self._events.changing() as change:
            if change.check_lease(lease):
                change.end(lease.job.id, State.CANCELLED, self._database.now(now))
            elif lease.job.rows is not None and only_reviews_left(change.connection, lease.job.id, lease.job.rows):
                change.rest(lease.job.id, self._database.now(now), attempt=jobs.c.attempt - 1)
            else:
                change.requeue(lease.job.id, attempt=jobs.c.attempt - 1)

    # -- lost attempts ---------------------------------------------------------------------------------------------

    def abandon(self, worker: str, now: float | None = None) -> int:
        """Take back the jobs of a worker that is known to be dead; return how many there were."""
        with self._events.changing() as change:
            held = RUNNING & (jobs.c.leased_by == worker)
            return self._take_back(change, held, self._database.now(now))

    def expire(self, now: float | None = None) -> int:
        """Queue again or fail the jobs whose lease ran out; return how many there were."""
        with self._events.changing() as change:
            return self._expire(change, self._database.now(now))

    def overdue(self, now: float | None = None) -> Sequence[str]:
        """Return the names of the workers that hold an expired lease."""
        if self._database.is_settling:
            return []
        with self._database.reading() as connection:
            return [str(name) for name in connection.scalars(_OVERDUE, {"now": self._database.now(now)})]

    def holders(self) -> Sequence[str]:
        """Return the names of the workers that hold a lease."""
        with self._database.reading() as connection:
            return [str(name) for name in connection.scalars(_HOLDERS)]

    def unclaimed(
        self, lane: Lane, models: Collection[str], now: float | None = None, left: Collection[str] = ()
    ) -> Unclaimed | None:
        """Return a job that a worker of the lane with these models could claim, of another variant than those that are
        `left` to others, or None; nothing is changed.
        """
        now = self._database.now(now)
        with self._database.reading() as connection:
            found = next_job(connection, lane, models, None, now - self._patience_s, now, left)
            if found is None:
                return None
            row = connection.execute(_UNCLAIMED, {"seq": found.seq}).one()
            served_at = connection.scalar(_SERVED, {"lane": lane, "now": now})
        return Unclaimed(row.id, row.created_at, row.variant, served_at or 0.0)

    def refuse_unserved(self, models: Collection[str], now: float | None = None) -> int:
        """Fail the queued jobs that need a model other than these, since no worker would ever claim them; return how
        many there were.
        """
        message = "The server was restarted without {model}, which this job is for; submit it again."
        return self._refuse(_WAITING & jobs.c.model.not_in(models), message, self._database.now(now))

    def waited_for(self, seconds: float, now: float | None = None) -> Collection[str]:
        """Return the models of the jobs that were submitted so long ago and wait to be painted."""
        waiting = _WAITING & (jobs.c.created_at <= self._database.now(now) - seconds)
        with self._database.reading() as connection:
            return set(connection.scalars(select(jobs.c.model).where(waiting).distinct()))

    def refuse_waiting(self, models: Collection[str], seconds: float, now: float | None = None) -> int:
        """Fail the queued jobs for these models that were submitted so long ago, since no living worker offers any of
        them; return how many there were.
        """
        message = (
            f"No worker that paints {{model}} has been there for {seconds:.0f} seconds; submit the job again when one "
            "is, or ask for another model."
        )
        now = self._database.now(now)
        return self._refuse(_WAITING & jobs.c.model.in_(models) & (jobs.c.created_at <= now - seconds), message, now)

    def _refuse(self, orphaned: ColumnElement[bool], message: str, now: float) -> int:
        with self._events.changing() as change:
            rows = change.connection.execute(
                select(jobs.c.id, jobs.c.model).where(orphaned).order_by(jobs.c.seq).with_for_update()
            ).all()
            for row in rows:
                change.fail(row.id, "model_unavailable", message.format(model=row.model), now)
        return len(rows)

    def _expire(self, change: Change, now: float) -> int:
        # While the database was away, no worker could renew its lease; it paints all the same.
        return 0 if self._database.is_settling else self._take_back(change, _expired(now), now)

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
