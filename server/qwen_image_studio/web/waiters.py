"""Who waits for the answer to which request, in this process.

A client that gives up closes the connection, and often sends its request again at once. It goes on waiting for the same
job then, before anybody has noticed that it left.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol


class Connection(Protocol):
    """A connection as the web server shows it."""

    def has_left(self) -> bool:
        """Return whether the caller has closed it."""
        ...


@dataclass(frozen=True, eq=False)
class Waiter:
    """A caller that waits for the job of a request."""

    owner: str
    key: str | None
    """Name of the API key."""
    fingerprint: str
    """The request's."""
    job_id: str
    connection: Connection | None
    """None where the web server does not show it, or nobody else may have the job."""

    @property
    def asked(self) -> tuple[str, str | None, str]:
        """What those who ask for the same have in common."""
        return self.owner, self.key, self.fingerprint


class Waiters:
    """The callers that wait. It is used on the event loop alone."""

    def __init__(self) -> None:
        self._waiters: dict[tuple[str, str | None, str], list[Waiter]] = defaultdict(list)

    def add(self, waiter: Waiter) -> None:
        """Note that a caller waits."""
        self._waiters[waiter.asked].append(waiter)

    def remove(self, waiter: Waiter) -> bool:
        """Note that a caller waits no longer; return whether it had its job to itself until now."""
        of_request = self._waiters.get(waiter.asked, [])
        if waiter not in of_request:
            return False
        of_request.remove(waiter)
        if not of_request:
            del self._waiters[waiter.asked]
        return True

    def succeed(self, owner: str, key: str | None, fingerprint: str) -> str | None:
        """Return the id of a job whose caller sent the same request with the same API key and has left, for the one
        that asks now; None where nobody has.
        """
        for waiter in self._waiters.get((owner, key, fingerprint), ()):
            if waiter.connection is not None and waiter.connection.has_left():
                self.remove(waiter)
                return waiter.job_id
        return None
