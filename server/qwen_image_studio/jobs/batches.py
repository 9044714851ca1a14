"""The batches of the job store in SQL: how their rows become jobs, and how these stand."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Engine, case, func, select, update

from qwen_image_studio.contract.words import State
from qwen_image_studio.database.connection import reading, writing
from qwen_image_studio.database.tables import jobs
from qwen_image_studio.jobs import FEW_ROWS, Job, Lease, NewJob, Rows
from qwen_image_studio.jobs.transitions import as_job, clock, columns, failed, find, hold, renew_version

ACTIVE = (State.QUEUED, State.RUNNING, State.REVIEW)


class SqlBatches:
    """What JobStore promises of batches."""

    engine: Engine

    def add_row(
        self, lease: Lease, row: int, new: NewJob, refusal: tuple[str, str] | None = None, now: float | None = None
    ) -> bool:
        values = columns(new, clock(now)) | {"parent_id": lease.job.id, "row": row, "user": lease.job.user}
        if refusal is not None:
            values |= failed(*refusal, clock(now))
        with writing(self.engine) as connection:
            if hold(connection, lease):
                return False
            there = select(jobs.c.id).where(jobs.c.parent_id == lease.job.id, jobs.c.row == row)
            if connection.execute(there).one_or_none() is None:
                connection.execute(jobs.insert().values(values))
                # Attempts count from the last row that came through: a long batch outlives many a restart.
                connection.execute(update(jobs).where(jobs.c.id == lease.job.id).values(attempt=1))
                renew_version(connection, lease.job.id)
            return True

    def rows(self, job_ids: Collection[str]) -> Mapping[str, Rows]:
        batches = select(jobs.c.id, jobs.c.rows, jobs.c.state, jobs.c.cancel_requested).where(
            jobs.c.id.in_(job_ids), jobs.c.rows.is_not(None)
        )
        made = (
            select(
                jobs.c.parent_id,
                jobs.c.state,
                func.count().label("number"),
                func.min(jobs.c.started_at).label("started_at"),
            )
            .where(jobs.c.parent_id.in_(job_ids))
            .group_by(jobs.c.parent_id, jobs.c.state)
        )
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        started: dict[str, list[float]] = defaultdict(list)
        with reading(self.engine) as connection:
            found = connection.execute(batches).all()
            for row in connection.execute(made) if found else ():
                counted[row.parent_id][row.state] = row.number
                started[row.parent_id] += [row.started_at] if row.started_at is not None else []
        return {
            batch.id: _rows(
                batch.rows,
                counted[batch.id],
                expects_more=not (State(batch.state).final or batch.cancel_requested),
                started_at=min(started[batch.id], default=None),
            )
            for batch in found
        }

    def row_jobs(self, batch_id: str) -> list[Job]:
        with reading(self.engine) as connection:
            find(connection, batch_id, None)
            query = select(jobs).where(jobs.c.parent_id == batch_id).order_by(jobs.c.row)
            return [as_job(row) for row in connection.execute(query)]


def standing() -> ColumnElement[Any]:
    """The state as people see it, as `qwen_image_studio.jobs.standing_of` has it."""
    child = jobs.alias()
    started = select(child.c.id).where(child.c.parent_id == jobs.c.id, child.c.state != State.QUEUED).exists()
    is_open = jobs.c.rows.is_not(None) & jobs.c.state.in_(ACTIVE)
    return case((is_open & started, State.RUNNING), (is_open, State.QUEUED), else_=jobs.c.state)


def has_work() -> ColumnElement[bool]:
    """Whether somebody could do something for this queued job now; a batch with rows enough under way only waits."""
    child = jobs.alias()
    # Rows are made in order, so the number of the last one tells how many there are, without counting.
    made = select(func.coalesce(func.max(child.c.row), -1) + 1).where(child.c.parent_id == jobs.c.id).scalar_subquery()
    is_open = child.c.parent_id.is_not(None) & child.c.state.in_(ACTIVE)
    crowded = select(child.c.parent_id).where(is_open).group_by(child.c.parent_id).having(func.count() >= FEW_ROWS)
    some = select(child.c.parent_id).where(is_open)
    wants_rows = (made < jobs.c.rows) & jobs.c.id.not_in(crowded)
    return jobs.c.rows.is_(None) | wants_rows | jobs.c.id.not_in(some)


def _rows(total: int, made: Mapping[str, int], *, expects_more: bool, started_at: float | None) -> Rows:
    missing = total - sum(made.values())
    return Rows(
        total=total,
        missing=missing,
        queued=made.get(State.QUEUED, 0) + (missing if expects_more else 0),
        running=made.get(State.RUNNING, 0) + made.get(State.REVIEW, 0),
        succeeded=made.get(State.SUCCEEDED, 0),
        failed=made.get(State.FAILED, 0),
        cancelled=made.get(State.CANCELLED, 0) + (0 if expects_more else missing),
        started=sum(made.values()) > made.get(State.QUEUED, 0),
        started_at=started_at,
    )
