"""Deletion of images and jobs, because their owner asks for it or because they are old; and its refusals.

Rows are deleted first, and then the gallery deletes the files: a file without a row is never served, and one that is
left behind is found by its key. Several rows may name one file, so it is deleted with the last of them; yet from the
first of them on it answers no job any more (`answering`).
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, bindparam, or_, select, union, update

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import State
from qwen_image_studio.database.connection import Database, take_turn
from qwen_image_studio.database.tables import (
    OPEN,
    RUNNING,
    calls,
    images,
    installation,
    job_inputs,
    jobs,
    paintings,
    shares,
    styles,
    turns,
)
from qwen_image_studio.jobs.answering import answer_no_more
from qwen_image_studio.jobs.events import Events
from qwen_image_studio.jobs.records import ENDED, FILE_KEYS, NOT_DELETED, get_job

_SOUGHT: BindParameter[str] = bindparam("keys", expanding=True)
_NAMED = union(*(select(column).where(column.in_(_SOUGHT), NOT_DELETED) for column in FILE_KEYS))
_PREVIEWS = select(jobs.c.preview_key).where(RUNNING, jobs.c.preview_key.in_(_SOUGHT))
_GONE: Mapping[str, Any] = {
    "sha256": "",
    "unsigned_sha256": None,
    "change_inside": None,
    "change_outside": None,
    "idempotency_key": None,
}
"""What is left of a deleted image; the next one that is sent with its key is another one."""
_DELETING = "deleting"
"""What deletions take turns at: two that have files in common would wait for each other's rows, or leave the files to
each other."""
_IS_UPLOAD = images.c.job_id.is_(None)


class Forgetting:
    """Deletion of rows. Files stay: the caller deletes those whose keys a method returns."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database, self._events = database, events

    # -- for owners ------------------------------------------------------------------------------------------------

    def forget_image(self, image_id: str, owner: str, now: float | None = None) -> Sequence[str]:
        """Mark an image as deleted; only its job still lists it. Return the keys of the files to delete now, which are
        those that no other row names. Repeating it gives the same answer.

        Raises StudioError ``not_found``, and ``image_in_use`` where a job that has not ended needs or makes the image.
        """
        query = select(images).where(images.c.id == image_id, images.c.owner == owner).with_for_update()
        with self._events.changing() as change:
            take_turn(change.connection, _DELETING)
            image = change.connection.execute(query).one_or_none()
            if image is None:
                raise StudioError("not_found", f"There is no image '{image_id}' of yours on this server.")
            if image.deleted_at is None:
                _check_unused(change.connection, [image])
                gone = update(images).where(images.c.id == image_id).values(**_GONE, deleted_at=self._database.now(now))
                change.connection.execute(gone)
                answer_no_more(change.connection, [image.key])
                change.show(image.job_id)
            return _unnamed(change.connection, [image])

    def miss_file(self, key: str) -> None:
        """Let the pictures whose file is gone answer no job any more."""
        with self._database.writing() as connection:
            take_turn(connection, _DELETING)
            answer_no_more(connection, [key])

    def forget_turns(self, before: float) -> None:
        """Forget who was served before then (Unix seconds), and whose variant painted; people's names go with it."""
        with self._database.writing() as connection:
            connection.execute(turns.delete().where(turns.c.served_at < before))
            connection.execute(paintings.delete().where(paintings.c.painted_at < before))

    def forget_job(self, job_id: str, owner: str) -> Sequence[str]:
        """Delete a job that has ended, a batch with its rows, together with the images that it made and the uploads
        that no other job names. Return the keys of the files to delete now.

        Raises StudioError ``not_found``, ``job_not_ended``, ``image_in_use``, and ``invalid_value`` for one row of a
        batch.
        """
        with self._database.writing() as connection:
            take_turn(connection, _DELETING)
            job = get_job(connection, job_id, owner)
            if job.parent_id is not None:
                message = f"Job {job_id} is a row of batch {job.parent_id}; delete the batch, or the row's images."
                raise StudioError("invalid_value", message, param="job_id")
            ids = _ended_family(connection, job_id)
            _lock_images(connection, ids)
            made = connection.execute(select(images).where(images.c.job_id.in_(ids))).all()
            _check_unused(connection, made)
            own = _own_uploads(connection, ids, self._database.now())
            answer_no_more(connection, {image.key for image in made})
            connection.execute(job_inputs.delete().where(job_inputs.c.job_id.in_(ids)))
            connection.execute(images.delete().where(images.c.id.in_([image.id for image in (*made, *own)])))
            connection.execute(shares.delete().where(shares.c.job_id.in_(ids)))
            connection.execute(jobs.delete().where(jobs.c.id.in_(ids)))
            connection.execute(update(calls).where(calls.c.job_id.in_(ids)).values(prompt=None))
            return _unnamed(connection, [*made, *own])

    def forget_upload(self, image_id: str, since: float = 0.0) -> Sequence[str]:
        """Delete an image that was uploaded at or after `since` (Unix seconds), unless a job names it. Return the keys
        of the files to delete now; none where the image stays.
        """
        one = select(images).where(images.c.id == image_id, images.c.created_at >= since, _IS_UPLOAD)
        with self._database.writing() as connection:
            take_turn(connection, _DELETING)
            connection.execute(one.with_for_update())
            upload = connection.execute(one.where(~_is_named())).one_or_none()  # who has named it since is seen now
            if upload is None:
                return []
            connection.execute(images.delete().where(images.c.id == image_id))
            return _unnamed(connection, [upload])

    def forget_reference(self, image_id: str) -> Sequence[str]:
        """Delete an image that was stored for a style, unless a job or a style names it; one that was sent by itself
        has a time of its own. Return the keys of the files to delete now.
        """
        with self._database.reading() as connection:
            stored = select(images.c.id).where(images.c.id == image_id, images.c.expires_at.is_(None))
            is_stored = connection.execute(stored).one_or_none() is not None
        return self.forget_upload(image_id) if is_stored else []

    # -- by age ----------------------------------------------------------------------------------------------------

    def ended_jobs(self, before: float) -> Sequence[tuple[str, str]]:
        """Return id and owner of each job that ended before then (Unix seconds), oldest first, without rows of
        batches.
        """
        old = ENDED & (jobs.c.finished_at < before)
        with self._database.reading() as connection:
            found = connection.execute(select(jobs.c.id, jobs.c.owner).where(old).order_by(jobs.c.finished_at))
            return [(row.id, row.owner) for row in found]

    def unused_uploads(self, before: float) -> Sequence[str]:
        """Return the ids of the images that were uploaded before then (Unix seconds) and that no job names."""
        query = select(images.c.id).where(_IS_UPLOAD, images.c.created_at < before, ~_is_named())
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def expired_uploads(self, now: float) -> Sequence[str]:
        """Return the ids of the images that were to be kept until then (Unix seconds) and that no job names."""
        query = select(images.c.id).where(_IS_UPLOAD, images.c.expires_at < now, ~_is_named())
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def named_keys(self, keys: Collection[str]) -> set[str]:
        """Return those of the keys that belong to an image or to the preview of a running job."""
        sought = {"keys": list(keys)}
        with self._database.reading() as connection:
            named = _named(connection, keys)
            return named if len(named) == len(sought["keys"]) else named | set(connection.scalars(_PREVIEWS, sought))

    def installation(self) -> str:
        """Return the id that was drawn when this database was made."""
        with self._database.reading() as connection:
            return str(connection.scalars(select(installation.c.id)).one())


