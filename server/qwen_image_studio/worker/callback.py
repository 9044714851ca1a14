"""The body of a callback, written when it is sent, so that its links are fresh."""

from collections.abc import Sequence
from datetime import UTC, datetime

from qwen_image_studio.contract.answers import JobError, RowsView
from qwen_image_studio.contract.callbacks import Callback, CallbackImage, CallbackJob
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import State
from qwen_image_studio.gallery import Gallery
from qwen_image_studio.jobs import Job, JobStore, RowCounts, StoredImage
from qwen_image_studio.jobs.outbox import Delivery

TEST = "webhook.test"


def message(delivery: Delivery, store: JobStore, gallery: Gallery) -> bytes:
    """Return the body of a delivery as JSON. Raises StudioError where the job store cannot be read."""
    try:
        job = store.jobs.get(delivery.job_id)
    except StudioError as error:
        if error.code != "not_found":
            raise
        told = _deleted(delivery)
    else:
        images = store.images.of_jobs([job.id]).get(job.id, ())
        told = _told(job, images, store.rows.counts([job.id]).get(job.id), gallery)
    return _written(delivery.event, delivery.created_at, told)


def trial(now: float) -> bytes:
    """Return the body of a callback by which an operator tries a receiver."""
    return _written(TEST, now, None)


def _written(event: str, at: float, told: CallbackJob | None) -> bytes:
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Callback.model_validate({"type": event, "timestamp": when, "data": told}).model_dump_json().encode()


def _deleted(delivery: Delivery) -> CallbackJob:
    return CallbackJob(
        id=delivery.job_id,
        state=State(delivery.event.removeprefix("job.")),
        deleted=True,
        operation=None,
        error=None,
        images=[],
        rows=None,
        archive_url=None,
        user=None,
        conversation=None,
        created_at=None,
        finished_at=None,
    )


def _told(job: Job, images: Sequence[StoredImage], rows: RowCounts | None, gallery: Gallery) -> CallbackJob:
    seen = [image for image in images if image.is_given_out]
    has_images = bool(seen) or (rows is not None and rows.succeeded > 0)
    return CallbackJob(
        id=job.id,
        state=job.state,
        deleted=False,
        operation=job.operation,
        error=JobError(code=job.error_code, message=job.error_message or "") if job.error_code else None,
        images=[_image(image, gallery) for image in seen],
        rows=None if rows is None else RowsView.model_validate(rows, from_attributes=True),
        archive_url=gallery.archive_link(job.id) if has_images else None,
        user=job.user,
        conversation=job.conversation,
        created_at=job.created_at,
        finished_at=job.finished_at,
    )


def _image(image: StoredImage, gallery: Gallery) -> CallbackImage:
    return CallbackImage(
        id=image.id,
        url=gallery.link(image.key),
        width=image.width,
        height=image.height,
        mime_type=image.mime_type,
        sha256=image.sha256,
    )
