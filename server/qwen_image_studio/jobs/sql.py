"""The job store in SQL: SQLite on one machine, PostgreSQL once the service outgrows that."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, func, select, update
from sqlalchemy.exc import IntegrityError

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Lane, State, WorkerState
from qwen_image_studio.database.connection import reading, upsert, writing
from qwen_image_studio.database.tables import images, jobs, workers
from qwen_image_studio.jobs import Job, Lease, NewJob, Progress, StoredImage, Tag, WorkerReport
from qwen_image_studio.jobs.batches import SqlBatches
from qwen_image_studio.jobs.images import SqlImages, check_inputs
from qwen_image_studio.jobs.ranking import ACTIVE, ranked_jobs, shown_state
from qwen_image_studio.jobs.sql_forgetting import SqlForgetting
from qwen_image_studio.jobs.transitions import (
    WAITING,
    as_job,
    cancel_rows,
    check_lease,
    clock,
    columns,
    ended,
    expired,
    failed,
    get_job,
    renew_version,
    update_job,
)
from qwen_image_studio.planning.plan import Variant
from qwen_image_studio.settings import Settings


class SqlJobStore(SqlImages, SqlForgetting, SqlBatches):
    """A JobStore over SQLAlchemy; the protocol documents each method."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self._max_attempts = settings.max_attempts
        self._lease_s = settings.lease_s
        self._patience_s = settings.affinity_patience_s
        self._longest_s = settings.job_timeout_s

    # -- by the caller ---------------------------------------------------------------------------------------------

    def submit(self, new: NewJob, *, queue_limit: int, now: float | None = None) -> tuple[Job, bool]:
        try:
            with writing(self.engine) as connection:
                if earlier := _replayed(connection, new.owner, new.idempotency_key, new.fingerprint):
                    return earlier, False
                _check_room(connection, queue_limit, new)
                if new.inputs:
                    check_inputs(connection, new.inputs)
                row = connection.execute(jobs.insert().values(columns(new, clock(now))).returning(jobs)).one()
                return as_job(row), True
        except IntegrityError:  # PostgreSQL: two requests with one key at the same moment
            with reading(self.engine) as connection:
                if earlier := _replayed(connection, new.owner, new.idempotency_key, new.fingerprint):
                    return earlier, False
            raise

    def check_room(self, queue_limit: int, new: NewJob) -> None:
        with reading(self.engine) as connection:
            _check_room(connection, queue_limit, new)

    def replay(self, owner: str, key: str | None, fingerprint: str) -> Job | None:
        with reading(self.engine) as connection:
            return _replayed(connection, owner, key, fingerprint)

    def get(self, job_id: str, owner: str | None = None) -> Job:
        with reading(self.engine) as connection:
            return get_job(connection, job_id, owner)

    def page(
        self,
        owner: str,
        *,
        limit: int,
        after: str | None,
        state: State | None,
        parent_id: str | None = None,
        user: str | None = None,
    ) -> tuple[list[Job], bool]:
        query = select(jobs).where(jobs.c.owner == owner).limit(limit + 1)
        if user is not None:
            query = query.where(jobs.c.user == user)
        if state is not None:
            query = query.where(shown_state() == state)
        if parent_id is None:
            query = query.where(jobs.c.parent_id.is_(None)).order_by(jobs.c.seq.desc())
        else:
            query = query.where(jobs.c.parent_id == parent_id).order_by(jobs.c.row)
        with reading(self.engine) as connection:
            if parent_id is not None:
                get_job(connection, parent_id, owner)
            if after is not None:
                query = query.where(_follows(get_job(connection, after, owner), parent_id))
            found = [as_job(row) for row in connection.execute(query)]
        return found[:limit], len(found) > limit

    def tags(self, job_ids: Collection[str]) -> Mapping[str, Tag]:
        query = select(jobs.c.id, jobs.c.version, jobs.c.rows, shown_state().label("state")).where(
            jobs.c.id.in_(job_ids)
        )
        with reading(self.engine) as connection:
            found = {row.id: row for row in connection.execute(query)}
            places: dict[str, int] = {}
            if any(row.state == State.QUEUED and row.rows is None for row in found.values()):
                places = {row.id: row.place for row in connection.execute(ranked_jobs())}
        return {
            job_id: Tag(
                row.version, 0 if row.state == State.RUNNING else None if row.rows is not None else places.get(job_id)
            )
            for job_id, row in found.items()
        }

    def cancel(self, job_id: str, owner: str, now: float | None = None) -> Job:
        with writing(self.engine) as connection:
            job = get_job(connection, job_id, owner)
            if job.state is State.CANCELLED or job.cancel_requested:
                return job
            if job.state.final:
                raise StudioError(
                    "job_finished", f"Job {job_id} has {job.state.value} already; there is nothing to cancel."
                )
            changes: dict[str, Any] = {"cancel_requested": True}
            if job.state is State.RUNNING and job.rows is not None:
                cancel_rows(connection, job_id, clock(now))
            if job.state is not State.RUNNING:  # no worker holds it
                changes |= ended(State.CANCELLED, clock(now))
            update_job(connection, job_id, changes)
            return get_job(connection, job_id, owner)

    # -- by the worker ---------------------------------------------------------------------------------------------

    def claim(
        self,
        worker: str,
        lane: Lane,
        models: Collection[str] = (),
        loaded: Variant | None = None,
        now: float | None = None,
    ) -> Lease | None:
        now = clock(now)
        ranked = ranked_jobs(
            lane=lane, models=models, loaded=loaded, patience=self._patience_s, longest=self._longest_s, now=now
        )
        first = ranked.limit(1).subquery()
        statement = (
            update(jobs)
            .where(jobs.c.id == select(first.c.id).scalar_subquery(), jobs.c.state == State.QUEUED)
            .values(
                state=State.RUNNING,
                attempt=jobs.c.attempt + 1,
                lease_token=jobs.c.lease_token + 1,
                leased_by=worker,
                leased_until=now + self._lease_s,
                claimed_at=now,
                started_at=func.coalesce(jobs.c.started_at, now),
                **asdict(Progress()),
                version=jobs.c.version + 1,
            )
            .returning(jobs)
        )
        with writing(self.engine) as connection:
            self._take_back(connection, expired(now), now)
            row = connection.execute(statement).one_or_none()
            renew_version(connection, row.parent_id if row is not None else None)
        return Lease(as_job(row), row.lease_token) if row is not None else None

    def renew(self, lease: Lease, progress: Progress, now: float | None = None) -> bool:
        with writing(self.engine) as connection:
            cancelled = check_lease(connection, lease)
            renewed = {"leased_until": clock(now) + self._lease_s, **asdict(progress)}
            update_job(connection, lease.job.id, renewed, shows=False)
            return cancelled

    def finish(
        self,
        lease: Lease,
        images_: Sequence[StoredImage],
        warnings: Sequence[str],
        compute_saved: float | None = None,
        now: float | None = None,
    ) -> State:
        now = clock(now)
        with writing(self.engine) as connection:
            if check_lease(connection, lease):
                update_job(connection, lease.job.id, ended(State.CANCELLED, now))
                return State.CANCELLED
            result = {"warnings": list(warnings), "compute_saved": compute_saved}
            update_job(connection, lease.job.id, ended(State.SUCCEEDED, now) | result)
            if images_:
                connection.execute(images.insert(), [asdict(replace(image, created_at=now)) for image in images_])
            return State.SUCCEEDED

    def fail(self, lease: Lease, code: str, message: str, now: float | None = None) -> None:
        with writing(self.engine) as connection:
            cancelled = check_lease(connection, lease)
            result = ended(State.CANCELLED, clock(now)) if cancelled else failed(code, message, clock(now))
            update_job(connection, lease.job.id, result)

    def stop(self, lease: Lease, now: float | None = None) -> None:
        with writing(self.engine) as connection:
            check_lease(connection, lease)
            update_job(connection, lease.job.id, ended(State.CANCELLED, clock(now)))

    def release(self, lease: Lease, now: float | None = None) -> None:
        with writing(self.engine) as connection:
            cancelled = check_lease(connection, lease)
            back = {**WAITING, "attempt": jobs.c.attempt - 1}
            update_job(connection, lease.job.id, ended(State.CANCELLED, clock(now)) if cancelled else back)

    def abandon(self, worker: str, now: float | None = None) -> int:
        with writing(self.engine) as connection:
            held = (jobs.c.state == State.RUNNING) & (jobs.c.leased_by == worker)
            return self._take_back(connection, held, clock(now))

    def expire(self, now: float | None = None) -> int:
        now = clock(now)
        with writing(self.engine) as connection:
            return self._take_back(connection, expired(now), now)

    def refuse_unserved(self, models: Collection[str], now: float | None = None) -> int:
        orphaned = (jobs.c.state == State.QUEUED) & (jobs.c.lane == Lane.PAINT) & jobs.c.model.not_in(models)
        with writing(self.engine) as connection:
            rows = connection.execute(select(jobs.c.id, jobs.c.model).where(orphaned).with_for_update()).all()
            for row in rows:
                message = f"The server was restarted without {row.model}, which this job is for; submit it again."
                update_job(connection, row.id, failed("model_unavailable", message, clock(now)))
        return len(rows)

    def overdue(self, now: float | None = None) -> Sequence[str]:
        with reading(self.engine) as connection:
            return [str(name) for name in connection.scalars(select(jobs.c.leased_by).where(expired(clock(now))))]

    def _take_back(self, connection: Connection, lost: ColumnElement[bool], now: float) -> int:
        """Queue the jobs of lost attempts again, or end those that were cancelled or have no attempt left; return how
        many there were.
        """
        found = select(jobs.c.id, jobs.c.attempt, jobs.c.cancel_requested).where(lost)
        # Batches come last: one that fails also ends its rows, in whatever state this loop has left them.
        found = found.order_by(jobs.c.rows.is_not(None))
        rows = connection.execute(found.with_for_update(skip_locked=True)).all()
        for row in rows:
            if row.cancel_requested:
                update_job(connection, row.id, ended(State.CANCELLED, now))
            elif row.attempt < self._max_attempts:
                update_job(connection, row.id, WAITING)
            else:
                message = (
                    f"The worker died or fell silent {row.attempt} times while painting this job. A smaller size or "
                    "fewer images may pass; the server's log has the cause."
                )
                update_job(connection, row.id, failed("worker_lost", message, now))
        return len(rows)

    # -- workers, counts -------------------------------------------------------------------------------------------

    def counts(self) -> tuple[int, int]:
        with reading(self.engine) as connection:
            queued, running = (
                connection.scalar(_count(state).where(jobs.c.rows.is_(None))) for state in (State.QUEUED, State.RUNNING)
            )
        return queued or 0, running or 0

    def note_worker(self, worker: WorkerReport) -> None:
        with writing(self.engine) as connection:
            statement = upsert(connection, workers).values(asdict(worker))
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=asdict(worker)))

    def forget_workers(self, names: Collection[str]) -> None:
        with writing(self.engine) as connection:
            connection.execute(workers.delete().where(workers.c.name.not_in(names)))

    def workers(self) -> Sequence[WorkerReport]:
        with reading(self.engine) as connection:
            rows = connection.execute(select(workers).order_by(workers.c.name)).mappings()
            return [WorkerReport(**{**row, "state": WorkerState(row["state"])}) for row in rows]


