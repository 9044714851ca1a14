"""Which models living workers of any host offer. A job for another one waits for a worker that does."""

import time
from collections.abc import Sequence

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Lane, State
from qwen_image_studio.jobs import Job, JobStore, WorkerReport
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.health import painting_workers

UNOFFERED = "No worker that lives offers it."
_FRESH_S = 2.0
"""Time for which the workers are remembered, in seconds: of a thousand, many submits would read a lot."""


class Offered:
    """What one web process knows of workers that paint."""

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._read: tuple[float, Sequence[WorkerReport]] = (float("-inf"), ())
        """When the workers were read last (monotonic seconds), and what was read."""

    def warning(self, job: Job) -> str | None:
        """Return a warning for whoever submits a job that no worker can paint now; None where one can, and where there
        are no other hosts whose workers could come: there, health tells it. None as well where the job store cannot be
        read now; the job is queued all the same.
        """
        if not self._store.database.is_postgresql or job.lane is not Lane.PAINT or job.state is not State.QUEUED:
            return None
        try:
            is_offered = any(worker.offers_model(job.model) for worker in self._workers())
        except StudioError:
            return None
        if is_offered:
            return None
        return (
            f"No worker that paints {job.model} runs at the moment; the job waits for one, and fails where none comes "
            f"within {self._settings.unserved_s:.0f} seconds (STUDIO_UNSERVED_S)."
        )

    def _workers(self) -> Sequence[WorkerReport]:
        now = time.monotonic()
        if now - self._read[0] > _FRESH_S:
            self._read = now, painting_workers(self._store, self._settings)
        return self._read[1]
