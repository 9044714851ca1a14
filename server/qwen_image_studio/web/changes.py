"""Waiting for a job to change: one thread watches the table for all long polls and event streams of the process."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.jobs import JobStore, Tag
from qwen_image_studio.jobs.news import Doorbell, open_doorbell
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

RESERVED_THREADS = 16
"""Web threads that no waiter may take, so that submits and health always get an answer."""
CROWDED_PAUSE_S = 1.0
LOOK_S = 0.5


class Changes:
    """Lets views sleep until one job's tag changes; costs one query a change, however many wait."""

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._places = threading.Semaphore(max(1, settings.web_threads - RESERVED_THREADS))
        self._news = threading.Condition()
        self._watched: Counter[str] = Counter()
        self._tags: dict[str, Tag] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, job_id: str) -> Iterator["Watch"]:
        """Watch one job. Enter before reading it: a change after the read is then never missed."""
        has_place = self._places.acquire(blocking=False)
        with self._news:
            self._watched[job_id] += 1
            self._ensure_thread()
            self._news.notify_all()
        try:
            yield Watch(self, job_id, patient=has_place)
        finally:
            if has_place:
                self._places.release()
            with self._news:
                self._watched[job_id] -= 1
                if not self._watched[job_id]:
                    del self._watched[job_id]
                    self._tags.pop(job_id, None)

    def wait(self, job_id: str, seen: Tag, timeout: float) -> bool:
        """Sleep until the job's tag is another than `seen`, at most `timeout` seconds; whether it is."""
        with self._news:
            return self._news.wait_for(lambda: self._tags.get(job_id, seen) != seen, timeout)

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, daemon=True, name="changes")
            self._thread.start()

    def _run(self) -> None:
        doorbell = open_doorbell(self._settings)
        while True:
            with self._news:
                while not self._watched:
                    self._news.wait()
                watched = list(self._watched)
            try:
                self._publish(self._store.tags(watched))
            except StudioError as busy:  # the database; waiters look for themselves when their time is up
                _log.warning("%s", busy)
            self._rest(doorbell, set(watched))

    def _rest(self, doorbell: Doorbell, known: set[str]) -> None:
        # A short look at a time, so that a job watched since is read at once rather than at the next change.
        while not doorbell.wait(LOOK_S / 50):
            with self._news:
                if not self._watched.keys() <= known or not self._watched:
                    return

    def _publish(self, tags: Mapping[str, Tag]) -> None:
        with self._news:
            self._tags = {job_id: tag for job_id, tag in tags.items() if job_id in self._watched}
            self._news.notify_all()


class Watch:
    """One view's watch over one job."""

    def __init__(self, changes: Changes, job_id: str, *, patient: bool) -> None:
        self._changes = changes
        self._job_id = job_id
        self.patient = patient
        """Whether this watch may wait for long: false in a crowd, where waiters must not take every thread."""

    def wait(self, seen: Tag, timeout: float) -> bool:
        """Sleep until the tag changes; in a crowd only shortly, so that waiters do not take every thread."""
        return self._changes.wait(self._job_id, seen, timeout if self.patient else min(timeout, CROWDED_PAUSE_S))
