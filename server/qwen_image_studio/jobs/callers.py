"""The jobs as callers see them: submit, look, list, cancel."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, or_, select
from sqlalchemy.exc import IntegrityError

from qwen_image_studio.contract.caller import Guest
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.limits import NO_LIMITS, KeyLimits
from qwen_image_studio.contract.words import State
from qwen_image_studio.database.connection import Database, take_turn
from qwen_image_studio.database.tables import OPEN, QUEUED, RUNNING, jobs
from qwen_image_studio.jobs.answering import answer, answer_of
from qwen_image_studio.jobs.events import Change, Events
from qwen_image_studio.jobs.guests import check_jobs, take_turn_of
from qwen_image_studio.jobs.limits import Allowance
from qwen_image_studio.jobs.ranking import places
from qwen_image_studio.jobs.records import JOBS, NO_BATCH, SHOWN_STATE, VERSION, as_job, check_inputs, get_job
from qwen_image_studio.jobs.room import check_room
from qwen_image_studio.jobs.sharing import is_shared_by, replayed, share, shareable, take_back
from qwen_image_studio.jobs.states import ACTIVE, Job, NewJob, Submitted, Tag

_TRIES = 3
"""How often a submit is tried where others of its kind come and go at the same moment, before its job is its own."""
_RESENT = (
    JOBS.where(jobs.c.owner == bindparam("owner"), OPEN, jobs.c.parent_id.is_(None))
    .where(jobs.c.key.is_not_distinct_from(bindparam("key")))
    .where(or_(jobs.c.fingerprint == bindparam("fingerprint"), is_shared_by(bindparam("fingerprint"))))
    .order_by((jobs.c.seq + 0).desc())  # sorted, as in `_age`
    .limit(1)
)
_TAGS = select(jobs.c.id, jobs.c.rows, jobs.c.phase, jobs.c.step, VERSION, SHOWN_STATE).where(
    jobs.c.id.in_(bindparam("ids", expanding=True))
)


class Jobs:
    """The jobs of a server, for those who ask for them. Every method is one transaction.

    `now` is in Unix seconds; tests pass it in, and otherwise it is read from the clock. Any method may raise
    StudioError ``database_busy``, or ``storage_failed`` where the database cannot be used at all.
    """

    def __init__(self, database: Database, events: Events, allowance: Allowance, queue_share: float = 1.0) -> None:
        self._database, self._events, self._share = database, events, queue_share
        self._allowance = allowance

    # -- submit ----------------------------------------------------------------------------------------------------

    def submit(
        self, new: NewJob, *, queue_limit: int, limits: KeyLimits = NO_LIMITS, now: float | None = None
    ) -> tuple[Job, Submitted]:
        """Add a job and return it; where there is one with the same owner and idempotency key, return that one; and
        where one with the same owner and share key has not ended, share that one. One that pictures answer has ended.

        `queue_limit` caps the jobs that wait in one lane, and separately the batches that have not ended; rows of
        batches do not count. Owner and person have a share of it (`room`), and their key has `limits`; a submit that
        shares a job takes no place, and counts as a request alone. Raises StudioError ``queue_full``,
        ``rate_limited``, ``quota_exceeded``, ``idempotency_key_reused``, or ``image_not_found`` for an input that was
        deleted meanwhile.
        """
        for _ in range(_TRIES):
            with suppress(IntegrityError):  # PostgreSQL: an equal one came at the same moment, and may have ended since
                return self._submitted(new, queue_limit, limits, self._database.now(now))
        return self._submitted(replace(new, share_key=None), queue_limit, limits, self._database.now(now))

    def _submitted(self, new: NewJob, queue_limit: int, limits: KeyLimits, now: float) -> tuple[Job, Submitted]:
        with self._events.changing() as change:
            if earlier := replayed(change.connection, new.owner, new.idempotency_key, new.fingerprint):
                return earlier, Submitted.REPLAYED
            if equal := shareable(change.connection, new, to_change=True):
                self._allowance.take_turn(change.connection, new.key, limits)
                self._allowance.check(change.connection, new, limits, now, paints=False)
                return share(change, equal, new, now), Submitted.SHARED
            by = answer_of(change.connection, new, to_change=True)
            if by is None:  # exact, although others are at it
                take_turn(change.connection, f"room of {new.lane if new.rows is None else 'batches'}")
            self._allowance.take_turn(change.connection, new.key, limits)
            take_turn_of(change.connection, new.guest)
            self._check_room(change.connection, queue_limit, new, limits, now, paints=by is None)
            check_inputs(change.connection, new.inputs)
            job = as_job(change.add(new, now))
            return job if by is None else answer(change, job, by, now), Submitted.ADDED

    def check_room(
        self, queue_limit: int, new: NewJob, limits: KeyLimits = NO_LIMITS, now: float | None = None
    ) -> None:
        """Raise StudioError ``queue_full``, ``rate_limited`` or ``quota_exceeded`` where the job needs room, and there
        is none now.
        """
        with self._database.reading() as connection:
            paints = shareable(connection, new) is None and answer_of(connection, new) is None
            self._check_room(connection, queue_limit, new, limits, self._database.now(now), paints=paints)

    def _check_room(
        self, connection: Connection, queue_limit: int, new: NewJob, limits: KeyLimits, now: float, *, paints: bool
    ) -> None:
        """Do as `check_room`; a job that `paints` nothing takes no place in the queue."""
        check_jobs(connection, new)
        if paints:
            check_room(connection, queue_limit, self._share, new)
        self._allowance.check(connection, new, limits, now, paints=paints)

    def replay(self, owner: str, key: str | None, fingerprint: str) -> Job | None:
        """Return the job of an earlier submit with this owner and idempotency key, or None.

        Raises StudioError ``idempotency_key_reused`` where that submit had another fingerprint.
        """
        if key is None:
            return None
        with self._database.reading() as connection:
            return replayed(connection, owner, key, fingerprint)

    def unfinished(self, owner: str, fingerprint: str, key: str | None = None) -> Job | None:
        """Return the newest job of the same request with the owner's API key that has not ended, or None."""
        with self._database.reading() as connection:
            row = connection.execute(_RESENT, {"owner": owner, "key": key, "fingerprint": fingerprint}).one_or_none()
        return as_job(row) if row is not None else None

    # -- look ------------------------------------------------------------------------------------------------------

    def get(self, job_id: str, owner: str | None = None, guest: Guest | None = None) -> Job:
        """Return one job. Raises StudioError ``not_found``, also for a job of another owner, and for one that is not of
        a guest's link.
        """
        with self._database.reading() as connection:
            return get_job(connection, job_id, owner, guest=guest)

    def page(
        self,
        owner: str,
        *,
        limit: int,
        after: str | None,
        state: State | None,
        operation: str | None = None,
        parent_id: str | None = None,
        user: str | None = None,
        guest: Guest | None = None,
    ) -> tuple[list[Job], bool]:
        """Return one page of the owner's jobs, and whether more follow.

        The jobs are those that are not rows of a batch, newest first; with `parent_id`, the rows of that batch in
        order. `operation` keeps only the jobs of one operation, or of several with commas between them, `user` those
        that were submitted for that person, and `guest` those of the link; `after` is the id of the last job of the
        page before. Raises StudioError ``not_found`` for an `after` or `parent_id` that does not exist.
        """
        query = _in_state(JOBS.where(jobs.c.owner == owner), state).limit(limit + 1)
        if operation is not None:
            query = query.where(jobs.c.operation.in_(operation.split(",")))
        if user is not None:
            query = query.where(jobs.c.user == user)
        if guest is not None:
            query = query.where(jobs.c.guest == guest.id)
        if parent_id is None:
            query = query.where(jobs.c.parent_id.is_(None)).order_by(_age(state).desc())
        else:
            query = query.where(jobs.c.parent_id == parent_id).order_by(jobs.c.row)
        with self._database.reading() as connection:
            if parent_id is not None:
                get_job(connection, parent_id, owner, guest=guest)
            if after is not None:
                query = query.where(_follows(get_job(connection, after, owner, guest=guest), parent_id, state))
            found = [as_job(row) for row in connection.execute(query)]
        return found[:limit], len(found) > limit

    def tags(
        self, job_ids: Collection[str], *, with_places: bool = True, now: float | None = None
    ) -> Mapping[str, Tag]:
        """Return the tags of several jobs, by id, read at one moment, and places where they are asked for."""
        with self._database.reading() as connection:
            found = connection.execute(_TAGS, {"ids": list(job_ids)}).all()
            queued = [row.id for row in found if row.state == State.QUEUED and row.rows is None]
            placed = places(connection, queued, self._database.now(now)) if with_places and queued else {}
        return {row.id: Tag(row.version, row.phase, row.step, placed.get(row.id), State(row.state)) for row in found}

    def counts(self) -> tuple[int, int]:
        """Return how many jobs are queued and how many are running; batches are not counted, their rows are."""
        queued, running = (_count(state, NO_BATCH) for state in (QUEUED, RUNNING))
        with self._database.reading() as connection:
            return connection.scalar(queued) or 0, connection.scalar(running) or 0

    # -- cancel ----------------------------------------------------------------------------------------------------

    def cancel(
        self,
        job_id: str,
        owner: str,
        now: float | None = None,
        *,
        key: str | None = None,
        guest: Guest | None = None,
    ) -> Job:
        """Take back the submit of a job with this idempotency key (`sharing.take_back`), cancel the job if no other
        one is left, and return it: a queued one is cancelled at once, a running one at its next step, a batch together
        with all rows that have not ended. Repeating it changes nothing, but for a shared job without the key.

        Raises StudioError ``not_found``, also for a job that is not of a guest's link, or ``job_finished``.
        """
        with self._events.changing() as change:
            job = get_job(change.connection, job_id, owner, guest=guest, to_change=True)
            if take_back(change, job, key, self._database.now(now)):
                cancel(change, job, self._database.now(now))
            return get_job(change.connection, job_id, owner)


