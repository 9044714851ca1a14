"""Waiting for jobs: one listener hears of changes for all long polls, event streams and façades of the process, which
wait on the event loop and hold no thread.

A job does not depend on its caller: it is painted even if the caller goes away.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from functools import partial

from flask import g, request

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import State
from qwen_image_studio.intake import Intake
from qwen_image_studio.jobs import Job, JobStore, Tag
from qwen_image_studio.jobs.news import JOBS, QUEUE, Ear
from qwen_image_studio.recipe import Submission
from qwen_image_studio.system import threads
from qwen_image_studio.web.call_log import submitted
from qwen_image_studio.web.streams import Stream, Streams

_log = logging.getLogger(__name__)

WAIT_S = 590.0
"""Time after which a waiting caller is told where to look, in seconds. OpenAI's own client gives up at 600 s."""
CROWD_PER_S = 40.0
"""Number of watches that may be told of mere progress in a second: where more wait, each hears of it less often."""
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
    """The watch over all jobs that views wait for: one listener hears of every change, looks at the jobs concerned with
    one query, and wakes only those who wait for them.
    """

    def __init__(self, store: JobStore, streams: Streams | None = None) -> None:
        self._store = store
        self.streams = streams or Streams(store)
        """Those who follow everything of an owner."""
        self._lock = threading.Lock()
        self._watches: dict[str, list[Watch]] = defaultdict(list)
        self.watches = 0
        """Number of those who wait."""
        self._listens: threads.Event | None = None
        """Set once somebody listens; None where nobody is about to."""

    @contextmanager
    def watching(self, job_id: str, *, sees: Sees = Sees.ALL) -> Iterator["Watch"]:
        """Watch one job within the block. Read the job inside of it, so that no change after the read is missed."""
        watch = Watch(sees, lambda: self.watches)
        self._listen()
        with self._lock:
            self._watches[job_id].append(watch)
            self.watches += 1
        try:
            yield watch
        finally:
            with self._lock:
                self.watches -= 1
                self._watches[job_id].remove(watch)
                if not self._watches[job_id]:
                    del self._watches[job_id]

    @contextmanager
    def following(self, stream: Stream) -> Iterator[Stream]:
        """Let a stream hear of everything of its owner within the block. Look inside of it, as with `watching`."""
        self._listen()
        with self._lock:
            self.watches += 1
        self.streams.add(stream)
        try:
            yield stream
        finally:
            self.streams.remove(stream)
            with self._lock:
                self.watches -= 1

    def _listen(self) -> None:
        """Have somebody listen, before anybody reads what he waits for."""
        with self._lock:
            if self._listens is None:
                self._listens = threads.new_event()
                threads.start(partial(self._hear, self._listens), "changes")
            listens = self._listens
        listens.wait()

    def _hear(self, listens: threads.Event) -> None:
        ear = None
        try:
            ear = threads.EAR.run(partial(self._store.bell.listen, JOBS))
            listens.set()
            self._run(ear)
        finally:
            self._listens = None  # the next who waits starts it anew
            listens.set()
            if ear is not None:
                ear.close()

    def _run(self, ear: Ear) -> None:
        """Look at what is heard of; and at all watched jobs now and then, whatever was heard: words may be lost."""
        complete_at = time.monotonic()
        while True:
            heard = threads.EAR.run(partial(ear.wait, ear.look_s))
            words = heard if time.monotonic() - complete_at < ear.look_s else frozenset()
            with self._lock:
                concerned = [job_id for job_id in self._watches if self._concerns(job_id, words)]
                with_places = any(watch.sees is Sees.ALL for job_id in concerned for watch in self._watches[job_id])
            try:
                if concerned:
                    look = partial(self._store.jobs.tags, concerned, with_places=with_places)
                    tags = threads.LOOKS.run(look)
                    self._publish({job_id: tags.get(job_id, _DELETED) for job_id in concerned})
                self.streams.look(heard, whole=not words)
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

    def __init__(self, sees: Sees, crowd: Callable[[], int]) -> None:
        """`crowd` returns how many watches there are."""
        self._crowd = crowd
        self.tag: Tag | None = None
        """The job's tag as it was last heard of; None before there was news."""
        self.sees = sees
        self._news = threads.new_event()

    @property
    def waits(self) -> bool:
        """Return whether it wants to know the place in the queue of a job that may have one."""
        return self.sees is Sees.ALL and (self.tag is None or self.tag.place is not None)

    def tell(self, tag: Tag) -> None:
        """Wake who waits, if there is something new to see in the tag."""
        if self.tag is None or self._seen(tag) != self._seen(self.tag):
            self.tag = tag
            self._news.set()

    def wait(self, seen: Tag, timeout: float, pace_s: float = 0.0) -> bool:
        """Sleep until there is more to see than in the tag ``seen``, for ``timeout`` seconds at most; return whether
        there is. What is mere progress is told after ``pace_s`` seconds at the earliest, and later in a crowd.
        """
        began = time.monotonic()
        deadline, due = began + timeout, began + max(pace_s, self._crowd() / CROWD_PER_S)
        while True:
            tag = self.tag or seen
            has_news = self._seen(tag) != self._seen(seen)
            end = min(due, deadline) if has_news else deadline
            if (has_news and tag.state is not seen.state) or time.monotonic() >= end:
                return has_news
            if self._news.wait(max(0.0, end - time.monotonic())):
                self._news.clear()

    def _seen(self, tag: Tag) -> Tag:
        """Return what this watch sees of a tag."""
        if self.sees is Sees.STATE:
            return Tag(tag.version, state=tag.state)
        return tag if self.sees is Sees.ALL else replace(tag, place=None)


