"""Waiting for jobs: one thread watches the table for all long polls, event streams and façades of the process.

A job does not depend on its caller: it is painted even if the caller goes away.
"""

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from flask import request

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import State
from qwen_image_studio.intake import Intake, Submission
from qwen_image_studio.jobs import Job, JobStore, Tag
from qwen_image_studio.jobs.news import Doorbell, open_doorbell
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

RESERVED_THREADS = 16
"""Number of web threads that no waiter may take, so that submits and health always get an answer."""
CROWDED_PAUSE_S = 1.0
"""Longest sleep of a waiter without a place of its own, in seconds."""
CROWDED_RETRY_S = 5
"""Time after which a caller who finds no place is to ask again, in seconds."""
DOORBELL_LOOK_S = 0.01
"""Time between two looks for newly watched jobs, in seconds."""
WAIT_S = 590.0
"""Time after which a waiting caller is told where to look, in seconds. OpenAI's own client gives up at 600 s."""
LOOK_S = 5.0
"""Time between two checks that the caller is still there, and two signs of life of a silent stream, in seconds."""
_NO_JOB = ""
_RESENT = "X-Stainless-Retry-Count"
"""Header in which OpenAI's clients count how often they have sent a request again; they send no Idempotency-Key."""


# -- waiting for a job to change -----------------------------------------------------------------------------------


class Changes:
    """The watch over all jobs that views wait for; it costs one query a change, however many wait."""

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self.store = store
        self._settings = settings
        self._places = threading.Semaphore(max(1, settings.web_threads - RESERVED_THREADS))
        self._news = threading.Condition()
        self._watched: Counter[str] = Counter()
        self._tags: dict[str, Tag] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, job_id: str) -> Iterator["Watch"]:
        """Watch one job within the block. Read the job inside of it, so that no change after the read is missed."""
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
        """Sleep until the job's tag differs from ``seen``, for at most ``timeout`` seconds; return whether it does."""
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
                self._publish(self.store.tags(watched))
            except StudioError as busy:  # it is the database; waiters look for themselves when their time is up
                _log.warning("%s", busy)
            self._rest(doorbell, set(watched))

    def _rest(self, doorbell: Doorbell, known: set[str]) -> None:
        # Wait in short turns, so that a newly watched job is read at once rather than at the next change.
        while not doorbell.wait(DOORBELL_LOOK_S):
            with self._news:
                if not self._watched.keys() <= known or not self._watched:
                    return

    def _publish(self, tags: Mapping[str, Tag]) -> None:
        with self._news:
            self._tags = {job_id: tag for job_id, tag in tags.items() if job_id in self._watched}
            self._news.notify_all()


class Watch:
    """The watch of one view over one job."""

    def __init__(self, changes: Changes, job_id: str, *, patient: bool) -> None:
        self._changes = changes
        self._job_id = job_id
        self.patient = patient
        """Whether this watch may wait for long; false while so many wait that they would take every thread."""

    def wait(self, seen: Tag, timeout: float) -> bool:
        """Sleep until the tag differs from ``seen``, for ``timeout`` seconds at most, and only shortly if not
        `patient`; return whether it differs.
        """
        return self._changes.wait(self._job_id, seen, timeout if self.patient else min(timeout, CROWDED_PAUSE_S))


# -- waiting within one request for a job to end: for façades whose clients know no jobs ---------------------------


class Waiting:
    """The wait of one caller for one job."""

    def __init__(self, job_id: str, owner: str, store: JobStore, watch: Watch) -> None:
        self._job_id, self._owner, self._store, self._watch = job_id, owner, store, watch

    def states(self) -> Iterator[Job]:
        """Yield the job now, at each change and at least every 5 s; the last one has succeeded.

        Raises StudioError where the job ends otherwise or not soon enough.
        """
        deadline = time.monotonic() + WAIT_S
        while True:
            seen = self._store.tags([self._job_id]).get(self._job_id)
            job = self._store.get(self._job_id, self._owner)
            _check_end(job)
            yield job
            left = deadline - time.monotonic()
            if job.state is State.SUCCEEDED or seen is None:
                return
            if left <= 0:
                raise _still_working(job.id, f"The job {job.id} goes on, but has not ended within {WAIT_S:g} seconds")
            self._watch.wait(seen, min(left, LOOK_S))
            if _has_left():  # nobody reads the answer, and others need the thread
                raise _still_working(job.id, f"The job {job.id} goes on")

    def end(self) -> Job:
        """Return the job once it has succeeded. Raises StudioError where it ends otherwise or not soon enough."""
        *_, last = self.states()
        return last


@contextmanager
def waiting_for(submission: Submission, caller: Caller, intake: Intake, changes: Changes) -> Iterator[Waiting]:
    """Queue the submission, and hold a place for the waiting thread until the end of the block.

    Raises StudioError ``queue_full`` where too many wait already, before anything is queued; and what intake raises.
    """
    with ExitStack() as first:
        # A place is taken before the job has an id, since a job that nobody can wait for must not be queued.
        if not first.enter_context(changes.watching(_NO_JOB)).patient:
            raise StudioError(
                "queue_full",
                "Too many callers wait for pictures here at once. Send it again later, or use POST /v1/jobs, which "
                "answers without waiting.",
                retry_after=CROWDED_RETRY_S,
            )
        job = _sent_before(submission, caller.owner, changes.store) or intake.accept(submission, caller)[0]
        with changes.watching(job.id) as watch:
            if watch.patient:  # the job's own watch has a place
                first.close()
            yield Waiting(job.id, caller.owner, changes.store, watch)


def _sent_before(submission: Submission, owner: str, store: JobStore) -> Job | None:
    """Return the unfinished job of the same request, where the client is sending it again after losing the answer."""
    if submission.idempotency_key is not None or request.headers.get(_RESENT, "0") == "0":
        return None
    fingerprint = submission.fingerprint()
    for state in (State.QUEUED, State.RUNNING, State.REVIEW):  # in the order in which a job passes through them
        found, _ = store.page(owner, limit=100, after=None, state=state)
        for job in found:
            if job.fingerprint == fingerprint:
                return job
    return None


def _check_end(job: Job) -> None:
    if job.state is State.FAILED:
        raise StudioError(job.error_code or "internal_error", f"{job.error_message} (job {job.id})")
    if job.state is State.CANCELLED:
        raise StudioError("job_finished", f"The job {job.id} was cancelled before it was done.")
    if job.state is State.REVIEW:
        raise _still_working(job.id, f"The images of job {job.id} wait for a person's approval")


def _has_left() -> bool:
    """Return whether the caller has closed the connection; False where the web server does not show its socket."""
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        return False
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _still_working(job_id: str, why: str) -> StudioError:
    return StudioError("still_working", f"{why}; GET /v1/jobs/{job_id} tells how it is.")
