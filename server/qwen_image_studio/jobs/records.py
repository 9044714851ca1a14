"""From rows of the tables to the records of the job store; queries that several of its classes ask."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, case, func, literal_column, or_, select

from qwen_image_studio.contract.caller import Guest
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Lane, Review, State
from qwen_image_studio.database.tables import QUEUED, RUNNING, images, jobs
from qwen_image_studio.jobs.states import Job, Lookup, Measured, Progress, StoredImage

_row = jobs.alias("of_batch")
_rows = select(func.coalesce(func.sum(_row.c.version), 0)).where(_row.c.parent_id == jobs.c.id).scalar_subquery()
VERSION = (jobs.c.version + case((jobs.c.rows.is_not(None), _rows), else_=0)).label("version")
"""The version that people see: a batch's own, and those of its rows. So a row that changes need not write its batch."""
_begun = select(_row.c.id).where(_row.c.parent_id == jobs.c.id, _row.c.state != State.QUEUED).exists()
_is_open = jobs.c.rows.is_not(None) & or_(QUEUED, RUNNING)
SHOWN_STATE = case((_is_open & _begun, State.RUNNING), (_is_open, State.QUEUED), else_=jobs.c.state).label("state")
"""The state that people see; `states.state_shown` is the same in Python."""
JOBS: Select[Any] = select(*(column for column in jobs.c if column.name not in {"seq", "version"}), VERSION)
"""Whole jobs; `as_job` reads them."""
NO_BATCH = jobs.c.rows.is_(None)
"""Jobs that are counted where batches are not, since their rows are."""
ENDED = jobs.c.finished_at.is_not(None) & ((jobs.c.party == literal_column("''")) | jobs.c.rows.is_not(None))
"""Jobs that have ended, without rows of batches; as the index `jobs_ended` has it."""
NOT_DELETED = images.c.deleted_at.is_(None)
FILE_KEYS = (images.c.key, images.c.thumbnail_key, images.c.comparison_key)
"""The columns that name files."""

_JOB = JOBS.where(jobs.c.id == bindparam("job_id"))
_JOB_TO_CHANGE = _JOB.with_for_update(of=jobs)
_row_of = select(_row.c.parent_id).where(_row.c.id == bindparam("job_id")).scalar_subquery()
_LOCK_BATCH = select(jobs.c.seq).where(jobs.c.id == _row_of).with_for_update()
_INPUTS = select(images.c.id).where(images.c.id.in_(bindparam("ids", expanding=True)), NOT_DELETED)
_INPUTS = _INPUTS.order_by(images.c.id).with_for_update(read=True)  # whoever locks several does so in this order


def get_job(
    connection: Connection,
    job_id: str,
    owner: str | None = None,
    *,
    guest: Guest | None = None,
    to_change: bool = False,
) -> Job:
    """Return one job; one that is `to_change` stays as it is returned until the transaction changes it or ends, and so
    does the batch that it is a row of: locks are taken from batches to rows, and from jobs to images.

    Raises StudioError ``not_found``, also for a job of another owner, and for one that is not of a guest's link.
    """
    if to_change:
        connection.execute(_LOCK_BATCH, {"job_id": job_id})
    row = connection.execute(_JOB_TO_CHANGE if to_change else _JOB, {"job_id": job_id}).one_or_none()
    if row is None or owner not in {None, row.owner} or (guest is not None and row.guest != guest.id):
        raise StudioError("not_found", f"There is no job '{job_id}' of yours on this server.")
    return as_job(row)


def as_job(row: Row[Any]) -> Job:
    """Return the job of a whole row."""
    values = dict(row._mapping)
    values.pop("seq", None)
    values["progress"] = Progress(*(values.pop(field) for field in ("phase", "step", "steps", "preview_key")))
    values |= {"lane": Lane(row.lane), "state": State(row.state)}
    values |= {"inputs": tuple(row.inputs), "warnings": tuple(row.warnings)}
    values["lookup"] = None if row.lookup is None else Lookup(**row.lookup)
    values["measured"] = None if row.measured is None else Measured(**row.measured)
    return Job(**values)


def check_inputs(connection: Connection, image_ids: Sequence[str]) -> None:
    """Raise StudioError ``image_not_found`` for an input that was deleted since the request was read; lock the rows of
    the others, so that they stay until the transaction ends.
    """
    if not image_ids:
        return
    found = set(connection.scalars(_INPUTS, {"ids": list(image_ids)}))
    if missing := [image_id for image_id in image_ids if image_id not in found]:
        message = f"image: there is no image '{missing[0]}' any more; send another one."
        raise StudioError("image_not_found", message, param="image")


def as_image(row: Row[Any]) -> StoredImage:
    """Return the image of a row that has all its columns."""
    found = row._mapping
    values = {name: found[name] for name in images.c.keys()}
    return StoredImage(**{**values, "review": Review(row.review), "review_reasons": tuple(row.review_reasons)})
