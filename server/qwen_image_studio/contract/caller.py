"""The caller of a request, and the person for whom it asks."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from qwen_image_studio.contract.words import Scope

LOCAL_OWNER = "local"
"""Owner of all requests while the server has no keys, and therefore listens on loopback only."""
_PERSON_CHARS = 64
"""Longest name of a person that is kept as it is, in characters."""


@dataclass(frozen=True)
class Caller:
    """The owner of a request, and the API key that it came with."""

    owner: str = LOCAL_OWNER
    key: str | None = None
    """Name of the key; None while the server has no keys."""
    scopes: Collection[Scope] = frozenset(Scope)
    """What the key may do."""


LOCAL = Caller()
"""Caller on this machine who has no key."""


def person_of(user: str | None) -> str:
    """Return the person of a key whom a request names in `user`, as limits and turns know them, in at most 64
    characters; the empty person is the one of all requests that name nobody.
    """
    if user is None:
        return ""
    if len(user) <= _PERSON_CHARS:
        return user
    return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
