"""The images of the job store in SQL."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, Engine, select

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.database.connection import reading, writing
from qwen_image_studio.database.tables import images, jobs
from qwen_image_studio.jobs import StoredImage
from qwen_image_studio.jobs.ranking import ACTIVE

_NOT_DELETED = images.c.deleted_at.is_(None)


class SqlImages:
    """The methods of JobStore for images."""

    engine: Engine

    def add_image(self, image: StoredImage) -> None:
        with writing(self.engine) as connection:
            connection.execute(images.insert().values(asdict(image)))

    def image(self, image_id: str, owner: str | None = None) -> StoredImage:
        query = select(images).where(images.c.id == image_id, _NOT_DELETED)
        if owner is not None:
            query = query.where(images.c.owner == owner)
        with reading(self.engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise StudioError("not_found", f"There is no image '{image_id}' of yours on this server.", param="image")
        return StoredImage(**row._mapping)

    def last_image(
        self, owner: str, conversation: str, since: float, *, before: str | None = None
    ) -> StoredImage | None:
        rows = jobs.alias()
        has_images = select(images.c.id).where(images.c.job_id == jobs.c.id, _NOT_DELETED).exists()
        has_rows_images = (
            select(images.c.id)
            .join(rows, rows.c.id == images.c.job_id)
            .where(rows.c.parent_id == jobs.c.id, _NOT_DELETED)
            .correlate(jobs)
            .exists()
        )
        # The rows of a batch of the same conversation count as one with the batch; other rows count each by itself,
        # and those that are still to be painted are not waited for.
        batch_is_here = select(rows.c.id).where(rows.c.id == jobs.c.parent_id, rows.c.conversation == conversation)
        made = (jobs.c.finished_at >= since) & (has_images | has_rows_images) & ~batch_is_here.correlate(jobs).exists()
        coming = jobs.c.state.in_(ACTIVE) & jobs.c.parent_id.is_(None)
        query = (
            select(jobs.c.id, jobs.c.state, jobs.c.rows)
            .where(jobs.c.owner == owner, jobs.c.conversation == conversation, made | coming)
            .order_by(jobs.c.seq.desc())
            .limit(1)
        )
        if before is not None:
            query = query.where(jobs.c.seq < select(rows.c.seq).where(rows.c.id == before).scalar_subquery())
        with reading(self.engine) as connection:
            last = connection.execute(query).one_or_none()
            if last is None:
                return None
            if last.state in ACTIVE:
                raise _refusal(
                    "image_not_ready",
                    f"job {last.id}, which makes the last image of this conversation, has not ended; fetch it first "
                    "(in Dify with image_job), or send the image that you mean",
                )
            of_rows = select(rows.c.id).where(rows.c.parent_id == last.id)
            of_job = images.c.job_id == last.id if last.rows is None else images.c.job_id.in_(of_rows)
            found = connection.execute(select(images).where(of_job, _NOT_DELETED).order_by(images.c.number)).all()
        if last.rows is not None and len(found) > 1:
            raise _refusal(
                "image_not_found",
                f"the last job of this conversation is batch {last.id} with {len(found)} images; name the one that you "
                "mean by its id",
            )
        return StoredImage(**found[0]._mapping)

    def images(self, job_ids: Collection[str], *, with_deleted: bool = False) -> Mapping[str, Sequence[StoredImage]]:
        query = select(images).where(images.c.job_id.in_(job_ids)).order_by(images.c.number)
        if not with_deleted:
            query = query.where(_NOT_DELETED)
        found: dict[str, list[StoredImage]] = defaultdict(list)
        with reading(self.engine) as connection:
            for row in connection.execute(query):
                found[row.job_id].append(StoredImage(**row._mapping))
        return found


def check_inputs(connection: Connection, image_ids: Sequence[str]) -> None:
    """Raise StudioError ``image_not_found`` for an input that was deleted since the request was read; lock the rows of
    the others, so that they stay until the transaction ends.
    """
    query = select(images.c.id).where(images.c.id.in_(image_ids), _NOT_DELETED).with_for_update(read=True)
    found = set(connection.scalars(query))
    if missing := [image_id for image_id in image_ids if image_id not in found]:
        raise _refusal("image_not_found", f"there is no image '{missing[0]}' any more; send another one")


def _refusal(code: str, problem: str) -> StudioError:
    return StudioError(code, f"image: {problem}.", param="image")
