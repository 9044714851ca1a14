"""Waiting for jobs: one thread hears of changes for all long polls, event streams and façades of the process.

A job does not depend on its caller: it is painted even if the caller goes away.
"""

import logging
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import Enum

from flask import request

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import State
from qwen_image_studio.intake import Intake, Submission
from qwen_image_studio.jobs import Job, JobStore, Tag
from qwen_image_studio.jobs.news import JOBS, QUEUE, Ear
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

RESERVED_THREADS = 16
"""Number of web threads that no waiter may take, so that submits and health always get an answer."""
CROWDED_PAUSE_S = 1.0
"""Longest sleep of a waiter without a place of its own, in seconds."""
CROWDED_RETRY_S = 5
"""Time after which a caller who finds no place is to ask again, in seconds."""
LOST_NEWS_S = 1.0
"""Time after which all watched jobs are looked at, whatever was heard, in case a word was lost, in seconds."""
WAIT_S = 590.0
"""Time after which a waiting caller is told where to look, in seconds. OpenAI's own client gives up at 600 s."""
LOOK_S = 5.0
"""Time between two checks that the caller is still there, and two signs of life of a silent stream, in seconds."""
_DELETED = Tag(-1)
_RESENT = "X-Stainless-Retry-Count"
"""Header in which OpenAI's clients count how often they have sent a request again; they send no Idempotency-Key."""


# -- waiting for a job to change -----------------------------------------------------------------------------------


class Sees(Enum):
    """What a watch is to be woken for."""

    STATE = "state"
    PROGRESS = "state and progress"
    ALL = "state, progress and the place in the queue"


