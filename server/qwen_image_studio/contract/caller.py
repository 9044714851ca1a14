"""The caller of a request, and the person for whom it asks."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.limits import NO_LIMITS, KeyLimits
from qwen_image_studio.contract.words import Scope

LOCAL_OWNER = "local"
"""Owner of all requests while the server has no keys, and therefore listens on loopback only."""
NOBODY = ""
"""Person of all requests of an owner that name no `user`."""
_PERSON_CHARS = 64
"""Longest name of a person that is kept as it is, in characters."""


@dataclass(frozen=True)
class Guest:
    """The bearer of a link to one image: sees that image, what it was made from and what the link made, and has jobs
    that count for the key and the person whose job made it.
    """

    id: str
    """Which link it is."""
    image_id: str
    expires_at: float
    """In Unix seconds."""
    jobs: int
    """Jobs that may be submitted through the link."""
    user: str | None = None
    """The person for whom the image was made, as `user` of its job named it."""
    hold: bool = False
    """Whether the image's job was to be held for a reviewer; so is what is made of it."""


@dataclass(frozen=True)
class Caller:
    """The owner of a request, and the API key that it came with."""

    owner: str = LOCAL_OWNER
    key: str | None = None
    """Name of the key; None while the server has no keys."""
    scopes: Collection[Scope] = frozenset(Scope)
    """What the key may do."""
    limits: KeyLimits = NO_LIMITS
    peer: str | None = None
    """Address that the request came from."""
    request_id: str | None = None
    """Id of the HTTP request."""
    guest: Guest | None = None
    """The bearer of a link, for whom the key and its owner stand; None for who has the key."""

    def own_key(self, sent: str | None) -> str | None:
        """Return an idempotency key as it is kept: guests have keys of their own, which no other caller's can equal."""
        if sent is None or self.guest is None:
            return sent
        return f"{self.guest.id}\n{hashlib.sha256(sent.encode()).hexdigest()}"

    def check_scope(self, *any_of: Scope) -> None:
        """Raise StudioError ``scope_missing`` where the key has none of these scopes."""
        if set(any_of) & set(self.scopes):
            return
        if self.guest is not None:
            may = "change pictures by edit, inpaint, outpaint and adjust" if self.scopes else "look at pictures"
            raise StudioError(
                "scope_missing", f"This link lets you {may}, and nothing else. Sign in with an API key for more."
            )
        has, needed = [scope.value for scope in Scope if scope in self.scopes], [scope.value for scope in any_of]
        raise StudioError(
            "scope_missing",
            f"The API key '{self.key}' lacks the scope {' or '.join(needed)} that this needs; it has "
            f"{', '.join(has) or 'none'}. The operator gives it with "
            f"'qwen-image-studio keys scopes {self.key} {','.join([*has, needed[0]])}'.",
        )


LOCAL = Caller()
"""Caller on this machine who has no key."""


def person_of(user: str | None) -> str:
    """Return the person of a key whom a request names in `user`, as limits and turns know them, in at most 64
    characters.
    """
    if user is None:
        return NOBODY
    if len(user) <= _PERSON_CHARS:
        return user
    return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


def person_of_dify(user_id: str) -> str:
    """Return the name that the plugin sends in `user` for the person with this user id in Dify."""
    return hashlib.sha256(f"person/{user_id}".encode()).hexdigest()[:40]
