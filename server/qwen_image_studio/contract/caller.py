"""The caller of a request."""

from dataclasses import dataclass

LOCAL_OWNER = "local"
"""Owner of all requests while the server has no keys, and therefore listens on loopback only."""


@dataclass(frozen=True)
class Caller:
    """The owner of a request, and the name of the API key that it came with."""

    owner: str = LOCAL_OWNER
    key: str | None = None
    """None while the server has no keys."""


LOCAL = Caller()
"""Caller on this machine who has no key."""
