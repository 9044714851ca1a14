"""Downloads of the files that Dify hands to a tool. Their signed links live about five minutes, so this comes first.

A file that a person gave to Dify as a link comes with that link, which has to lead to a public host: a person who fills
in a form must not be able to read what is in the network of the plugin daemon, or learn about it from our errors. One
gap remains, since a link in the exact form of Dify's own cannot be told from a forged one: by writing such a link, a
person can learn whether a host of that network answers, and read a file that another service keeps at such a path.
"""

import re
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qs, urljoin, urlsplit

import requests

from tools.connection import FAILURES, TooManyBytes, TooSlow, explain, host_of, is_final, is_timeout, read_capped
from tools.errors import InputNotFetched
from tools.formats import media_type, refusal_of, suffix
from tools.public_hosts import HostNotPublic, HostUnknown, PublicConnection, PublicTlsConnection
from tools.timely import Pools, TimelyAdapter, pools_of
from tools.views import InputFile

MAX_BYTES = 20_000_000  # the server's own limit, which would be checked only after the upload
MAX_TABLE_BYTES = 2_000_000
ATTEMPTS = 3
FIRST_PAUSE_S = 0.4
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
FILE_TIMEOUT_S = 60.0
MAX_REDIRECTS = 3
SETTING = "FILES_URL (or INTERNAL_FILES_URL) of Dify"
"""Setting that the addresses of Dify's own files come from, as errors name it."""
LINK = "the link"
"""Origin of all other addresses, as errors name it."""

_ABOUT_FULL_DIFY = (
    " Where many people run apps at once, Dify's own connections may be used up: raise SERVER_WORKER_CONNECTIONS of "
    "Dify's API (10 as shipped), such as to 200."
)

_RETRIED = {408, 429, 500, 502, 503, 504}
# Matches the whole address, so that no two parsers can disagree about where the host ends and the path begins.
_OF_DIFY = re.compile(
    r"https?://[\w.:\[\]-]+(?:/[A-Za-z0-9_-]+)*/files/(?:tools/|datasources/)?"
    r"[A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9]{1,16}|/file-preview|/image-preview)?\?([A-Za-z0-9_=&%.~-]+)",
    re.IGNORECASE,
)
_SIGNED = {"timestamp", "nonce", "sign", "as_attachment"}


class _TryAgain(Exception):
    """The attempt failed, but another one may succeed; ``str()`` is the sentence for when none does."""


def fetch_all(urls: Sequence[str], deadline: float) -> list[InputFile]:
    """Return the images, downloaded in order, each within a minute and before ``deadline`` (``time.monotonic``).

    Raises :class:`InputNotFetched`, which names the host and the setting of Dify that the address comes from.
    """
    return [
        _fetch_image(url, f"Image {position}", f"image-{position}", deadline)
        for position, url in enumerate(urls, start=1)
    ]


def fetch_mask(url: str | None, deadline: float) -> InputFile | None:
    """Return the mask, downloaded, or None; limits and errors are those of :func:`fetch_all`."""
    return None if url is None else _fetch_image(url, "The mask", "mask", deadline)


def fetch_table(url: str | None, deadline: float) -> bytes | None:
    """Return the file of rows, downloaded, or None; errors are those of :func:`fetch_all`."""
    return None if url is None else _fetch(url, "The file of rows", MAX_TABLE_BYTES, deadline)


def _session(url: str, until: float) -> requests.Session:
    session = requests.Session()
    session.auth = _anonymous
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Hosts(until, only_public=_setting(url) is LINK))
    return session


