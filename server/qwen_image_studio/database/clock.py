"""The time that all processes of one database go by."""

import time
from collections.abc import Callable

MEASURE_S = 60.0
"""Age from which what is known of the database's clock is measured again, in seconds."""


class Clock:
    """The clock of a database server, carried on by this machine's monotonic clock between measurements.

    So no machine's wall clock matters: leases, rests and reports of all machines are by one clock. Threads may share
    it: what they race for are measurements of the same clock.
    """

    def __init__(self) -> None:
        self._ahead_s = 0.0
        """What has to be added to the monotonic clock."""
        self._measured_at: float | None = None

    @property
    def is_unknown(self) -> bool:
        """Return whether it was never measured."""
        return self._measured_at is None

    @property
    def is_due(self) -> bool:
        """Return whether it is time to measure."""
        return self._measured_at is None or time.monotonic() - self._measured_at > MEASURE_S

    def measure(self, ask: Callable[[], float]) -> None:
        """Note the server's time in Unix seconds, for which `ask` asks it now."""
        asked_at = time.monotonic()
        told = ask()
        answered_at = time.monotonic()
        self._ahead_s, self._measured_at = told - (asked_at + answered_at) / 2, answered_at

    def now(self) -> float:
        """Return the server's time in Unix seconds, once it was measured."""
        return time.monotonic() + self._ahead_s
