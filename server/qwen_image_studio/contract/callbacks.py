"""What a callback tells: the body of the requests that the server sends at the end of a job."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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


class DeliveryView(View):
    """One callback, as operators see it; all times are in Unix seconds."""

    object: Literal["delivery"] = "delivery"
    id: str
    """Id of the event, which its receiver has as `webhook-id`."""
    event: str
    """job.succeeded, job.failed or job.cancelled."""
    job_id: str
    owner: str
    key: str
    """Name of the API key whose secrets sign it; empty without keys."""
    host: str
    """Whom it goes to; the rest of the address may hold secrets of the receiver."""
    state: Literal["waiting", "delivered", "dead"]
    tries: int
    status: int | None
    """HTTP status of the last answer; null where there was none."""
    error: str | None
    """Why the last try failed."""
    created_at: float
    next_at: float | None
    """When it is tried next; null once it was delivered or is dead."""
    delivered_at: float | None
    dead_at: float | None


class DeliveryList(View):
    """One page of callbacks, newest first."""

    object: Literal["list"] = "list"
    data: list[DeliveryView]
    has_more: bool
    """Ask again with after=<id of the last one>."""


class DeliveriesQuery(BaseModel):
    """How to list callbacks."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: int = Field(20, ge=1, le=100)
    after: str | None = Field(None, max_length=64)
    """Id of the last callback of the page before."""
    dead: bool = False
    """Only those that were given up."""
