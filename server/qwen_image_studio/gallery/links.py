"""Links to images that expire and cannot be changed: whoever holds one may read one image until its hour.

The signature is HMAC-SHA256 (RFC 2104, FIPS 180-4) over the expiry, as it is written in the link, and the key.
"""

import hashlib
import hmac
import math
import re
import time
from collections.abc import Sequence
from urllib.parse import quote

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery.names import check_key

HOUR_S = 3600
_EXPIRES = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)


def link(key: str, *, address: str, ttl_s: int, keys: Sequence[bytes], now: float | None = None) -> str:
    """URL under which the image at ``key`` can be read for at least ``ttl_s`` seconds.

    The expiry is rounded up to the full hour, so that a page asking again gets the same URL and browsers can cache.
    """
    asked = (time.time() if now is None else now) + ttl_s
    expires = str(math.ceil(asked / HOUR_S) * HOUR_S)
    return f"{address}/files/{quote(check_key(key))}?expires={expires}&signature={sign(key, expires, keys)}"


def sign(key: str, expires: str, keys: Sequence[bytes]) -> str:
    """Signature (64 hex digits) of ``key`` and ``expires`` (Unix seconds in decimal), made with the first of ``keys``.

    Raises:
        ValueError: there is no key, or an empty one, to sign with.
    """
    return _signature(key, expires, keys[0] if keys else b"")


def verify(key: str, expires: str, signature: str, keys: Sequence[bytes], now: float) -> None:
    """Let a link pass that one of ``keys`` signed and that has not expired at ``now`` (Unix seconds).

    Raises:
        StudioError: ``link_refused``, with the same words whatever was wrong.
    """
    # Exactly one spelling each: neither "+12", "012" nor upper-case hex stands for a link that was given out.
    well_formed = _EXPIRES.fullmatch(expires) and _SIGNATURE.fullmatch(signature)
    # Every key is tried, so that the time taken does not tell which one matched.
    matches = [hmac.compare_digest(_signature(key, expires, each), signature) for each in keys if well_formed]
    if not any(matches) or now >= int(expires):
        raise StudioError("link_refused", "This link has expired or was changed. Ask for the image again.")


def _signature(key: str, expires: str, secret: bytes) -> str:
    if not secret:
        raise ValueError("image links need a secret key")
    # The expiry holds digits only, so the first line break ends it: no two pairs have the same message.
    message = f"{expires}\n{key}".encode("utf-8", "surrogatepass")
    return hmac.new(secret, message, hashlib.sha256).hexdigest()
