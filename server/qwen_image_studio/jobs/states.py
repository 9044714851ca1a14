"""The records of the job store, and the states that a job goes through.

    queued ──claim──> running ──finish──> succeeded, or review ──last verdict──> succeeded or failed
      │  ^              │  │ └──fail────> failed         └─────────cancel──> cancelled
      │  └─release, ────┘  └────stop────> cancelled
      │    fail for a reason of `retries`, lease expired (until max_attempts, then failed)
      └──cancel──> cancelled

A claim gives a lease with a fencing token, and every later call of the worker passes that token. Once another attempt
has the lease, the store raises LeaseLost and changes nothing. A job whose cancel was accepted ends cancelled.

A batch is a job too, and so is each of its rows. A worker that holds the batch's lease makes the rows into jobs one
after the other and then gives the lease back; the batch can be claimed again once no row is under way any more. Where
rows then wait for reviewers, it is put aside, in review itself, until the last of them has ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from qwen_image_studio.contract.caller import Guest
from qwen_image_studio.contract.words import Lane, Review, State

OPEN_ROWS = 20
"""Largest number of rows of one batch that are jobs and have not ended; it is low, since every claim ranks the open
rows of all batches."""
FEW_ROWS = 10
"""Number of open rows below which a batch can be claimed to make more, several at a time."""
ACTIVE = (State.QUEUED, State.RUNNING, State.REVIEW)
"""States of jobs that have not ended."""
ORDINARY = ""
"""The party (see `ranking`) of a job that belongs to no batch."""
BATCHES, ANY_JOB, ANY_PERSON = "*", "**", "***"
"""Parties under which is kept when any batch of a person was served, any of the person's jobs, and, for the empty
person, any job of the owner."""


@dataclass(frozen=True)
class Progress:
    """The progress of an attempt; steps are counted over all images of the job."""

    phase: str = ""
    step: int = 0
    steps: int = 0
    preview_key: str | None = None
    """Key of the file with a small picture of the unfinished image."""


@dataclass(frozen=True)
class Lookup:
    """Which pictures of earlier jobs may answer a job."""

    seed: int | None
    """Seed of the first image; None for any."""
    similar: bool = False
    """Whether a prompt with the same normal form will do."""


@dataclass(frozen=True)
class NewJob:
    """A job to be submitted; its `plan` is stored as it is and handed to the engine."""

    owner: str
    operation: str
    lane: Lane
    model: str
    """Name of the model that paints; empty where no model is needed."""
    tier: str
    plan: Mapping[str, Any]
    variant: str = ""
    """The variant that has to be loaded; empty where no model is needed."""
    weights: str = ""
    """The weights of the variant."""
    inputs: Sequence[str] = ()
    """Ids of the images to edit, in order."""
    warnings: Sequence[str] = ()
    idempotency_key: str | None = None
    conversation: str | None = None
    """The owner's name for the conversation whose last image this job's will be."""
    user: str | None = None
    """The owner's name for the person it asks for."""
    fingerprint: str = ""
    """Hash of the request as it was sent; the same idempotency key with another one is refused."""
    rows: int | None = None
    """Number of rows of a batch; None for any other job."""
    names: Sequence[str] = ()
    """Ids of images that the rows of a batch name, and that have to stay until then."""
    key: str | None = None
    """Name of the API key that it came with."""
    peer: str | None = None
    """Address that the request came from."""
    request_id: str | None = None
    """Id of the HTTP request."""
    request: Mapping[str, Any] | None = None
    """The parameters that ask for it again."""
    prompt: str | None = None
    """The text by which it is found."""
    hold: bool = False
    """Whether its images are to be held for a reviewer."""
    webhook_url: str | None = None
    """Address that is told of its end."""
    images: int = 1
    """Number of images that it asks for; for a batch those of all its rows."""
    cache_key: str | None = None
    """Hash of all that decides the pictures but their seeds; None where that is not known."""
    similar_key: str | None = None
    """The same with the prompt in its normal form; None where such pictures are not to be told apart by it."""
    seed: int | None = None
    """Seed of the first image; None where none is needed."""
    lookup: Lookup | None = None
    """Which pictures that are there may answer it; None where it is to be painted."""
    share_key: str | None = None
    """Hash of all in which submits have to be equal to share a job; None where it is to be a job of its own."""
    guest: Guest | None = None
    """Through whose link it was submitted."""


class Submitted(Enum):
    """What a submit has led to."""

    ADDED = "a job of its own"
    SHARED = "the job of an equal submit, which has not ended"
    REPLAYED = "its job; it was sent before with the same idempotency key"


WAITING = "waiting"
CLAIMING = "claiming"
BEFORE_WORK = frozenset({WAITING, CLAIMING})
"""Phases before a worker works on a job: in the queue, and the transaction that claims it."""