def _count(state: State) -> Any:
    return select(func.count()).select_from(jobs).where(jobs.c.state == state)


def _follows(after: Job, parent_id: str | None) -> ColumnElement[bool]:
    """Return the condition that a job comes after `after` in its list. Raises StudioError ``not_found`` where `after`
    is not in that list.
    """
    if after.parent_id != parent_id:
        raise StudioError("not_found", f"after: '{after.id}' is not in this list; send the id of the last job you saw.")
    if parent_id is not None:
        return jobs.c.row > after.row
    return jobs.c.seq < select(jobs.c.seq).where(jobs.c.id == after.id).scalar_subquery()


def _check_room(connection: Connection, queue_limit: int, new: NewJob) -> None:
    """Raise StudioError ``queue_full`` where there is no room for the job; batches are counted by themselves, since
    they spend most of their time waiting for their rows.
    """
    if new.rows is not None:
        what = "batches that have not ended"
        counted = select(func.count()).where(jobs.c.state.in_(ACTIVE), jobs.c.rows.is_not(None))
    else:
        what = "jobs that wait"
        counted = _count(State.QUEUED).where(jobs.c.lane == new.lane, jobs.c.parent_id.is_(None), jobs.c.rows.is_(None))
    number = connection.scalar(counted) or 0
    if number >= queue_limit:
        message = f"The queue is full ({what}: {number}). Send it again later."
        raise StudioError("queue_full", message, retry_after=5)


def _replayed(connection: Connection, owner: str, key: str | None, fingerprint: str) -> Job | None:
    if key is None:
        return None
    query = select(jobs).where(jobs.c.owner == owner, jobs.c.idempotency_key == key)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise StudioError(
            "idempotency_key_reused",
            f"This Idempotency-Key came before with another request (job {row.id}); use a new key for a new request.",
            param="Idempotency-Key",
        )
    return as_job(row)
