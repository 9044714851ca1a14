"""Signed links to files: whoever has a link can read that one file until the link expires.

The signature, by itsdangerous, covers the whole link: the key, whether it is a reviewer's, the step of a preview and
the expiry. Links of version 0.1 were signed by HMAC-SHA256, in hex, over expiry and key; they are accepted until they
expire.
"""

import hashlib
import hmac
import math
import re
import time
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from itsdangerous import Signer

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery.names import check_key
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.secret_key import secret_keys

HOUR_S = 3600
REVIEW_S = 600
"""Time for which a reviewer's link works at least, in seconds."""
FOR_REVIEW = "review"
"""Query parameter of links that open withheld images, with the value 1; it is inside the signature."""
_EXPIRES = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
# The last of 43 letters carries only four of the 256 bits. Its other two must be 0, else one signature would have
# several spellings.
_SIGNATURE = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)
_SIGNATURE_0_1 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Links:
    """The signer and checker of one server's links."""

    def __init__(self, address: str, keys: Sequence[bytes], ttl_s: int) -> None:
        """Sign links that begin with `address` and work for at least `ttl_s` seconds.

        The first of `keys` signs, and all of them are accepted. Raises ValueError where a key is empty, or there is
        none.
        """
        if not keys or not all(keys):
            raise ValueError("links need a secret key")
        self._beginning, self._keys, self._ttl_s = f"{address}/files/", tuple(keys), ttl_s
        # itsdangerous signs with the last of its keys.
        self._signer = Signer(self._keys[::-1], salt="file link", digest_method=hashlib.sha256)

    def link(self, key: str, *, step: int | None = None, review: bool = False, now: float | None = None) -> str:
        """Return the URL under which the file at `key` can be read; `step` makes the links to one preview differ. A
        link for `review` opens a withheld image too, and works for a quarter of an hour at most.

        The expiry is rounded up to the full hour, so that a page that asks again gets the same URL and browsers can
        cache it.
        """
        lasts, unit = (REVIEW_S, REVIEW_S // 2) if review else (self._ttl_s, HOUR_S)
        asked = (time.time() if now is None else now) + lasts
        expires = str(math.ceil(asked / unit) * unit)
        signed = _signed(check_key(key), expires, "" if step is None else str(step), "1" if review else "")
        return f"{self._beginning}{signed}&signature={self._signer.get_signature(signed).decode()}"

    def check(self, key: str, query: Mapping[str, str], now: float | None = None) -> int:
        """Return when the link to `key` with these query parameters expires, in Unix seconds.

        Raises:
            StudioError: ``link_refused``, with the same message whatever is wrong.
        """
        expires, signature, review = (query.get(name, "") for name in ("expires", "signature", FOR_REVIEW))
        # Each value has exactly one spelling: a link with "+12" or "012" was never given out.
        genuine = _EXPIRES.fullmatch(expires) is not None and (
            self._is_signed(_signed(key, expires, query.get("step", ""), review), signature)
            or (not review and is_signed_by_0_1(key, expires, signature, self._keys))
        )
        if not genuine or (time.time() if now is None else now) >= int(expires):
            raise StudioError("link_refused", "This link has expired or was changed. Ask for the image again.")
        return int(expires)

    def is_own(self, url: str) -> bool:
        """Return whether the URL is an address of this server's files."""
        return url.startswith(self._beginning)

    def key_of(self, url: str) -> str:
        """Return the key of the file behind a link of this server. Raises StudioError ``link_refused``."""
        split = urlsplit(url)
        key = unquote(url.removeprefix(self._beginning).partition("?")[0].partition("#")[0])
        self.check(key, dict(parse_qsl(split.query)))
        return key

    def _is_signed(self, signed: str, signature: str) -> bool:
        if not _SIGNATURE.fullmatch(signature):
            return False
        return self._signer.verify_signature(signed.encode("utf-8", "surrogatepass"), signature)


def is_for_review(query: Mapping[str, str]) -> bool:
    """Return whether these are the query parameters of a reviewer's link, provided that the link was checked."""
    return query.get(FOR_REVIEW) == "1"


def is_signed_by_0_1(key: str, expires: str, signature: str, keys: Sequence[bytes]) -> bool:
    """Return whether version 0.1 signed a link with one of `keys`: HMAC-SHA256, in hex, over expiry and key."""
    message = f"{expires}\n{key}".encode("utf-8", "surrogatepass")
    # Every key is tried, so that the time taken does not tell which one matched.
    matches = [
        hmac.compare_digest(hmac.new(each, message, hashlib.sha256).hexdigest(), signature)
        for each in keys
        if _SIGNATURE_0_1.fullmatch(signature)
    ]
    return any(matches)


def open_links(settings: Settings) -> Links:
    """Return the links of the settings' server; where no secret key is set, one is made once and kept in DATA_DIR.

    Raises CannotServe where the kept one is empty or damaged.
    """
    return Links(settings.address, secret_keys(settings), settings.link_ttl_s)


def _signed(key: str, expires: str, step: str, review: str) -> str:
    """Return the part of a link that is signed. Keys have no question mark, so it can be read in one way only."""
    flag = f"{FOR_REVIEW}={review}&" if review else ""
    return f"{key}?{flag}{f'step={step}&' if step else ''}expires={expires}"
