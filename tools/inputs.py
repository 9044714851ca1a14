"""Download the files that Dify hands to a tool: signed links that live about five minutes, so this comes first.

A file that somebody gave to Dify as a link comes with that link, which has to lead to a public host: whoever fills in a
form must not read, or find out by our errors, what stands in the network of the plugin daemon. What this cannot tell is
whose a link of the exact shape of Dify's own is: with one written by hand, a person can still learn whether a host of
that network answers, and read a file that some other service keeps at just such a path.
"""

import ipaddress
import re
import socket
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qs, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from tools.connection import FAILURES, TooManyBytes, TooSlow, explain, host_of, is_final, read_capped
from tools.errors import InputNotFetched
from tools.views import InputFile

MAX_BYTES = 20_000_000  # as the server's own limit, which would only tell after the upload
MAX_TABLE_BYTES = 2_000_000
ATTEMPTS = 3
FIRST_PAUSE_S = 0.4
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
FILE_TIMEOUT_S = 60.0
MAX_REDIRECTS = 3
SETTING = "FILES_URL (or INTERNAL_FILES_URL) of Dify"
"""Where the addresses of Dify's own files come from."""
LINK = "the link"
"""Where any other address comes from."""

_RETRIED = {408, 429, 500, 502, 503, 504}
# The whole address, so that no two readers of it can differ about where the host ends and what the path is.
_OF_DIFY = re.compile(
    r"https?://[\w.:\[\]-]+(?:/[A-Za-z0-9_-]+)*/files/(?:tools/|datasources/)?"
    r"[A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9]{1,16}|/file-preview|/image-preview)?\?([A-Za-z0-9_=&%.~-]+)",
    re.IGNORECASE,
)
_SIGNED = {"timestamp", "nonce", "sign", "as_attachment"}
# IPv6 addresses of hosts; NAT64 and most other ways to write an IPv4 address lie outside.
_HOSTS_V6 = ipaddress.IPv6Network("2000::/3")
_PROTOCOLS_V4 = ipaddress.IPv4Network("192.0.0.0/24")  # private, which older Pythons do not know


class _TryAgain(Exception):
    """This attempt failed in a way that may pass; ``str()`` is what to say when it does not."""


class _NotPublic(Exception):
    """The host of a link is unknown, or not one of the public Internet."""


def fetch_all(urls: Sequence[str], deadline: float) -> list[InputFile]:
    """Download images in order, each within a minute and ``deadline`` (``time.monotonic`` seconds).

    Raises :class:`InputNotFetched`, which names the host and the setting of Dify that decides it.
    """
    return [
        _fetch_image(url, f"Image {position}", f"image-{position}", deadline)
        for position, url in enumerate(urls, start=1)
    ]


def fetch_mask(url: str | None, deadline: float) -> InputFile | None:
    """Download a mask, if there is one; limits and errors as of :func:`fetch_all`."""
    return None if url is None else _fetch_image(url, "The mask", "mask", deadline)


def fetch_table(url: str | None, deadline: float) -> bytes | None:
    """Download a file of rows, if there is one; errors as of :func:`fetch_all`."""
    return None if url is None else _fetch(url, "The file of rows", MAX_TABLE_BYTES, deadline)


def _session(url: str) -> requests.Session:
    session = requests.Session()
    session.auth = _anonymous
    if _setting(url) is LINK:
        for scheme in ("http://", "https://"):
            session.mount(scheme, _PublicHosts())
    return session


