"""The job store in SQL: SQLite embedded, PostgreSQL when the service outgrows a machine."""

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from secrets import token_hex
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from server.errors import StudioError
from server.jobs import Job, Lease, LeaseLost, NewJob, Progress, StoredImage, Tag, Worker
from server.jobs.database import reading, writing
from server.jobs.ranking import queue
from server.jobs.tables import images, jobs, workers
from server.settings import Settings
from server.vocabulary import LIGHT, Operation, State


class SqlJobStore:
    """JobStore over SQLAlchemy; see the protocol for what each method promises."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self._max_attempts = settings.max_attempts
        self._lease_s = settings.lease_s
        self._patience_s = settings.affinity_patience_s

    # -- by the caller ---------------------------------------------------------------------------------------------

    def submit(self, new: NewJob, *, queue_limit: int, now: float | None = None) -> tuple[Job, bool]:
        try:
            with writing(self.engine) as connection:
                if earlier := _replayed(connection, new.owner, new.idempotency_key, new.fingerprint):
                    return earlier, False
                _check_room(connection, queue_limit, new.model)
                row = connection.execute(jobs.insert().values(_columns(new, _clock(now))).returning(jobs)).one()
                return _job(row), True
        except IntegrityError:  # PostgreSQL: two requests with one key at the same moment
            with reading(self.engine) as connection:
                if earlier := _replayed(connection, new.owner, new.idempotency_key, new.fingerprint):
                    return earlier, False
            raise

    def check_room(self, queue_limit: int, model: str) -> None:
        with reading(self.engine) as connection:
            _check_room(connection, queue_limit, model)

    def replay(self, owner: str, key: str | None, fingerprint: str) -> Job | None:
        with reading(self.engine) as connection:
            return _replayed(connection, owner, key, fingerprint)

    def get(self, job_id: str, owner: str | None = None) -> Job:
        with reading(self.engine) as connection:
            return _get(connection, job_id, owner)

    def page(self, owner: str, *, limit: int, after: str | None, state: State | None) -> tuple[list[Job], bool]:
        query = select(jobs).where(jobs.c.owner == owner).order_by(jobs.c.seq.desc()).limit(limit + 1)
        if state is not None:
            query = query.where(jobs.c.state == state)
        with reading(self.engine) as connection:
            if after is not None:
                _get(connection, after, owner)
                query = query.where(jobs.c.seq < select(jobs.c.seq).where(jobs.c.id == after).scalar_subquery())
            found = [_job(row) for row in connection.execute(query)]
        return found[:limit], len(found) > limit

    def tags(self, job_ids: Collection[str]) -> Mapping[str, Tag]:
        with reading(self.engine) as connection:
            rows = connection.execute(select(jobs.c.id, jobs.c.version, jobs.c.state).where(jobs.c.id.in_(job_ids)))
            found = {row.id: row for row in rows}
            places: dict[str, int] = {}
            if any(row.state == State.QUEUED for row in found.values()):
                places = {row.id: row.place for row in connection.execute(queue())}
        return {
            job_id: Tag(row.version, 0 if row.state == State.RUNNING else places.get(job_id))
            for job_id, row in found.items()
        }

    def cancel(self, job_id: str, owner: str, now: float | None = None) -> Job:
        with writing(self.engine) as connection:
            job = _get(connection, job_id, owner)
            if job.state is State.CANCELLED or job.cancel_requested:
                return job
            if job.state.final:
                raise StudioError(
                    "job_finished", f"Job {job_id} has {job.state.value} already; there is nothing to cancel."
                )
            changes: dict[str, Any] = {"cancel_requested": True}
            if job.state is State.QUEUED:
                changes |= _end(State.CANCELLED, _clock(now))
            _change(connection, job_id, changes)
            return _get(connection, job_id, owner)

    # -- by the worker ---------------------------------------------------------------------------------------------

    def claim(self, worker: str, models: Collection[str], loaded: str | None, now: float | None = None) -> Lease | None:
        now = _clock(now)
        ranked = queue(models=models, loaded=loaded, patience=self._patience_s, now=now).limit(1).subquery()
        statement = (
            update(jobs)
            .where(jobs.c.id == select(ranked.c.id).scalar_subquery(), jobs.c.state == State.QUEUED)
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
            self._take_back(connection, _expired(now), now)
            row = connection.execute(statement).one_or_none()
        return Lease(_job(row), row.lease_token) if row is not None else None

    def renew(self, lease: Lease, progress: Progress, now: float | None = None) -> bool:
        with writing(self.engine) as connection:
            cancelled = _hold(connection, lease)
            _change(connection, lease.job.id, {"leased_until": _clock(now) + self._lease_s, **asdict(progress)})
            return cancelled

    def finish(
        self,
        lease: Lease,
        images_: Sequence[StoredImage],
        warnings: Sequence[str],
        compute_saved: float | None = None,
        now: float | None = None,
    ) -> State:
        now = _clock(now)
        with writing(self.engine) as connection:
            if _hold(connection, lease):
                _change(connection, lease.job.id, _end(State.CANCELLED, now))
                return State.CANCELLED
            told = {"warnings": list(warnings), "compute_saved": compute_saved}
            _change(connection, lease.job.id, _end(State.SUCCEEDED, now) | told)
            if images_:
                connection.execute(images.insert(), [asdict(replace(image, created_at=now)) for image in images_])
            return State.SUCCEEDED

    def fail(self, lease: Lease, code: str, message: str, now: float | None = None) -> None:
        with writing(self.engine) as connection:
            cancelled = _hold(connection, lease)
            ended = _end(State.CANCELLED, _clock(now)) if cancelled else _failed(code, message, _clock(now))
            _change(connection, lease.job.id, ended)

    def stop(self, lease: Lease, now: float | None = None) -> None:
        with writing(self.engine) as connection:
            _hold(connection, lease)
            _change(connection, lease.job.id, _end(State.CANCELLED, _clock(now)))

    def release(self, lease: Lease, now: float | None = None) -> None:
        with writing(self.engine) as connection:
            cancelled = _hold(connection, lease)
            back = {**_WAITING, "attempt": lease.job.attempt - 1}
            _change(connection, lease.job.id, _end(State.CANCELLED, _clock(now)) if cancelled else back)

    def abandon(self, worker: str, now: float | None = None) -> int:
        with writing(self.engine) as connection:
            held = (jobs.c.state == State.RUNNING) & (jobs.c.leased_by == worker)
            return self._take_back(connection, held, _clock(now))

    def expire(self, now: float | None = None) -> int:
        now = _clock(now)
        with writing(self.engine) as connection:
            return self._take_back(connection, _expired(now), now)

    def refuse_unserved(self, models: Collection[str], now: float | None = None) -> int:
        orphaned = (jobs.c.state == State.QUEUED) & jobs.c.model.not_in(models)
        with writing(self.engine) as connection:
            rows = connection.execute(select(jobs.c.id, jobs.c.model).where(orphaned).with_for_update()).all()
            for row in rows:
                message = f"The server was restarted without {row.model}, which this job is for; submit it again."
                _change(connection, row.id, _failed("model_unavailable", message, _clock(now)))
        return len(rows)

    def overdue(self, now: float | None = None) -> Sequence[str]:
        with reading(self.engine) as connection:
            return [str(name) for name in connection.scalars(select(jobs.c.leased_by).where(_expired(_clock(now))))]

    def _take_back(self, connection: Connection, lost: ColumnElement[bool], now: float) -> int:
        """Queue the jobs of lost attempts again; end those that were cancelled or have no attempt left."""
        found = select(jobs.c.id, jobs.c.attempt, jobs.c.cancel_requested).where(lost)
        rows = connection.execute(found.with_for_update(skip_locked=True)).all()
        for row in rows:
            if row.cancel_requested:
                _change(connection, row.id, _end(State.CANCELLED, now))
            elif row.attempt < self._max_attempts:
                _change(connection, row.id, _WAITING)
            else:
                message = (
                    f"The worker died or fell silent {row.attempt} times while painting this job. A smaller size or "
                    "fewer images may pass; the server's log has the cause."
                )
                _change(connection, row.id, _failed("worker_lost", message, now))
        return len(rows)

    # -- images, workers, counts -----------------------------------------------------------------------------------

    def add_image(self, image: StoredImage) -> None:
        with writing(self.engine) as connection:
            connection.execute(images.insert().values(asdict(image)))

    def image(self, image_id: str, owner: str | None = None) -> StoredImage:
        query = select(images).where(images.c.id == image_id)
        if owner is not None:
            query = query.where(images.c.owner == owner)
        with reading(self.engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise StudioError("not_found", f"There is no image '{image_id}' of yours on this server.", param="image")
        return StoredImage(**row._mapping)

    def images(self, job_ids: Collection[str]) -> Mapping[str, Sequence[StoredImage]]:
        query = select(images).where(images.c.job_id.in_(job_ids)).order_by(images.c.number)
        found: dict[str, list[StoredImage]] = defaultdict(list)
        with reading(self.engine) as connection:
            for row in connection.execute(query):
                found[row.job_id].append(StoredImage(**row._mapping))
        return found

    def counts(self) -> tuple[int, int]:
        with reading(self.engine) as connection:
            queued, running = connection.scalar(_count(State.QUEUED)), connection.scalar(_count(State.RUNNING))
        return queued or 0, running or 0

    def note_worker(self, worker: Worker) -> None:
        insert = postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert
        statement = insert(workers).values(asdict(worker))
        with writing(self.engine) as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=asdict(worker)))

    def forget_workers(self, names: Collection[str]) -> None:
        with writing(self.engine) as connection:
            connection.execute(workers.delete().where(workers.c.name.not_in(names)))

    def workers(self) -> Sequence[Worker]:
        with reading(self.engine) as connection:
            return [Worker(**row._mapping) for row in connection.execute(select(workers).order_by(workers.c.name))]


_WAITING: Mapping[str, Any] = {
    "state": State.QUEUED,
    "leased_by": None,
    "leased_until": None,
    **asdict(Progress()),
}


def _end(state: State, now: float) -> dict[str, Any]:
    return {"state": state, "leased_by": None, "leased_until": None, "finished_at": now, "preview_key": None}


def _failed(code: str, message: str, now: float) -> dict[str, Any]:
    return _end(State.FAILED, now) | {"error_code": code, "error_message": message}


def _hold(connection: Connection, lease: Lease) -> bool:
    """Whether the leased job is to be cancelled. Raises LeaseLost where the lease is no longer the job's."""
    query = select(jobs.c.cancel_requested).where(
        jobs.c.id == lease.job.id, jobs.c.lease_token == lease.token, jobs.c.state == State.RUNNING
    )
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        raise LeaseLost(lease.job.id)
    return bool(row.cancel_requested)


