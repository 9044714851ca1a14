"""The lease keeper: a thread beside the painting one that keeps the lease while a job runs.

It renews the lease, records the progress, reads the cancel flag and ends a process whose engine hangs.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import NoReturn

from PIL import Image

from qwen_image_studio.contract.errors import Cancelled, LeaseLost, Released, StudioError
from qwen_image_studio.gallery import Gallery
from qwen_image_studio.gallery.attempt import Attempt
from qwen_image_studio.imaging.label import Label
from qwen_image_studio.jobs import JobStore, Lease, Progress
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.logs import carried
from qwen_image_studio.system.processes import EXIT_HUNG
from qwen_image_studio.worker.stopwatch import Stopwatch

_log = logging.getLogger(__name__)

PROGRESS_S = 0.5
"""Least time between two writes of the progress, in seconds; each reads the cancel flag, too."""


class LeaseKeeper:
    """The keeper of one lease, with a thread of its own while the job runs."""

    def __init__(
        self,
        store: JobStore,
        lease: Lease,
        gallery: Gallery,
        settings: Settings,
        stopwatch: Stopwatch | None = None,
        may_show: Callable[[Image.Image], bool] | None = None,
    ) -> None:
        """`stopwatch` is told of the phases that are reported; previews are stored where they `may_show`."""
        self.stopwatch = stopwatch or Stopwatch(lease.job)
        self._store, self._lease, self._gallery, self._settings = store, lease, gallery, settings
        self._attempt, self._may_show = Attempt(gallery, lease, Label.of(settings)), may_show
        self._progress = Progress()
        self._preview: Image.Image | None = None
        self._preview_key: str | None = None
        self._written = Progress()
        self._ended = False
        self._look = threading.Event()
        self._is_asked = False
        self._reason: Exception | None = None
        self.release_at: float | None = None
        self._thread = threading.Thread(target=carried(self._run), daemon=True, name=f"keeper-{lease.job.id}")

    def __enter__(self) -> "LeaseKeeper":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended = True
        self._look.set()
        self._thread.join()
        if self._preview_key is not None:
            self._gallery.clear(self._preview_key)

    def show(self, preview: Image.Image) -> None:
        """Take a preview of the unfinished picture; the keeper's thread stores it at its next look."""
        self._preview = preview

    def hear(self, words: Collection[str]) -> None:
        """Look at the cancel flag now, where one of the words is the job's id, or none says whose it is."""
        if not words or self._lease.job.id in words:
            self._is_asked = True
            self._look.set()

    def report(self, phase: str, step: int, steps: int) -> None:
        """Note the progress. Raises Cancelled, Released or LeaseLost where the attempt has to end."""
        self._progress = Progress(phase, step, steps)
        self.stopwatch.enter(phase, step)
        if self._reason is not None:
            raise self._reason
        if self.release_at is not None and time.monotonic() >= self.release_at:
            raise Released

    def go_on(self, phase: str) -> None:
        """Report a phase after the last step. Raises what `report` raises."""
        self.report(phase, self._progress.step, self._progress.steps)

    def _run(self) -> None:
        started = renewed = time.monotonic()
        asked = True  # a cancel may have come before this thread heard of any
        while not self._ended:
            now = time.monotonic()
            if now - started > self._settings.job_timeout_s:
                self._end_hung_process()
            if self._is_asked:  # who asks after this line is heard at the next look
                self._is_asked, asked = False, True
            try:
                self._store_preview()
                progress = replace(self._progress, preview_key=self._preview_key)
                if asked or progress != self._written or now - renewed > self._settings.lease_s / 3:
                    if self._store.leases.renew(self._lease, progress):
                        self._reason = Cancelled()
                    self._written, renewed, asked = progress, now, False
            except LeaseLost as lost:
                self._reason = lost
            except StudioError as busy:  # the next look may succeed, and the lease has time left
                _log.warning("job %s: %s", self._lease.job.id, busy)
            self._look.wait(PROGRESS_S)
            self._look.clear()

    def _store_preview(self) -> None:
        preview, self._preview = self._preview, None
        if preview is not None and (self._may_show is None or self._may_show(preview)):
            self._preview_key = self._attempt.show(preview)

    def _end_hung_process(self) -> NoReturn:
        message = (
            f"The job ran past {self._settings.job_timeout_s:g} seconds and was ended. Ask for fewer steps or images, "
            "or have the operator raise STUDIO_JOB_TIMEOUT_S."
        )
        _log.error("job %s hangs; this process ends", self._lease.job.id)
        try:
            self._store.leases.fail(self._lease, "engine_timeout", message, measured=self.stopwatch.read())
        finally:
            os._exit(EXIT_HUNG)  # nothing else ends a thread that is stuck in native code
