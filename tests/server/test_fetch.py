"""Fetching what a user names: private networks are never touched, in no spelling and by no detour.

Real sockets: a server on loopback counts the connections that reach it. ``test_fetch_limits`` has bytes and time.
"""

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen_image_studio.guard import public_hosts
from qwen_image_studio.guard.public_hosts import is_public
from tests.server.site import BODY, Site, get, redirect, refusal, resolves_to, running
from tests.support import ROOT
from tests.support.addresses import NOT_PUBLIC, PUBLIC


@pytest.fixture
def site() -> Iterator[Site]:
    """A server that runs during one test."""
    with running() as site:
        yield site


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses to which sockets were to be connected; none is."""
    addresses: list[Any] = []

    def note(_: socket.socket, address: Any) -> None:
        addresses.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", note)
    return addresses


# What may be reached


def test_an_allowed_host_delivers(site: Site) -> None:
    for allow in (site.host, "127.0.0.1"):
        assert get(f"http://{site.host}/a%20b.png?x=1#part", allow=("other", allow)) == BODY
    assert site.connections == 2


def test_allowed_names_are_compared_whole_and_without_case(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, ["127.0.0.1"])
    assert get(f"http://Dify-API:{site.server_port}/", allow=("dify-api",)) == BODY
    assert get(f"http://dify-api:{site.server_port}/", allow=(f"DIFY-api:{site.server_port}",)) == BODY
    reached = site.connections
    for allow in ("dify", "dify-api:1", "api", "x.dify-api", "dify-api.x", f"127.0.0.1:{site.server_port}", ""):
        assert refusal(f"http://dify-api:{site.server_port}/", allow=(allow,)).code == "url_not_allowed"
    assert site.connections == reached


LOOPBACK = [
    *["127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "127.1", "127.0.1", "0x7f000001", "0x7f.1"],
    *["2130706433", "017700000001", "0177.0.0.1", "%6cocalhost", "127.0.0.%31", "0.0.0.0", "0", "127.255.255.254"],  # noqa: S104
    *["[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[0:0:0:0:0:ffff:127.0.0.1]"],
    *["[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[2001:0:0:0:0:0:80ff:fffe]", "[::1%25lo]"],
    *["①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "ⓛocalhost"],
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_is_not_reached_in_any_spelling(site: Site, host: str) -> None:
    assert refusal(f"http://{host}:{site.server_port}/").code in {"url_not_allowed", "url_not_fetched"}
    assert site.connections == 0


@pytest.mark.parametrize("host", [host for host in LOOPBACK if host.isascii() and not host.startswith("0177")])
def test_what_names_loopback_is_said_to_be_not_allowed(host: str) -> None:
    assert refusal(f"http://{host}/").code == "url_not_allowed"


@pytest.mark.parametrize(
    "url",
    [
        *["file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO", "ftp://example.com/a.png", "data:image/png;base64,AA"],
        *["javascript:alert(1)", "//example.com/a.png", "example.com/a.png", "/etc/passwd", "", "http://", "http:///a"],
        *["http://user:secret@example.com/", "http://user@example.com/", "http://example.com:80@127.0.0.1/", "http:a"],
        *["http://exa mple.com/", "http://example.com\\@127.0.0.1/", "http://example.com/\r\nHost: b", "\thttp://a/"],
        *["http://example.com:99999/", "http://[::1", "http://a[::1]/", "http://./", "http://../"],
        "http://example.com/" + "a" * 9000,
    ],
)
def test_only_plain_http_urls_are_allowed(dialled: list[Any], monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    asked = resolves_to(monkeypatch, ["8.8.8.8"])
    assert refusal(url).code == "url_not_allowed"
    assert (asked, dialled) == ([], [])


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_private_and_special_addresses_are_not_public(
    dialled: list[Any], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    assert not is_public(address)
    resolves_to(monkeypatch, [address])
    error = refusal("http://pictures.example/a.png")
    assert error.code == "url_not_allowed"
    assert address not in error.message
    assert dialled == []


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(dialled: list[Any], monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    assert is_public(address)
    resolves_to(monkeypatch, [address])
    assert refusal("https://pictures.example/a.png").code == "url_not_fetched"
    [[host, port, *_]] = dialled
    assert (ipaddress.ip_address(host), port) == (ipaddress.ip_address(address), 443)


def test_a_socket_that_has_come_to_a_private_peer_is_closed_before_anything_is_sent(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_connect = socket.socket.connect
    resolves_to(monkeypatch, ["8.8.8.8"])
    monkeypatch.setattr(socket.socket, "connect", lambda sock, _: really_connect(sock, ("127.0.0.1", site.server_port)))
    assert refusal("http://pictures.example/a.png").code == "url_not_allowed"
    assert site.seen == []


def test_the_plugin_has_the_same_guard() -> None:
    source, copy = Path(public_hosts.__file__), ROOT / "tools/public_hosts.py"
    assert source.read_bytes() == copy.read_bytes(), f"run: cp {source.relative_to(ROOT)} tools/ and commit the copy"


def test_an_allowed_ipv6_host_is_written_in_brackets(dialled: list[Any]) -> None:
    for allow in ("[::1]", "[::1]:8080"):
        assert refusal("http://[::1]:8080/", allow=(allow,)).code == "url_not_fetched"
    assert refusal("http://[::1]:8080/", allow=("::1:8080", "[::1]:80")).code == "url_not_allowed"
    assert [address[:2] for address in dialled] == [("::1", 8080)] * 2


def test_one_private_address_among_public_ones_is_enough(dialled: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, ["8.8.8.8", "127.0.0.1"])
    assert refusal("http://pictures.example/").code == "url_not_allowed"
    assert dialled == []


def test_a_name_that_changes_its_address_is_looked_up_once(
    site: Site, dialled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolves_to(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    assert refusal(f"http://rebinding.example:{site.server_port}/").code == "url_not_fetched"
    assert asked == ["rebinding.example"]
    assert dialled == [("8.8.8.8", site.server_port)]
    assert site.connections == 0


def test_a_refusal_does_not_tell_whether_anything_listens(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        free = unused.getsockname()[1]
    closed, listening = (refusal(f"http://127.0.0.1:{port}/") for port in (free, site.server_port))
    assert closed.message == listening.message
    assert "127.0.0.1" not in listening.message


def test_proxies_and_passwords_of_the_environment_are_not_used(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(f"http://{site.host}/", allow=(site.host,)) == BODY
    assert set(site.seen[0]) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}


@given(url=st.text(max_size=60) | st.from_regex(r"https?://[^/]{0,30}/.{0,10}", fullmatch=True))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_answered_with_an_error_of_ours(
    dialled: list[Any], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    resolves_to(monkeypatch, ["127.0.0.1"])
    assert refusal(url).code == "url_not_allowed"
    assert dialled == []


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(site: Site, status: int) -> None:
    site.answers = {"/a": redirect("/b", status), "/b": redirect("c?x=1"), "/c": redirect(f"http://{site.host}/d")}
    assert get(f"http://{site.host}/a", allow=(site.host,)) == BODY
    assert site.connections == 4


def test_the_fourth_redirect_is_too_many(site: Site) -> None:
    site.answers = {"/a": redirect("/a")}
    error = refusal(f"http://{site.host}/a", allow=(site.host,))
    assert (error.code, site.connections) == ("url_not_fetched", 4)
    assert "redirects" in error.message


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/", "http://localhost:{port}/x", "//127.1:{port}/"])
def test_a_redirect_to_a_private_host_is_refused_unvisited(site: Site, target: str) -> None:
    with running() as allowed:
        allowed.answers = {"/": redirect(target.format(port=site.server_port))}
        assert refusal(f"http://{allowed.host}/", allow=(allowed.host,)).code == "url_not_allowed"
    assert (allowed.connections, site.connections) == (1, 0)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://a/", "http://[::1", "http://u:p@a/", "data:,x"])
def test_a_redirect_to_what_is_not_http_is_refused(site: Site, target: str) -> None:
    site.answers = {"/": redirect(target)}
    assert refusal(f"http://{site.host}/", allow=("127.0.0.1",)).code == "url_not_allowed"
