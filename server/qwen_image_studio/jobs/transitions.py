"""Changes of single jobs and their effects on batches, each within the caller's transaction."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from secrets import token_hex
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select, update

from qwen_image_studio.contract.errors import LeaseLost, StudioError
from qwen_image_studio.contract.words import Lane, State
from qwen_image_studio.database.tables import jobs
from qwen_image_studio.jobs import Job, Lease, NewJob, Progress

WAITING: Mapping[str, Any] = {
    "state": State.QUEUED,
    "leased_by": None,
    "leased_until": None,
    **asdict(Progress()),
}


def clock(now: float | None) -> float:
    """Return the time passed in, else the current one, in Unix seconds."""
    return time.time() if now is None else now


def ended(state: State, now: float) -> dict[str, Any]:
    """Return the columns to write when a job ends in this state."""
    return {"state": state, "leased_by": None, "leased_until": None, "finished_at": now, "preview_key": None}


def failed(code: str, message: str, now: float) -> dict[str, Any]:
    """Return the columns to write when a job fails."""
    return ended(State.FAILED, now) | {"error_code": code, "error_message": message}


def update_job(connection: Connection, job_id: str, changes: Mapping[str, Any], *, shows: bool = True) -> None:
    """Write columns of a job, and count up its version; where the change `shows` on the job's batch, that version too.

    A batch that fails or is cancelled ends those of its rows that have not ended.
    """
    statement = update(jobs).where(jobs.c.id == job_id).values(**changes, version=jobs.c.version + 1)
    row = connection.execute(statement.returning(jobs.c.parent_id, jobs.c.rows)).one()
    renew_version(connection, row.parent_id if shows else None)
    if row.rows is not None and changes.get("state") in {State.FAILED, State.CANCELLED}:
        cancel_rows(connection, job_id, changes["finished_at"])


def renew_version(connection: Connection, batch_id: str | None) -> None:
    """Count up the version of a batch, so that its watchers look again, since one of its rows has changed."""
    if batch_id is not None:
        connection.execute(update(jobs).where(jobs.c.id == batch_id).values(version=jobs.c.version + 1))


def cancel_rows(connection: Connection, batch_id: str, now: float) -> None:
    """End the rows of a batch that no worker holds, and ask the running ones to stop; ended rows stay as they are."""
    rows, version = update(jobs).where(jobs.c.parent_id == batch_id), {"version": jobs.c.version + 1}
    asked = {"cancel_requested": True, **version}
    connection.execute(rows.where(jobs.c.state == State.RUNNING).values(**asked))
    idle = jobs.c.state.in_([State.QUEUED, State.REVIEW])
    connection.execute(rows.where(idle).values(**ended(State.CANCELLED, now), **asked))


def check_lease(connection: Connection, lease: Lease) -> bool:
    """Return whether the leased job is to be cancelled. Raises LeaseLost where the job no longer has this lease."""
    query = select(jobs.c.cancel_requested).where(
        jobs.c.id == lease.job.id, jobs.c.lease_token == lease.token, jobs.c.state == State.RUNNING
    )
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        raise LeaseLost(lease.job.id)
    return bool(row.cancel_requested)


def expired(now: float) -> ColumnElement[bool]:
    """Return the condition that a job's lease ran out."""
    return (jobs.c.state == State.RUNNING) & (jobs.c.leased_until < now)


def get_job(connection: Connection, job_id: str, owner: str | None) -> Job:
    """Return one job. Raises StudioError ``not_found``, also for a job of another owner."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    if row is None or owner not in {None, row.owner}:
        raise StudioError("not_found", f"There is no job '{job_id}' of yours on this server.")
    return as_job(row)


def columns(new: NewJob, now: float) -> dict[str, Any]:
    """Return a new job as a row to insert, with a fresh id."""
    return {
        "id": f"job_{token_hex(12)}",
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
        "fingerprint": new.fingerprint,
        "created_at": now,
        "rows": new.rows,
    }


def as_job(row: Row[Any]) -> Job:
    """Return the job that a whole row of the table holds."""
    values = dict(row._mapping)
    del values["seq"]
    values["progress"] = Progress(*(values.pop(field) for field in ("phase", "step", "steps", "preview_key")))
    values |= {"lane": Lane(row.lane), "state": State(row.state)}
    values |= {"inputs": tuple(row.inputs), "warnings": tuple(row.warnings)}
    return Job(**values)