def _is_named() -> Any:
    """Return the condition that a job names an image, or a style does."""
    return or_(select(job_inputs.c.job_id).where(job_inputs.c.image_id == images.c.id).exists(), _is_of_style())


def _is_of_style() -> Any:
    return select(styles.c.name).where(styles.c.reference == images.c.id).correlate(images).exists()


def _ended_family(connection: Connection, job_id: str) -> Sequence[str]:
    """Return the ids of a job and its rows. Raises StudioError ``job_not_ended`` where one of them has not ended."""
    family = or_(jobs.c.id == job_id, jobs.c.parent_id == job_id)
    query = select(jobs.c.id, jobs.c.state).where(family).order_by(jobs.c.seq).with_for_update()
    members = connection.execute(query).all()
    if not all(State(member.state).final for member in members):
        message = f"Job {job_id} has not ended; POST /v1/jobs/{job_id}/cancel ends it, and then delete it."
        raise StudioError("job_not_ended", message)
    return [member.id for member in members]


def _lock_images(connection: Connection, ids: Sequence[str]) -> None:
    """Lock the images that these jobs have made or name, in the order of `records.check_inputs`: who is about to name
    one of them is waited for, and seen afterwards.
    """
    named = select(job_inputs.c.image_id).where(job_inputs.c.job_id.in_(ids))
    query = select(images.c.id).where(or_(images.c.job_id.in_(ids), images.c.id.in_(named)))
    connection.execute(query.order_by(images.c.id).with_for_update())


