"""Download the files that Dify hands to a tool: signed links that live about five minutes, so this comes first.

A file that somebody gave to Dify as a link comes with that link, which has to lead to a public host: whoever fills in a
form must not read, or find out by our errors, what stands in the network of the plugin daemon.
"""

import ipaddress
import socket
import time
from collections.abc import Sequence
from urllib.parse import SplitResult, urljoin, urlsplit

import requests

from tools.connection import FAILURES, TooManyBytes, TooSlow, explain, host_of, is_final, proxy_for, read_capped
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


class _TryAgain(Exception):
    """This attempt failed in a way that may pass; ``str()`` says how."""


def fetch_all(urls: Sequence[str], deadline: float) -> list[InputFile]:
    """Download images in order, each within a minute and ``deadline`` (``time.monotonic`` seconds).

    Raises :class:`InputNotFetched`, which names the host and the setting of Dify that decides it.
    """
    with _session() as session:
        return [
            _fetch_image(session, url, f"Image {position}", f"image-{position}", deadline)
            for position, url in enumerate(urls, start=1)
        ]


def fetch_mask(url: str | None, deadline: float) -> InputFile | None:
    """Download a mask, if there is one; limits and errors as of :func:`fetch_all`."""
    if url is None:
        return None
    with _session() as session:
        return _fetch_image(session, url, "The mask", "mask", deadline)


def fetch_table(url: str | None, deadline: float) -> bytes | None:
    """Download a file of rows, if there is one; errors as of :func:`fetch_all`."""
    if url is None:
        return None
    with _session() as session:
        return _fetch(session, url, "The file of rows", MAX_TABLE_BYTES, deadline)


def _session() -> requests.Session:
    session = requests.Session()
    session.auth = _anonymous
    return session


def _anonymous(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send no credentials, not even those that a .netrc may hold for the host."""
    return prepared


def _fetch_image(session: requests.Session, url: str, what: str, name: str, deadline: float) -> InputFile:
    content = _fetch(session, url, what, MAX_BYTES, deadline)
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


def _fetch(session: requests.Session, url: str, what: str, limit: int, deadline: float) -> bytes:
    """Download a file of at most ``limit`` bytes; ``what`` begins the sentences about it."""
    parts = _parts(url)
    if parts.scheme not in {"http", "https"}:
        raise InputNotFetched(
            f"{what} has no complete address, so Dify does not know its own: set {SETTING} to an address "
            "at which the plugin daemon reaches Dify, such as http://api:5001, and upload it again."
        )
    if _setting(url) is LINK:
        _check_public(parts, what)
    until = min(deadline, time.monotonic() + FILE_TIMEOUT_S)
    for attempt in range(ATTEMPTS):
        try:
            return _download(session, url, what, limit, until)
        except _TryAgain as failure:
            pause = FIRST_PAUSE_S * 2**attempt
            if attempt + 1 == ATTEMPTS or time.monotonic() + pause > until:
                said = f"{what} could not be downloaded from {host_of(url)}: {failure}"
                raise InputNotFetched(f"{said} The address comes from {_setting(url)}.") from None
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # such as half an IPv6 address
        return urlsplit("")


def _setting(url: str) -> str:
    """Where the address comes from: Dify signs those of its own files."""
    parts = _parts(url)
    return SETTING if "/files/" in parts.path and "sign=" in parts.query else LINK


def _check_public(link: SplitResult, what: str) -> None:
    """Raise :class:`InputNotFetched`, with the same words whatever is there, unless the host is a public one."""
    if proxy_for(link.geturl()) is not None:
        return  # which resolves names by itself, and decides what may be reached
    try:
        found = socket.getaddrinfo(link.hostname, link.port or 80, proto=socket.IPPROTO_TCP)
        public = all(ipaddress.ip_address(address[4][0]).is_global for address in found)
    except (OSError, ValueError):
        public = False
    if not public:
        raise InputNotFetched(
            f"{what}: {link.hostname} is not on the public Internet, where a link to a file has to lead. Upload the "
            "file itself, or give the link as image_id: the server's operator can allow it hosts of your network."
        )


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
        except FAILURES as error:
            sentence = explain(error, here, _setting(url))
            if is_final(error):
                raise InputNotFetched(f"{what} could not be downloaded: {sentence}") from None
            raise _TryAgain(sentence) from None
        except TooSlow:
            raise _TryAgain("The host sends too slowly.") from None
        except TooManyBytes:
            raise InputNotFetched(f"{what} is larger than {limit // 10**6} MB. Send a smaller one.") from None
        target = _parts(here)
        if target.scheme not in {"http", "https"} or target.hostname != _parts(url).hostname:
            way_out = (
                "Give the address to which it leads."
                if _setting(url) is LINK
                else f"Set {SETTING} to the address that delivers the files itself."
            )
            raise InputNotFetched(
                f"{what}: {host_of(url)} redirects to another host, {host_of(here)}, which is not followed. {way_out}"
            )
    raise InputNotFetched(f"{what}: {host_of(url)} redirects in a circle. Check {_setting(url)}.")


def _timeouts(until: float) -> tuple[float, float]:
    left = max(until - time.monotonic(), 1.0)
    return min(CONNECT_TIMEOUT_S, left), min(READ_TIMEOUT_S, left)


def _check_status(status: int, what: str, url: str) -> None:
    if status < 300:
        return
    if status in _RETRIED:
        raise _TryAgain(f"It answered HTTP {status}.")
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
