"""The one writer of job states: every change of a job's state is made by `Change`, and told to others after its commit.

    with events.changing() as change:
        change.end(job_id, State.SUCCEEDED, now)

What has to happen with a change within the same transaction belongs here, and what is told of it afterwards too.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from secrets import token_hex
from typing import Any, Protocol

from sqlalchemy import Connection, Row, bindparam, func, select, text, update

from qwen_image_studio.contract.caller import NOBODY, person_of
from qwen_image_studio.contract.errors import LeaseLost
from qwen_image_studio.contract.words import Lane, State
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import job_inputs, jobs
from qwen_image_studio.jobs import tallies
from qwen_image_studio.jobs.endings import Endings
from qwen_image_studio.jobs.held import IN_REVIEW, rows_in_review, withdraw
from qwen_image_studio.jobs.outbox import enqueue
from qwen_image_studio.jobs.prompts import storable
from qwen_image_studio.jobs.retries import LONGEST_REST_S, Retry, reason_kept
from qwen_image_studio.jobs.states import ANY_JOB, ANY_PERSON, BATCHES, ORDINARY, Job, Lease, NewJob, Progress
from qwen_image_studio.jobs.usage import PAINTED, charge, settle

_NO_LEASE: Mapping[str, Any] = {"leased_by": None, "leased_until": None}
_SHOWN = (
    jobs.c.id, jobs.c.parent_id, jobs.c.owner, jobs.c.person, jobs.c.party, jobs.c.variant, jobs.c.lane, jobs.c.state,
    jobs.c.rows, jobs.c.cancel_requested, jobs.c.claimed_at, jobs.c.key, jobs.c.webhook_url,
)  # fmt: skip
_ADD = jobs.insert().returning(jobs)
_CLAIM = (
    update(jobs)
    .where(jobs.c.seq == bindparam("of_seq"), jobs.c.state == State.QUEUED)
    .values(
        state=State.RUNNING,
        attempt=jobs.c.attempt + 1,
        lease_token=jobs.c.lease_token + 1,
        leased_by=bindparam("worker"),
        leased_until=bindparam("until"),
        claimed_at=bindparam("now"),
        started_at=func.coalesce(jobs.c.started_at, bindparam("now")),
        **asdict(Progress()),
        version=jobs.c.version + 1,
    )
    .returning(jobs)
)
_LEASED = (
    select(jobs.c.cancel_requested)
    .where(jobs.c.id == bindparam("job_id"), jobs.c.lease_token == bindparam("token"), jobs.c.state == State.RUNNING)
    .with_for_update()
)
_LOCK_ROWS = select(jobs.c.seq).where(jobs.c.parent_id == bindparam("batch_id"), jobs.c.finished_at.is_(None))
_LOCK_ROWS = _LOCK_ROWS.order_by(jobs.c.seq).with_for_update()
_SERVED = text(
    "INSERT INTO turns (lane, owner, person, party, served_at) VALUES (:lane, :owner, :person, :party, :now)"
    " ON CONFLICT (lane, owner, person, party) DO UPDATE SET served_at = excluded.served_at"
)
_PAINTED = text(
    "INSERT INTO paintings (owner, person, party, variant, painted_at) VALUES (:owner, :person, :party, :variant, :now)"
    " ON CONFLICT (owner, person, party, variant) DO UPDATE SET painted_at = excluded.painted_at"
)
_ENDED_PARTY = tuple(
    text(f"DELETE FROM {table} WHERE owner = :owner AND person = :person AND party = :party")  # noqa: S608 - names of our own tables
    for table in ("turns", "paintings")
)


@dataclass(frozen=True)
class JobEvent:
    """One change of a job's state, as it was committed."""

    job_id: str
    parent_id: str | None
    """The batch that the job is a row of."""
    lane: Lane
    state: State
    cancel_requested: bool


class Listener(Protocol):
    """What is told of changes: within their transaction, before its commit, and again after it."""

    def changing(self, connection: Connection, events: Sequence[JobEvent]) -> None:
        """Hear what is about to be committed. Raises what the database raises."""

    def changed(self, events: Sequence[JobEvent]) -> None:
        """Hear what has been committed; never raises."""

    def progressing(self, connection: Connection, event: JobEvent) -> None:
        """Hear of progress that is about to be committed. Raises what the database raises."""

    def progressed(self, event: JobEvent) -> None:
        """Hear of progress that has been committed; never raises."""


