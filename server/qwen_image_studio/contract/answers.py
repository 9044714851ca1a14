"""Answers about jobs and images, errors, and the queries beside them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from qwen_image_studio.contract.fields import NamedUser
from qwen_image_studio.contract.layers import ArchiveFormat
from qwen_image_studio.contract.loras import LoraUse
from qwen_image_studio.contract.view import View
from qwen_image_studio.contract.words import Cached, HeldFor, Operation, Precision, Review, State, Tier


class ProgressView(View):
    """How far a running job is."""

    phase: str = ""
    """loading, encoding, denoising, decoding, adjusting, storing, rows; empty while queued."""
    step: int = 0
    steps: int = 0
    """Denoising steps over all images of the job; for a batch, its rows."""
    eta_s: float | None = None
    """Seconds left at the present pace; null while unknown."""
    preview_url: str | None = None
    """A small picture of the state in between; null where the engine makes none."""


class ChangeView(View):
    """How much an edit changed, as the eye sees it: mean LDR-FLIP (Andersson et al. 2020), 0 nothing to 1."""

    inside: float | None
    """Within the area that was to change; null where there is nothing to compare with."""
    outside: float | None
    """Beyond it; null where the whole image was to change."""


class ImageView(View):
    """One stored image."""

    id: str
    url: str
    """Signed link for people; it expires."""
    thumbnail_url: str
    width: int
    height: int
    mime_type: str
    seed: int | None
    """The seed that paints this image alone; null for an uploaded image."""
    layer: int | None
    """Which layer of a picture it is, 0 for the backmost; null for a picture as a whole."""
    sha256: str
    """SHA-256 of the file's bytes, in hex; empty for a deleted image."""
    unsigned_sha256: str
    """The same without content credentials, whose signature differs each time: equal requests with equal seeds have
    this in common. Equal to `sha256` where the file has none."""
    deleted: bool
    """Whether the owner deleted it: its links answer 404, and only its job goes on listing it."""
    change: ChangeView | None
    """Change against the first input; null for images that were not made from one."""
    comparison_url: str | None
    """Signed link to a strip of before and after; null likewise."""
    studio_url: str | None
    """Link to the studio page, through which whoever has it may see this image and change it for a day
    (STUDIO_GUEST_TTL_S, STUDIO_GUEST_JOBS), on account of the key and person that made it. null for uploads, deleted
    and withheld images, and where no such link would open."""


class ImageRecord(ImageView):
    """One stored image with where it came from."""

    object: Literal["image"] = "image"
    job_id: str | None
    bytes: int
    created_at: float
    expires_at: float | None
    """When an image that was sent by itself is deleted, unless a job names it by then; null for all others."""
    review: Review
    """Whether it waits for a reviewer's verdict, and which one fell. Held and rejected images are shown to reviewers
    alone."""
    held_for: HeldFor | None
    """Why it is or was held; null where nobody was asked."""
    review_reasons: list[str]
    """Why it was rejected, in the reviewer's words."""


class JobError(View):
    """Why a job failed."""

    code: str
    message: str


class PaintedView(View):
    """With what a picture is painted."""

    width: int
    height: int
    """Size in pixels that the model paints; of a picture in several parts, that of the last one."""
    steps: int
    guidance_scale: float
    precision: Precision | None
    """Number format that was planned, null for the model's own; a warning says where the device took another."""


class RowsView(View):
    """How the rows of a batch stand; each is a job, listed by /v1/jobs?parent_id=."""

    total: int
    queued: int
    running: int
    review: int
    """Painted, with images that wait for a reviewer."""
    succeeded: int
    failed: int
    cancelled: int


class JobView(View):
    """One job as its owner sees it."""

    object: Literal["job"] = "job"
    id: str
    operation: Operation | SkipJsonSchema[str]  # the table may hold more operations than the contract promises
    model: str
    tier: Tier
    """For a batch, that of all its rows; quality where they name their own."""
    painted: PaintedView | None
    """With what it is painted; null where no model does."""
    loras: list[LoraUse]
    """LoRAs that it is painted with, besides the one that belongs to the tier."""
    state: State
    queue_position: int | None
    """1 is next; 0 while running; null once ended, and for a batch until its first row starts."""
    progress: ProgressView
    attempt: int
    images: list[ImageView]
    """Those that may be given out; what is held for a reviewer is not among them, whoever asks."""
    held: int
    """How many images of it, or of a batch's rows, wait for a reviewer; the job ends with the last verdict."""
    warnings: list[str]
    compute_saved: float | None
    """Share of the model's work that was not needed, 0 to 1; null where nothing was saved by design."""
    cached: bool
    """Whether the images come from an earlier job."""
    cache: Cached | None
    """In which way they do: of an equal request, or of one whose prompt differs in nothing that can be seen; null where
    they were painted for this job."""
    similar_prompt: str | None
    """The prompt for which they were painted, where it is not this one's."""
    shared: int
    """How many submits share this job, without those that were taken back: 1 for most. It is cancelled with the
    last."""
    engine: Literal["qwen", "cv"]
    error: JobError | None
    parent_id: str | None
    """The batch that the job is a row of."""
    row: int | None
    """Which of its rows, from 0."""
    rows: RowsView | None
    """Counts of the rows of a batch; null for other jobs."""
    archive_url: str | None
    """Signed link to a ZIP of the images; null while there are none."""
    archive_formats: list[ArchiveFormat]
    """Formats in which the archive can be had, by adding `&format=` to that link or `?format=` to the route."""
    created_at: float
    """Unix seconds, as all times."""
    started_at: float | None
    finished_at: float | None
    user: str | None
    """Whom the request named as the person it asks for."""
    request: dict[str, Any] | None = None
    """The parameters that ask for the same pictures again: what was sent, with the seed and all else that was decided,
    and inputs as image ids. A batch has its job and the number of its rows, a campaign its direction and its pieces.
    Its prompt is null where the server does not keep prompts; left out of events."""


class JobList(View):
    """One page of the owner's jobs, newest first; rows of a batch are listed first row first."""

    object: Literal["list"] = "list"
    data: list[JobView]
    has_more: bool
    """Ask again with after=<id of the last one>."""


class ErrorDetail(View):
    """What went wrong and what to do."""

    code: str
    message: str
    param: str | None
    type: str
    request_id: str


class ErrorBody(View):
    """The shape of every error."""

    error: ErrorDetail


class JobQuery(BaseModel):
    """How to read one job."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    wait: float = Field(0, ge=0, le=60, allow_inf_nan=False)
    """Answer when the job ends, changes state or moves, at the latest after this many seconds (long poll); after 2 s
    where it is in review."""


class JobsQuery(BaseModel):
    """How to list jobs."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: int = Field(20, ge=1, le=100)
    after: str | None = Field(None, max_length=64)
    """Id of the last job of the page before."""
    state: State | None = None
    operation: str | None = Field(None, max_length=64)
    """Jobs of this operation, or of one of several with commas between them: `batch,campaign`."""
    parent_id: str | None = Field(None, max_length=64)
    """The rows of that batch, first row first. Left out: the jobs that are not rows."""
    user: NamedUser = None
    """Jobs that were submitted for that user alone. Left out: those of all users."""