def _anonymous(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return the request without credentials, not even those that a .netrc may hold for the host."""
    return prepared


def _fetch_image(url: str, what: str, name: str, deadline: float) -> InputFile:
    content = _fetch(url, what, MAX_BYTES, deadline)
    mime_type = media_type(content)
    if mime_type is None:
        elsewhere = f" If it is one in Dify, {SETTING} leads to something else than Dify."
        raise InputNotFetched(
            refusal_of(content, f"{what} from {host_of(url)}")
            or f"{what} from {host_of(url)} is no image of a kind that can be read. Send a PNG, JPEG or WebP."
            + (elsewhere if _setting(url) is SETTING else "")
        )
    # The person's own name for the file stays in Dify, since the server has no use for it.
    return InputFile(f"{name}.{suffix(mime_type)}", mime_type, content)


def _fetch(url: str, what: str, limit: int, deadline: float) -> bytes:
    """Return a file of at most ``limit`` bytes, downloaded; ``what`` is its name in error sentences."""
    if _parts(url).scheme not in {"http", "https"}:
        raise InputNotFetched(
            f"{what} has no complete address, so Dify does not know its own: set {SETTING} to an address "
            "at which the plugin daemon reaches Dify, such as http://api:5001, and upload it again."
        )
    until = min(deadline, time.monotonic() + FILE_TIMEOUT_S)
    for attempt in range(ATTEMPTS):
        try:
            with _session(url, until) as session:
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
    """Return where the address comes from: Dify signs those of its own files."""
    own = _OF_DIFY.fullmatch(url)
    query = parse_qs(own.group(1), keep_blank_values=True) if own else {}
    return SETTING if "sign" in query and query.keys() <= _SIGNED and all(query["sign"]) else LINK


class _Hosts(TimelyAdapter):
    """An adapter for all hosts, or those of the public Internet alone; where the environment sets a proxy, the proxy
    decides instead.
    """

    def __init__(self, until: float, *, only_public: bool) -> None:
        """End every connection at `until`, in seconds of the monotonic clock."""
        self._limits: dict[str, Any] = {"deadline": until, "only_public": only_public}
        super().__init__(lambda: until)

    def direct_pools(self) -> Pools:
        """Return the pools of connections that look up, connect and answer before the deadline."""
        return pools_of(PublicConnection, PublicTlsConnection, self._limits)


def _download(session: requests.Session, url: str, what: str, limit: int, until: float) -> bytes:
    """Download once, following redirects on the same host only, since the link vouches for no other host."""
    here = url
    for _ in range(MAX_REDIRECTS + 1):
        try:
            with session.get(here, stream=True, allow_redirects=False, timeout=_timeouts(until)) as response:
                if not response.is_redirect:
                    _check_status(response.status_code, what, url)
                    return read_capped(response, limit, until)
                here = urljoin(here, response.headers["Location"])
        except (HostNotPublic, HostUnknown):  # tried again in any case: a look-up may fail once
            if _setting(url) is SETTING:
                host = host_of(here)
                why = f"The host name {host} is not known where the plugin daemon runs. Check {SETTING} and DNS."
                raise _TryAgain(_failure(what, why, url)) from None
            raise _TryAgain(  # in the same words for both, since the cause is hidden
                f"{what}: {_parts(here).hostname} is unknown, or not on the public Internet, where a link to a file "
                "has to lead. Check the link, upload the file itself, or give the link as image_id: the server's "
                "operator can allow it hosts of your network."
            ) from None
        except FAILURES as error:
            said = _failure(what, explain(error, here, _setting(url)), url)
            said += _ABOUT_FULL_DIFY if is_timeout(error) and _setting(url) is SETTING else ""
            raise (InputNotFetched if is_final(error) else _TryAgain)(said) from None
        except TooSlow:
            said = _failure(what, f"{host_of(here)} sends too slowly.", url)
            raise _TryAgain(said + (_ABOUT_FULL_DIFY if _setting(url) is SETTING else "")) from None
        except TooManyBytes:
            raise InputNotFetched(f"{what} is larger than {limit // 10**6} MB. Send a smaller one.") from None
        _check_redirect(url, here, what)
    raise InputNotFetched(f"{what}: {host_of(url)} redirects in a circle. Check {_setting(url)}.")


def _failure(what: str, why: str, url: str) -> str:
    """Return the sentence on a failed download, which names the origin of its address once; ``why`` names the host."""
    setting = _setting(url)
    return f"{what} could not be downloaded: {why}" + ("" if setting in why else f" The address comes from {setting}.")


def _check_redirect(url: str, target: str, what: str) -> None:
    """Raise :class:`InputNotFetched` where ``url`` may not redirect to ``target``."""
    parts = _parts(target)
    if parts.scheme not in {"http", "https"} or parts.hostname != _parts(url).hostname:
        where = f"another host, {host_of(target)},"
    elif _setting(url) is SETTING and _setting(target) is LINK:
        where = "another path"  # which nothing would keep out of the daemon's network
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
        raise _TryAgain(_failure(what, f"{host_of(url)} answered HTTP {status}.", url))
    if _setting(url) is LINK:
        raise InputNotFetched(f"{what}: {host_of(url)} answered HTTP {status}. Check the link, or upload the file.")
    raise InputNotFetched(
        f"{what}: {host_of(url)} answered HTTP {status}. Links to Dify's files expire after "
        f"FILES_ACCESS_TIMEOUT (300 seconds): upload it again, and check that {SETTING} is this Dify's address."
    )
