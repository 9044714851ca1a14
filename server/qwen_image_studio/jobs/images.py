"""The rows of images: uploads, and what jobs have made."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, bindparam, or_, select
from sqlalchemy.exc import IntegrityError

from qwen_image_studio.contract.caller import Guest
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Review, State
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import OPEN, images, jobs
from qwen_image_studio.jobs.guests import sees
from qwen_image_studio.jobs.held import WITHHELD, held_for_review
from qwen_image_studio.jobs.records import FILE_KEYS, NOT_DELETED, as_image
from qwen_image_studio.jobs.states import StoredImage

_IMAGE = select(images).where(images.c.id == bindparam("image_id"), NOT_DELETED)
_BEHIND = (
    select(images)
    .where(or_(*(column == bindparam("key") for column in FILE_KEYS)), NOT_DELETED)
    .order_by(WITHHELD)
    .limit(1)
)
_GIVEN_OUT = (NOT_DELETED, ~WITHHELD, images.c.layer.is_(None))
"""What may be gone on with: a picture as a whole, and no layer of it."""
_SENT = select(images).where(images.c.owner == bindparam("owner"), images.c.idempotency_key == bindparam("key"))
_OF_JOBS = select(images).where(images.c.job_id.in_(bindparam("ids", expanding=True))).order_by(images.c.number)


class Images:
    """The images of a server. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, image: StoredImage) -> StoredImage:
        """Record an uploaded image and return it; or the earlier one with the same owner and idempotency key."""
        try:
            with self._database.writing() as connection:
                if earlier := _replayed(connection, image.owner, image.idempotency_key):
                    return earlier
                connection.execute(images.insert().values(asdict(image)))
                return image
        except IntegrityError:  # PostgreSQL: two requests with one key at the same moment
            if earlier := self.replay(image.owner, image.idempotency_key):
                return earlier
            raise

    def replay(self, owner: str, key: str | None) -> StoredImage | None:
        """Return the image that was sent earlier with this owner and idempotency key, or None."""
        if key is None:
            return None
        with self._database.reading() as connection:
            return _replayed(connection, owner, key)

    def get(self, image_id: str, owner: str | None = None, guest: Guest | None = None) -> StoredImage:
        """Return one image. Raises StudioError ``not_found``, also for an image of another owner, and for one that a
        guest may not see.
        """
        with self._database.reading() as connection:
            row = connection.execute(_IMAGE, {"image_id": image_id}).one_or_none()
            is_seen = guest is None or sees(connection, guest, image_id)
        if row is None or not is_seen or owner not in {None, row.owner}:
            raise StudioError("not_found", f"There is no image '{image_id}' of yours on this server.", param="image")
        return as_image(row)

    def among(self, ids: Collection[str], keys: Collection[str], owner: str) -> Sequence[str]:
        """Return the ids of the owner's images that are among these ids, or whose picture is among these keys."""
        if not ids and not keys:
            return []
        query = select(images.c.id).where(or_(images.c.id.in_(ids), images.c.key.in_(keys)))
        with self._database.reading() as connection:
            return list(connection.scalars(query.where(images.c.owner == owner, NOT_DELETED)))

    def held_behind(self, key: str) -> StoredImage | None:
        """Return the withheld image that a file belongs to; None where it belongs to none, or also to one that may be
        seen.
        """
        with self._database.reading() as connection:
            row = connection.execute(_BEHIND, {"key": key}).first()
        return None if row is None or not Review(row.review).withheld else as_image(row)

    def of_jobs(self, job_ids: Collection[str], *, with_deleted: bool = False) -> Mapping[str, Sequence[StoredImage]]:
        """Return the images of several jobs, by job id, in order; `with_deleted` includes the rows that deleted images
        have left.
        """
        query = _OF_JOBS if with_deleted else _OF_JOBS.where(NOT_DELETED)
        found: dict[str, list[StoredImage]] = defaultdict(list)
        with self._database.reading() as connection:
            for row in connection.execute(query, {"ids": list(job_ids)}):
                found[row.job_id].append(as_image(row))
        return found

    def last(self, owner: str, conversation: str, since: float, *, before: str | None = None) -> StoredImage | None:
        """Return the first whole picture of the conversation's last job that made one after `since` (Unix seconds).

        None where there is no such job. With `before`, the id of a job, only jobs that were submitted before that one
        count.

        Withheld images do not count. Raises StudioError ``image_not_ready`` where a later job of the conversation has
        not ended, ``held_for_review`` where reviewers have to decide on all that it made, and ``image_not_found`` where
        the last one is a batch with several images.
        """
        rows = jobs.alias()
        has_images = select(images.c.id).where(images.c.job_id == jobs.c.id, *_GIVEN_OUT).exists()
        has_rows_images = (
            select(images.c.id)
            .join(rows, rows.c.id == images.c.job_id)
            .where(rows.c.parent_id == jobs.c.id, *_GIVEN_OUT)
            .correlate(jobs)
            .exists()
        )
        # The rows of a batch of the same conversation count as one with the batch; other rows count each by itself,
        # and those that are still to be painted are not waited for.
        batch_is_here = select(rows.c.id).where(rows.c.id == jobs.c.parent_id, rows.c.conversation == conversation)
        made = (jobs.c.finished_at >= since) & (has_images | has_rows_images) & ~batch_is_here.correlate(jobs).exists()
        coming = OPEN & jobs.c.parent_id.is_(None)
        query = (
            select(jobs.c.id, jobs.c.state, jobs.c.rows)
            .where(jobs.c.owner == owner, jobs.c.conversation == conversation, made | coming)
            .order_by(jobs.c.seq.desc())
            .limit(1)
        )
        if before is not None:
            query = query.where(jobs.c.seq < select(rows.c.seq).where(rows.c.id == before).scalar_subquery())
        with self._database.reading() as connection:
            last = connection.execute(query).one_or_none()
            if last is None:
                return None
            if last.state in {State.QUEUED, State.RUNNING}:
                raise _refusal(
                    "image_not_ready",
                    f"job {last.id}, which makes the last image of this conversation, has not ended; fetch it first "
                    "(in Dify with image_job), or send the image that you mean",
                )
            of_rows = select(rows.c.id).where(rows.c.parent_id == last.id)
            of_job = images.c.job_id == last.id if last.rows is None else images.c.job_id.in_(of_rows)
            found = connection.execute(select(images).where(of_job, *_GIVEN_OUT).order_by(images.c.number)).all()
        if not found or (last.rows is not None and last.state == State.REVIEW):
            raise held_for_review(f"what job {last.id} made last in this conversation", last.id)
        if last.rows is not None and len(found) > 1:
            raise _refusal(
                "image_not_found",
                f"the last job of this conversation is batch {last.id} with {len(found)} images; name the one that you "
                "mean by its id",
            )
        return as_image(found[0])


def _replayed(connection: Connection, owner: str, key: str | None) -> StoredImage | None:
    if key is None:
        return None
    row = connection.execute(_SENT, {"owner": owner, "key": key}).one_or_none()
    return None if row is None else as_image(row)


def _refusal(code: str, problem: str) -> StudioError:
    return StudioError(code, f"image: {problem}.", param="image")
