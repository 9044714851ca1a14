"""News of the jobs table: they only say "look now". The table is the truth, so a lost word costs nothing.

Embedded, the table itself is watched: no broker, nothing to lose.
"""

import sqlite3
import time
from typing import Protocol

from sqlalchemy import make_url

from qwen_image_studio.settings import Settings

POLL_S = 0.01
"""SQLite's data_version is read from shared memory in microseconds, so a look can be taken often."""
SLOW_POLL_S = 0.25
"""Where the database cannot tell of a change, whoever waits looks again this often."""


class Doorbell(Protocol):
    """Tells one waiting thread that the jobs table may have changed."""

    def wait(self, timeout: float) -> bool:
        """Return once something may have changed, at the latest after `timeout` seconds; whether it did."""

    def close(self) -> None:
        """Give back what it holds."""


class TableWatch:
    """Doorbell over SQLite's ``PRAGMA data_version``, which changes when another connection commits."""

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
        except sqlite3.Error:  # it cannot be told; whoever waits looks for himself
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
    """A doorbell of the settings' dispatch, for one thread."""
    return TableWatch(settings.database)
