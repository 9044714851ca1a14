"""What keys and their people use: counted in the table `usage`, whose rows outlive their jobs.

A job is charged in the transaction that adds it, with all the images that it asks for, and settled when its painting is
over: what was not painted is given back. The row of a batch counts for all its rows; these have rows of their own for
what they cost, which count against no limit.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, case, func, select, update

from qwen_image_studio.contract.caller import Caller, person_of
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.limits import KeyLimits
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import images, jobs, usage
from qwen_image_studio.jobs.states import Measured, NewJob

MINUTE_S, DAY_S = 60.0, 86400.0
_JOBS_PAUSE_S = 5
"""Seconds after which to try again where too many jobs are open: nobody knows when one ends."""

_OF_KEY = (usage.c.key == bindparam("key"), usage.c.parent_id.is_(None))
_OF_PERSON = (*_OF_KEY, usage.c.person == bindparam("person"))
_SINCE = usage.c.submitted_at >= bindparam("since")
_IMAGES = select(func.coalesce(func.sum(usage.c.images), 0))
_SUBMITS = select(func.count().label("number"), func.min(usage.c.submitted_at).label("first")).where(
    usage.c.submitted_at > bindparam("since")
)
_OPEN = select(func.count()).select_from(usage).where(usage.c.ended_at.is_(None))
_MEASURED = select(jobs.c.rows, jobs.c.measured).where(jobs.c.id == bindparam("job_id"))
_PICTURES = select(func.count()).select_from(images).where(images.c.job_id == bindparam("job_id"))
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
        ended_at=func.coalesce(usage.c.ended_at, bindparam("now")),
    )
)


# -- charging ------------------------------------------------------------------------------------------------------


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
    }
    connection.execute(usage.insert().values(charged))


def settle(connection: Connection, job_id: str, now: float) -> None:
    """Count what a job whose painting is over has made and cost, and give back what it did not make."""
    job = connection.execute(_MEASURED, {"job_id": job_id}).one()
    is_batch, of_job = job.rows is not None, {"job_id": job_id}
    made = 0 if is_batch else connection.scalar(_PICTURES, of_job)  # a contact sheet is no picture that was asked for
    counted = connection.scalar(_PICTURES_OF_ROWS, of_job) if is_batch else made
    cost = Measured() if job.measured is None else Measured(**job.measured)
    of_end = {"of_job": job_id, "counted": counted, "made": made, "now": now}
    connection.execute(_SETTLE, {**of_end, "painted": cost.megapixel_steps, "took_s": cost.device_s})


# -- limits --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Use:
    """One limit of a key, or of each of its persons, and how much of it is used."""

    name: str
    """Its name in `Limits`."""
    of_person: bool
    limit: int | None
    used: int
    resets_at: float | None
    """When it is free again, or for a minute when its oldest submit leaves it; in Unix seconds. None for jobs at
    once."""
    window_s: float | None
    """Length of what is counted, in seconds; None for jobs at once."""

    @property
    def left(self) -> int | None:
        """Return what is left; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.used)


def uses(
    connection: Connection,
    key: str | None,
    person: str | None,
    limits: KeyLimits,
    now: float,
    *,
    with_free: bool = False,
) -> Iterator[Use]:
    """Yield the limits that are counted, those of the key first; `with_free` also what has no limit.

    Without a person, only those of the key.
    """
    both = [(limits.key, False), *([] if person is None else [(limits.person, True)])]
    for one, of_person in both:
        whose = {"key": key or "", **({"person": person} if of_person else {})}
        conditions = _OF_PERSON if of_person else _OF_KEY
        for name, count in _COUNTS.items():
            limit = getattr(one, name)
            if limit is not None or with_free:
                yield Use(name, of_person, limit, *count(connection, conditions, whose, now))