def cancel(change: Change, job: Job, now: float) -> bool:
    """Cancel a job as `Jobs.cancel` does, and return whether that changed anything. Raises StudioError
    ``job_finished``.
    """
    if job.state is State.CANCELLED or job.cancel_requested:
        return False
    if job.state.final:
        raise StudioError("job_finished", f"Job {job.id} has {job.state.value} already; there is nothing to cancel.")
    if job.state is not State.RUNNING:  # no worker holds it
        change.end(job.id, State.CANCELLED, now, cancel_requested=True)
        return True
    change.update(job.id, {"cancel_requested": True})
    if job.rows is not None:
        change.cancel_rows(job.id, now)
    return True


def _in_state(query: Select[Any], state: State | None) -> Select[Any]:
    """Keep the jobs that people see in a state. What has not ended is looked up among the open jobs alone."""
    if state is None:
        return query
    return query.where(OPEN if state in ACTIVE else jobs.c.state == state, SHOWN_STATE == state)


def _age(state: State | None) -> ColumnElement[int]:
    """Return the number by which jobs are listed. What has not ended is sorted, since SQLite would otherwise go through
    all that the owner ever had, in that order.
    """
    return jobs.c.seq + 0 if state in ACTIVE else jobs.c.seq


def _follows(after: Job, parent_id: str | None, state: State | None) -> ColumnElement[bool]:
    """Return the condition that a job comes after `after` in its list. Raises StudioError ``not_found`` where `after`
    is not in that list.
    """
    if after.parent_id != parent_id:
        raise StudioError("not_found", f"after: '{after.id}' is not in this list; send the id of the last job you saw.")
    if parent_id is not None:
        return jobs.c.row > after.row
    return _age(state) < select(jobs.c.seq).where(jobs.c.id == after.id).scalar_subquery()


def _count(*conditions: ColumnElement[bool]) -> Select[Any]:
    return select(func.count()).select_from(jobs).where(*conditions)
