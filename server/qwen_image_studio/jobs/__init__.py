"""Port: the job store. The table is the truth; whoever paints, waits or cancels asks here. `states` has the diagram."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from qwen_image_studio.contract.words import Lane, State
from qwen_image_studio.jobs.forgetting import Forgetting
from qwen_image_studio.jobs.states import (
    FEW_ROWS,
    OPEN_ROWS,
    Job,
    Lease,
    NewJob,
    Progress,
    RowCounts,
    StoredImage,
    Tag,
    WorkerReport,
    state_shown,
)
from qwen_image_studio.planning.variant import Variant
from qwen_image_studio.settings import Settings

__all__ = [
    "FEW_ROWS",
    "OPEN_ROWS",
    "Job",
    "JobStore",
    "Lease",
    "NewJob",
    "Progress",
    "RowCounts",
    "StoredImage",
    "Tag",
    "WorkerReport",
    "open_store",
    "state_shown",
]


class JobStore(Forgetting, Protocol):
    """Every method is one transaction. `now` is Unix seconds, passed in by tests and taken from the clock else.

    Any method may raise StudioError ``database_busy``, or ``storage_failed`` where the database cannot be used at all.
    """

    def submit(self, new: NewJob, *, queue_limit: int, now: float | None = None) -> tuple[Job, bool]:
        """Add a job, or find the one that came before with the same owner and key; the flag says which.

        The limit holds for the jobs that wait in one lane, and for the batches that have not ended; rows need no room.
        Raises StudioError ``queue_full`` or ``idempotency_key_reused``.
        """

    def check_room(self, queue_limit: int, new: NewJob) -> None:
        """Raise StudioError ``queue_full`` where the job could not be submitted now."""

    def replay(self, owner: str, key: str | None, fingerprint: str) -> Job | None:
        """The job that came before with this owner and key. Raises StudioError ``idempotency_key_reused``."""

    def get(self, job_id: str, owner: str | None = None) -> Job:
        """One job. Raises StudioError ``not_found``, also where it is another owner's."""

    def page(
        self,
        owner: str,
        *,
        limit: int,
        after: str | None,
        state: State | None,
        parent_id: str | None = None,
        user: str | None = None,
    ) -> tuple[list[Job], bool]:
        """The owner's jobs that are no rows, newest first, or the rows of a batch, first row first; with `user` only
        those that were submitted for that one; and whether more follow. Raises StudioError ``not_found`` for `after`
        and `parent_id`.
        """

    def tags(self, job_ids: Collection[str]) -> Mapping[str, Tag]:
        """The tags of several jobs in one look."""

    def cancel(self, job_id: str, owner: str, now: float | None = None) -> Job:
        """Cancel a queued job now, a running one at its next step, a batch with all its rows that have not ended;
        repeating it changes nothing.

        Raises StudioError ``not_found`` or ``job_finished``.
        """

    def claim(
        self,
        worker: str,
        lane: Lane,
        models: Collection[str] = (),
        loaded: Variant | None = None,
        now: float | None = None,
    ) -> Lease | None:
        """Take the next job of the lane, or None; one to be painted is for one of these models.

        Expired leases are queued again or failed first.

        Owners take turns; jobs of the loaded variant go first, after them those of the same weights, until others have
        Owners take turns; jobs of the loaded variant go first, after them those of the same weights, until others have
        waited for `affinity_patience_s` since their variant last painted for their owner or batch. A batch is given out
        while rows of it are missing and few are under way, and once all have ended.
        """

    def renew(self, lease: Lease, progress: Progress, now: float | None = None) -> bool:
        """Keep the lease and tell the progress; the answer is whether the job is to stop. Raises LeaseLost."""

    def finish(
        self,
        lease: Lease,
        images: Sequence[StoredImage],
        warnings: Sequence[str],
        compute_saved: float | None = None,
        now: float | None = None,
    ) -> State:
        """End the job with its images; cancelled, without them, where a cancel came first. Raises LeaseLost."""

    def fail(self, lease: Lease, code: str, message: str, now: float | None = None) -> None:
        """End the job with an error. Raises LeaseLost."""

    def stop(self, lease: Lease, now: float | None = None) -> None:
        """End the job as cancelled. Raises LeaseLost."""

    def release(self, lease: Lease, now: float | None = None) -> None:
        """Give the job back unharmed; the attempt does not count. Raises LeaseLost."""

    def add_row(
        self, lease: Lease, row: int, new: NewJob, refusal: tuple[str, str] | None = None, now: float | None = None
    ) -> bool:
        """Add the job of one row (from 0) to the leased batch, failed at once where there is a `refusal` (an error's
        code and message). A row that is there already stays as it is. The answer is False, and nothing is added, where
        the batch is to be cancelled. Raises LeaseLost.
        """

    def rows(self, job_ids: Collection[str]) -> Mapping[str, RowCounts]:
        """How the rows of those of the jobs stand that are batches."""

    def row_jobs(self, batch_id: str) -> list[Job]:
        """All rows of a batch that are jobs yet, first row first. Raises StudioError ``not_found``."""

    def abandon(self, worker: str, now: float | None = None) -> int:
        """Expire the leases of a worker that is known to be dead; the answer is how many."""

    def expire(self, now: float | None = None) -> int:
        """Queue or fail the jobs whose lease ran out; the answer is how many."""

    def overdue(self, now: float | None = None) -> Sequence[str]:
        """Names of the workers that hold an expired lease."""

    def refuse_unserved(self, models: Collection[str], now: float | None = None) -> int:
        """Fail the queued jobs that wait for another model than these, which nobody would ever claim; how many."""

    def add_image(self, image: StoredImage) -> None:
        """Record an image that was uploaded."""

    def image(self, image_id: str, owner: str | None = None) -> StoredImage:
        """One image. Raises StudioError ``not_found``, also where it is another owner's."""

    def last_image(
        self, owner: str, conversation: str, since: float, *, before: str | None = None
    ) -> StoredImage | None:
        """The first image of the conversation's last job that made one since then (Unix seconds); of the jobs that came
        `before` that one, if there is one.

        Raises StudioError ``image_not_ready`` where a later job of the conversation has not ended, and
        ``image_not_found`` where the last one is a batch with several images.
        """

    def images(self, job_ids: Collection[str], *, with_deleted: bool = False) -> Mapping[str, Sequence[StoredImage]]:
        """The images of several jobs, in order; `with_deleted` also what is left of those that were deleted."""

    def counts(self) -> tuple[int, int]:
        """How many jobs are queued and how many run."""

    def note_worker(self, worker: WorkerReport) -> None:
        """Record what a worker says of itself."""

    def forget_workers(self, names: Collection[str]) -> None:
        """Forget all workers but these."""

    def workers(self) -> Sequence[WorkerReport]:
        """What the workers last said."""


def open_store(settings: Settings) -> JobStore:
    """The job store of the settings, its tables brought up to date."""
    from qwen_image_studio.database.connection import open_database
    from qwen_image_studio.jobs.sql import SqlJobStore

    return SqlJobStore(open_database(settings), settings)
