"""The parts of the server's answers that the tools read; unknown fields are ignored, so the server may grow."""

from dataclasses import dataclass

from pydantic import BaseModel


class Progress(BaseModel):
    """How far a running job is; ``eta_s`` in seconds, None while unknown."""

    phase: str = ""
    step: int = 0
    steps: int = 0
    eta_s: float | None = None


class Image(BaseModel):
    """One image of a job; ``url`` is for people, the bytes come from ``/v1/images/{id}/content``."""

    id: str
    url: str
    width: int
    height: int
    mime_type: str
    seed: int | None = None
    sha256: str = ""


class JobError(BaseModel):
    """Why a job failed."""

    code: str = ""
    message: str = ""


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
    warnings: list[str] = []
    cached: bool = False
    engine: str = ""
    error: JobError | None = None

    @property
    def ended(self) -> bool:
        """Whether the job can change no more."""
        return self.state in {"succeeded", "failed", "cancelled"}


class Health(BaseModel):
    """How the server is; ``state`` is starting, ready, busy, degraded or failed."""

    service: str
    state: str
    message: str = ""


class ErrorDetail(BaseModel):
    """What went wrong and what to do."""

    code: str = ""
    message: str


class ErrorBody(BaseModel):
    """The shape of the server's errors."""

    error: ErrorDetail


@dataclass(frozen=True)
class InputFile:
    """An image to edit: file name, media type and the bytes as they came."""

    name: str
    mime_type: str
    content: bytes


@dataclass(frozen=True)
class Pause:
    """The client waits before it tries again: for how many seconds and why."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class Painted:
    """A job that succeeded, and the bytes of its images in their order."""

    job: Job
    contents: list[bytes]