class Events:
    """The writer of one job store, and the listener that hears of every change."""

    def __init__(self, database: Database, listener: Listener, endings: Endings) -> None:
        self._database, self._listener, self._endings = database, listener, endings

    @contextmanager
    def changing(self) -> Iterator["Change"]:
        """Open a transaction that may change jobs; commit it at the end of the block, and then tell of its changes."""
        with self._database.writing() as connection:
            change = Change(connection, self._endings)
            yield change
            tallies.add(connection, change.tallied)
            if change.events:
                self._listener.changing(connection, change.events)
        if change.events:
            self._listener.changed(change.events)


class Change:
    """The changes of one transaction."""

    def __init__(self, connection: Connection, endings: Endings) -> None:
        self.connection, self._endings = connection, endings
        self.events: list[JobEvent] = []
        self.tallied: list[tallies.Added] = []
        """What is added to tallies, with the last statement."""

    def add(self, new: NewJob, now: float, **more: Any) -> Row[Any]:
        """Insert a job, with `more` of its columns, and return its row."""
        values = {**_columns(new, now), **more}
        row = self.connection.execute(_ADD, values).one()
        if images := {*new.inputs, *new.names}:
            named = [{"image_id": image_id, "job_id": row.id} for image_id in sorted(images)]
            self.connection.execute(job_inputs.insert(), named)
        charge(self.connection, new, row, now)
        self._note(row)
        return row

    def claim(self, seq: int, worker: str, until: float, now: float) -> Row[Any] | None:
        """Lease a queued job, by its number, to a worker until then; return its row, or None if it is not queued."""
        values = {"of_seq": seq, "worker": worker, "until": until, "now": now}
        row = self.connection.execute(_CLAIM, values).one_or_none()
        if row is not None:
            of_person = {row.party, BATCHES if row.party else ORDINARY, ANY_JOB}
            for person, party in ((NOBODY, ANY_PERSON), *((row.person, party) for party in of_person)):
                turn = {"lane": row.lane, "owner": row.owner, "person": person, "party": party, "now": now}
                self.connection.execute(_SERVED, turn)
            self._note_painting(row, now)
            self._note(row)
        return row

    def update(self, job_id: str, changes: Mapping[str, Any]) -> Row[Any]:
        """Write columns of a job that has not ended, and return the columns by which events tell of it."""
        if (row := self._written(job_id, changes)) is None:
            raise LookupError(f"there is no job '{job_id}' to change")
        return row

    def requeue(self, job_id: str, **more: Any) -> None:
        """Put a leased job back in the queue."""
        self.update(job_id, {"state": State.QUEUED, **_NO_LEASE, **asdict(Progress()), **more})

    def try_again(self, job: Job | Row[*tuple[Any, ...]], reason: str, retry: Retry, now: float) -> None:
        """Put a leased job back in the queue for its next attempt."""
        rest = min(retry.pause_s * job.attempt, LONGEST_REST_S)
        kept = reason_kept(job.retried_for, reason)
        self.requeue(job.id, retried_for=kept, not_before=now + rest if rest else None)

    def rest(self, job_id: str, now: float, **more: Any) -> None:
        """Put a leased job aside until reviewers have decided; it ends with the last verdict (`review`)."""
        row = self.update(job_id, {"state": State.REVIEW, **_NO_LEASE, "preview_key": None, **more})
        self._note_painting(row, now)
        settle(self.connection, self._painted(job_id), now)

    def end(self, job_id: str, state: State, now: float, **more: Any) -> None:
        """End a job. A batch that fails or is cancelled ends those of its rows that have not ended."""
        if state is State.CANCELLED:
            withdraw(self.connection, jobs.c.id == job_id, now)
        row = self.update(job_id, {**_ended(state, now), **more})
        enqueue(self.connection, row, now)
        self._note_painting(row, now)
        if row.parent_id is not None:
            self._wake(row.parent_id)
        if row.rows is not None and state is not State.SUCCEEDED:
            self.cancel_rows(job_id, now)
        self._close(job_id, now)
        if row.rows is None:
            return
        for statement in _ENDED_PARTY:
            self.connection.execute(statement, {"owner": row.owner, "person": row.person, "party": row.party})

    def fail(self, job_id: str, code: str, message: str, now: float, **more: Any) -> None:
        """End a job with an error."""
        self.end(job_id, State.FAILED, now, error_code=code, error_message=storable(message) or "", **more)

    def cancel_rows(self, batch_id: str, now: float) -> None:
        """End the rows of a batch that no worker holds, and ask the running ones to stop; ended rows stay as they
        are.
        """
        rows, version = update(jobs).where(jobs.c.parent_id == batch_id), {"version": jobs.c.version + 1}
        asked = {"cancel_requested": True, **version}
        running = rows.where(jobs.c.state == State.RUNNING).values(**asked)
        self.connection.execute(_LOCK_ROWS, {"batch_id": batch_id})  # else one may pass between the statements
        withdraw(self.connection, jobs.c.parent_id == batch_id, now)
        idle = jobs.c.state.in_([State.QUEUED, State.REVIEW])
        waiting = rows.where(idle).values(**_ended(State.CANCELLED, now), **asked)
        for statement in (running, waiting):
            for row in self.connection.execute(statement.returning(*_SHOWN)).all():
                if State(row.state).final:
                    self._close(row.id, now)
                self._note(row)

    def check_lease(self, lease: Lease) -> bool:
        """Return whether the leased job is to be cancelled. Raises LeaseLost where the job no longer has this lease."""
        row = self.connection.execute(_LEASED, {"job_id": lease.job.id, "token": lease.token}).one_or_none()
        if row is None:
            raise LeaseLost(lease.job.id)
        return bool(row.cancel_requested)

    def show(self, job_id: str | None) -> None:
        """Count up the version of a job, so that its watchers look again, where anything else about it has changed."""
        self._written(job_id, {})

    def _close(self, job_id: str, now: float) -> None:
        """Settle what a job that has ended has used, and write what is to be written of its end."""
        row = self._painted(job_id)
        self.tallied += self._endings.note(self.connection, row, cached=settle(self.connection, row, now))

    def _painted(self, job_id: str) -> Row[Any]:
        return self.connection.execute(PAINTED, {"job_id": job_id}).one()

    def _wake(self, batch_id: str) -> None:
        """Put a batch that waits for reviewers back in the queue, if none of its rows is in review any more."""
        if not rows_in_review(self.connection, batch_id):
            resting = update(jobs).where(jobs.c.id == batch_id, IN_REVIEW)
            woken = resting.values(state=State.QUEUED, version=jobs.c.version + 1).returning(*_SHOWN)
            if (row := self.connection.execute(woken).one_or_none()) is not None:
                self._note(row)

    def _written(self, job_id: str | None, changes: Mapping[str, Any]) -> Row[Any] | None:
        statement = update(jobs).where(jobs.c.id == job_id).values(**changes, version=jobs.c.version + 1)
        row = self.connection.execute(statement.returning(*_SHOWN)).one_or_none()
        if row is not None:
            self._note(row)
        return row

    def _note(self, row: Row[Any]) -> None:
        self.events.append(
            JobEvent(
                job_id=row.id,
                parent_id=row.parent_id,
                lane=Lane(row.lane),
                state=State(row.state),
                cancel_requested=bool(row.cancel_requested),
            )
        )

    def _note_painting(self, row: Row[Any], now: float) -> None:
        """Note that the job's variant paints or has painted for its party, if the party is to go on."""
        if row.variant and row.claimed_at is not None and not (row.parent_id and row.cancel_requested):
            party = {"owner": row.owner, "person": row.person, "party": row.party}
            self.connection.execute(_PAINTED, {**party, "variant": row.variant, "now": now})


