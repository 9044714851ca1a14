"""Hosts of the public Internet: which addresses are public, and connections of urllib3 that reach no other.

The server and the plugin, which are deployed apart, both have this file: guard/public_hosts.py is the source, and
tools/public_hosts.py its copy. A test holds them equal.
"""

import http.client
import io
import ipaddress
import math
import queue
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

NOT_PUBLIC_V4 = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # shared behind a provider's NAT
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local, with the metadata services of clouds
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocols, also those that are answered by the nearest network (.9, .10)
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112, answered by the nearest network
    "192.52.193.0/24",  # AMT relays, likewise
    "192.88.99.0/24",  # 6to4 relays, likewise, and abandoned
    "192.168.0.0/16",  # private
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
)
"""IPv4 ranges in which nobody publishes: those of IANA's special-purpose registry, and multicast."""
UNICAST_V6 = "2000::/3"
"""IPv6 range that is given out to hosts. Outside of it are loopback, private, link- and site-local addresses,
multicast, and IPv4 within IPv6 in most forms (mapped, compatible, locally translated)."""
NOT_PUBLIC_V6 = (
    "2001::/23",  # protocols: Teredo, benchmarks, ORCHID and more
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4, which holds an IPv4 address
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation
)
"""IPv6 ranges within UNICAST_V6 in which nobody publishes, by the same registry."""
TRANSLATED_V6 = "64:ff9b::/96"
"""NAT64: in networks with IPv6 alone every IPv4 host has such an address, so the IPv4 address within decides."""

_V4 = tuple(map(ipaddress.IPv4Network, NOT_PUBLIC_V4))
_V6 = tuple(map(ipaddress.IPv6Network, NOT_PUBLIC_V6))
_HOSTS, _NAT64 = ipaddress.IPv6Network(UNICAST_V6), ipaddress.IPv6Network(TRANSLATED_V6)
_CONNECT_S = 10.0
_LEAST_S = 0.1


class HostUnknown(Exception):
    """The host's name could not be looked up in time."""


class HostNotPublic(Exception):
    """The host has an address that is not public."""


def is_public(address: str) -> bool:
    """Return whether an IP address, as getaddrinfo and getpeername write it, is one of the public Internet."""
    host = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(host, ipaddress.IPv4Address):
        return not any(host in network for network in _V4)
    if host in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(host) & 0xFFFFFFFF)))
    isatap = (int(host) >> 32) & 0xFDFFFFFF == 0x5EFE  # RFC 5214: IPv4 within, marked by 0000:5efe or 0200:5efe
    return host in _HOSTS and not isatap and not any(host in network for network in _V6)


class PublicConnection(HTTPConnection):
    """A connection that is over by a deadline, to a host that has public addresses alone.

    The name is looked up once, all its addresses are judged, the socket is connected to one of them, and its peer is
    judged again before anything is sent: there is no second look-up that could find another host (DNS rebinding).
    Raises HostUnknown and HostNotPublic beside urllib3's errors.
    """

    only_public: bool = True
    """False for a host that may have any address."""
    deadline: float = math.inf
    """Time on the monotonic clock, in seconds, by which look-up, connection and answer end."""

    def _new_conn(self) -> socket.socket:
        name, timeout = self._dns_host, self.timeout
        addresses = self._addresses(name)
        until = min(self.deadline, time.monotonic() + (timeout or _CONNECT_S))
        failure: Exception = HostUnknown()
        try:
            for position, address in enumerate(addresses):
                left = until - time.monotonic()
                if position and left <= 0:
                    break
                # The remaining time is divided among the addresses, so that many silent ones take no longer than one.
                self._dns_host, self.timeout = address, max(left / (len(addresses) - position), _LEAST_S)
                try:
                    return self._judged(super()._new_conn(), timeout)
                except (ConnectTimeoutError, NewConnectionError) as error:
                    failure = error
        finally:
            self._dns_host, self.timeout = name, timeout
        raise failure

    def _addresses(self, name: str) -> list[str]:
        """Return the addresses of a host, each once. They are looked up in a thread, as a look-up has no time limit."""
        answers: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

        def look_up() -> None:
            found: list[str] = []
            with suppress(OSError, UnicodeError):  # UnicodeError: a label that no name can have
                entries = socket.getaddrinfo(name, self.port, type=socket.SOCK_STREAM)
                found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
            answers.put(found)

        threading.Thread(target=look_up, name="look-up", daemon=True).start()
        found: list[str] = []
        with suppress(queue.Empty):
            left = self.deadline - time.monotonic()
            found = answers.get(timeout=max(left, 0) if math.isfinite(left) else None)
        if not found:
            raise HostUnknown
        if self.only_public and not all(map(is_public, found)):
            raise HostNotPublic
        return found

    def _judged(self, sock: socket.socket, timeout: float | None) -> socket.socket:
        """Return a connected socket with a limit for what follows, such as a handshake, if its peer may be reached."""
        if self.only_public and not is_public(sock.getpeername()[0]):
            sock.close()
            raise HostNotPublic
        sock.settimeout(_shorter(timeout, self.deadline))
        return sock

    def response_class(self, sock: socket.socket, *args: Any, **more: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        """Return a response that is read within the deadline; http.client calls this."""
        response = http.client.HTTPResponse(sock, *args, **more)
        response.fp.close()
        response.fp = io.BufferedReader(_TimelyReader(sock, self.deadline))
        return response


class PublicTlsConnection(PublicConnection, HTTPSConnection):
    """The same over TLS; the certificate is checked against the host's name."""


class _TimelyReader(io.RawIOBase):
    """What a socket receives, until a deadline. The socket's own limit starts anew with every byte that arrives."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline, self._timeout = sock, deadline, sock.gettimeout()
        self._received = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """Return True: BufferedReader asks."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Receive what is there, or wait for it. Raises TimeoutError."""
        if self._deadline <= time.monotonic():
            raise TimeoutError("the deadline is over")
        self._sock.settimeout(_shorter(self._timeout, self._deadline))
        return self._received.readinto(buffer)

    def close(self) -> None:
        """Give the socket back."""
        self._received.close()
        super().close()


def _shorter(timeout: float | None, deadline: float) -> float | None:
    """Return the shorter of a time limit and what is left until a deadline, in seconds; None where there is neither."""
    left = math.inf if timeout is None else timeout
    left = min(left, max(deadline - time.monotonic(), _LEAST_S / 100))
    return left if math.isfinite(left) else None
