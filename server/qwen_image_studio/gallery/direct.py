"""Direct addresses: where a browser gets a file without this server, at the object store or at a CDN before it.

Signed links of this server stay what is given out; it answers them with such an address. An address works for an hour
or two, and is the same all through an hour, so that browsers and CDNs can cache what lies there. It never works longer
than the link for which it is made.
"""

from dataclasses import dataclass
from typing import Protocol

HOUR_S = 3600
LONGEST_S = 2 * HOUR_S
"""Longest time for which an address works, in seconds."""


@dataclass(frozen=True)
class Address:
    """An address outside of this server."""

    url: str
    expires_at: float
    """Unix seconds until which it works."""


class Addresses(Protocol):
    """What makes addresses; its methods may be called from many threads at once."""

    def of(self, key: str, until: float, now: float) -> Address | None:
        """Return an address of the file that works until the Unix second `until` at most; None where none can be made
        that works for a while, and the server has to pass the bytes on. Whether the file exists is not checked.

        Raises StudioError ``storage_failed``.
        """


def this_hour(now: float, until: float) -> tuple[int, int]:
    """Return from when and until when an address that is made `now` works, in Unix seconds, for a link that works
    `until` then. Both are the same all through an hour.
    """
    start = int(now // HOUR_S) * HOUR_S
    return start, min(start + LONGEST_S, int(until))
