"""B13: the guard of fetched addresses against IANA's registries of special-purpose addresses, block by block.

The tables are the registries' own rows (iana-ipv4-special-registry, iana-ipv6-special-registry), and not what the
Python at hand knows of them: that differs from release to release.
"""

import ast
import inspect
import ipaddress

import pytest

from qwen_image_studio.guard import public_hosts
from qwen_image_studio.guard.public_hosts import is_public

IPV4 = {
    "0.0.0.0/8": '"This network"',
    "0.0.0.0/32": '"This host on this network"',
    "10.0.0.0/8": "Private-Use",
    "100.64.0.0/10": "Shared Address Space",
    "127.0.0.0/8": "Loopback",
    "169.254.0.0/16": "Link Local",
    "172.16.0.0/12": "Private-Use",
    "192.0.0.0/24": "IETF Protocol Assignments",
    "192.0.0.0/29": "IPv4 Service Continuity Prefix",
    "192.0.0.8/32": "IPv4 dummy address",
    "192.0.0.9/32": "Port Control Protocol Anycast",
    "192.0.0.10/32": "Traversal Using Relays around NAT Anycast",
    "192.0.0.170/32": "NAT64/DNS64 Discovery",
    "192.0.0.171/32": "NAT64/DNS64 Discovery",
    "192.0.2.0/24": "Documentation (TEST-NET-1)",
    "192.31.196.0/24": "AS112-v4",
    "192.52.193.0/24": "AMT",
    "192.88.99.0/24": "Deprecated (6to4 Relay Anycast)",
    "192.88.99.2/32": "6a44-relay anycast address",
    "192.168.0.0/16": "Private-Use",
    "192.175.48.0/24": "Direct Delegation AS112 Service",
    "198.18.0.0/15": "Benchmarking",
    "198.51.100.0/24": "Documentation (TEST-NET-2)",
    "203.0.113.0/24": "Documentation (TEST-NET-3)",
    "240.0.0.0/4": "Reserved",
    "255.255.255.255/32": "Limited Broadcast",
}
IPV6 = {
    "::1/128": "Loopback Address",
    "::/128": "Unspecified Address",
    "::ffff:0:0/96": "IPv4-mapped Address",
    "64:ff9b:1::/48": "IPv4-IPv6 Translat.",
    "100::/64": "Discard-Only Address Block",
    "100:0:0:1::/64": "Dummy IPv6 Prefix",
    "2001::/23": "IETF Protocol Assignments",
    "2001::/32": "TEREDO",
    "2001:1::1/128": "Port Control Protocol Anycast",
    "2001:1::2/128": "Traversal Using Relays around NAT Anycast",
    "2001:1::3/128": "DNS-SD Service Registration Protocol Anycast",
    "2001:2::/48": "Benchmarking",
    "2001:3::/32": "AMT",
    "2001:4:112::/48": "AS112-v6",
    "2001:10::/28": "Deprecated (previously ORCHID)",
    "2001:20::/28": "ORCHIDv2",
    "2001:30::/28": "Drone Remote ID Protocol Entity Tags (DETs) Prefix",
    "2001:db8::/32": "Documentation",
    "2002::/16": "6to4",
    "2620:4f:8000::/48": "Direct Delegation AS112 Service",
    "3fff::/20": "Documentation",
    "5f00::/16": "Segment Routing (SRv6) SIDs",
    "fc00::/7": "Unique-Local",
    "fe80::/10": "Link-Local Unicast",
}
BEYOND = {
    "224.0.0.0/4": "multicast, which has a registry of its own",
    "ff00::/8": "multicast",
    "fec0::/10": "site-local addresses, which were given up",
    "::/96": "IPv4-compatible addresses, which were given up",
    "4000::/2": "what is not given out yet",
}
NEXT_TO_A_BLOCK = [
    *["9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255"],
    *["169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.1.255", "192.0.3.0"],
    *["192.31.195.255", "192.31.197.0", "192.52.192.255", "192.52.194.0", "192.88.98.255", "192.88.100.0"],
    *["192.167.255.255", "192.169.0.0", "192.175.47.255", "192.175.49.0", "198.17.255.255", "198.20.0.0"],
    *["198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255", "1.0.0.0"],
    *["2000::", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"],
    *["2001:db9::", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::", "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff"],
    *["2620:4f:8001::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"],
    *["64:ff9b::1.0.0.0", "64:ff9b::8.8.8.8"],
]


def few_of(block: str) -> list[str]:
    """The edges of a block, their neighbours within, and addresses spread over it."""
    network = ipaddress.ip_network(block)
    first, count = int(network.network_address), network.num_addresses
    offsets = {0, 1, count // 3, count // 2, count - 2, count - 1} if count > 2 else {0}
    return [str(type(network.network_address)(first + offset)) for offset in sorted(offsets)]


@pytest.mark.parametrize("block", [*IPV4, *IPV6, *BEYOND])
def test_no_address_of_a_special_block_is_public(block: str) -> None:
    assert [address for address in few_of(block) if is_public(address)] == []


@pytest.mark.parametrize("block", IPV4)
def test_an_ipv4_block_is_not_public_in_ipv6_either(block: str) -> None:
    for address in few_of(block):
        for disguise in ("::ffff:{}", "::{}", "64:ff9b::{}", "2002:{}", "2600::5efe:{}"):
            high, low = divmod(int(ipaddress.IPv4Address(address)), 1 << 16)
            inner = f"{high:x}:{low:x}"
            assert not is_public(disguise.format(f"{inner}::" if disguise.startswith("2002") else inner))


@pytest.mark.parametrize("address", NEXT_TO_A_BLOCK)
def test_the_address_next_to_a_block_is_public(address: str) -> None:
    assert is_public(address)


def test_no_verdict_of_the_python_at_hand_decides() -> None:
    """ipaddress has such verdicts, and 3.11.7 takes 192.0.0.8, 192.88.99.1 and 3fff::/20 for public."""
    names = {
        node.attr for node in ast.walk(ast.parse(inspect.getsource(public_hosts))) if isinstance(node, ast.Attribute)
    }
    assert not {name for name in names if name.startswith("is_")} & {
        "is_global", "is_private", "is_reserved", "is_multicast", "is_link_local", "is_loopback", "is_unspecified",
    }  # fmt: skip
