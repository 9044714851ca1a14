"""Answers: the models of everything that the server sends back."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from qwen_image_studio.contract.fields import NamedUser
from qwen_image_studio.contract.words import AspectRatio, Language, Operation, SlotType, State, Tier, WorkerState


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ProgressView(_View):
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


class ChangeView(_View):
    """How much an edit changed, as the eye sees it: mean LDR-FLIP (Andersson et al. 2020), 0 nothing to 1."""

    inside: float | None
    """Within the area that was to change; null where there is nothing to compare with."""
    outside: float | None
    """Beyond it; null where the whole image was to change."""


class ImageView(_View):
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
    sha256: str
    """SHA-256 of the file's bytes, in hex; empty for a deleted image."""
    deleted: bool
    """Whether the owner deleted it: its links answer 404, and only its job goes on listing it."""
    change: ChangeView | None
    """Change against the first input; null for images that were not made from one."""
    comparison_url: str | None
    """Signed link to a strip of before and after; null likewise."""


class ImageRecord(ImageView):
    """One stored image with where it came from."""

    object: Literal["image"] = "image"
    job_id: str | None
    bytes: int
    created_at: float


class JobError(_View):
    """Why a job failed."""

    code: str
    message: str


class RowsView(_View):
    """How the rows of a batch stand; each is a job, listed by /v1/jobs?parent_id=."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int


class JobView(_View):
    """One job as its owner sees it."""

    object: Literal["job"] = "job"
    id: str
    operation: Operation | SkipJsonSchema[str]  # the table may hold more operations than the contract promises
    model: str
    tier: Tier
    state: State
    queue_position: int | None
    """1 is next; 0 while running; null once ended, and for a batch until its first row starts."""
    progress: ProgressView
    attempt: int
    images: list[ImageView]
    warnings: list[str]
    compute_saved: float | None
    """Share of the model's work that was not needed, 0 to 1; null where nothing was saved by design."""
    cached: bool
    """Whether the images come from an earlier job."""
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
    created_at: float
    """Unix seconds, as all times."""
    started_at: float | None
    finished_at: float | None


class JobList(_View):
    """One page of the owner's jobs, newest first; rows of a batch are listed first row first."""

    object: Literal["list"] = "list"
    data: list[JobView]
    has_more: bool
    """Ask again with after=<id of the last one>."""


class SizeView(_View):
    """Width and height in pixels."""

    width: int
    height: int


class WordsView(_View):
    """What one thing is called, the usual name first."""

    en: list[str]
    zh: list[str]


class VocabularyView(_View):
    """All that a very small model knows."""

    objects: list[WordsView]
    texts: list[str]
    backgrounds: list[WordsView]
    materials: list[WordsView]
    layouts: WordsView
    edits: dict[str, WordsView]
    """Instructions of each kind."""


class TierView(_View):
    """One speed/quality setting of a model."""

    tier: Tier
    steps: int
    guidance_scale: float


class ModelView(_View):
    """One model and what it takes."""

    object: Literal["model"] = "model"
    id: str
    repository: str
    created: int
    """When this server began to offer it, in Unix seconds."""
    owned_by: str
    licence: str
    """Licence of the weights, as an SPDX identifier where there is one."""
    operations: list[Operation]
    sizes: dict[AspectRatio, SizeView]
    """Native size of each aspect ratio."""
    min_side: int
    max_side: int
    max_pixels: int
    max_aspect: float
    max_inputs: int
    """How many images an edit takes."""
    max_images: int
    """Largest n."""
    min_steps: int
    max_steps: int
    default_steps: int
    default_guidance_scale: float
    tiers: list[TierView]
    """What a job may ask for as `tier`."""
    vocabulary: VocabularyView | None
    """All that the miniature knows; null for the large models, which know the world."""
    loaded: bool
    """Whether a worker holds it in memory now."""


class ModelList(_View):
    """Models of this server; the first that does an operation is its default."""

    object: Literal["list"] = "list"
    data: list[ModelView]


class SlotView(_View):
    """One slot of a template."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    type: SlotType
    about: dict[Language, str]
    default: str | None = None
    """Taken where the slot is left out; without one it has to be filled."""
    choices: dict[str, dict[Language, str]] = Field(default_factory=dict)
    """What a slot of type choice takes, by name."""


class TemplateView(_View):
    """One instruction template."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    version: int = Field(ge=1)
    operation: Operation
    title: dict[Language, str]
    text: dict[Language, str]
    slots: dict[str, SlotView] = Field(default_factory=dict)


class TemplateList(_View):
    """The templates of this server."""

    object: Literal["list"] = "list"
    data: list[TemplateView]


class HealthState(StrEnum):
    """The server in one word."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    DEGRADED = "degraded"
    FAILED = "failed"


class WorkerView(_View):
    """One worker process."""

    device: str
    state: WorkerState
    model: str | None
    message: str


class Health(_View):
    """How the server is."""

    service: Literal["qwen-image-studio"] = "qwen-image-studio"
    version: str
    state: HealthState
    message: str
    """The state in a sentence."""
    queued: int | None
    """Jobs that wait; null while the job store cannot be read."""
    running: int | None
    """Jobs under way; null likewise."""
    workers: list[WorkerView]


class Liveness(_View):
    """That the web process answers; nothing about its workers."""

    service: Literal["qwen-image-studio"] = "qwen-image-studio"
    version: str


class ErrorDetail(_View):
    """What went wrong and what to do."""

    code: str
    message: str
    param: str | None
    type: str
    request_id: str


class ErrorBody(_View):
    """The shape of every error."""

    error: ErrorDetail


class JobQuery(BaseModel):
    """How to read one job."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    wait: float = Field(0, ge=0, le=60, allow_inf_nan=False)
    """Answer when the job ends, changes state or moves, at the latest after this many seconds (long poll)."""


class JobsQuery(BaseModel):
    """How to list jobs."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: int = Field(20, ge=1, le=100)
    after: str | None = Field(None, max_length=64)
    """Id of the last job of the page before."""
    state: State | None = None
    parent_id: str | None = Field(None, max_length=64)
    """The rows of that batch, first row first. Left out: the jobs that are not rows."""
    user: NamedUser = None
    """Jobs that were submitted for that user alone. Left out: those of all users."""
