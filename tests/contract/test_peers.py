"""Where a request comes from: forwarded headers count from named proxies alone, and a forged one never does."""

from ipaddress import ip_network

import pytest
from pydantic import ValidationError
from werkzeug.datastructures import Headers

from qwen_image_studio.settings import Settings
from qwen_image_studio.web.peers import peer_of

PROXIES = [ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")]


@pytest.mark.parametrize(
    ("socket_end", "sent", "peer"),
    [
        # nobody's word counts but a named proxy's
        ("203.0.113.9", {}, "203.0.113.9"),
        ("203.0.113.9", {"X-Forwarded-For": "192.0.2.1"}, "203.0.113.9"),
        ("203.0.113.9", {"Forwarded": "for=192.0.2.1"}, "203.0.113.9"),
        # a proxy says whom it heard
        ("10.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, "192.0.2.1"),
        ("10.0.0.1", {"Forwarded": 'for="[2001:db8::7]:4711";proto=https'}, "2001:db8::7"),
        ("10.0.0.1", {"Forwarded": "proto=https;For=192.0.2.1;by=10.0.0.1"}, "192.0.2.1"),
        ("2001:db8:1::1", {"X-Forwarded-For": "192.0.2.1:55123"}, "192.0.2.1"),
        ("::ffff:10.0.0.1", {"X-Forwarded-For": "::ffff:192.0.2.1"}, "192.0.2.1"),
        ("10.0.0.1", {}, "10.0.0.1"),
        # what a caller put before is no proxy's word
        ("10.0.0.1", {"X-Forwarded-For": "127.0.0.1, 192.0.2.1"}, "192.0.2.1"),
        ("10.0.0.1", {"X-Forwarded-For": "127.0.0.1, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"),
        ("10.0.0.1", {"X-Forwarded-For": "10.9.9.9, 192.0.2.1"}, "192.0.2.1"),
        ("10.0.0.1", {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=127.0.0.1"}, "192.0.2.1"),
        ("10.0.0.1", {"Forwarded": "for=127.0.0.1, for=192.0.2.1"}, "192.0.2.1"),
        # what is no address ends the walk
        ("10.0.0.1", {"X-Forwarded-For": "192.0.2.1, unknown"}, "10.0.0.1"),
        ("10.0.0.1", {"X-Forwarded-For": "\x1b[2J"}, "10.0.0.1"),
        ("10.0.0.1", {"Forwarded": "for=_hidden"}, "10.0.0.1"),
        ("10.0.0.1", {"Forwarded": "nonsense"}, "10.0.0.1"),
        ("10.0.0.1", {"X-Forwarded-For": ", ".join(["10.0.0.9"] * 5000)}, "10.0.0.9"),
        (None, {"X-Forwarded-For": "192.0.2.1"}, None),
        ("", {}, None),
    ],
)
def test_the_peer_is_the_first_that_no_named_proxy_is(
    socket_end: str | None, sent: dict[str, str], peer: str | None
) -> None:
    assert peer_of(socket_end, Headers(sent), PROXIES) == peer


def test_a_header_that_came_several_times_is_one_list() -> None:
    headers = Headers([("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-For", "192.0.2.1")])
    assert peer_of("10.0.0.1", headers, PROXIES) == "192.0.2.1"


def test_a_setting_that_names_no_network_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings(_env_file=None, trusted_proxies="10.0.0.1, nginx")
    assert len(Settings(_env_file=None, trusted_proxies="10.0.0.1,10.1.0.0/16, ::1").proxies) == 3
