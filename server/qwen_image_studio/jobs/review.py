"""Review: who may look at an image that waits for a verdict or was rejected; and the verdicts.

A withheld image (held or rejected) is given out by nothing that gives out a job's images, and is no input of another
job, whoever asks: a key that paints and reviews must not hand on what nobody has looked at. Reviewers look at the image
itself. The first verdict on an image counts; the last one on a job's images ends the job.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, literal_column, select, update

from qwen_image_studio.contract.caller import Caller, person_of
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Review, Scope, State
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import images, jobs
from qwen_image_studio.jobs.events import Change, Events
from qwen_image_studio.jobs.guests import sees
from qwen_image_studio.jobs.held import HELD, has_held, has_seen, held_for_review
from qwen_image_studio.jobs.records import NOT_DELETED, as_image, get_job
from qwen_image_studio.jobs.states import StoredImage

_IMAGE = select(images).where(images.c.id == bindparam("image_id"), NOT_DELETED)
_MADE = (
    select(images, jobs.c.key.label("job_key"))
    .select_from(images.outerjoin(jobs, jobs.c.id == images.c.job_id))
    .where(images.c.id == bindparam("image_id"), NOT_DELETED)
)
_REJECTED = select(images.c.review_reasons).where(
    images.c.job_id == bindparam("job_id"), images.c.review == literal_column("'rejected'"), NOT_DELETED
)

_HAS_LAYERS = select(images.c.id).where(images.c.job_id == bindparam("job_id"), images.c.layer.is_not(None)).limit(1)


def reviews(caller: Caller, owner: str) -> bool:
    """Return whether the caller may look at withheld images of an owner: reviewers at their own owner's, operators at
    all.
    """
    return Scope.OPERATE in caller.scopes or (caller.owner == owner and Scope.REVIEW in caller.scopes)


def judges(caller: Caller, image: StoredImage) -> bool:
    """Return whether an image waits or waited for a verdict that the caller may give."""
    return image.review is not Review.NONE and reviews(caller, image.owner)


def visible_to(caller: Caller, image: StoredImage) -> bool:
    """Return whether the caller may look at an image by itself."""
    if judges(caller, image):
        return True
    return caller.owner == image.owner and not image.review.withheld


@dataclass(frozen=True)
class Verdict:
    """A reviewer's verdict on one image."""

    review: Review
    """Approved or rejected."""
    reasons: Sequence[str] = ()
    note: str | None = None
    user: str | None = None
    """The person whom the request names; in Dify the one who started the run."""


class Reviews:
    """The images of a server that wait for reviewers. Every method is one transaction."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database, self._events = database, events

    def look(self, image_id: str, caller: Caller) -> tuple[StoredImage, str | None]:
        """Return an image, with the name of the API key that its job came with. Raises StudioError ``not_found``, for a
        guest also where it is not of the link, and ``held_for_review`` for a withheld one of the caller's own who is no
        reviewer.
        """
        with self._database.reading() as connection:
            row = connection.execute(_MADE, {"image_id": image_id}).one_or_none()
            if caller.guest is not None and not sees(connection, caller.guest, image_id):
                raise _unknown(image_id)
        image = None if row is None else as_image(row)
        if row is not None and image is not None and visible_to(caller, image):
            return image, row.job_key
        if image is not None and image.owner == caller.owner:
            raise held_for_review(f"image {image_id}", image.job_id)
        raise _unknown(image_id)

    def decide(
        self, image_id: str, verdict: Verdict, caller: Caller, now: float | None = None
    ) -> tuple[StoredImage, str | None]:
        """Record the verdict on a held image, and return the image, with the name of the API key that its job came
        with; on a layer, or on what layers make together, it is one on all of them. The same verdict of the same
        reviewer again changes nothing. The last one on the images of a job ends the job: succeeded where one of them
        may be seen, else failed as rejected.

        Raises StudioError ``not_found``, also for an image that the caller may not review; ``not_held`` where nobody
        asked for a verdict; and ``already_reviewed``.
        """
        by, now = reviewer(caller, verdict.user), self._database.now(now)
        with self._events.changing() as change:
            sought = {"image_id": image_id}
            row = change.connection.execute(_IMAGE, sought).one_or_none()
            if row is None or not reviews(caller, row.owner):
                raise _unknown(image_id)
            key = None
            if row.job_id is not None:
                key = get_job(change.connection, row.job_id, to_change=True).key
            if (row := change.connection.execute(_IMAGE.with_for_update(), sought).one_or_none()) is None:
                raise _unknown(image_id)
            if row.review != Review.HELD:
                return _decided(as_image(row), verdict, by), key
            values = {"review": verdict.review, "review_reasons": list(verdict.reasons), "review_note": verdict.note}
            decided = update(images).where(_judged_with(change.connection, row), HELD, NOT_DELETED)
            change.connection.execute(decided.values(**values, review_by=by, review_at=now))
            row = change.connection.execute(_IMAGE, sought).one()
            if row.job_id is not None:
                _settle(change, row.job_id, now)
            return as_image(row), key


def _judged_with(connection: Connection, image: Row[Any]) -> ColumnElement[bool]:
    """Return the condition on the images that a verdict on this one is about: itself, or all layers of a picture."""
    is_one: ColumnElement[bool] = images.c.id == image.id
    if image.job_id is None or connection.scalar(_HAS_LAYERS, {"job_id": image.job_id}) is None:
        return is_one
    of_picture: ColumnElement[bool] = images.c.job_id == image.job_id
    return of_picture


def reviewer(caller: Caller, user: str | None) -> str:
    """Return who decides: the name of the API key, else of the owner, and the person whom the request names."""
    name = caller.key or caller.owner
    return f"{name} ({person_of(user)})" if user else name


def _decided(image: StoredImage, verdict: Verdict, by: str) -> StoredImage:
    """Return an image that is held no more, where it is what this very reviewer has decided. Raises StudioError."""
    if image.review is Review.NONE:
        raise StudioError("not_held", f"Image {image.id} waits for no verdict; it may be seen already.")
    if (image.review, image.review_by) == (verdict.review, by):
        return image
    raise StudioError("already_reviewed", f"Image {image.id} was {image.review.value} already, by {image.review_by}.")


def _settle(change: Change, job_id: str, now: float) -> None:
    """End the job if no image of it waits any more; else tell its watchers of the verdict."""
    job = get_job(change.connection, job_id, to_change=True)
    if job.state is not State.REVIEW or has_held(change.connection, job_id):
        change.show(job_id)
        return
    rejected = [row.review_reasons for row in change.connection.execute(_REJECTED, {"job_id": job_id})]
    reasons = ", ".join(dict.fromkeys(reason for each in rejected for reason in each)) or "no reason given"
    if has_seen(change.connection, job_id):
        told = [f"A reviewer rejected {len(rejected)} of the images: {reasons}."] if rejected else []
        change.end(job_id, State.SUCCEEDED, now, warnings=[*job.warnings, *told])
    else:
        change.fail(job_id, "rejected", f"A reviewer rejected all images: {reasons}.", now)


def _unknown(image_id: str) -> StudioError:
    return StudioError("not_found", f"There is no image '{image_id}' of yours on this server.", param="image")
