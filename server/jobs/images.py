"""The images of the job store in SQL."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Engine, String, cast, select

from server.errors import StudioError
from server.jobs import StoredImage
from server.jobs.batches import ACTIVE
from server.jobs.database import reading, writing
from server.jobs.tables import images, jobs


class SqlImages:
    """What JobStore promises of images."""

    engine: Engine

    def add_image(self, image: StoredImage) -> None:
        with writing(self.engine) as connection:
            connection.execute(images.insert().values(asdict(image)))

    def forget_image(self, image_id: str, since: float) -> StoredImage | None:
        used = select(jobs.c.id).where(jobs.c.owner == images.c.owner, cast(jobs.c.inputs, String).contains(image_id))
        forgotten = (
            images.delete()
            .where(images.c.id == image_id, images.c.job_id.is_(None), images.c.created_at >= since)
            .where(~used.exists())
            .returning(images)
        )
        with writing(self.engine) as connection:
            row = connection.execute(forgotten).one_or_none()
        return None if row is None else StoredImage(**row._mapping)

    def image(self, image_id: str, owner: str | None = None) -> StoredImage:
        query = select(images).where(images.c.id == image_id)
        if owner is not None:
            query = query.where(images.c.owner == owner)
        with reading(self.engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise StudioError("not_found", f"There is no image '{image_id}' of yours on this server.", param="image")
        return StoredImage(**row._mapping)

    def last_image(self, owner: str, conversation: str, since: float) -> StoredImage | None:
        here = (jobs.c.owner == owner, jobs.c.conversation == conversation)
        made = (
            select(images, jobs.c.seq)
            .join(jobs, jobs.c.id == images.c.job_id)
            .where(*here, jobs.c.finished_at >= since)
            .order_by(jobs.c.seq.desc(), images.c.number)
            .limit(1)
        )
        # Rows are not waited for: those of one batch start from the same image.
        coming = (
            select(jobs.c.id, jobs.c.seq)
            .where(*here, jobs.c.state.in_(ACTIVE), jobs.c.parent_id.is_(None))
            .order_by(jobs.c.seq.desc())
            .limit(1)
        )
        with reading(self.engine) as connection:
            last, next_ = connection.execute(made).one_or_none(), connection.execute(coming).one_or_none()
        if next_ is not None and (last is None or next_.seq > last.seq):
            message = (
                f"image: job {next_.id}, which makes the last image of this conversation, has not ended; "
                "fetch it first, or send the image that you mean."
            )
            raise StudioError("image_not_ready", message, param="image")
        if last is None:
            return None
        values = dict(last._mapping)
        del values["seq"]
        return StoredImage(**values)

    def images(self, job_ids: Collection[str]) -> Mapping[str, Sequence[StoredImage]]:
        query = select(images).where(images.c.job_id.in_(job_ids)).order_by(images.c.number)
        found: dict[str, list[StoredImage]] = defaultdict(list)
        with reading(self.engine) as connection:
            for row in connection.execute(query):
                found[row.job_id].append(StoredImage(**row._mapping))
        return found
