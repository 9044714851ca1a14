"""Where a request comes from: the socket's other end, or what a proxy that the operator named says of it.

Anybody can send these headers. They are read only where the socket's other end is a named proxy, and from the right,
where each proxy adds whom it has heard: the first address there that is no named proxy is the caller's.
"""

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from werkzeug.datastructures import Headers

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]
_FOR = re.compile(r"""for=("[^"]*"|[^;,\s]*)""", re.IGNORECASE)
_MOST_HOPS = 20


def peer_of(socket_end: str | None, headers: Headers, proxies: Networks) -> str | None:
    """Return the address of a request's caller; None where the socket has none.

    `X-Forwarded-For` counts where it is there, else `Forwarded` (RFC 7239). An entry that is no address ends the walk:
    the last proxy before it is returned.
    """
    here = _address(socket_end or "")
    if here is None:
        return None
    for entry in _said(headers):
        if not _is_among(here, proxies):
            break
        before = _address(entry)
        if before is None:
            break
        here = before
    return str(here)


def _said(headers: Headers) -> Iterator[str]:
    """Yield what proxies said, the last one's word first."""
    if said := headers.getlist("X-Forwarded-For"):
        entries = ",".join(said).split(",")
    else:
        found = (_FOR.search(element) for element in ",".join(headers.getlist("Forwarded")).split(","))
        entries = [match[1].strip('"') if match else "" for match in found]
    yield from list(reversed(entries))[:_MOST_HOPS]


def _address(entry: str) -> Address | None:
    """Return the address in an entry such as ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` and ``[2001:db8::1]:80``;
    None for anything else.
    """
    entry = entry.strip()
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        found = ip_address(entry.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _is_among(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks)
