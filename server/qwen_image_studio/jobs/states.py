"""What a job is, and the states that it goes through.

    queued ──claim──> running ──finish──> succeeded
      │  ^              │  │ └──fail────> failed
      │  └─release, ────┘  └────stop────> cancelled
      │    lease expired (until max_attempts, then failed / worker_lost)
      └──cancel──> cancelled

A claim gives a lease with a fencing token. Every later word of the worker names the token; once the lease went to
another attempt the store answers LeaseLost and changes nothing. A job whose cancel was accepted ends cancelled.

A batch is a job of which each row is a job too, made one after the other while somebody holds the batch's lease; then
the lease is given back, and the batch can be claimed again once no row is under way any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen_image_studio.contract.words import Lane, State, WorkerState

OPEN_ROWS = 20
"""Rows of one batch that are jobs and have not ended; each claim ranks those of all batches, so they stay few."""
FEW_ROWS = 10
"""A batch with fewer is given out to make more, several at a time."""


@dataclass(frozen=True)
class Progress:
    """How far an attempt is; steps count over all images of the job."""

    phase: str = ""
    step: int = 0
    steps: int = 0
    preview_key: str | None = None
    """Where the storage has a small picture of the state in between."""


@dataclass(frozen=True)
class NewJob:
    """What submit() needs; `plan` is kept as it is and handed to the engine."""

    owner: str
    operation: str
    lane: Lane
    model: str
    """Name of the model that paints; empty where none does."""
    tier: str
    plan: Mapping[str, Any]
    variant: str = ""
    """What has to be loaded; empty where nothing has."""
    weights: str = ""
    """The weights of the variant."""
    inputs: Sequence[str] = ()
    """Ids of the images to edit, in order."""
    warnings: Sequence[str] = ()
    idempotency_key: str | None = None
    conversation: str | None = None
    """Under which the owner will ask for the last image."""
    user: str | None = None
    """For whom the owner asks."""
    fingerprint: str = ""
    """Of the request as it was sent; the same key with another fingerprint is refused."""
    rows: int | None = None
    """Of a batch: how many rows it has."""


@dataclass(frozen=True)
class Job:
    """One row of the table."""

    id: str
    owner: str
    operation: str
    lane: Lane
    model: str
    tier: str
    variant: str
    weights: str
    state: State
    plan: Mapping[str, Any]
    inputs: tuple[str, ...]
    warnings: tuple[str, ...]
    idempotency_key: str | None
    fingerprint: str
    attempt: int
    lease_token: int
    leased_by: str | None
    leased_until: float | None
    cancel_requested: bool
    progress: Progress
    error_code: str | None
    error_message: str | None
    created_at: float
    claimed_at: float | None
    started_at: float | None
    finished_at: float | None
    version: int
    """Grows with every change of the row, and with every change of a row of the batch."""
    compute_saved: float | None = None
    """Share of the model's work that was not needed, 0 to 1."""
    parent_id: str | None = None
    """The batch that this job is a row of."""
    row: int | None = None
    """Which of its rows, from 0."""
    rows: int | None = None
    """Of a batch: how many rows it has."""
    conversation: str | None = None
    """Under which the owner asks for the last image."""
    user: str | None = None
    """For whom the owner asked."""


@dataclass(frozen=True)
class RowCounts:
    """How the rows of a batch stand."""

    total: int
    missing: int
    """Rows that are no jobs yet; they count as queued, and once the batch has ended or is to, as cancelled."""
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    started: bool = field(default=False, compare=False)
    """Whether somebody has begun one of those that are jobs, or ended it."""
    started_at: float | None = field(default=None, compare=False)
    """When the first attempt at one of them began."""

    @property
    def ended(self) -> int:
        """How many have ended, however."""
        return self.succeeded + self.failed + self.cancelled


def state_shown(job: Job, rows: RowCounts | None) -> State:
    """The state as people see it: a batch runs from its first row's start to its end, whoever holds its own lease."""
    if rows is None or job.state.final:
        return job.state
    return State.RUNNING if rows.started else State.QUEUED


@dataclass(frozen=True)
class Lease:
    """The right to run one attempt of a job."""

    job: Job
    token: int


@dataclass(frozen=True)
class StoredImage:
    """One row of the images table; the bytes are in the storage under `key`."""

    id: str
    owner: str
    key: str
    thumbnail_key: str
    width: int
    height: int
    mime_type: str
    bytes: int
    sha256: str
    job_id: str | None = None
    number: int = 0
    """Place among the images of its job."""
    seed: int | None = None
    created_at: float = 0.0
    change_inside: float | None = None
    change_outside: float | None = None
    """How much an edit changed, 0 to 1, within the area that was to change and beyond it."""
    comparison_key: str | None = None
    """Where the storage has a strip of before and after."""
    deleted_at: float | None = None
    """When the owner deleted it; its job goes on listing it, and its files are gone."""


@dataclass(frozen=True)
class WorkerReport:
    """What a worker process last said of itself."""

    name: str
    device: str
    state: WorkerState
    model: str | None
    message: str
    seen_at: float


@dataclass(frozen=True)
class Tag:
    """Changes whenever the owner's view of a job does."""

    version: int
    position: int | None = field(default=None)
