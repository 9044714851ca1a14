"""The part of the job store's port that deletes images and jobs."""

from collections.abc import Collection, Sequence
from typing import Protocol


class Forgetting(Protocol):
    """Deletion of rows. Files stay: the caller deletes those whose keys a method returns."""

    def forget_image(self, image_id: str, owner: str, now: float | None = None) -> Sequence[str]:
        """Mark an image as deleted; only its job still lists it. Return the keys of the files to delete now, which are
        those that no other row names. Repeating it gives the same answer.

        Raises StudioError ``not_found``, and ``image_in_use`` where a job that has not ended needs or makes the image.
        """

    def forget_job(self, job_id: str, owner: str) -> Sequence[str]:
        """Delete a job that has ended, a batch with its rows, together with the images that it made and the uploads
        that no other job names. Return the keys of the files to delete now.

        Raises StudioError ``not_found``, ``job_not_ended``, ``image_in_use``, and ``invalid_value`` for one row of a
        batch.
        """

    def forget_upload(self, image_id: str, since: float = 0.0) -> Sequence[str]:
        """Delete an image that was uploaded at or after `since` (Unix seconds), unless a job names it. Return the keys
        of the files to delete now; none where the image stays.
        """

    def ended_jobs(self, before: float) -> Sequence[tuple[str, str]]:
        """Return id and owner of each job that ended before then (Unix seconds), oldest first, without rows of
        batches.
        """

    def unused_uploads(self, before: float) -> Sequence[str]:
        """Return the ids of the images that were uploaded before then (Unix seconds) and that no job names."""

    def named_keys(self, keys: Collection[str]) -> set[str]:
        """Return those of the keys that belong to an image or to the preview of a running job."""

    def installation(self) -> str:
        """Return the id that was drawn when this database was made."""
