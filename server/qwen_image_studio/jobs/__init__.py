"""Port: the job store. Its table is the truth about jobs, and all other code asks here; `states` has the diagram."""

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
from qwen_image_studio.planning.plan import Variant

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
    "state_shown",
]


class JobStore(Forgetting, Protocol):
    """The jobs, images and workers of a server. Every method is one transaction.

    `now` is in Unix seconds; tests pass it in, and otherwise it is read from the clock. Any method may raise
    StudioError ``database_busy``, or ``storage_failed`` where the database cannot be used at all.
    """

    def submit(self, new: NewJob, *, queue_limit: int, now: float | None = None) -> tuple[Job, bool]:
        """Add a job and return it with True; where one with the same owner and idempotency key exists, return that
        one with False.

        `queue_limit` caps the jobs that wait in one lane, and separately the batches that have not ended; rows of
        batches do not count. Raises StudioError ``queue_full`` or ``idempotency_key_reused``.
        """

    def check_room(self, queue_limit: int, new: NewJob) -> None:
        """Raise StudioError ``queue_full`` where there is no room for the job now."""

    def replay(self, owner: str, key: str | None, fingerprint: str) -> Job | None:
        """Return the earlier job with this owner and idempotency key, or None.

        Raises StudioError ``idempotency_key_reused`` where that job has another fingerprint.
        """

    def get(self, job_id: str, owner: str | None = None) -> Job:
        """Return one job. Raises StudioError ``not_found``, also for a job of another owner."""

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
        """Return one page of the owner's jobs, and whether more follow.

        The jobs are those that are not rows of a batch, newest first; with `parent_id`, the rows of that batch in
        order. `user` keeps only the jobs that were submitted for that person; `after` is the id of the last job of the
        page before. Raises StudioError ``not_found`` for an `after` or `parent_id` that does not exist.
        """

    def tags(self, job_ids: Collection[str]) -> Mapping[str, Tag]:
        """Return the tags of several jobs, by id, read at one moment."""

    def cancel(self, job_id: str, owner: str, now: float | None = None) -> Job:
        """Cancel a job and return it: a queued one at once, a running one at its next step, a batch together with all
        rows that have not ended. Repeating it changes nothing.

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
        """Lease the next job of the lane to the worker, or return None where there is none; in the paint lane only
        jobs for one of `models` are taken.

        Before that, jobs with expired leases are queued again or failed.

        Owners take turns. Jobs of the loaded variant go first and after them those with the same weights, until the
        others have waited for `affinity_patience_s` since their variant last painted for their owner or batch. A batch
        can be claimed while it has rows that are not jobs yet and few rows under way, and again once all have ended.
        """

    def renew(self, lease: Lease, progress: Progress, now: float | None = None) -> bool:
        """Extend the lease, record the progress, and return whether the job is to stop. Raises LeaseLost."""

    def finish(
        self,
        lease: Lease,
        images: Sequence[StoredImage],
        warnings: Sequence[str],
        compute_saved: float | None = None,
        now: float | None = None,
    ) -> State:
        """End the job with its images and return its state: succeeded, or cancelled, without the images, where a cancel
        came first. `compute_saved` is the share of the model's work that was not needed, 0 to 1. Raises LeaseLost.
        """

    def fail(self, lease: Lease, code: str, message: str, now: float | None = None) -> None:
        """End the job with an error; as cancelled where a cancel came first. Raises LeaseLost."""

    def stop(self, lease: Lease, now: float | None = None) -> None:
        """End the job as cancelled. Raises LeaseLost."""

    def release(self, lease: Lease, now: float | None = None) -> None:
        """Put the job back in the queue; this attempt does not count. It ends as cancelled where a cancel came first.

        Raises LeaseLost.
        """

    def add_row(
        self, lease: Lease, row: int, new: NewJob, refusal: tuple[str, str] | None = None, now: float | None = None
    ) -> bool:
        """Add the job of one row (from 0) to the leased batch, and return True; where the batch is to be cancelled, add
        nothing and return False.

        With a `refusal` (an error's code and message) the new job has failed from the start. A row that is a job
        already stays as it is. Raises LeaseLost.
        """

    def rows(self, job_ids: Collection[str]) -> Mapping[str, RowCounts]:
        """Return for each of the jobs that is a batch how many of its rows are in which state."""

    def row_jobs(self, batch_id: str) -> list[Job]:
        """Return the rows of a batch that have become jobs, in order. Raises StudioError ``not_found``."""

    def abandon(self, worker: str, now: float | None = None) -> int:
        """Take back the jobs of a worker that is known to be dead; return how many there were."""

    def expire(self, now: float | None = None) -> int:
        """Queue again or fail the jobs whose lease ran out; return how many there were."""

    def overdue(self, now: float | None = None) -> Sequence[str]:
        """Return the names of the workers that hold an expired lease."""

    def refuse_unserved(self, models: Collection[str], now: float | None = None) -> int:
        """Fail the queued jobs that need a model other than these, since no worker would ever claim them; return how
        many there were.
        """

    def add_image(self, image: StoredImage) -> None:
        """Record an uploaded image."""

    def image(self, image_id: str, owner: str | None = None) -> StoredImage:
        """Return one image. Raises StudioError ``not_found``, also for an image of another owner."""

    def last_image(
        self, owner: str, conversation: str, since: float, *, before: str | None = None
    ) -> StoredImage | None:
        """Return the first image of the conversation's last job that made one after `since` (Unix seconds), or None.

        With `before`, the id of a job, only jobs that were submitted before that one count.

        Raises StudioError ``image_not_ready`` where a later job of the conversation has not ended, and
        ``image_not_found`` where the last one is a batch with several images.
        """

    def images(self, job_ids: Collection[str], *, with_deleted: bool = False) -> Mapping[str, Sequence[StoredImage]]:
        """Return the images of several jobs, by job id, in order; `with_deleted` includes the rows that deleted images
        have left.
        """

    def counts(self) -> tuple[int, int]:
        """Return how many jobs are queued and how many are running; batches are not counted, their rows are."""

    def note_worker(self, worker: WorkerReport) -> None:
        """Record a worker's report of its own state."""

    def forget_workers(self, names: Collection[str]) -> None:
        """Delete the reports of all workers but these."""

    def workers(self) -> Sequence[WorkerReport]:
        """Return the last report of each worker."""
