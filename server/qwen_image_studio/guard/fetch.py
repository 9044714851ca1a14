"""Fetching: the only code that opens an address from a user. It reaches public hosts, and private ones where allowed.

The host name is looked up here, all its addresses are checked, and the socket is connected to a checked address: there
is no second look-up with perhaps another answer (DNS rebinding), and nothing is ever sent to a private address. This is
why it uses http.client on a socket of its own, which follows no redirects by itself, reads no proxies or passwords from
the environment and keeps no cookies.
"""

import functools
import http.client
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urljoin

import certifi
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from qwen_image_studio.contract.errors import StudioError

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
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


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


def is_public(address: Address) -> bool:
    """Return whether an address is on the public Internet, by the IANA special-purpose registries.

    IPv4 within IPv6 (mapped, compatible, 6to4, Teredo, ISATAP) is refused outright: no public host needs it. Behind
    NAT64 (RFC 6052) all public hosts have such an address, so there the IPv4 address within is checked.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        isatap = (int(address) >> 32) & 0xFDFFFFFF == 0x5EFE  # RFC 5214: its middle is 0000:5efe or 0200:5efe
        if address.ipv4_mapped or address.sixtofour or address.teredo or address.is_site_local or isatap:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


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
    host = str(url.host).strip("[]").rstrip(".")  # a dot at the end leaves the name the same
    port = url.port or _PORTS[url.scheme]
    try:
        with closing(_connected(host, port, errand)) as plain, _cut_off_in_time(plain, errand):
            # The certificate is checked against the name in the URL, whatever its address.
            sock = _tls().wrap_socket(plain, server_hostname=host) if url.scheme == "https" else plain
            with closing(http.client.HTTPConnection(host, port)) as connection:
                connection.sock = sock
                connection.request("GET", url.request_uri, headers=_HEADERS)
                with connection.getresponse() as answer:
                    return _read(answer, errand)
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
    ) as error:  # ValueError: numbers that http.client cannot read
        errand.left_s()  # a connection cut off at the deadline ends in any of these errors
        certificate = isinstance(error, ssl.SSLCertVerificationError)
        raise errand.failed("its certificate could not be verified" if certificate else _BROKE_OFF) from None


def _read(answer: http.client.HTTPResponse, errand: _Errand) -> bytes | _Redirect:
    location = answer.getheader("Location")
    if answer.status in _REDIRECTS and location:
        return _Redirect(location)
    if answer.status != 200:
        raise errand.failed(f"it answered with status {answer.status}")
    length = answer.length  # None: chunked, or until the connection is closed
    if (length or 0) > errand.max_bytes:
        raise errand.too_large()
    body = bytearray()
    # read1() returns what has arrived: read() trusts a chunk's size, and a size of -1 would read without end.
    while piece := answer.read1(_PIECE_BYTES if length is None else min(_PIECE_BYTES, length - len(body))):
        body += piece
        if len(body) > errand.max_bytes:
            raise errand.too_large()
    errand.left_s()  # a body without a length looks complete even where it was cut off at the deadline
    if len(body) < (length or 0):
        raise errand.failed(_BROKE_OFF)
    return bytes(body)


def _connected(host: str, port: int, errand: _Errand) -> socket.socket:
    """Return a socket that is connected to a checked address of the host."""
    found = _looked_up(host, port, errand)
    if not errand.exempts(host, port) and not all(is_public(_address(each)) for _, each in found):
        raise errand.not_allowed()
    for tried, (family, address) in enumerate(found):
        # Time is shared out, so that an address that never answers leaves some for the next.
        patience_s = errand.left_s() / (len(found) - tried)
        with suppress(OSError), ExitStack() as on_failure:
            sock = on_failure.enter_context(closing(socket.socket(family, socket.SOCK_STREAM)))
            sock.settimeout(patience_s)
            sock.connect(address)
            sock.settimeout(errand.left_s())
            on_failure.pop_all()
            return sock
    errand.left_s()
    raise errand.failed("its host does not answer")


def _looked_up(host: str, port: int, errand: _Errand) -> list[tuple[int, _SocketAddress]]:
    """Return the families and addresses of a host, each once; found in a thread, as a look-up has no deadline."""
    answers: queue.SimpleQueue[list[tuple[int, _SocketAddress]]] = queue.SimpleQueue()

    def look_up() -> None:
        found: list[tuple[int, _SocketAddress]] = []
        with suppress(OSError, UnicodeError):  # UnicodeError: a label that no host name can have
            for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                found.append((family, address))
        answers.put(list(dict.fromkeys(found)))

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    try:
        found = answers.get(timeout=errand.left_s())
    except queue.Empty:
        found = []
    if not found:
        errand.left_s()
        raise errand.failed("its host name could not be resolved")
    return found


def _address(address: _SocketAddress) -> Address:
    return ipaddress.ip_address(str(address[0]).partition("%")[0])


@contextmanager
def _cut_off_in_time(sock: socket.socket, errand: _Errand) -> Iterator[None]:
    """Shut the connection down at the deadline; a timeout of the socket alone would start anew with every byte."""
    # The duplicate stays valid when TLS takes over the socket's descriptor.
    with closing(sock.dup()) as duplicate:

        def cut_off() -> None:
            with suppress(OSError):
                duplicate.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(errand.left_s(), cut_off)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates (or SSL_CERT_FILE) and Mozilla's.

    Small containers have no certificates of their own.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
