"""What a callback tells: the body of the requests that the server sends at the end of a job."""

from typing import Literal

from qwen_image_studio.contract.answers import JobError, RowsView
from qwen_image_studio.contract.view import View
from qwen_image_studio.contract.words import State


class CallbackImage(View):
    """One image of the job, as far as its owner may see it."""

    id: str
    url: str
    """Signed link, made for this try; it expires."""
    width: int
    height: int
    mime_type: str
    sha256: str
    """SHA-256 of the file's bytes, in hex."""


class CallbackJob(View):
    """The job that has ended, as it is when the callback is sent."""

    id: str
    state: State
    deleted: bool
    """Whether the owner has deleted it meanwhile; only id and state are left of it then."""
    operation: str | None
    error: JobError | None
    images: list[CallbackImage]
    """Without those that were deleted, or are withheld; for a batch its contact sheet."""
    rows: RowsView | None
    """Counts of the rows of a batch; null for other jobs."""
    archive_url: str | None
    """Signed link to a ZIP of the images; null where there are none."""
    user: str | None
    conversation: str | None
    created_at: float | None
    """Unix seconds, as `finished_at`."""
    finished_at: float | None


class Callback(View):
    """What is sent to `webhook_url`; the header `webhook-id` names the event, and is the same in every try."""

    type: Literal["job.succeeded", "job.failed", "job.cancelled", "webhook.test"]
    """What has happened; webhook.test only where an operator asks for it."""
    timestamp: str
    """When it happened (ISO 8601, UTC)."""
    data: CallbackJob | None
    """null in a test."""
