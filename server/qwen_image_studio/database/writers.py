"""The queue of a process's writers: one at a time, in the order in which they came.

SQLite has one writer, and no queue: who finds its lock held tries again after ever longer pauses, so that under load
some are turned away while those who came later get through. Threads of one process wait for each other here instead,
and only the first of them meets the writers of other processes at SQLite's lock.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class TurnNeverCame(Exception):
    """The writers before took longer than somebody was ready to wait."""


class Writers:
    """The writers of one database in one process."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._queue: deque[threading.Event] = deque()

    @property
    def waiting(self) -> int:
        """Return how many wait."""
        return len(self._queue)

    @contextmanager
    def turn(self, timeout_s: float) -> Iterator[None]:
        """Wait for one's turn, and have it within the block. Raises TurnNeverCame after `timeout_s` seconds."""
        self._take(timeout_s)
        try:
            yield
        finally:
            self._pass_on()

    def _take(self, timeout_s: float) -> None:
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return
            called = threading.Event()
            self._queue.append(called)
        if called.wait(timeout_s):
            return
        with self._guard:
            if called.is_set():  # between the end of the wait and here
                return
            self._queue.remove(called)
        raise TurnNeverCame

    def _pass_on(self) -> None:
        with self._guard:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._is_taken = False
