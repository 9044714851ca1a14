"""Images as a gallery lists them: newest first, filtered, each with what is known of the job that made it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
)

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import ADJUSTED, Lane, Review, Scope, Source
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import images, jobs
from qwen_image_studio.jobs.guests import seen_by, sees
from qwen_image_studio.jobs.held import WITHHELD
from qwen_image_studio.jobs.lineage import CHILDREN, MOST_RELATED, PARENTS, reached
from qwen_image_studio.jobs.records import NOT_DELETED, as_image
from qwen_image_studio.jobs.review import reviews
from qwen_image_studio.jobs.states import StoredImage

_IS_PICTURE: ColumnElement[bool] = literal_column("NOT images.is_mask")
"""Literal, as the index has it."""
_OF_JOB = ("operation", "model", "lane", "tier", "prompt", "inputs", "parent_id", "user", "key")
_LISTED: Select[Any] = select(images, *(jobs.c[name].label(f"job_{name}") for name in _OF_JOB)).select_from(
    images.outerjoin(jobs, jobs.c.id == images.c.job_id)
)
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_PICTURES = select(images.c.id).where(images.c.id.in_(_IDS), NOT_DELETED, _IS_PICTURE)


@dataclass(frozen=True)
class Picture:
    """An image with its job, as far as a gallery shows it."""

    image: StoredImage
    parents: Sequence[str] = ()
    """Ids of the images that it was made from."""
    operation: str | None = None
    """None for an upload, as all that follows."""
    model: str | None = None
    tier: str | None = None
    prompt: str | None = None
    batch: str | None = None
    """The batch that its job is a row of."""
    user: str | None = None
    key: str | None = None
    """Name of the API key that its job came with."""


@dataclass(frozen=True)
class Wanted:
    """Which images to list; None leaves one filter out."""

    operation: str | None = None
    """One, or several with commas between them."""
    rows: bool = True
    """Whether the images of batches' rows are among them."""
    model: str | None = None
    q: str | None = None
    """Text within the prompt."""
    review: Review | None = None
    conversation: str | None = None
    parent_id: str | None = None
    source: Source | None = None
    user: str | None = None


@dataclass(frozen=True)
class Related:
    """The ancestors and descendants of an image, each oldest first."""

    ancestors: Sequence[Picture]
    descendants: Sequence[Picture]
    truncated: bool


class Pictures:
    """The gallery's view of images. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, caller: Caller, wanted: Wanted, *, limit: int, after: str | None, count_to: int
    ) -> tuple[Sequence[Picture], bool, int]:
        """Return one page of what the caller may see, newest first; whether more follow; and how many there are in all,
        counted up to `count_to`.

        `after` is the id of the last image of the page before. Raises StudioError ``not_found`` where it is none of
        the caller's.
        """
        of_job = _of_job(wanted)
        no_rows = [] if wanted.rows else [jobs.c.row.is_(None)]  # true of uploads as well, which have no job
        source = images.join(jobs, jobs.c.id == images.c.job_id, isouter=not of_job) if of_job or no_rows else images
        newest = _LISTED.order_by(images.c.created_at.desc(), images.c.id.desc()).limit(limit + 1)
        with self._database.reading() as connection:
            seen = _seen(connection, caller, wanted.review)
            conditions = [NOT_DELETED, _IS_PICTURE, *seen, *_of_image(wanted), *of_job, *no_rows]
            newest = newest.where(*conditions)
            all_of_them = select(images.c.id).select_from(source).where(*conditions).limit(count_to)
            if after is not None:
                newest = newest.where(_older(connection, after, caller))
            found = connection.execute(newest).all()
            total = connection.scalar(select(func.count()).select_from(all_of_them.subquery())) or 0
            return _pictures(connection, found[:limit]), len(found) > limit, total

    def of(self, image_ids: Collection[str], *, with_deleted: bool = False) -> Sequence[Picture]:
        """Return these images, oldest first, without those that were deleted unless told otherwise."""
        with self._database.reading() as connection:
            return _of(connection, image_ids, [] if with_deleted else [NOT_DELETED])

    def related(self, image_id: str, caller: Caller) -> Related:
        """Return what an image was made from, and what was made from it, as far as the caller may see it."""
        with self._database.reading() as connection:
            seen = [NOT_DELETED, _IS_PICTURE, *_seen(connection, caller, None)]
            above, below = (reached(connection, image_id, step) for step in (PARENTS, CHILDREN))
            return Related(
                _of(connection, above[:MOST_RELATED], seen),
                _of(connection, below[:MOST_RELATED], seen),
                truncated=max(len(above), len(below)) > MOST_RELATED,
            )


def _seen(connection: Connection, caller: Caller, review: Review | None) -> list[ColumnElement[bool]]:
    """Return the conditions on what is listed: the owner's own images, for a guest those of the link; operators find
    those of all that wait or waited for a verdict.
    """
    if caller.guest is not None:  # not by the index of owners
        return [func.coalesce(images.c.owner, "") == caller.owner, ~WITHHELD, seen_by(connection, caller.guest)]
    own = images.c.owner == caller.owner
    if review not in {None, Review.NONE} and Scope.OPERATE in caller.scopes:
        return []
    return [own] if reviews(caller, caller.owner) else [own, ~WITHHELD]


def _of_image(wanted: Wanted) -> list[ColumnElement[bool]]:
    """Return the conditions on an image itself."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.review is not None:  # literal, as in `review`
        conditions.append(images.c.review == literal_column(f"'{wanted.review.value}'"))
        if wanted.review in {Review.APPROVED, Review.REJECTED}:  # as the index of verdicts has it
            conditions.append(images.c.review_at.is_not(None))
    if wanted.source is not None:
        is_upload = images.c.job_id.is_(None)
        conditions.append(is_upload if wanted.source is Source.UPLOAD else ~is_upload)
    return conditions


