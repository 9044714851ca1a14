"""Held images within a transaction: which of a job's still wait, and what becomes of them when it is cancelled."""

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, select, update

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Review, State
from qwen_image_studio.database.tables import images, jobs
from qwen_image_studio.jobs.records import NOT_DELETED

HELD = images.c.review == literal_column("'held'")
WITHHELD = images.c.review.in_([literal_column("'held'"), literal_column("'rejected'")])
"""Conditions on an image; they are literal, as those in `tables`."""
IN_REVIEW = jobs.c.state == literal_column("'review'")
CANCELLED = "cancelled"
"""The reason that is kept where nobody decided on an image, since its job was cancelled."""

_WAITING = select(images.c.id).where(images.c.job_id == bindparam("job_id"), HELD, NOT_DELETED).limit(1)
_SEEN = select(images.c.id).where(images.c.job_id == bindparam("job_id"), ~WITHHELD, NOT_DELETED).limit(1)


def held_for_review(what: str, job_id: str | None, param: str | None = None) -> StudioError:
    """Return the error for an image that is withheld; `what` names it."""
    of_job = f" GET /v1/jobs/{job_id} tells of its job." if job_id else ""
    named = f"{param}: " if param else ""
    message = f"{named}{what} is withheld: a reviewer has to approve it first, or has rejected it.{of_job}"
    return StudioError("held_for_review", message, param=param)


def has_held(connection: Connection, job_id: str) -> bool:
    """Return whether an image of the job waits for a verdict."""
    return connection.execute(_WAITING, {"job_id": job_id}).first() is not None


def has_seen(connection: Connection, job_id: str) -> bool:
    """Return whether the job has an image that may be given out."""
    return connection.execute(_SEEN, {"job_id": job_id}).first() is not None


def withdraw(connection: Connection, of_jobs: ColumnElement[bool], now: float) -> None:
    """Delete the held images of these jobs; their files go with the next round of pruning."""
    made = select(jobs.c.id).where(of_jobs, IN_REVIEW)
    statement = update(images).where(images.c.job_id.in_(made), HELD)
    gone = {"deleted_at": now, "sha256": "", "unsigned_sha256": None, "review": Review.REJECTED}
    connection.execute(statement.values(**gone, review_reasons=[CANCELLED], review_at=now))


def rows_in_review(connection: Connection, batch_id: str) -> bool:
    """Return whether a row of the batch waits for a verdict."""
    query = select(jobs.c.id).where(jobs.c.parent_id == batch_id, IN_REVIEW).limit(1)
    return connection.execute(query).first() is not None


def only_reviews_left(connection: Connection, batch_id: str, rows: int) -> bool:
    """Return whether all rows of the batch are jobs, and none has anything before it but a verdict."""
    made = select(jobs.c.state, func.count().label("number")).where(jobs.c.parent_id == batch_id)
    states = {row.state: row.number for row in connection.execute(made.group_by(jobs.c.state))}
    return sum(states.values()) == rows and State.REVIEW in states and not states.keys() & {State.QUEUED, State.RUNNING}
