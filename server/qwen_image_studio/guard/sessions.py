"""Studio links and sessions: who may use the page, said by signatures alone; nothing of them is kept on the server.

A link leads to one image, for whoever has it, until it expires. A session is what a browser shows in its cookie after
somebody has sent an API key or such a link. Both are signed with the server's secret keys, each for its own purpose,
so that neither passes as the other, nor as a link to a file.
"""

import base64
import hashlib
import hmac
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from itsdangerous import BadSignature, Signer

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.secret_key import secret_keys

SESSION_S = 12 * 3600
"""Time for which a session lasts after it was last renewed, in seconds."""
RENEWED_AFTER_S = 3600
"""Age from which a session is renewed when it is used, in seconds."""
HOUR_S = 3600
_KEY, _GUEST = "key", "guest"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_K = re.compile(r"([1-9][0-9]{0,11})\.([A-Za-z0-9_-]{22})", re.ASCII)
_SIGNED_BYTES = 16
"""Length of a link's signature in bytes: language models have to copy it."""


@dataclass(frozen=True)
class StudioLink:
    """A link to one image that was given out."""

    image_id: str
    expires_at: int
    """In Unix seconds."""

    @property
    def id(self) -> str:
        """Return the name of the link by which what was made through it is known; it opens nothing."""
        told = f"{self.image_id}\n{self.expires_at}".encode()
        return f"guest_{hashlib.sha256(told).hexdigest()[:24]}"


@dataclass(frozen=True)
class KeySession:
    """The session of somebody who has sent an API key."""

    key: str
    """Name of the key."""
    tag: str
    """What `tag_of` says of the key's hash, so that a key in its place is another one."""
    expires_at: int


@dataclass(frozen=True)
class GuestSession:
    """The session of somebody who has sent a link."""

    link: StudioLink
    expires_at: int


Session = KeySession | GuestSession


def tag_of(key_hash: str) -> str:
    """Return what a session says of the hash of its key."""
    return hashlib.sha256(f"session\n{key_hash}".encode()).hexdigest()[:16]


class Sessions:
    """The signer and checker of one server's studio links and sessions. `now` is in Unix seconds."""

    def __init__(self, address: str, keys: Sequence[bytes], link_ttl_s: int) -> None:
        """Sign links that begin with `address` and work for at least `link_ttl_s` seconds; with 0 none does.

        The first of `keys` signs, and all of them are accepted. Raises ValueError where a key is empty, or there is
        none.
        """
        if not keys or not all(keys):
            raise ValueError("links need a secret key")
        self._address, self._keys, self._ttl_s = address, tuple(keys), link_ttl_s
        # itsdangerous signs with the last of its keys.
        self._signer = Signer(self._keys[::-1], salt="studio session", digest_method=hashlib.sha256)

    # -- links -----------------------------------------------------------------------------------------------------

    @property
    def gives_links(self) -> bool:
        """Return whether links are given out, and open anything."""
        return self._ttl_s > 0

    def link(self, image_id: str, now: float | None = None) -> str:
        """Return the address of the page at which whoever has it may see and change the image.

        All that matters stands in the fragment, which browsers send to nobody. The expiry is rounded up to the full
        hour, so that who asks again soon gets the same link, with the jobs that were submitted through it.
        """
        unit = max(1, min(HOUR_S, self._ttl_s // 2))
        expires_at = math.ceil(((time.time() if now is None else now) + self._ttl_s) / unit) * unit
        signature = _signature(self._keys[0], StudioLink(image_id, expires_at))
        return f"{self._address}/#/edit/{image_id}?k={expires_at}.{signature}"

    def opened(self, image_id: str, k: str, now: float | None = None) -> StudioLink:
        """Return the link that was given out with these two parts. Raises StudioError ``link_refused``, with the same
        message whatever is wrong.
        """
        found = _K.fullmatch(k)
        if found is None or not _ID.fullmatch(image_id) or not self.gives_links:
            raise link_over()
        link = StudioLink(image_id, int(found[1]))
        # Every key is tried, so that the time taken does not tell which one matched.
        genuine = [hmac.compare_digest(_signature(key, link), found[2]) for key in self._keys]
        if not any(genuine) or link.expires_at <= (time.time() if now is None else now):
            raise link_over()
        return link

    # -- sessions --------------------------------------------------------------------------------------------------

    def of_key(self, key: str, key_hash: str, now: float | None = None) -> tuple[str, KeySession]:
        """Return the value of the cookie of somebody with this key, by its name and hash, and what it says."""
        return self._of_tag(key, tag_of(key_hash), time.time() if now is None else now)

    def of_link(self, link: StudioLink, now: float | None = None) -> tuple[str, GuestSession]:
        """Return the value of the cookie of somebody with this link, which ends with it, and what it says."""
        expires_at = min(int(time.time() if now is None else now) + SESSION_S, link.expires_at)
        value = f"{_GUEST}.{link.image_id}.{link.expires_at}.{expires_at}"
        return self._signed(value), GuestSession(link, expires_at)

    def renewed(self, session: Session, now: float | None = None) -> tuple[str, Session] | None:
        """Return a session that is used in a fresh cookie; None where it was renewed not long ago, or cannot last
        longer.
        """
        now = time.time() if now is None else now
        if session.expires_at - now > SESSION_S - RENEWED_AFTER_S:
            return None
        if isinstance(session, GuestSession):
            value, fresh = self.of_link(session.link, now)
            return None if fresh.expires_at <= session.expires_at else (value, fresh)
        return self._of_tag(session.key, session.tag, now)

    def read(self, cookie: str, now: float | None = None) -> Session | None:
        """Return what a cookie says; None for one that was not signed here, or is over."""
        try:
            kind, _, rest = self._signer.unsign(cookie).decode().partition(".")
            rest, _, expires = rest.rpartition(".")
            subject, _, detail = rest.rpartition(".")
            expires_at = int(expires)
            session = (
                KeySession(subject, detail, expires_at)
                if kind == _KEY
                else GuestSession(StudioLink(subject, int(detail)), expires_at)
            )
        except (BadSignature, ValueError):
            return None
        if expires_at <= (time.time() if now is None else now):
            return None
        return None if kind == _GUEST and not self.gives_links else session

    def _of_tag(self, key: str, tag: str, now: float) -> tuple[str, KeySession]:
        expires_at = int(now) + SESSION_S
        return self._signed(f"{_KEY}.{key}.{tag}.{expires_at}"), KeySession(key, tag, expires_at)

    def _signed(self, value: str) -> str:
        return self._signer.sign(value).decode()


def open_sessions(settings: Settings) -> Sessions:
    """Return the links and sessions of the settings' server; where no secret key is set, one is made once and kept in
    DATA_DIR.

    Raises CannotServe where the kept one is empty or damaged.
    """
    return Sessions(settings.address, secret_keys(settings), settings.guest_ttl_s)


def link_over() -> StudioError:
    """Return the error of a link that opens nothing (any more)."""
    return StudioError(
        "link_refused",
        "This link has expired, was withdrawn, or is not whole. Ask for a new one where you got it, such as in the "
        "chat; or sign in with an API key.",
    )


def _signature(key: bytes, link: StudioLink) -> str:
    """Return the signature of a link by a secret key; its last letter has one spelling alone, since it is compared as
    text.
    """
    told = f"studio-link\n{link.expires_at}\n{link.image_id}".encode()
    signed = hmac.new(key, told, hashlib.sha256).digest()[:_SIGNED_BYTES]
    return base64.urlsafe_b64encode(signed).decode().rstrip("=")