class Changes:
    """The watch over all jobs that views wait for: one thread hears of every change, looks at the jobs concerned with
    one query, and wakes only those who wait for them.
    """

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self._store = store
        self._places = threading.Semaphore(max(1, settings.web_threads - RESERVED_THREADS))
        self._lock = threading.Lock()
        self._watches: dict[str, list[Watch]] = defaultdict(list)
        self._thread: threading.Thread | None = None

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Hold a place for a thread that waits for long; the value is False where all places are taken."""
        has_place = self._places.acquire(blocking=False)
        try:
            yield has_place
        finally:
            if has_place:
                self._places.release()

    @contextmanager
    def watching(self, job_id: str, *, sees: Sees = Sees.ALL) -> Iterator["Watch"]:
        """Watch one job within the block. Read the job inside of it, so that no change after the read is missed."""
        with self.place() as has_place:
            watch = Watch(sees, patient=has_place)
            with self._lock:
                self._ensure_thread()
                self._watches[job_id].append(watch)
            try:
                yield watch
            finally:
                with self._lock:
                    self._watches[job_id].remove(watch)
                    if not self._watches[job_id]:
                        del self._watches[job_id]

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            ear = self._store.bell.listen(JOBS)  # before the first view reads its job
            self._thread = threading.Thread(target=self._run, args=(ear,), daemon=True, name="changes")
            self._thread.start()

    def _run(self, ear: Ear) -> None:
        complete_at = time.monotonic()
        while True:
            words = ear.wait(LOST_NEWS_S)
            if time.monotonic() - complete_at >= LOST_NEWS_S:
                words = frozenset()
            with self._lock:
                concerned = [job_id for job_id in self._watches if self._concerns(job_id, words)]
                with_places = any(watch.sees is Sees.ALL for job_id in concerned for watch in self._watches[job_id])
            try:
                if concerned:
                    tags = self._store.jobs.tags(concerned, with_places=with_places)
                    self._publish({job_id: tags.get(job_id, _DELETED) for job_id in concerned})
                if not words:
                    complete_at = time.monotonic()
            except StudioError as busy:  # it is the database; the next look may succeed
                _log.warning("%s", busy)

    def _concerns(self, job_id: str, words: Collection[str]) -> bool:
        """Return whether there may be news of a job; without any words, of each that is watched."""
        if not words or job_id in words:
            return True
        return QUEUE in words and any(watch.waits for watch in self._watches[job_id])

    def _publish(self, tags: Mapping[str, Tag]) -> None:
        with self._lock:
            for job_id, tag in tags.items():
                for watch in self._watches.get(job_id, ()):
                    watch.tell(tag)


class Watch:
    """The watch of one view over one job."""

    def __init__(self, sees: Sees, *, patient: bool) -> None:
        self.patient = patient
        """Whether this watch may wait for long; false while so many wait that they would take every thread."""
        self.tag: Tag | None = None
        """The job's tag as it was last heard of; None before there was news."""
        self.sees = sees
        self._news = threading.Event()

    @property
    def waits(self) -> bool:
        """Return whether it wants to know the place in the queue of a job that may have one."""
        return self.sees is Sees.ALL and (self.tag is None or self.tag.place is not None)

    def tell(self, tag: Tag) -> None:
        """Wake who waits, if there is something new to see in the tag."""
        if self.tag is None or self._seen(tag) != self._seen(self.tag):
            self.tag = tag
            self._news.set()

    def wait(self, seen: Tag, timeout: float) -> bool:
        """Sleep until there is more to see than in the tag ``seen``, for ``timeout`` seconds at most, and only shortly
        if not `patient`; return whether there is.
        """
        deadline = time.monotonic() + (timeout if self.patient else min(timeout, CROWDED_PAUSE_S))
        while self._news.wait(max(0.0, deadline - time.monotonic())):
            self._news.clear()
            if self.tag is not None and self._seen(self.tag) != self._seen(seen):
                return True
        return False

    def _seen(self, tag: Tag) -> Tag:
        """Return what this watch sees of a tag."""
        if self.sees is Sees.STATE:
            return Tag(tag.version)
        return tag if self.sees is Sees.ALL else replace(tag, place=None)


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
            job = self._store.jobs.get(self._job_id, self._owner)
            _check_end(job)
            yield job
            left = deadline - time.monotonic()
            if job.state is State.SUCCEEDED:
                return
            if left <= 0:
                raise _still_working(job.id, f"The job {job.id} goes on, but has not ended within {WAIT_S:g} seconds")
            self._watch.wait(Tag(job.version, job.progress.phase, job.progress.step), min(left, LOOK_S))
            if _has_left():  # nobody reads the answer, and others need the thread
                raise _still_working(job.id, f"The job {job.id} goes on")

    def end(self) -> Job:
        """Return the job once it has succeeded. Raises StudioError where it ends otherwise or not soon enough."""
        *_, last = self.states()
        return last


@contextmanager
def waiting_for(
    submission: Submission, caller: Caller, intake: Intake, store: JobStore, changes: Changes, sees: Sees
) -> Iterator[Waiting]:
    """Queue the submission, and hold a place for the waiting thread until the end of the block.

    Raises StudioError ``queue_full`` where too many wait already, before anything is queued; and what intake raises.
    """
    with ExitStack() as first:
        # A place is taken before the job has an id, since a job that nobody can wait for must not be queued.
        if not first.enter_context(changes.place()):
            raise StudioError(
                "queue_full",
                "Too many callers wait for pictures here at once. Send it again later, or use POST /v1/jobs, which "
                "answers without waiting.",
                retry_after=CROWDED_RETRY_S,
            )
        job = _sent_before(submission, caller.owner, store) or intake.accept(submission, caller)[0]
        with changes.watching(job.id, sees=sees) as watch:
            if watch.patient:  # the job's own watch has a place
                first.close()
            yield Waiting(job.id, caller.owner, store, watch)


def _sent_before(submission: Submission, owner: str, store: JobStore) -> Job | None:
    """Return the unfinished job of the same request, where the client is sending it again after losing the answer."""
    if submission.idempotency_key is not None or request.headers.get(_RESENT, "0") == "0":
        return None
    return store.jobs.unfinished(owner, submission.fingerprint())


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