def check_limits(connection: Connection, new: NewJob, limits: KeyLimits, now: float) -> None:
    """Raise StudioError ``rate_limited`` or ``quota_exceeded`` where the job would be beyond a limit."""
    if not limits.counts:
        return
    for use in uses(connection, new.key, person_of(new.user), limits, now):
        asked = new.images if use.name in _SPANS else 1
        if use.limit is not None and use.used + asked > use.limit:
            raise _refused(use, asked, new.key, now)


class Usage:
    """What keys and people use, for those who ask. `now` is in Unix seconds, as in `Jobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def uses(self, caller: Caller, person: str | None, now: float, *, with_free: bool = False) -> list[Use]:
        """Return how much is used of the limits of the caller's key, and of those of a person of it."""
        with self._database.reading() as connection:
            return list(uses(connection, caller.key, person, caller.limits, now, with_free=with_free))


# -- counting ------------------------------------------------------------------------------------------------------


def day_of(now: float) -> tuple[float, float]:
    """Return begin and end of a day in UTC, in Unix seconds."""
    begin = now - now % DAY_S
    return begin, begin + DAY_S


def month_of(now: float) -> tuple[float, float]:
    """Return begin and end of a month in UTC, in Unix seconds."""
    begin = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return begin.timestamp(), (begin + timedelta(days=31)).replace(day=1).timestamp()


_Whose = Sequence[ColumnElement[bool]]
_Counted = tuple[int, float | None, float | None]


def _images_within(span: Callable[[float], tuple[float, float]]) -> Callable[..., _Counted]:
    def count(connection: Connection, whose: _Whose, values: Mapping[str, Any], now: float) -> _Counted:
        begin, end = span(now)
        return connection.scalar(_IMAGES.where(*whose, _SINCE), {**values, "since": begin}) or 0, end, end - begin

    return count


def _submits(connection: Connection, whose: _Whose, values: Mapping[str, Any], now: float) -> _Counted:
    row = connection.execute(_SUBMITS.where(*whose), {**values, "since": now - MINUTE_S}).one()
    return row.number, (now if row.first is None else row.first) + MINUTE_S, MINUTE_S


def _open(connection: Connection, whose: _Whose, values: Mapping[str, Any], _now: float) -> _Counted:
    return connection.scalar(_OPEN.where(*whose), values) or 0, None, None


_COUNTS: Mapping[str, Callable[..., _Counted]] = {
    "requests_per_minute": _submits,
    "jobs_at_once": _open,
    "images_per_day": _images_within(day_of),
    "images_per_month": _images_within(month_of),
}
"""How each limit is counted: the number, when it is free again, and the length of what is counted."""


# -- refusing ------------------------------------------------------------------------------------------------------

_SPANS = {"images_per_day": "a day", "images_per_month": "a month"}


def _refused(use: Use, asked: int, key: str | None, now: float) -> StudioError:
    who = f"{'Each person of the' if use.of_person else 'The'} API key '{key}'"
    wait_s = _JOBS_PAUSE_S if use.resets_at is None else max(1, math.ceil(use.resets_at - now))
    code = "quota_exceeded" if use.name in _SPANS else "rate_limited"
    message = f"{who} {_said(use, asked, wait_s)}"
    return StudioError(code, message, param="user" if use.of_person else None, retry_after=wait_s)


def _said(use: Use, asked: int, wait_s: int) -> str:
    """Return what may be used, and what to do."""
    if use.resets_at is None:
        return f"may have {use.limit} jobs at once, and {use.used} have not ended. Wait for one to end, or cancel one."
    if use.name not in _SPANS:
        return f"may submit {use.limit} jobs a minute, and has. Send it again in {wait_s} seconds."
    until = f"{datetime.fromtimestamp(use.resets_at, UTC):%Y-%m-%d %H:%M} UTC"
    has = f"may make {use.limit} images {_SPANS[use.name]}, of which {use.left} are left; this asks for {asked}."
    return f"{has} Ask for fewer, again after {until}, or the operator for more."
