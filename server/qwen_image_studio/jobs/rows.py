"""The rows of batches: they become jobs one after the other, and are counted by state."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, bindparam, func, select

from qwen_image_studio.contract.words import State
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import images, jobs
from qwen_image_studio.jobs.answering import answer, answer_of, without_keys
from qwen_image_studio.jobs.events import Events
from qwen_image_studio.jobs.held import HELD
from qwen_image_studio.jobs.records import JOBS, NOT_DELETED, as_job, check_inputs, get_job
from qwen_image_studio.jobs.states import Job, Lease, NewJob, RowCounts

_BATCHES = select(jobs.c.id, jobs.c.rows, jobs.c.state, jobs.c.cancel_requested).where(
    jobs.c.id.in_(bindparam("ids", expanding=True)), jobs.c.rows.is_not(None)
)
_MADE = (
    select(
        jobs.c.parent_id, jobs.c.state, func.count().label("number"), func.min(jobs.c.started_at).label("started_at")
    )
    .where(jobs.c.parent_id.in_(bindparam("ids", expanding=True)))
    .group_by(jobs.c.parent_id, jobs.c.state)
)
_HELD_OF_ROWS = (
    select(jobs.c.parent_id, func.count().label("number"))
    .join(images, images.c.job_id == jobs.c.id)
    .where(jobs.c.parent_id.in_(bindparam("ids", expanding=True)), jobs.c.state == State.REVIEW, HELD, NOT_DELETED)
    .group_by(jobs.c.parent_id)
)
_EXISTING = select(jobs.c.id).where(jobs.c.parent_id == bindparam("batch_id"), jobs.c.row == bindparam("number"))


class Rows:
    """The rows of a server's batches. Every method is one transaction; `now` is in Unix seconds, as in `Jobs`."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database, self._events = database, events

    def add(
        self, lease: Lease, number: int, new: NewJob, refusal: tuple[str, str] | None = None, now: float | None = None
    ) -> bool:
        """Add the job of one row (from 0) to the leased batch, and return True; where the batch is to be cancelled, add
        nothing and return False. What the batch holds for reviewers, its rows do.

        With a `refusal` (an error's code and message) the new job has failed from the start. A row that is a job
        already stays as it is. Raises LeaseLost, and StudioError ``image_not_found`` for an input that was deleted
        meanwhile.
        """
        batch, now = lease.job, self._database.now(now)
        with self._events.changing() as change:
            if change.check_lease(lease):
                return False
            if change.connection.execute(_EXISTING, {"batch_id": batch.id, "number": number}).one_or_none() is None:
                if refusal is None:
                    check_inputs(change.connection, new.inputs)
                by = None if refusal or batch.hold else answer_of(change.connection, new, to_change=True)
                place = {"parent_id": batch.id, "party": batch.id, "row": number}
                whose = {"key": batch.key, "user": batch.user, "person": batch.person, "hold": new.hold or batch.hold}
                whose |= {"peer": batch.peer, "request_id": batch.request_id}
                row = change.add(without_keys(new) if batch.hold else new, now, **place, **whose)
                if refusal is not None:
                    change.fail(row.id, *refusal, now)
                elif by is not None:
                    answer(change, as_job(row), by, now)
                # Attempts are counted anew after each row that was added: a long batch may live through many restarts.
                change.update(batch.id, {"attempt": 1})
            return True

    def counts(self, job_ids: Collection[str]) -> Mapping[str, RowCounts]:
        """Return for each of the jobs that is a batch how many of its rows are in which state."""
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        started: dict[str, list[float]] = defaultdict(list)
        ids = {"ids": list(job_ids)}
        with self._database.reading() as connection:
            found = connection.execute(_BATCHES, ids).all()
            for row in connection.execute(_MADE, ids) if found else ():
                counted[row.parent_id][row.state] = row.number
                started[row.parent_id] += [row.started_at] if row.started_at is not None else []
            resting = [batch_id for batch_id, states in counted.items() if states[State.REVIEW]]
            held = _held_of(connection, resting) if resting else {}
        return {
            batch.id: _row_counts(
                batch.rows,
                counted[batch.id],
                held=held.get(batch.id, 0),
                expects_more=not (State(batch.state).final or batch.cancel_requested),
                started_at=min(started[batch.id], default=None),
            )
            for batch in found
        }

    def of_batch(self, batch_id: str) -> list[Job]:
        """Return the rows of a batch that have become jobs, in order. Raises StudioError ``not_found``."""
        with self._database.reading() as connection:
            get_job(connection, batch_id)
            query = JOBS.where(jobs.c.parent_id == batch_id).order_by(jobs.c.row)
            return [as_job(row) for row in connection.execute(query)]


def _held_of(connection: Connection, batch_ids: Sequence[str]) -> Mapping[str, int]:
    return {row.parent_id: row.number for row in connection.execute(_HELD_OF_ROWS, {"ids": batch_ids})}


def _row_counts(
    total: int, made: Mapping[str, int], *, held: int, expects_more: bool, started_at: float | None
) -> RowCounts:
    missing = total - sum(made.values())
    return RowCounts(
        total=total,
        missing=missing,
        queued=made.get(State.QUEUED, 0) + (missing if expects_more else 0),
        running=made.get(State.RUNNING, 0),
        review=made.get(State.REVIEW, 0),
        held=held,
        succeeded=made.get(State.SUCCEEDED, 0),
        failed=made.get(State.FAILED, 0),
        cancelled=made.get(State.CANCELLED, 0) + (0 if expects_more else missing),
        started=sum(made.values()) > made.get(State.QUEUED, 0),
        started_at=started_at,
    )
