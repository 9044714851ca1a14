"""Doorbells: they tell a waiting thread only that it should look at the jobs table now.

The table is the truth, so a ring that is missed costs no more than time. With SQLite the table itself is watched: there
is no broker, and nothing that could be lost.
"""

import sqlite3
import time
from typing import Protocol

from sqlalchemy import make_url

from qwen_image_studio.settings import Settings

POLL_S = 0.01
"""Time between two looks at SQLite's data_version, in seconds; it is read from shared memory in microseconds."""
SLOW_POLL_S = 0.25
"""Time between two looks at the table, in seconds, where the database cannot tell that it changed."""


class Doorbell(Protocol):
    """News for one waiting thread that the jobs table may have changed."""

    def wait(self, timeout: float) -> bool:
        """Wait until something may have changed, for `timeout` seconds at most; return whether it may have."""

    def close(self) -> None:
        """Close the connection that it holds."""


class TableWatch:
    """A doorbell over SQLite's ``PRAGMA data_version``, which changes when another connection commits."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._connection: sqlite3.Connection | None = None
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            # Opened here, used by the one thread that waits.
            self._connection = sqlite3.connect(parsed.database, check_same_thread=False)
        self._seen = self._version()

    def wait(self, timeout: float) -> bool:
        if self._connection is None:
            time.sleep(min(timeout, SLOW_POLL_S))
            return True
        deadline = time.monotonic() + timeout
        try:
            while (version := self._version()) == self._seen:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(POLL_S)
        except sqlite3.Error:  # it cannot tell, so the waiting thread looks for itself
            time.sleep(min(timeout, SLOW_POLL_S))
            return True
        self._seen = version
        return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _version(self) -> int:
        if self._connection is None:
            return 0
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


def open_doorbell(settings: Settings) -> Doorbell:
    """Open a doorbell for one thread, on the settings' database."""
    return TableWatch(settings.database)
