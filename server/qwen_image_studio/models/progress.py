"""Progress of what takes long because there is much of it, in bytes."""

import logging
import threading
from typing import Protocol

LOG = logging.getLogger(__name__)


class Progress(Protocol):
    """Who is told how far a pull is; called from several threads."""

    def begin(self, what: str, size: int) -> None:
        """Something of `size` bytes begins."""

    def add(self, count: int) -> None:
        """That many bytes of it are done; a negative number takes some back."""


class Logged:
    """A progress that is told in the log: what begins, and every fifth of it."""

    def __init__(self) -> None:
        """Have begun nothing yet."""
        self._lock = threading.Lock()
        self._what, self._size, self._done, self._told = "", 0, 0, 0

    def begin(self, what: str, size: int) -> None:
        """Say what begins, if it is anything."""
        self._what, self._size, self._done, self._told = what, size, 0, 0
        if size:
            LOG.info("%s: %.1f GB", what, size / 1e9)

    def add(self, count: int) -> None:
        """Say how far it is where another fifth is done."""
        with self._lock:
            self._done += count
            if self._size and (fifths := self._done * 5 // self._size) > self._told:
                self._told = fifths
                LOG.info("%s: %.1f of %.1f GB", self._what, self._done / 1e9, self._size / 1e9)
