"""The parts of the server's answers that the tools read; unknown fields are ignored, so the server may grow."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, model_validator

Trouble = Literal["unreachable", "full", "limited", "unavailable"]
"""Why a client has to try again: no connection, a full queue, a limit of the key, a server that takes no jobs now."""


class Progress(BaseModel):
    """The progress of a running job; ``eta_s`` is in seconds, None while unknown."""

    phase: str = ""
    step: int = 0
    steps: int = 0
    eta_s: float | None = None


class Change(BaseModel):
    """The change that an edit made, inside the area that was to change and outside of it, 0 to 1; None where
    unknown.
    """

    inside: float | None = None
    outside: float | None = None


class Image(BaseModel):
    """One image of a job; ``url`` is for people, the bytes come from ``/v1/images/{id}/content``."""

    id: str
    url: str
    width: int
    height: int
    mime_type: str
    seed: int | None = None
    layer: int | None = None
    """Which layer of a picture it is, 0 for the backmost; None for a picture as a whole."""
    sha256: str = ""
    change: Change | None = None
    comparison_url: str | None = None
    """A link for people to a picture that shows before and after side by side."""
    studio_url: str | None = None
    """A link that lets people edit it in the studio's page; None where the server gives none, or has no such page."""


class JobError(BaseModel):
    """The reason why a job failed."""

    code: str = ""
    message: str = ""


class Rows(BaseModel):
    """The number of rows of a batch in each state."""

    total: int
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def done(self) -> int:
        """Number of rows that have ended."""
        return self.succeeded + self.failed + self.cancelled


class Told(BaseModel):
    """A part of what a job was asked for; null is as good as left out."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        return {name: value for name, value in values.items() if value is not None} if isinstance(values, dict) else {}


class Direction(Told):
    """An art direction, as far as it was given."""

    style: str = ""
    palette: list[str] = []
    negative_prompt: str = ""
    seed: int | None = None
    reference: str | None = None


class Style(Direction):
    """An art direction that is saved."""

    name: str = ""


class StyleList(BaseModel):
    """All saved art directions of an owner."""

    data: list[Style]


class Piece(Told):
    """One picture of a campaign, as it was asked for."""

    channel: str = ""
    language: str = ""
    headline: str = ""
    subline: str = ""
    prompt: str = ""


class Request(Told):
    """What a job was asked for; of other jobs than campaigns nothing of it is read."""

    direction: Direction = Direction()
    pieces: list[Piece] = []


def _whole_first(images: list[Image]) -> list[Image]:
    """Return images with the picture that layers make together before them, since the first one stands for a job."""
    return sorted(images, key=lambda image: image.layer is not None)


def _of_the_form(warnings: list[str]) -> list[str]:
    """Return warnings with what they advise as the form of the tools has it."""
    return [warning.replace("cache=false", "cache: off") for warning in warnings]


class Lora(BaseModel):
    """A LoRA that took part, with its weight; as text as the parameter ``loras`` takes it."""

    name: str
    scale: float

    def __str__(self) -> str:
        return f"{self.name}:{self.scale:g}"


class Job(BaseModel):
    """One job; ``state`` is queued, running, review, succeeded, failed or cancelled."""

    id: str
    operation: str
    model: str
    tier: str = ""
    """The tier it is painted at; empty without a model, and where the server is too old to tell."""
    loras: list[Lora] = []
    state: str
    queue_position: int | None = None
    progress: Progress = Progress()
    attempt: int = 0
    images: Annotated[list[Image], AfterValidator(_whole_first)] = []
    held: int = 0
    """Number of images that wait for a reviewer; they are not among ``images``."""
    warnings: Annotated[list[str], AfterValidator(_of_the_form)] = []
    compute_saved: float | None = None
    cached: bool = False
    cache: str | None = None
    """How it was answered without painting: exact or similar; None where it was painted."""
    similar_prompt: str | None = None
    """The prompt for which the images were painted, where it is not this one's."""
    shared: int = 0
    """Number of submits that share it, without those that were taken back; 0 where the server is too old to tell."""
    engine: str = ""
    error: JobError | None = None
    row: int | None = None
    """Number of this row in its batch, from 0."""
    rows: Rows | None = None
    archive_url: str | None = None
    archive_formats: list[str] = []
    """Formats besides ZIP in which the link gives all images, with ``format`` in its query."""
    created_at: float = 0.0
    """Time of the submit, in seconds since 1970, as all times."""
    started_at: float | None = None
    finished_at: float | None = None
    request: Request = Request()
    """What it was asked for."""

    @model_validator(mode="after")
    def _no_tier_without_a_model(self) -> Self:
        if self.engine == "cv":
            self.tier = ""
        return self

    @property
    def layers(self) -> list[Image]:
        """The layers of a picture, from the backmost on; empty for other jobs."""
        return [image for image in self.images if image.layer is not None]

    @property
    def whole(self) -> list[Image]:
        """The images without those that are layers; all where there is nothing else."""
        return [image for image in self.images if image.layer is None] or self.images

    @property
    def ended(self) -> bool:
        """Whether the job has ended and so will not change any more."""
        return self.state in {"succeeded", "failed", "cancelled"}

    @property
    def fast(self) -> str:
        """The tier it is painted at, where that is not the best one."""
        return "" if self.tier == "quality" else self.tier

    @property
    def seconds(self) -> float:
        """Seconds from its start to its end; 0 where it was not painted, or has not ended."""
        return 0.0 if self.started_at is None or self.finished_at is None else self.finished_at - self.started_at

    @property
    def rests(self) -> bool:
        """Whether waiting for it is over: it has ended, or only a reviewer is waited for."""
        return self.ended or self.state == "review"

    @property
    def parts(self) -> str:
        """The word for its rows: a campaign has pieces."""
        return "pieces" if self.operation == "campaign" else "rows"

    @property
    def so_far(self) -> str:
        """The rows done so far, such as ``3 of 9 rows done``; empty where it has none."""
        return f"{self.rows.done} of {self.rows.total} {self.parts} done" if self.rows else ""

    @property
    def what_is_kept(self) -> str:
        """A sentence about the images of a batch that was cancelled; empty where there are none."""
        if not (self.rows and self.rows.succeeded):
            return ""
        link = f": {self.archive_url}" if self.archive_url else "."
        return f"What {self.rows.succeeded} of its {self.parts} painted is kept{link}"


