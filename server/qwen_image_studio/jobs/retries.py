"""What follows an attempt that did not paint its job: the next attempt or the job's end, as one table.

A job has STUDIO_MAX_ATTEMPTS attempts in all, whatever they ended for. `docs/api.md` has the table for people, and a
test compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from qwen_image_studio.jobs.states import Job


@dataclass(frozen=True)
class Retry:
    """How a job is tried again."""

    because: str
    """The reason, as the end of a sentence."""
    pause_s: float = 0.0
    """Rest before the next attempt, in seconds, times the attempts there were; other jobs are painted meanwhile."""
    frugal: bool = False
    """Whether the next attempt saves memory; where that one ends for the same reason, none follows."""


DEVICE_LOST, INPUT_UNREADABLE, OUT_OF_MEMORY, WORKER_LOST = (
    "device_lost", "input_unreadable", "out_of_memory", "worker_lost",
)  # fmt: skip
RETRIES: Mapping[str, Retry] = {
    WORKER_LOST: Retry("the worker was lost"),
    DEVICE_LOST: Retry("the device was lost"),
    OUT_OF_MEMORY: Retry("memory had run out", frugal=True),
    INPUT_UNREADABLE: Retry("an input could not be read", pause_s=4.0),
}
"""The reasons that are tried again. All others end the job: what was refused or blocked, a fault of the engine, a job
that ran too long. A cancel ends it as well, and an attempt that a restart interrupts does not count."""
LONGEST_REST_S = 60
"""Longest rest before an attempt, in seconds; a longer one is none, since the clock was set back meanwhile."""


def retry_of(job: Job, reason: str, max_attempts: int) -> Retry | None:
    """Return how the job goes on whose attempt has ended for that reason; None where it does not."""
    retry = RETRIES.get(reason)
    if retry is None or job.attempt >= max_attempts or (retry.frugal and is_frugal(job)):
        return None
    return retry


def is_frugal(job: Job) -> bool:
    """Return whether this attempt is to save memory."""
    return job.retried_for == OUT_OF_MEMORY


def reason_kept(before: str | None, reason: str) -> str:
    """Return why a job is tried again, where it was so `before`: once memory has run out, it is saved until the end."""
    return OUT_OF_MEMORY if before == OUT_OF_MEMORY else reason


def told(job: Job) -> list[str]:
    """Return a sentence on why this is not the first attempt, where it is not."""
    retry = RETRIES.get(job.retried_for or "")
    return [f"Attempt {job.attempt} painted this, since {retry.because} before."] if retry else []