def _anonymous(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send no credentials, not even those that a .netrc may hold for the host."""
    return prepared


def _fetch_image(url: str, what: str, name: str, deadline: float) -> InputFile:
    content = _fetch(url, what, MAX_BYTES, deadline)
    mime_type = sniff(content)
    if mime_type is None:
        raise InputNotFetched(
            f"{what} from {host_of(url)} is not a PNG, JPEG, WebP, GIF or BMP image. Send one of these"
            + (
                f"; if it is one in Dify, {SETTING} leads to something else than Dify."
                if _setting(url) is SETTING
                else "."
            )
        )
    # The name that the person gave the file stays in Dify: the server has no use for it.
    return InputFile(f"{name}.{mime_type.removeprefix('image/')}", mime_type, content)


def _fetch(url: str, what: str, limit: int, deadline: float) -> bytes:
    """Download a file of at most ``limit`` bytes; ``what`` begins the sentences about it."""
    if _parts(url).scheme not in {"http", "https"}:
        raise InputNotFetched(
            f"{what} has no complete address, so Dify does not know its own: set {SETTING} to an address "
            "at which the plugin daemon reaches Dify, such as http://api:5001, and upload it again."
        )
    until = min(deadline, time.monotonic() + FILE_TIMEOUT_S)
    for attempt in range(ATTEMPTS):
        try:
            with _session(url) as session:
                return _download(session, url, what, limit, until)
        except _TryAgain as failure:
            pause = FIRST_PAUSE_S * 2**attempt
            if attempt + 1 == ATTEMPTS or time.monotonic() + pause > until:
                raise InputNotFetched(str(failure)) from None
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # such as half an IPv6 address
        return urlsplit("")


def _setting(url: str) -> str:
    """Where the address comes from: Dify signs those of its own files."""
    own = _OF_DIFY.fullmatch(url)
    query = parse_qs(own.group(1), keep_blank_values=True) if own else {}
    return SETTING if "sign" in query and query.keys() <= _SIGNED and all(query["sign"]) else LINK


class _PublicConnection(HTTPConnection):
    """Connects to hosts of the public Internet only, and raises :class:`_NotPublic` whatever else is there.

    The name is looked up once, and the socket connected to what was found: a second look-up could find another host.
    """

    def _new_conn(self) -> socket.socket:
        name, timeout = self._dns_host, self.timeout
        failure: Exception = _NotPublic()
        addresses = _public_addresses(name, self.port)
        until = time.monotonic() + (timeout or CONNECT_TIMEOUT_S)
        try:
            for position, address in enumerate(addresses):
                # What is left is shared out, so that silent addresses take no longer than one.
                self.timeout = max(until - time.monotonic(), 0.1) / (len(addresses) - position)
                self._dns_host = address
                try:
                    connected = super()._new_conn()
                except (ConnectTimeoutError, NewConnectionError) as error:
                    failure = error
                else:
                    connected.settimeout(timeout)  # the handshake of TLS is not to be shorter for it
                    return connected
        finally:
            self._dns_host, self.timeout = name, timeout
        raise failure


class _PublicTlsConnection(_PublicConnection, HTTPSConnection):
    """The same; the certificate is checked against the name."""


class _PublicPool(HTTPConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicTlsPool(HTTPSConnectionPool):
    ConnectionCls = _PublicTlsConnection


class _PublicHosts(HTTPAdapter):
    """Reaches hosts of the public Internet; where the environment sets a proxy, that decides what may be reached."""

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        """Have the connections that no proxy makes be made by :class:`_PublicConnection`."""
        super().init_poolmanager(*args, **settings)
        self.poolmanager.pool_classes_by_scheme = {"http": _PublicPool, "https": _PublicTlsPool}


def _public_addresses(name: str, port: int) -> list[str]:
    """The addresses of a host, each once. Raises :class:`_NotPublic` unless all of them are public."""
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)]
        public = all(_is_public(address) for address in found)
    except (OSError, ValueError):  # ValueError: what can be no name
        public = False
    if not public:
        raise _NotPublic
    return list(dict.fromkeys(found))


def _is_public(address: str) -> bool:
    host = ipaddress.ip_address(address)
    if isinstance(host, ipaddress.IPv6Address):
        return host.is_global and host in _HOSTS_V6 and host.sixtofour is None
    return host.is_global and not host.is_multicast and host not in _PROTOCOLS_V4


def _download(session: requests.Session, url: str, what: str, limit: int, until: float) -> bytes:
    """One attempt, following redirects on the same host only: the link is Dify's word for this host alone."""
    here = url
    for _ in range(MAX_REDIRECTS + 1):
        try:
            with session.get(here, stream=True, allow_redirects=False, timeout=_timeouts(until)) as response:
                if not response.is_redirect:
                    _check_status(response.status_code, what, url)
                    return read_capped(response, limit, until)
                here = urljoin(here, response.headers["Location"])
        except _NotPublic:  # tried again whatever the cause: a look-up may fail in passing, and nobody is told which
            raise _TryAgain(
                f"{what}: {_parts(here).hostname} is unknown, or not on the public Internet, where a link to a file "
                "has to lead. Check the link, upload the file itself, or give the link as image_id: the server's "
                "operator can allow it hosts of your network."
            ) from None
        except FAILURES as error:
            said = _said(what, explain(error, here, _setting(url)), url)
            raise (InputNotFetched if is_final(error) else _TryAgain)(said) from None
        except TooSlow:
            raise _TryAgain(_said(what, f"{host_of(here)} sends too slowly.", url)) from None
        except TooManyBytes:
            raise InputNotFetched(f"{what} is larger than {limit // 10**6} MB. Send a smaller one.") from None
        _check_redirect(url, here, what)
    raise InputNotFetched(f"{what}: {host_of(url)} redirects in a circle. Check {_setting(url)}.")


def _said(what: str, why: str, url: str) -> str:
    """Why a download failed, with the setting of its address named once; ``why`` names the host."""
    setting = _setting(url)
    return f"{what} could not be downloaded: {why}" + ("" if setting in why else f" The address comes from {setting}.")


def _check_redirect(url: str, target: str, what: str) -> None:
    """Raise :class:`InputNotFetched` where ``url`` may not redirect to ``target``."""
    parts = _parts(target)
    if parts.scheme not in {"http", "https"} or parts.hostname != _parts(url).hostname:
        where = f"another host, {host_of(target)},"
    elif _setting(url) is SETTING and _setting(target) is LINK:
        where = "another path"  # where nothing keeps the request from leading anywhere in the network
    else:
        return
    way_out = (
        "Give the address to which it leads."
        if _setting(url) is LINK
        else f"Set {SETTING} to the address that delivers the files itself."
    )
    raise InputNotFetched(f"{what}: {host_of(url)} redirects to {where} which is not followed. {way_out}")


def _timeouts(until: float) -> tuple[float, float]:
    left = max(until - time.monotonic(), 1.0)
    return min(CONNECT_TIMEOUT_S, left), min(READ_TIMEOUT_S, left)


def _check_status(status: int, what: str, url: str) -> None:
    if status < 300:
        return
    if status in _RETRIED:
        raise _TryAgain(_said(what, f"{host_of(url)} answered HTTP {status}.", url))
    if _setting(url) is LINK:
        raise InputNotFetched(f"{what}: {host_of(url)} answered HTTP {status}. Check the link, or upload the file.")
    raise InputNotFetched(
        f"{what}: {host_of(url)} answered HTTP {status}. Links to Dify's files expire after "
        f"FILES_ACCESS_TIMEOUT (300 seconds): upload it again, and check that {SETTING} is this Dify's address."
    )


def sniff(content: bytes) -> str | None:
    """Media type by the first bytes, whatever name or type came along; None where it is no image we know."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if content.startswith(b"BM") and content[6:10] == b"\x00\x00\x00\x00":
        return "image/bmp"
    return None