def _expired(now: float) -> ColumnElement[bool]:
    return (jobs.c.state == State.RUNNING) & (jobs.c.leased_until < now)


def _clock(now: float | None) -> float:
    return time.time() if now is None else now


def _count(state: State) -> Any:
    return select(func.count()).select_from(jobs).where(jobs.c.state == state)


def _check_room(connection: Connection, queue_limit: int, model: str) -> None:
    same_lane = (jobs.c.model == LIGHT) == (model == LIGHT)
    waiting = connection.scalar(_count(State.QUEUED).where(same_lane)) or 0
    if waiting >= queue_limit:
        raise StudioError(
            "queue_full",
            f"{waiting} jobs are waiting, as many as this server takes; send it again later.",
            retry_after=5,
        )


def _change(connection: Connection, job_id: str, changes: Mapping[str, Any]) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**changes, version=jobs.c.version + 1))


def _get(connection: Connection, job_id: str, owner: str | None) -> Job:
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    if row is None or owner not in {None, row.owner}:
        raise StudioError("not_found", f"There is no job '{job_id}' of yours on this server.")
    return _job(row)


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
    return _job(row)


def _columns(new: NewJob, now: float) -> dict[str, Any]:
    return {
        "id": f"job_{token_hex(12)}",
        "owner": new.owner,
        "operation": new.operation.value,
        "model": new.model,
        "tier": new.tier,
        "state": State.QUEUED,
        "plan": dict(new.plan),
        "inputs": list(new.inputs),
        "warnings": list(new.warnings),
        "idempotency_key": new.idempotency_key,
        "fingerprint": new.fingerprint,
        "created_at": now,
    }


def _job(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    del values["seq"]
    values["progress"] = Progress(*(values.pop(field) for field in ("phase", "step", "steps", "preview_key")))
    values |= {"operation": Operation(row.operation), "state": State(row.state)}
    values |= {"inputs": tuple(row.inputs), "warnings": tuple(row.warnings)}
    return Job(**values)