def _ended(state: State, now: float) -> dict[str, Any]:
    return {"state": state, **_NO_LEASE, "finished_at": now, "preview_key": None}


def _columns(new: NewJob, now: float) -> dict[str, Any]:
    """Return a new job as a row to insert, with a fresh id."""
    job_id = f"job_{token_hex(12)}"
    return {
        "id": job_id,
        "owner": new.owner,
        "operation": str(new.operation),
        "lane": new.lane,
        "model": new.model,
        "variant": new.variant,
        "weights": new.weights,
        "tier": new.tier,
        "state": State.QUEUED,
        "plan": dict(new.plan),
        "inputs": list(new.inputs),
        "warnings": list(new.warnings),
        "idempotency_key": new.idempotency_key,
        "conversation": new.conversation,
        "user": new.user,
        "key": new.key,
        "person": person_of(new.user),
        "peer": new.peer,
        "request_id": new.request_id,
        "request": None if new.request is None else dict(new.request),
        "prompt": new.prompt,
        "hold": new.hold,
        "webhook_url": new.webhook_url,
        "fingerprint": new.fingerprint,
        "cache_key": new.cache_key,
        "similar_key": new.similar_key,
        "seed": new.seed,
        "lookup": None if new.lookup is None else asdict(new.lookup),
        "warned": len(new.warnings),
        "share_key": new.share_key,
        "guest": None if new.guest is None else new.guest.id,
        "created_at": now,
        "parent_id": None,
        "party": ORDINARY if new.rows is None else job_id,
        "rows": new.rows,
    }
