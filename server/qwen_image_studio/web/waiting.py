"""Waiting within one request for a job to end, as façades do whose clients know no jobs.

The job does not depend on the caller: one who goes away leaves a job that is painted all the same.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from flask import request

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import State
from qwen_image_studio.intake import Submission
from qwen_image_studio.jobs import Job
from qwen_image_studio.web.auth import owner
from qwen_image_studio.web.changes import Watch
from qwen_image_studio.web.services import services

WAIT_S = 590.0
"""After so long the caller is told where to look. The official OpenAI client gives up at 600 s."""
LOOK_S = 5.0
"""How often the caller is looked after, and a silent stream says that it lives."""
CROWDED_RETRY_S = 5
_NO_JOB = ""
_RESENT = "X-Stainless-Retry-Count"
"""By which OpenAI's clients number the times that they send one request again; they send no Idempotency-Key."""


class Waiting:
    """One caller's wait for one job."""

    def __init__(self, job_id: str, owner: str, watch: Watch) -> None:
        self._job_id, self._owner, self._watch = job_id, owner, watch

    def states(self) -> Iterator[Job]:
        """The job now, at each change and at least every 5 s; last as it succeeded. Raises StudioError otherwise."""
        store = services().store
        deadline = time.monotonic() + WAIT_S
        while True:
            seen = store.tags([self._job_id]).get(self._job_id)
            job = store.get(self._job_id, self._owner)
            _check_end(job)
            yield job
            left = deadline - time.monotonic()
            if job.state is State.SUCCEEDED or seen is None:
                return
            if left <= 0:
                raise _still_working(job.id, f"The job {job.id} goes on, but has not ended within {WAIT_S:g} seconds")
            self._watch.wait(seen, min(left, LOOK_S))
            if _has_left():  # nobody reads the answer, and the thread is wanted by others
                raise _still_working(job.id, f"The job {job.id} goes on")

    def end(self) -> Job:
        """The job once it has succeeded. Raises StudioError where it ends otherwise or not soon enough."""
        *_, last = self.states()
        return last


@contextmanager
def waiting_for(submission: Submission) -> Iterator[Waiting]:
    """Queue the submission, with a place for a waiting thread that is there until the end of the block.

    Raises StudioError: ``queue_full`` where too many wait already, before anything is queued, and what intake raises.
    """
    changes, who = services().changes, owner()
    with ExitStack() as first:
        # The job has no id before it is queued, and it is not to be queued where nobody can wait for it.
        if not first.enter_context(changes.watching(_NO_JOB)).patient:
            raise StudioError(
                "queue_full",
                "Too many callers wait for pictures here at once. Send it again later, or use POST /v1/jobs, which "
                "answers without waiting.",
                retry_after=CROWDED_RETRY_S,
            )
        job = _sent_before(submission, who) or services().intake.accept(submission, Caller(who))[0]
        with changes.watching(job.id) as watch:
            if watch.patient:  # it has a place of its own
                first.close()
            yield Waiting(job.id, who, watch)


def _sent_before(submission: Submission, owner: str) -> Job | None:
    """The job of the same request that the client is sending again after it lost the answer, while that job goes on."""
    if submission.idempotency_key is not None or request.headers.get(_RESENT, "0") == "0":
        return None
    fingerprint = submission.fingerprint()
    for state in (State.RUNNING, State.QUEUED, State.REVIEW):
        found, _ = services().store.page(owner, limit=100, after=None, state=state)
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
    """Whether the caller has closed the connection; unknown, and so no, where the server does not show it."""
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