@dataclass(frozen=True)
class Measured:
    """What an attempt cost."""

    device_s: float = 0.0
    """Seconds for which the device worked on it."""
    megapixel_steps: float = 0.0
    """Painted pixels in millions times the steps that painted them."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of each phase: waiting, claiming, loading, encoding, denoising, decoding, adjusting, storing."""


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
    """A number that grows with every change of this job but its progress, and for a batch with those of its rows."""
    compute_saved: float | None = None
    """Share of the model's work that was not needed, 0 to 1."""
    parent_id: str | None = None
    """The batch that this job is a row of."""
    row: int | None = None
    """Number of this row in its batch, from 0."""
    party: str = ORDINARY
    """What it takes turns with others as (see `ranking`): the id of its batch, or empty."""
    rows: int | None = None
    """Number of rows of a batch; None for any other job."""
    conversation: str | None = None
    """The owner's name for the conversation that this job belongs to."""
    user: str | None = None
    """The owner's name for the person it asked for."""
    key: str | None = None
    """Name of the API key that it came with."""
    person: str = ""
    """Whose it is among the people of its owner (`contract.caller.person_of`)."""
    peer: str | None = None
    request_id: str | None = None
    request: Mapping[str, Any] | None = None
    """The parameters that ask for it again."""
    prompt: str | None = None
    """The text by which it is found; None where prompts are not kept."""
    hold: bool = False
    safety: str = ""
    """The worst band of its inputs and images; empty where it was not asked."""
    webhook_url: str | None = None
    retried_for: str | None = None
    """Why the attempt before this one ended (`retries`), where there was one."""
    not_before: float | None = None
    """Until when it rests before its next attempt, in Unix seconds."""
    measured: Measured | None = None
    cache_key: str | None = None
    similar_key: str | None = None
    seed: int | None = None
    cache: str | None = None
    """How it was answered without painting (`contract.words.Cached`); None where it was painted."""
    similar_prompt: str | None = None
    """The prompt of the job whose pictures answered it, where that is another."""
    lookup: Lookup | None = None
    warned: int | None = None
    """Number of its warnings, the first ones, that are about the request; None for a job of before they were told
    apart."""
    share_key: str | None = None
    shared: int = 1
    """Number of submits that share it and have not been taken back."""
    withdrawn: bool = False
    """Whether the first of the submits that share it was taken back."""
    guest: str | None = None
    """The link through which it was submitted (`contract.caller.Guest`)."""


@dataclass(frozen=True)
class RowCounts:
    """The number of rows of a batch in each state."""

    total: int
    missing: int
    """Rows that are not jobs yet. They also count as queued, or as cancelled once the batch has ended or is to end."""
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    review: int = 0
    """Rows that wait for a reviewer."""
    held: int = field(default=0, compare=False)
    """Images of theirs that do."""
    started: bool = field(default=False, compare=False)
    """Whether one of the rows that are jobs was begun or has ended."""
    started_at: float | None = field(default=None, compare=False)
    """When the first attempt at a row began, in Unix seconds."""

    @property
    def ended(self) -> int:
        """Rows that have succeeded, failed or been cancelled."""
        return self.succeeded + self.failed + self.cancelled


def state_shown(job: Job, rows: RowCounts | None) -> State:
    """Return the state that people see: a batch is shown as running from the start of its first row until the batch
    ends or waits for reviewers alone, whether or not a worker holds the lease of the batch itself.
    """
    if rows is None or job.state.final or job.state is State.REVIEW:
        return job.state
    return State.RUNNING if rows.started else State.QUEUED


@dataclass(frozen=True)
class Lease:
    """The right to run one attempt of a job."""

    job: Job
    token: int


@dataclass(frozen=True)
class StoredImage:
    """One row of the images table; the bytes are in the file store under `key`."""

    id: str
    owner: str
    key: str
    thumbnail_key: str
    width: int
    height: int
    mime_type: str
    bytes: int
    sha256: str
    """SHA-256 of the file as it is served."""
    job_id: str | None = None
    number: int = 0
    """Place among the images of its job, from 0."""
    layer: int | None = None
    """Which layer of a picture it is, from 0 for the backmost; None for a picture as a whole."""
    seed: int | None = None
    created_at: float = 0.0
    change_inside: float | None = None
    change_outside: float | None = None
    """How much an edit changed inside the area that was to change, and outside of it, 0 to 1 each."""
    comparison_key: str | None = None
    """Key of the file that shows before and after side by side."""
    deleted_at: float | None = None
    """When the owner deleted it, in Unix seconds; its job still lists it, and its files are gone."""
    review: Review = Review.NONE
    held_for: str | None = None
    """Why it is or was held (`contract.words.HeldFor`)."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """The classifier's scores by name, 0 to 1."""
    review_reasons: Sequence[str] = ()
    review_note: str | None = None
    review_by: str | None = None
    """The API key, and the person where one was named, that decided."""
    review_at: float | None = None
    expires_at: float | None = None
    """When an upload that no job uses is deleted, in Unix seconds."""
    idempotency_key: str | None = None
    is_mask: bool = False
    """Whether it says where another image may change, and is no picture to be listed."""
    pixels: str | None = None
    """SHA-256 of its pixels, whatever its file; None where that is not known."""
    guest: str | None = None
    """The link through which it was sent."""
    unsigned_sha256: str | None = None
    """SHA-256 of the file as it was before content credentials were put into it, each time with another signature; None
    where it has none."""

    @property
    def made_sha256(self) -> str:
        """Return the SHA-256 of the file without content credentials, which is the same whenever it is made again."""
        return self.unsigned_sha256 or self.sha256

    @property
    def is_given_out(self) -> bool:
        """Return whether those who see its job get its bytes: it is neither deleted nor withheld."""
        return self.deleted_at is None and not self.review.withheld


@dataclass(frozen=True)
class Tag:
    """A value that changes whenever what the owner sees of a job changes."""

    version: int
    phase: str = ""
    step: int = 0
    """The progress, which has no version."""
    place: int | None = None
    """Place in the queue, from 1; None for a job that does not wait in it."""
    state: State | None = field(default=None, compare=False)
    """State as its owner sees it, which the version changes with; None for a job that was deleted."""