# -- waiting within one request for a job to end: for façades whose clients know no jobs ---------------------------


class Waiting:
    """The wait of one caller for one job."""

    def __init__(self, job_id: str, owner: str, store: JobStore, watch: Watch, wait_s: float | None = None) -> None:
        """It lasts `wait_s` seconds at most, by default WAIT_S."""
        self._owner, self._store, self._watch = owner, store, watch
        self.job_id = job_id
        self._wait_s = WAIT_S if wait_s is None else wait_s

    def states(self) -> Iterator[Job]:
        """Yield the job now, at each change and at least every 5 s; the last one has succeeded, or is in review.

        Raises StudioError where the job ends otherwise or not soon enough.
        """
        deadline = time.monotonic() + self._wait_s
        while True:
            job = threads.LOOKS.run(partial(self._store.jobs.get, self.job_id, self._owner))
            check_end(job)
            yield job
            left = deadline - time.monotonic()
            if job.state in {State.SUCCEEDED, State.REVIEW}:
                return
            if left <= 0:
                raise _still_working(
                    job.id, f"The job {job.id} goes on, but has not ended within {self._wait_s:g} seconds"
                )
            self._watch.wait(
                Tag(job.version, job.progress.phase, job.progress.step, state=job.state), min(left, LOOK_S)
            )
            if has_left():  # nobody reads the answer
                raise _still_working(job.id, f"The job {job.id} goes on")

    def end(self) -> Job:
        """Return the job once it has succeeded or is in review. Raises StudioError where it ends otherwise or not soon
        enough.
        """
        *_, last = self.states()
        return last


@contextmanager
def waiting_for(
    submission: Submission,
    caller: Caller,
    intake: Intake,
    store: JobStore,
    changes: Changes,
    sees: Sees,
    wait_s: float | None = None,
) -> Iterator[Waiting]:
    """Queue the submission, and watch its job until the end of the block, waiting `wait_s` seconds at most, by default
    WAIT_S. Raises what intake raises.
    """
    g.submission = submission
    job = threads.INTAKE.run(lambda: _sent_before(submission, caller, store) or intake.accept(submission, caller)[0])
    submitted(job)
    with changes.watching(job.id, sees=sees) as watch:
        yield Waiting(job.id, caller.owner, store, watch, wait_s)


def _sent_before(submission: Submission, caller: Caller, store: JobStore) -> Job | None:
    """Return the unfinished job of the same request, where the client is sending it again after losing the answer."""
    if submission.idempotency_key is not None or request.headers.get(_RESENT, "0") == "0":
        return None
    return store.jobs.unfinished(caller.owner, store.prompts.fingerprint(submission.fingerprint()), caller.key)


def check_end(job: Job) -> None:
    """Raise StudioError for a job that has failed or was cancelled."""
    if job.state is State.FAILED:
        raise StudioError(job.error_code or "internal_error", f"{job.error_message} (job {job.id})")
    if job.state is State.CANCELLED:
        raise StudioError("job_finished", f"The job {job.id} was cancelled before it was done.")


def has_left() -> bool:
    """Return whether the caller of the current request has closed the connection; False where the web server does not
    show its socket.
    """
    connection = request.environ.get("gunicorn.socket")
    return connection is not None and connection.has_left()


def _still_working(job_id: str, why: str) -> StudioError:
    return StudioError("still_working", f"{why}; GET /v1/jobs/{job_id} tells how it is.")
