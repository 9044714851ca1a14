"""Fetching from an address that a user gave (`errand`): public hosts, and private ones where allowed.

It opens a connection for each address: it follows redirects by itself, and keeps no cookies.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urljoin

from urllib3.response import BaseHTTPResponse
from urllib3.util import Url

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.guard.errand import FAILURES, NotPlain, cause, connection, plain
from qwen_image_studio.guard.public_hosts import HostNotPublic

MAX_REDIRECTS = 3
_PIECE_BYTES = 65536
_REDIRECTS = {301, 302, 303, 307, 308}
# identity: nothing is unpacked here, so that the limit in bytes is also the limit in memory
_HEADERS = {"User-Agent": "qwen-image-studio", "Accept": "image/*", "Accept-Encoding": "identity"}


def fetch(url: str, *, max_bytes: int, timeout_s: float, allow: Sequence[str], param: str) -> bytes:
    """Return the body of the answer to a GET of ``url``, after at most three redirects.

    ``timeout_s`` covers everything: look-up, connecting, redirects and the whole body. ``allow`` names private hosts
    (``host`` or ``host:port``) that may be fetched all the same.

    Raises:
        StudioError: ``url_not_allowed`` where the address, or one that it redirects to, may not be fetched; the message
            is the same whatever the name resolves to and whether or not anything listens there. ``url_not_fetched``
            where it did not deliver: a status other than 200, no answer in time, more than ``max_bytes``.
    """
    errand = _Errand(param, max_bytes, tuple(allow), time.monotonic() + timeout_s)
    for _ in range(MAX_REDIRECTS + 1):
        answer = _get(_parsed(url, errand), errand)
        if isinstance(answer, bytes):
            return answer
        url = _joined(url, answer.location, errand)
    raise errand.failed(f"more than {MAX_REDIRECTS} redirects")


@dataclass(frozen=True)
class _Redirect:
    """A redirect, with the location as the answer has it."""

    location: str


@dataclass(frozen=True)
class _Errand:
    """One call of :func:`fetch`: its limits, and the errors with which it can end."""

    param: str
    max_bytes: int
    allow: tuple[str, ...]
    deadline: float
    """Time on the monotonic clock, in seconds, at which the call has to end."""

    def check_time(self) -> None:
        """Raise StudioError ``url_not_fetched`` once the deadline has passed."""
        if time.monotonic() >= self.deadline:
            raise self.failed("it took too long")

    def not_allowed(self, why: str | None = None) -> StudioError:
        """Return the error for an address that may not be fetched; without a reason, because its host is private."""
        remedy = "Send an image's id, a plain http:// or https:// address, or the picture as a file."
        if why is None:
            why = "it is not on the public Internet"
            remedy = "Send the picture as a file, or have the operator add the host to STUDIO_FETCH_ALLOW."
        return StudioError("url_not_allowed", f"The address may not be fetched: {why}. {remedy}", param=self.param)

    def failed(self, why: str) -> StudioError:
        """Return the error for an address that did not deliver."""
        remedy = "Check the address, or send the picture as a file."
        return StudioError("url_not_fetched", f"The address did not deliver: {why}. {remedy}", param=self.param)

    def too_large(self) -> StudioError:
        """Return the error for a body beyond the limit."""
        return self.failed(f"it is larger than {self.max_bytes / 1e6:g} MB")


def _parsed(url: str, errand: _Errand) -> Url:
    """Parse the URL, and refuse any but a plainly written http or https URL."""
    try:
        return plain(url)
    except NotPlain as error:
        raise errand.not_allowed(str(error)) from None


def _joined(base: str, location: str, errand: _Errand) -> str:
    try:
        return urljoin(base, location)
    except ValueError:
        raise errand.not_allowed("it redirects to what is not a URL") from None


def _get(url: Url, errand: _Errand) -> bytes | _Redirect:
    """Send one GET and read the whole answer before the deadline."""
    try:
        errand.check_time()
        with closing(connection(url, allow=errand.allow, deadline=errand.deadline)) as sent:
            sent.request("GET", url.request_uri, headers=_HEADERS, preload_content=False, decode_content=False)
            with closing(sent.getresponse()) as answer:
                return _read(answer, errand)
    except HostNotPublic:
        raise errand.not_allowed() from None
    except FAILURES as error:
        errand.check_time()  # what is cut off at the deadline ends in any of these errors
        raise errand.failed(cause(error)) from None


def _read(answer: BaseHTTPResponse, errand: _Errand) -> bytes | _Redirect:
    location = answer.headers.get("Location")
    if answer.status in _REDIRECTS and location:
        return _Redirect(location)
    if answer.status != 200:
        raise errand.failed(f"it answered with status {answer.status}")
    if (answer.length_remaining or 0) > errand.max_bytes:
        raise errand.too_large()
    body = bytearray()
    # read1() returns what has arrived: read() trusts a chunk's size, and a size of -1 would read without end.
    while piece := answer.read1(_PIECE_BYTES):
        body += piece
        if len(body) > errand.max_bytes:
            raise errand.too_large()
    return bytes(body)
