"""Answers for operators: the queue of all owners and the call log; and the queries beside them."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qwen_image_studio.contract.fields import shaped
from qwen_image_studio.contract.view import View
from qwen_image_studio.contract.words import State

_OUTCOME = r"^(succeeded|cancelled|failed|refused)(:[a-z_]+)?$"
_OUTCOMES = "takes succeeded, cancelled, failed or refused, the last two also with a code, such as failed:out_of_memory"


class QueueEntry(View):
    """One job that has not ended, of any owner; what it says is not told."""

    id: str
    owner: str
    key: str | None
    person: str
    """Whose it is among the people of the key; empty where nobody was named."""
    operation: str
    model: str
    """cv where no model is needed."""
    tier: str
    state: State
    queue_position: int | None
    """1 is next; null for what runs, waits for a reviewer, or is a batch."""
    phase: str
    step: int
    steps: int
    attempt: int
    worker: str | None
    """Name of the worker that has it, as in the devices of the health; null for what waits."""
    parent_id: str | None
    """The batch that it is a row of."""
    rows: int | None
    """Number of rows of a batch."""
    age_s: float
    """Seconds since it was submitted."""
    cancel_requested: bool


class QueueList(View):
    """One page of the queue, oldest first."""

    object: Literal["list"] = "list"
    data: list[QueueEntry]
    has_more: bool
    """Ask again with after=<id of the last one>."""
    waiting: int
    """Jobs that wait, in the whole queue; rows of batches count, and batches do not."""
    running: int


class QueueQuery(BaseModel):
    """How to list the queue."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: int = Field(100, ge=1, le=500)
    after: str | None = Field(None, max_length=64)
    """Id of the last job of the page before."""


class CancelScope(StrEnum):
    """Which jobs to cancel."""

    WAITING = "waiting"
    """Those of which nothing has begun."""
    ALL = "all"
    """Those that run as well."""


class CancelRequest(BaseModel):
    """Which jobs of all owners to cancel: those of a scope, or one."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    scope: CancelScope | None = None
    """waiting: those of which nothing has begun; all: those that run as well, at their next step."""
    job_id: str | None = Field(None, min_length=1, max_length=64)
    """This one alone, a batch with its rows; also where several requests share it."""

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.scope is None) == (self.job_id is None):
            raise ValueError("send either scope or job_id")
        return self


class CancelledView(View):
    """How many jobs were cancelled; a batch is one."""

    cancelled: int


class CallView(View):
    """One row of the call log: a job that has ended, or a request that was refused or changed something."""

    seq: int
    at: float
    """When it ended."""
    kind: Literal["job", "request"]
    request_id: str
    key: str | None
    owner: str | None
    person: str | None
    """Whose it was among the people of the key; empty where nobody was named."""
    peer: str | None
    """Address that it came from."""
    method: str | None
    """HTTP method; null for a job, as the next two."""
    route: str | None
    """Address without its query."""
    status: int | None
    job_id: str | None
    operation: str | None
    model: str | None
    tier: str | None
    variant: str | None
    seed: int | None
    """Seed of the first image."""
    prompt: str | None
    """The prompt, or `sha256:` and its keyed hash, or null, as the server's setting says."""
    phases: dict[str, float] | None
    """Milliseconds of each phase of a job: waiting, claiming, loading, encoding, denoising, decoding, adjusting,
    storing."""
    took_ms: float | None
    """Of a job from its submission to its end; of a request until its answer."""
    outcome: str
    """succeeded, cancelled, failed:CODE; of a request succeeded or refused:CODE."""
    attempt: int | None
    safety: str | None
    """The classifier's worst band; empty where it was not asked."""
    cached: bool | None
    images: int | None
    bytes: int | None
    """Size of all images."""


class CallList(View):
    """One page of the call log, newest first."""

    object: Literal["list"] = "list"
    data: list[CallView]
    has_more: bool
    """Ask again with after=<seq of the last one>."""


class CallsQuery(BaseModel):
    """Which rows of the call log to list."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: int = Field(50, ge=1, le=1000)
    after: int | None = Field(None, ge=0, le=2**63 - 1)
    """`seq` of the last row of the page before."""
    since: float | None = Field(None, ge=0, allow_inf_nan=False)
    """From then on, in Unix seconds."""
    until: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Before then."""
    key: str | None = Field(None, max_length=64)
    owner: str | None = Field(None, max_length=64)
    person: str | None = Field(None, max_length=64)
    operation: str | None = Field(None, max_length=32)
    model: str | None = Field(None, max_length=128)
    outcome: Annotated[str, Field(max_length=64, pattern=_OUTCOME), shaped(_OUTCOME, _OUTCOMES)] | None = None
    """succeeded, cancelled, failed or refused with all codes, or with one, such as failed:worker_lost."""
    job_id: str | None = Field(None, max_length=64)
    q: str | None = Field(None, max_length=200)
    """Text within the prompt; where only hashes are kept, the whole prompt."""
    format: Literal["json", "csv"] | None = None
    """Left out: as Accept says, else json."""


class DeviceView(View):
    """One worker process and the memory of its device, as it reported last."""

    name: str
    """What tells it from all others."""
    host: str
    """Name of the host that it runs on; empty where it is not known."""
    device: str
    model: str | None
    memory_used: int | None
    """Bytes; of a processor, those of the worker's process. null where it cannot be read."""
    memory_total: int | None


class FailureView(View):
    """One job that failed."""

    at: float
    job_id: str | None
    owner: str | None
    operation: str | None
    model: str | None
    code: str
    attempt: int | None


class SpeedView(View):
    """How long a picture takes here."""

    model: str
    tier: str
    operation: str
    seconds: float
    """Median of the last 50 jobs that succeeded, for each picture, without waiting."""


class OperatorView(View):
    """What operators see besides."""

    devices: list[DeviceView]
    failures: list[FailureView]
    """The newest ones first."""
    speeds: list[SpeedView]
    calls_dropped: int
    """Rows of the call log that this web process could not write."""
