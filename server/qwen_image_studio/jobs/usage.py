"""What jobs use: rows of the table `usage`, which outlive them, and from which `limits` and `costs` are counted.

A job is charged in the transaction that adds it, with all the images that it asks for, and settled when its painting is
over: what was not painted is given back. The row of a batch counts for all its rows; these have rows of their own for
what they cost, which count against no limit.
"""

from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, case, func, select, update

from qwen_image_studio.database.tables import images, jobs, usage
from qwen_image_studio.jobs.states import Measured, NewJob

_IMAGES = select(func.count()).where(images.c.job_id == jobs.c.id)
_BYTES = select(func.coalesce(func.sum(images.c.bytes), 0)).where(images.c.job_id == jobs.c.id)
PAINTED: Select[Any] = select(
    jobs, _IMAGES.scalar_subquery().label("made"), _BYTES.scalar_subquery().label("made_bytes")
).where(jobs.c.id == bindparam("job_id"))
"""A job whose painting is over, with the number of images that it has `made` and their bytes."""
_PICTURES_OF_ROWS = (
    select(func.coalesce(func.sum(usage.c.pictures), 0))
    .join(jobs, jobs.c.id == usage.c.job_id)
    .where(jobs.c.parent_id == bindparam("job_id"))
)
_SETTLE = (
    update(usage)
    .where(usage.c.job_id == bindparam("of_job"))
    .values(
        images=case((usage.c.images < bindparam("counted"), usage.c.images), else_=bindparam("counted")),
        pictures=bindparam("made"),
        megapixel_steps=bindparam("painted"),
        device_s=bindparam("took_s"),
        cached=bindparam("is_cached"),
        ended_at=func.coalesce(usage.c.ended_at, bindparam("now")),
    )
)


def charge(connection: Connection, new: NewJob, row: Row[Any], now: float) -> None:
    """Count a job that was added, by its row; the row of a batch counts for nothing, since its batch does."""
    is_row = row.parent_id is not None
    charged = {
        "job_id": row.id,
        "parent_id": row.parent_id,
        "key": row.key or "",
        "owner": row.owner,
        "person": row.person,
        "operation": row.operation,
        "model": row.model,
        "tier": row.tier,
        "images": 0 if is_row else new.images,
        "submitted_at": now,
        "guest": row.guest,
    }
    connection.execute(usage.insert(), charged)


def settle(connection: Connection, job: Row[Any], now: float) -> bool:
    """Count what a job whose painting is over (a row of `PAINTED`) has made and cost, and give back what it did not
    make; return whether it was answered with pictures that were there.
    """
    is_batch, is_cached = job.rows is not None, job.cache is not None
    made = 0 if is_batch or is_cached else job.made  # a contact sheet is no picture that was asked for
    counted = connection.scalar(_PICTURES_OF_ROWS, {"job_id": job.id}) if is_batch else made
    cost = Measured() if job.measured is None else Measured(**job.measured)
    of_end = {"of_job": job.id, "counted": counted, "made": made, "now": now}
    of_cost = {"painted": cost.megapixel_steps, "took_s": cost.device_s, "is_cached": is_cached}
    connection.execute(_SETTLE, {**of_end, **of_cost})
    return is_cached
