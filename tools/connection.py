"""Sentences for what can go wrong between two machines; and reading bytes with a limit.

This module knows HTTP and the proxies of the environment, and nothing of the server's contract.
"""

import ssl
import time
from urllib.parse import urlsplit

import requests
import urllib3
from requests.exceptions import InvalidProxyURL, InvalidSchema, InvalidURL
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import (
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProxySchemeUnknown,
    ReadTimeoutError,
)
from urllib3.util.ssl_match_hostname import CertificateError

CHUNK_BYTES = 64 * 1024
FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError)
"""Errors that an exchange can end with: mostly those of requests before a body, and of urllib3 within it."""
SERVER_URL = "server_url"
"""Name of the only address that is a setting of the plugin; all others come from Dify or from a person."""
_AT_ONCE_S = 0.5
"""Seconds by which two measures of one deadline may differ."""
_ENDED_EARLY = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""Errors of a TLS connection whose other side just ended it."""


class TooManyBytes(Exception):
    """The body is larger than the limit."""


class TooSlow(Exception):
    """The body did not end before the deadline."""


def host_of(url: str) -> str:
    """Return host and port of a URL, without user, password, path or query (which may carry a signature)."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "?", parts.port
    except ValueError:  # half an IPv6 address, or a port past 65535
        return "?"
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


def proxy_for(url: str) -> str | None:
    """Return the host of the proxy that the environment sets for ``url``; None where there is no proxy."""
    proxy = select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return None
    return host_of(proxy if "://" in proxy else f"http://{proxy}")


def proxy_advice(url: str) -> str:
    """Return a sentence that names the proxy in use and the way around it; empty without a proxy."""
    proxy = proxy_for(url)
    if proxy is None:
        return ""
    return (
        f" The plugin daemon's environment sends this through the proxy {proxy}; if {host_of(url)} is reachable "
        f"without it, add {urlsplit(url).hostname} to NO_PROXY of the plugin daemon."
    )


def is_final(error: Exception) -> bool:
    """Return whether trying again is useless, since the URL or the certificate is wrong."""
    return _is_malformed(error) or _is_about_tls(error)


def explain(error: Exception, url: str, setting: str) -> str:
    """Return why ``url`` was not reached and what to do, in plain sentences; ``setting`` names the URL's origin."""
    host = host_of(url)
    if _is_about_a_proxys_address(error, url):
        return (
            f"{host} cannot be reached: the address of the proxy that the plugin daemon's environment sets for it "
            f"cannot be used. Write it like http://proxy:3128 (SOCKS is not supported), or add "
            f"{urlsplit(url).hostname} to NO_PROXY of the plugin daemon."
        )
    return _cause(error, host, setting) + ("" if _is_malformed(error) else proxy_advice(url))


def is_timeout(error: Exception) -> bool:
    """Return whether the other side accepted a connection and did not answer in time."""
    late = isinstance(error, requests.exceptions.Timeout) or _comes_from(error, ReadTimeoutError, TimeoutError)
    return late and not isinstance(error, requests.exceptions.ConnectTimeout)


def _is_malformed(error: Exception) -> bool:
    return isinstance(error, ValueError)  # errors of requests about a URL are ValueErrors too, all others are not


def _is_about_a_proxys_address(error: Exception, url: str) -> bool:
    # requests wraps an error of urllib3 about the proxy's address; about the URL itself it passes on the text alone.
    of_proxy = isinstance(error, InvalidProxyURL | InvalidSchema) or (
        isinstance(error, InvalidURL) and _comes_from(error, LocationParseError, ProxySchemeUnknown)
    )
    return of_proxy and proxy_for(url) is not None


def _is_about_tls(error: Exception) -> bool:
    # A server that dies during the handshake ends it early; that is a lost connection like any other.
    return isinstance(error, requests.exceptions.SSLError) and not _comes_from(error, *_ENDED_EARLY)


def _comes_from(error: BaseException, *kinds: type[BaseException]) -> bool:
    """Return whether an error is of one of these kinds, or wraps one that is.

    requests wraps what urllib3 raises, and urllib3 what ssl and socket raise: as an argument, a reason or a cause.
    """
    here: BaseException | None = error
    seen: set[int] = set()
    while here is not None and id(here) not in seen:
        if isinstance(here, kinds):
            return True
        seen.add(id(here))
        wrapped = (getattr(here, "reason", None), here.__cause__, *here.args)
        here = next((each for each in wrapped if isinstance(each, BaseException)), None)
    return False


def _cause(error: Exception, host: str, setting: str) -> str:
    if _is_malformed(error):
        advice = "; write it like http://gpu-box:8300." if setting == SERVER_URL else "."
        return f"{setting} is not a usable address{advice}"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"{host} could not be reached through the proxy."
    if _is_about_tls(error):
        return _tls_cause(error, host, setting)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"{host} did not accept a connection in time. Check {setting}, the firewall and that the machine is on."
    if is_timeout(error):
        return f"{host} accepted the connection but did not answer in time. It may be overloaded; look at its log."
    if _comes_from(error, NameResolutionError):
        return f"The host name {host} is not known where the plugin daemon runs. Check {setting} and DNS."
    if _comes_from(error, ConnectionRefusedError):
        return (
            f"{host} refused the connection: nothing listens there. Start the server, check the port in {setting}; "
            "inside Docker, localhost is the container itself."
        )
    if _comes_from(error, NewConnectionError):
        return f"{host} cannot be reached from the plugin daemon. Check {setting} and the network between."
    return f"The connection to {host} broke off. Check that the server runs and look at its log."


def _tls_cause(error: Exception, host: str, setting: str) -> str:
    if _comes_from(error, ssl.SSLCertVerificationError, CertificateError):
        advice = (
            "Install a certificate that the plugin daemon trusts, or, for a self-signed one on your own network, "
            "switch verify_tls off."
            if setting == SERVER_URL
            else "The authority that issued it has to be in the plugin daemon's trust store (REQUESTS_CA_BUNDLE)."
        )
        return f"The TLS certificate of {host} could not be verified. {advice}"
    return f"{host} does not speak TLS as asked. Check whether {setting} should start with http:// instead of https://."


def read_capped(response: requests.Response, limit: int, deadline: float) -> bytes:
    """Read a streamed body of at most ``limit`` bytes before ``deadline`` (``time.monotonic`` seconds).

    Raises :class:`TooManyBytes`, :class:`TooSlow` or what urllib3 raises on a broken connection.
    """
    # A server may announce any length or none, so bytes are counted as they arrive. They are read as they arrive, too:
    # waiting for a whole chunk could take forever while a byte comes now and then.
    content = bytearray()
    while chunk := _next_chunk(response, deadline):
        content += chunk
        if len(content) > limit:
            raise TooManyBytes
        if time.monotonic() > deadline:
            raise TooSlow
    return bytes(content)


def _next_chunk(response: requests.Response, deadline: float) -> bytes:
    try:
        return bytes(response.raw.read1(CHUNK_BYTES, decode_content=True))
    except FAILURES as error:
        if is_timeout(error) and time.monotonic() > deadline - _AT_ONCE_S:
            raise TooSlow from None  # the connection itself keeps the deadline as well
        raise
