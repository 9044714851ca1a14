"""Fetching: the only code that opens an address from a user. It reaches public hosts, and private ones where allowed.

It sends over connections that judge whom they reach (`public_hosts`), one for each address: it follows redirects by
itself, reads no proxies or passwords from the environment and keeps no cookies.
"""

import functools
import http.client
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urljoin

import certifi
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationParseError, NewConnectionError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Url, parse_url

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.guard.public_hosts import HostNotPublic, HostUnknown, PublicConnection, PublicTlsConnection

MAX_REDIRECTS = 3
MAX_URL_CHARS = 8192
_PIECE_BYTES = 65536
_BROKE_OFF = "the answer broke off or was not HTTP"
_REDIRECTS = {301, 302, 303, 307, 308}
_PORTS: Mapping[str | None, int] = {"http": 80, "https": 443}
# identity: nothing is unpacked here, so that the limit in bytes is also the limit in memory
_HEADERS = {"User-Agent": "qwen-image-studio", "Accept": "image/*", "Accept-Encoding": "identity"}
_PLAIN_HOST = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,252}|\[[0-9a-f:.]+\]", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\\]")


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

    def left_s(self) -> float:
        """Return the seconds until the deadline. Raises StudioError ``url_not_fetched`` once it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.failed("it took too long")
        return left

    def exempts(self, host: str, port: int) -> bool:
        """Return whether the operator allowed this host even if it is private."""
        host = f"[{host}]" if ":" in host else host
        names = {host, f"{host}:{port}"}
        return any(entry.lower() in names for entry in self.allow)

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
    if len(url) > MAX_URL_CHARS or _UNPRINTABLE.search(url):
        raise errand.not_allowed("it is too long or holds blanks, control characters or backslashes")
    try:
        parsed = parse_url(url)
    except LocationParseError:
        raise errand.not_allowed("it is not a URL") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise errand.not_allowed("only http:// and https:// are")
    if parsed.auth is not None:
        raise errand.not_allowed("it holds a user name")
    if not _PLAIN_HOST.fullmatch(parsed.host):
        raise errand.not_allowed("its host is not written plainly")
    return parsed


def _joined(base: str, location: str, errand: _Errand) -> str:
    try:
        return urljoin(base, location)
    except ValueError:
        raise errand.not_allowed("it redirects to what is not a URL") from None


def _get(url: Url, errand: _Errand) -> bytes | _Redirect:
    """Send one GET and read the whole answer before the deadline."""
    try:
        with closing(_connection(url, errand)) as connection:
            connection.request("GET", url.request_uri, headers=_HEADERS, preload_content=False, decode_content=False)
            with closing(connection.getresponse()) as answer:
                return _read(answer, errand)
    except HostNotPublic:
        raise errand.not_allowed() from None
    except (HostUnknown, OSError, ValueError, HTTPError, http.client.HTTPException) as error:
        errand.left_s()  # what is cut off at the deadline ends in any of these errors
        raise errand.failed(_cause(error)) from None


def _connection(url: Url, errand: _Errand) -> PublicConnection:
    """Return a connection to the URL's host, which is made when something is sent."""
    host = str(url.host).strip("[]").rstrip(".")  # a dot at the end leaves the name the same
    port = url.port or _PORTS[url.scheme]
    https = url.scheme == "https"
    connection = PublicTlsConnection(host, port, ssl_context=_tls()) if https else PublicConnection(host, port)
    connection.deadline, connection.only_public = errand.deadline, not errand.exempts(host, port)
    connection.timeout = errand.left_s()
    return connection


def _cause(error: Exception) -> str:
    """Return why an exchange failed, in words; ValueErrors are about numbers that http.client cannot read."""
    if isinstance(error, HostUnknown):
        return "its host name could not be resolved"
    if isinstance(error, NewConnectionError | ConnectTimeoutError):
        return "its host does not answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate could not be verified"
    return _BROKE_OFF


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


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates (or SSL_CERT_FILE) and Mozilla's.

    Small containers have no certificates of their own.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
