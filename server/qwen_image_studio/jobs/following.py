"""What has changed, for those who follow everything of an owner: jobs and images, read for all at one moment."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)

from qwen_image_studio.contract.words import Review, State
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import OPEN, QUEUED, images, jobs
from qwen_image_studio.jobs.ranking import places
from qwen_image_studio.jobs.records import ENDED, JOBS, NO_BATCH, SHOWN_STATE, VERSION, as_job
from qwen_image_studio.jobs.states import Job, Tag

MOST_MISSED = 500
"""Largest number of jobs, and of images, that are told to one who was away; after more he reads the lists anew."""
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_IS_NO_ROW = jobs.c.parent_id.is_(None)
_JOBS_SEEN = select(
    jobs.c.id,
    jobs.c.owner,
    jobs.c.user,
    jobs.c.guest,
    jobs.c.parent_id,
    jobs.c.rows,
    jobs.c.phase,
    jobs.c.step,
    VERSION,
    SHOWN_STATE,
).where(jobs.c.id.in_(_IDS))
_ENDED_SINCE = (ENDED, jobs.c.finished_at >= bindparam("since"))
_OPEN_OR_ENDED = select(jobs.c.id).where(OPEN, _IS_NO_ROW).union(select(jobs.c.id).where(*_ENDED_SINCE))
_ROWS_ENDED = select(jobs.c.id).where(jobs.c.parent_id.in_(_IDS), jobs.c.finished_at >= bindparam("since"))
_WAITING = select(jobs.c.id).where(QUEUED, _IS_NO_ROW, NO_BATCH)
_OWN = jobs.c.owner == bindparam("owner")
_MISSED = select(jobs.c.id).where(OPEN, _IS_NO_ROW, _OWN).union(select(jobs.c.id).where(*_ENDED_SINCE, _OWN))
_IMAGES_SEEN: Select[Any] = (
    select(
        images.c.id, images.c.owner, images.c.created_at, images.c.deleted_at, images.c.review, images.c.review_at,
        jobs.c.user, func.coalesce(jobs.c.guest, images.c.guest).label("guest"),
    )
    .select_from(images.outerjoin(jobs, jobs.c.id == images.c.job_id))
    .where(literal_column("NOT images.is_mask"))
)  # fmt: skip


@dataclass(frozen=True)
class SeenJob:
    """A job as it was seen."""

    id: str
    owner: str
    user: str | None
    tag: Tag
    guest: str | None = None
    """The link through which it was submitted."""


@dataclass(frozen=True)
class SeenImage:
    """An image as it was seen."""

    id: str
    owner: str
    user: str | None
    is_deleted: bool
    review: Review
    changed_at: float
    """When it was made, deleted or decided on, in Unix seconds, whichever was last."""
    guest: str | None = None
    """The link through which it was sent or made."""


@dataclass(frozen=True)
class Look:
    """What one look has seen."""

    jobs: Sequence[SeenJob]
    images: Sequence[SeenImage]


class Following:
    """The looks of those who follow an owner. Every method is one transaction; times are in Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self, ids: Collection[str], *, with_waiting: bool, since: float | None = None) -> Look:
        """Return the jobs and images among these ids, with the images of such jobs; `with_waiting` adds whatever waits.

        With `since`, all that has not ended and what has ended since then is added, of all owners.
        """
        with self._database.reading() as connection:
            sought, of_rows = set(ids), set[str]()
            if with_waiting:
                sought |= set(connection.scalars(_WAITING))
            if since is not None:
                sought |= set(connection.scalars(_OPEN_OR_ENDED, {"since": since}))
                of_rows = set(connection.scalars(_ROWS_ENDED, {"ids": sorted(sought), "since": since}))
            seen = connection.execute(_JOBS_SEEN, {"ids": sorted(sought)}).all()
            made = [row.id for row in seen if row.state not in {State.QUEUED, State.RUNNING}]
            condition = or_(images.c.job_id.in_(sorted({*made, *of_rows})), images.c.id.in_(sorted(sought)))
            return Look(_jobs(connection, seen, self._database.now()), _images(connection, condition))

    def missed(self, owner: str, since: float) -> Look | None:
        """Return the owner's jobs that have not ended, or have ended since then, and what has become of his images;
        None where that is too much.
        """
        own = images.c.owner == owner
        times = (images.c.created_at, images.c.deleted_at, images.c.review_at)
        conditions = [and_(own, time >= since, *_of_index(time)) for time in times]
        with self._database.reading() as connection:
            ids = sorted(connection.scalars(_MISSED, {"owner": owner, "since": since}))
            found = {each.id: each for one in conditions for each in _images(connection, one)}
            if max(len(ids), len(found)) > MOST_MISSED:
                return None
            return Look(
                _jobs(connection, connection.execute(_JOBS_SEEN, {"ids": ids}).all(), self._database.now()),
                list(found.values()),
            )

    def jobs(self, ids: Collection[str]) -> Sequence[Job]:
        """Return those of the jobs that there are."""
        with self._database.reading() as connection:
            return [as_job(row) for row in connection.execute(JOBS.where(jobs.c.id.in_(sorted(ids))))]


def _of_index(time: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    """Return the condition of the index that holds this time."""
    if time is images.c.created_at:
        return [images.c.deleted_at.is_(None)]
    return [time.is_not(None)]


def _jobs(connection: Connection, seen: Sequence[Any], now: float) -> Sequence[SeenJob]:
    """Return the jobs of these rows that are no rows of batches, with their places."""
    seen = [row for row in seen if row.parent_id is None]
    queued = [row.id for row in seen if row.state == State.QUEUED and row.rows is None]
    placed: Mapping[str, int] = places(connection, queued, now) if queued else {}
    return [
        SeenJob(
            row.id,
            row.owner,
            row.user,
            Tag(row.version, row.phase, row.step, placed.get(row.id), State(row.state)),
            row.guest,
        )
        for row in seen
    ]


def _images(connection: Connection, condition: ColumnElement[bool]) -> Sequence[SeenImage]:
    found = connection.execute(_IMAGES_SEEN.where(condition).limit(2 * MOST_MISSED))
    return [
        SeenImage(
            row.id,
            row.owner,
            row.user,
            is_deleted=row.deleted_at is not None,
            review=Review(row.review),
            changed_at=max(row.created_at, row.deleted_at or 0.0, row.review_at or 0.0),
            guest=row.guest,
        )
        for row in found
    ]
