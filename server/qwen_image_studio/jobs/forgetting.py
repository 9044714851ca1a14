"""The part of the job store's port by which images and jobs are forgotten."""

from collections.abc import Collection, Sequence
from typing import Protocol


class Forgetting(Protocol):
    """Each method deletes rows alone; whoever calls it deletes the files then, whose keys it is told."""

    def forget_image(self, image_id: str, owner: str, now: float | None = None) -> Sequence[str]:
        """Forget an image; only its job goes on listing it, as deleted. Return the keys of the files to delete now:
        those that no other row names. Repeating it gives the same answer.

        Raises StudioError ``not_found``, and ``image_in_use`` where a job that has not ended waits for it or makes it.
        """

    def forget_job(self, job_id: str, owner: str) -> Sequence[str]:
        """Forget a job that has ended, a batch with its rows: what it made, and the uploads that no other job names.
        Return the keys of the files to delete now.

        Raises StudioError ``not_found``, ``job_not_ended``, ``image_in_use``, and ``invalid_value`` for a single row.
        """

    def forget_upload(self, image_id: str, since: float = 0.0) -> Sequence[str]:
        """Forget an image that was uploaded since then (Unix seconds), unless a job names it. Return the keys of the
        files to delete now, none where it stays.
        """

    def ended_jobs(self, before: float) -> Sequence[tuple[str, str]]:
        """List the jobs that are no rows and ended before then (Unix seconds), oldest first: id and owner."""

    def unused_uploads(self, before: float) -> Sequence[str]:
        """List the ids of the images that were uploaded before then (Unix seconds) and that no job names."""

    def named_keys(self, keys: Collection[str]) -> set[str]:
        """Return those of the keys that an image's row or a running job's preview names."""