def _of_job(wanted: Wanted) -> list[ColumnElement[bool]]:
    """Return the conditions on the job that made an image."""
    conditions = [
        jobs.c[name] == value
        for name in ("conversation", "parent_id", "user")
        if (value := getattr(wanted, name)) is not None
    ]
    if wanted.operation is not None:
        conditions.append(jobs.c.operation.in_(wanted.operation.split(",")))
    if wanted.model is not None:
        conditions.append(jobs.c.lane == Lane.LIGHT if wanted.model == ADJUSTED else jobs.c.model == wanted.model)
    if wanted.q:
        conditions.append(jobs.c.prompt.icontains(wanted.q, autoescape=True))
    return conditions


def _older(connection: Connection, after: str, caller: Caller) -> ColumnElement[bool]:
    """Return the condition that an image comes after `after` in a list. Raises StudioError ``not_found``."""
    last = connection.execute(
        select(images.c.created_at, images.c.id, images.c.owner).where(images.c.id == after)
    ).one_or_none()
    is_seen = last is not None and (last.owner == caller.owner or Scope.OPERATE in caller.scopes)
    if caller.guest is not None:
        is_seen = is_seen and sees(connection, caller.guest, after)
    if last is None or not is_seen:
        raise StudioError("not_found", f"after: there is no image '{after}' here; send the id of the last one you saw.")
    return tuple_(images.c.created_at, images.c.id) < tuple_(last.created_at, last.id)


def _of(
    connection: Connection, image_ids: Collection[str], conditions: Sequence[ColumnElement[bool]]
) -> Sequence[Picture]:
    query = _LISTED.where(images.c.id.in_(list(image_ids)), *conditions).order_by(images.c.created_at, images.c.number)
    return _pictures(connection, connection.execute(query).all())


def _pictures(connection: Connection, found: Sequence[Row[Any]]) -> Sequence[Picture]:
    """Return rows as pictures; masks and what was deleted are no parents."""
    named = {each for row in found for each in row.job_inputs or ()}
    parents = set(connection.scalars(_PICTURES, {"ids": sorted(named)})) if named else set()
    return [_picture(row, [each for each in row.job_inputs or () if each in parents]) for row in found]


def _picture(row: Row[Any], parents: Sequence[str]) -> Picture:
    image = as_image(row)
    if image.job_id is None:
        return Picture(image)
    return Picture(
        image,
        parents,
        operation=row.job_operation,
        model=ADJUSTED if row.job_lane == Lane.LIGHT else row.job_model,
        tier=row.job_tier,
        prompt=row.job_prompt or None,
        batch=row.job_parent_id,
        user=row.job_user,
        key=row.job_key,
    )
