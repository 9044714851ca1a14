"""Errands to addresses that a user gave: what fetching from one (`fetch`) and posting to one (`post`) have in common.

The address is plain http or https, the connection judges whom it reaches (`public_hosts`), one deadline covers all of
it, certificates are checked, and neither proxies nor passwords are read from the environment.
"""

import functools
import http.client
import re
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress

import certifi
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationParseError, NewConnectionError
from urllib3.util import Url, parse_url

from qwen_image_studio.guard.public_hosts import HostUnknown, PublicConnection, PublicTlsConnection, is_public

MAX_URL_CHARS = 8192
_PORTS = {"http": 80, "https": 443}
_PLAIN_HOST = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,252}|\[[0-9a-f:.]+\]", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
FAILURES = (HostUnknown, OSError, ValueError, HTTPError, http.client.HTTPException)
"""Exceptions in which an exchange can end; ValueErrors are about numbers that http.client cannot read."""


class NotPlain(Exception):
    """The address is not one of plain http or https; the message says why, after "The address may not be used:"."""


def plain(url: str) -> Url:
    """Return the URL in its parts. Raises NotPlain for any but a plainly written http or https URL."""
    if len(url) > MAX_URL_CHARS or _UNPRINTABLE.search(url):
        raise NotPlain("it is too long or holds blanks, control characters or backslashes")
    try:
        parsed = parse_url(url)
    except LocationParseError:
        raise NotPlain("it is not a URL") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise NotPlain("only http:// and https:// are")
    if parsed.auth is not None:
        raise NotPlain("it holds a user name")
    if not _PLAIN_HOST.fullmatch(parsed.host):
        raise NotPlain("its host is not written plainly")
    return parsed


def reached(url: Url) -> tuple[str, int]:
    """Return the host, without brackets, and the port that a plain URL leads to."""
    host = str(url.host).strip("[]").rstrip(".")  # a dot at the end leaves the name the same
    return host, url.port or _PORTS[str(url.scheme)]


def written(url: Url) -> str:
    """Return host and port of a plain URL, as an operator writes them."""
    host, port = reached(url)
    return f"{_bracketed(host)}:{port}"


def exempts(allow: Sequence[str], url: Url) -> bool:
    """Return whether the operator allowed the URL's host (``host`` or ``host:port``) even if it is private."""
    host, port = reached(url)
    names = {_bracketed(host), f"{_bracketed(host)}:{port}"}
    return any(entry.lower() in names for entry in allow)


def is_plainly_private(url: Url) -> bool:
    """Return whether the URL's host is private by its very name, without a look-up: loopback, or an address written as
    numbers. Other names are judged when they are reached.
    """
    host, port = reached(url)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(OSError):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return not all(is_public(str(entry[4][0])) for entry in found)
    return False


def connection(url: Url, *, allow: Sequence[str], deadline: float) -> PublicConnection:
    """Return a connection to the URL's host, which is made when something is sent; it raises one of FAILURES, or
    HostNotPublic. `deadline` is on the monotonic clock, in seconds.
    """
    host, port = reached(url)
    https = url.scheme == "https"
    made = PublicTlsConnection(host, port, ssl_context=tls()) if https else PublicConnection(host, port)
    made.deadline, made.only_public = deadline, not exempts(allow, url)
    made.timeout = max(deadline - time.monotonic(), 0.001)
    return made


def cause(error: Exception) -> str:
    """Return why an exchange failed, in words."""
    if isinstance(error, HostUnknown):
        return "its host name could not be resolved"
    if isinstance(error, NewConnectionError | ConnectTimeoutError):
        return "its host does not answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate could not be verified"
    return "the answer broke off or was not HTTP"


@functools.cache
def tls() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates (or SSL_CERT_FILE) and Mozilla's.

    Small containers have no certificates of their own.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