class Reviewed(BaseModel):
    """An image on which a reviewer has decided."""

    id: str
    url: str
    studio_url: str | None = None
    review: str
    review_reasons: list[str] = []
    job_id: str | None = None


class JobList(BaseModel):
    """One page of jobs."""

    data: list[Job]
    has_more: bool = False


class Health(BaseModel):
    """The state of the server; ``state`` is starting, ready, busy, degraded or failed."""

    service: str
    version: str = ""
    state: str
    message: str = ""


class ErrorDetail(BaseModel):
    """One error: what went wrong and what to do."""

    code: str = ""
    message: str
    param: str | None = None


class ErrorBody(BaseModel):
    """The shape of the server's errors."""

    error: ErrorDetail


@dataclass(frozen=True)
class InputFile:
    """An image or a mask to send along: file name, media type and the bytes as they came."""

    name: str
    mime_type: str
    content: bytes


@dataclass(frozen=True)
class Archive:
    """A file with all layers of a picture: file name, media type and content."""

    name: str
    mime_type: str
    content: bytes


@dataclass(frozen=True)
class Pause:
    """A pause of the client before it tries again: how many seconds, and why, in a word and in sentences."""

    seconds: float
    trouble: Trouble
    reason: str


@dataclass(frozen=True)
class Painted:
    """A job, the bytes of its images in order, and the rows of a batch in order; both are empty until it ends."""

    job: Job
    contents: list[bytes]
    rows: list[Job] = field(default_factory=list)
    pieces: list[tuple[Image, bytes]] = field(default_factory=list)
    """The images of the rows that are shown one by one, each with its bytes; those of a campaign in Dify's apps."""
    archive: Archive | None = None
    """The file with all layers of a picture, in Dify's apps."""
    deadline: float = math.inf
    """When the time budget of the call ends, in ``time.monotonic`` seconds."""
