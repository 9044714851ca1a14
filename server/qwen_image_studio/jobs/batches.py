"""The batches of the job store in SQL: rows become jobs, and are counted by state."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from sqlalchemy import Engine, func, select, update

from qwen_image_studio.contract.words import State
from qwen_image_studio.database.connection import reading, writing
from qwen_image_studio.database.tables import jobs
from qwen_image_studio.jobs import Job, Lease, NewJob, RowCounts
from qwen_image_studio.jobs.transitions import as_job, check_lease, clock, columns, failed, get_job, renew_version


class SqlBatches:
    """The methods of JobStore for batches."""

    engine: Engine

    def add_row(
        self, lease: Lease, row: int, new: NewJob, refusal: tuple[str, str] | None = None, now: float | None = None
    ) -> bool:
        values = columns(new, clock(now)) | {"parent_id": lease.job.id, "row": row, "user": lease.job.user}
        if refusal is not None:
            values |= failed(*refusal, clock(now))
        with writing(self.engine) as connection:
            if check_lease(connection, lease):
                return False
            existing = select(jobs.c.id).where(jobs.c.parent_id == lease.job.id, jobs.c.row == row)
            if connection.execute(existing).one_or_none() is None:
                connection.execute(jobs.insert().values(values))
                # Attempts are counted anew after each row that was added: a long batch may live through many restarts.
                connection.execute(update(jobs).where(jobs.c.id == lease.job.id).values(attempt=1))
                renew_version(connection, lease.job.id)
            return True

    def rows(self, job_ids: Collection[str]) -> Mapping[str, RowCounts]:
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
            batch.id: _row_counts(
                batch.rows,
                counted[batch.id],
                expects_more=not (State(batch.state).final or batch.cancel_requested),
                started_at=min(started[batch.id], default=None),
            )
            for batch in found
        }

    def row_jobs(self, batch_id: str) -> list[Job]:
        with reading(self.engine) as connection:
            get_job(connection, batch_id, None)
            query = select(jobs).where(jobs.c.parent_id == batch_id).order_by(jobs.c.row)
            return [as_job(row) for row in connection.execute(query)]


def _row_counts(total: int, made: Mapping[str, int], *, expects_more: bool, started_at: float | None) -> RowCounts:
    missing = total - sum(made.values())
    return RowCounts(
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
