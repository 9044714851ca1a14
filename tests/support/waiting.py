"""Waiting for a state. No test says how long something takes: a loaded machine would make it red."""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import psutil

Seen = TypeVar("Seen")

PATIENCE_S = 120.0
"""How long a state that never comes is waited for; far longer than it takes on a machine that is loaded five-fold."""


def until(look: Callable[[], Seen], *, patience_s: float = PATIENCE_S) -> Seen:
    """Look again and again until what is seen is true, and return it.

    Raises AssertionError, with what was seen last, where it never becomes true.
    """
    deadline = time.monotonic() + patience_s
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never came to be; seen last: {seen!r}")
        time.sleep(0.02)
    return seen


def until_ended(processes: Iterable[psutil.Process]) -> None:
    """Wait until none of these processes runs any more.

    A zombie has ended: where process 1 of a container reaps nobody, orphans stay zombies for good.
    """
    left = list(processes)
    until(lambda: not any(runs(process) for process in left))


def runs(process: psutil.Process) -> bool:
    """Return whether a process runs: it is neither gone nor a zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