def _own_uploads(connection: Connection, ids: Sequence[str], now: float) -> Sequence[Row[Any]]:
    """Return the uploads that these jobs name and no other job does; without those that were sent by themselves, while
    their time is not over.
    """
    is_due = or_(images.c.expires_at.is_(None), images.c.expires_at < now)
    others = job_inputs.alias()
    named_by_others = select(others.c.job_id).where(others.c.image_id == images.c.id, others.c.job_id.not_in(ids))
    named = select(job_inputs.c.image_id).where(job_inputs.c.job_id.in_(ids))
    query = select(images).where(
        images.c.id.in_(named), _IS_UPLOAD, is_due, ~named_by_others.correlate(images).exists(), ~_is_of_style()
    )
    return connection.execute(query).all()


def _check_unused(connection: Connection, found: Iterable[Row[Any]]) -> None:
    """Raise StudioError ``image_in_use`` where a job that has not ended needs or makes one of the images, or a style
    has it.
    """
    ids = [image.id for image in found]
    query = (
        select(job_inputs.c.image_id, jobs.c.id)
        .join(jobs, jobs.c.id == job_inputs.c.job_id)
        .where(job_inputs.c.image_id.in_(ids), OPEN)
    )
    if (use := connection.execute(query).first()) is not None:
        raise _in_use(use.image_id, use.id)
    if (style := connection.execute(select(styles).where(styles.c.reference.in_(ids))).first()) is not None:
        message = f"Image {style.reference} is in use: style '{style.name}' has it as its reference. Delete that first."
        raise StudioError("image_in_use", message)
    makers = select(images.c.id.label("image_id"), jobs).join(jobs, jobs.c.id == images.c.job_id)
    for maker in connection.execute(makers.where(images.c.id.in_(ids))):
        if maker.state == State.REVIEW:
            raise _in_use(maker.image_id, maker.id)
        if (batch_id := _waiting_batch(connection, maker)) is not None:
            raise _in_use(maker.image_id, batch_id)


def _waiting_batch(connection: Connection, maker: Row[Any]) -> str | None:
    """Return the batch that has not ended and that the image's job is a row of, or that goes on with the last image of
    its conversation; None where there is none.
    """
    of_owner = select(jobs).where(jobs.c.owner == maker.owner, jobs.c.rows.is_not(None), OPEN)
    if maker.parent_id is not None:
        batch = connection.execute(of_owner.where(jobs.c.id == maker.parent_id)).one_or_none()
        if batch is not None:
            return str(batch.id)
    if maker.conversation is None:
        return None
    named = json.dumps(maker.conversation)
    for batch in connection.execute(of_owner.where(jobs.c.seq > maker.seq)):
        if named in json.dumps([batch.plan, batch.conversation]):
            return str(batch.id)
    return None


def _in_use(image_id: str, job_id: str) -> StudioError:
    message = f"Image {image_id} is in use: job {job_id} has not ended. Delete it after that, or cancel the job."
    return StudioError("image_in_use", message)


def _unnamed(connection: Connection, forgotten: Iterable[Row[Any]]) -> list[str]:
    """Return the keys of the files that no row names any more."""
    keys = {key for row in forgotten for key in (row.key, row.thumbnail_key, row.comparison_key) if key is not None}
    return sorted(keys - _named(connection, keys))


def _named(connection: Connection, keys: Collection[str]) -> set[str]:
    return set(connection.scalars(_NAMED, {"keys": list(keys)}))
