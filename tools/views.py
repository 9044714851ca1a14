"""The parts of the server's answers that the tools read; unknown fields are ignored, so the server may grow."""

import math
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

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
    sha256: str = ""
    change: Change | None = None
    comparison_url: str | None = None
    """A link for people to a picture that shows before and after side by side."""


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

    @property
    def so_far(self) -> str:
        """The rows done so far, such as ``3 of 9 rows done``."""
        return f"{self.done} of {self.total} rows done"


class Job(BaseModel):
    """One job; ``state`` is queued, running, review, succeeded, failed or cancelled."""

    id: str
    operation: str
    model: str
    state: str
    queue_position: int | None = None
    progress: Progress = Progress()
    attempt: int = 0
    images: list[Image] = []
    held: int = 0
    """Number of images that wait for a reviewer; they are not among ``images``."""
    warnings: list[str] = []
    compute_saved: float | None = None
    cached: bool = False
    engine: str = ""
    error: JobError | None = None
    row: int | None = None
    """Number of this row in its batch, from 0."""
    rows: Rows | None = None
    archive_url: str | None = None
    created_at: float = 0.0
    """Time of the submit, in seconds since 1970."""

    @property
    def ended(self) -> bool:
        """Whether the job has ended and so will not change any more."""
        return self.state in {"succeeded", "failed", "cancelled"}

    @property
    def rests(self) -> bool:
        """Whether waiting for it is over: it has ended, or only a reviewer is waited for."""
        return self.ended or self.state == "review"

    @property
    def what_is_kept(self) -> str:
        """A sentence about the images of a batch that was cancelled; empty where there are none."""
        if not (self.rows and self.rows.succeeded):
            return ""
        link = f": {self.archive_url}" if self.archive_url else "."
        return f"What {self.rows.succeeded} of its rows painted is kept{link}"


class Reviewed(BaseModel):
    """An image on which a reviewer has decided."""

    id: str
    url: str
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
    deadline: float = math.inf
    """When the time budget of the call ends, in ``time.monotonic`` seconds."""
