"""Posting to what a user names: the same guard as for fetching, one answer, no redirect, and an end.

``test_fetch`` tries all spellings of private hosts; both go through ``guard.errand``.
"""

import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.guard.post import TOLD_CHARS, Answer, check_address, post
from tests.server.site import BODY, Site, Visit, behind_tls, raw, redirect, resolves_to, running
from tests.support.addresses import NOT_PUBLIC, PUBLIC

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def site() -> Iterator[Site]:
    """A server that runs during one test."""
    with running() as site:
        yield site


def posted(url: str, *, allow: tuple[str, ...] = (), timeout_s: float = 5) -> Answer:
    return post(url, b"{}", {"Content-Type": "application/json"}, timeout_s=timeout_s, allow=allow)


def refused(url: str, *allow: str) -> str | None:
    """Why the address is not taken; None where it is."""
    try:
        check_address(url, allow=allow, param="webhook_url")
    except StudioError as error:
        return f"{error.code} {error.message}" if error.param == "webhook_url" else "of another parameter"
    return None


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["https://hooks.example/a?b=c", "http://hooks.example:8080", "https://8.8.8.8/x"])
def test_plain_addresses_are_taken_without_a_look_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    really_look_up = socket.getaddrinfo

    def numbers_only(*asked: Any, **more: Any) -> Any:
        assert more["flags"] & socket.AI_NUMERICHOST, "no name server is asked"
        return really_look_up(*asked, **more)

    monkeypatch.setattr(socket, "getaddrinfo", numbers_only)
    assert refused(url) is None


@pytest.mark.parametrize(
    "url",
    [
        *["ftp://a/", "file:///etc/passwd", "hooks.example", "/hook", "http://", "http://user:pw@a/", "http://a b/"],
        *["http://a\\@b/", "http://[::1", "https://hooks.example/" + "a" * 9000],
    ],
)
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    assert str(refused(url)).startswith("url_not_allowed webhook_url: the address may not be called")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "localhost", "a.localhost"])
def test_what_is_private_by_its_name_is_refused_unless_allowed(host: str) -> None:
    assert "STUDIO_WEBHOOK_ALLOW" in str(refused(f"http://{host}:8000/"))
    assert refused(f"http://{host}:8000/", host) is None
    assert refused(f"http://{host}:8000/", f"{host}:8000") is None
    assert refused(f"http://{host}:8000/", f"{host}:8001") is not None


@pytest.mark.parametrize("address", [*NOT_PUBLIC, *PUBLIC])
def test_addresses_are_judged_as_those_of_pictures_are(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    assert (refused(f"https://{host}/") is None) is (address in PUBLIC)


def test_a_name_that_leads_to_a_private_host_is_not_reached(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, ["127.0.0.1"])
    answer = posted(f"http://hooks.example:{site.server_port}/")
    assert (answer.status, "public" in answer.told) == (None, True)
    assert site.connections == 0


def test_a_name_that_changes_its_address_is_looked_up_once_for_each_try(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_connect = socket.socket.connect
    asked = resolves_to(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    monkeypatch.setattr(socket.socket, "connect", lambda sock, _: really_connect(sock, ("127.0.0.1", site.server_port)))
    answer = posted(f"http://rebinding.example:{site.server_port}/")
    assert (answer.status, asked) == (None, ["rebinding.example"])
    assert site.seen == [], "its peer was judged at the socket"


# -- answers ---------------------------------------------------------------------------------------------------------


def test_an_allowed_host_gets_the_body_and_says_what_it_likes(site: Site) -> None:
    assert posted(f"http://{site.host}/hook?a=b", allow=(site.host,)) == Answer(200, BODY.decode("utf-8", "replace"))
    assert site.posted == [b"{}"]
    headers = site.seen[0]
    assert (headers["Content-Type"], headers["User-Agent"]) == ("application/json", "qwen-image-studio")
    assert headers.keys() == {"Host", "User-Agent", "Accept-Encoding", "Connection", "Content-Type", "Content-Length"}


def test_a_redirect_is_an_answer_and_is_not_followed(site: Site) -> None:
    with running() as canary:
        site.answers = {"/": redirect(f"http://{canary.host}/", 307)}
        assert posted(f"http://{site.host}/", allow=(site.host, canary.host)).status == 307
        assert canary.connections == 0


@pytest.mark.parametrize("head", [b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n-1\r\n"], ids=["plain", "chunk of -1"])
def test_an_endless_answer_counts_by_its_status(site: Site, head: bytes) -> None:
    def endless(visit: Visit) -> None:
        visit.wfile.write(OK + head)
        while not visit.server.closing.is_set():
            visit.wfile.write(b"x" * 65536)

    site.answers = {"/": endless}
    answer = posted(f"http://{site.host}/", allow=(site.host,))
    assert (answer.status, len(answer.told) <= TOLD_CHARS) == (200, True)


def test_a_body_that_never_comes_does_not_undo_the_status(site: Site) -> None:
    site.answers = {"/": raw(OK + b"Content-Length: 5\r\n\r\n", b"late", pause_s=60)}
    assert posted(f"http://{site.host}/", allow=(site.host,), timeout_s=0.5) == Answer(200)


@pytest.mark.parametrize("pieces", [(b"", b"x"), (b"H", *[b"T"] * 1000)], ids=["silent", "a byte at a time"])
def test_a_receiver_that_hangs_is_left_at_the_deadline(site: Site, pieces: tuple[bytes, ...]) -> None:
    site.answers = {"/": raw(*pieces, pause_s=0.1 if len(pieces) > 2 else 60)}
    assert posted(f"http://{site.host}/", allow=(site.host,), timeout_s=0.5) == Answer(None, "it took too long")


@pytest.mark.parametrize("answer", [raw(b"SSH-2.0\r\n"), raw()], ids=["not HTTP", "nothing"])
def test_what_is_no_answer_is_said_to_be_none(site: Site, answer: Callable[[Visit], None]) -> None:
    site.answers = {"/": answer}
    told = posted(f"http://{site.host}/", allow=(site.host,))
    assert (told.status, "broke off" in told.told) == (None, True)


def test_a_host_that_is_down_is_said_not_to_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        host = f"127.0.0.1:{unused.getsockname()[1]}"
    assert posted(f"http://{host}/", allow=(host,)) == Answer(None, "its host does not answer")


def test_a_certificate_is_checked_before_anything_is_sent(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind_tls(site, tmp_path)
    resolves_to(monkeypatch, ["127.0.0.1"])
    answer = posted(f"https://pictures.example:{site.server_port}/", allow=("pictures.example",))
    assert (answer.status, "certificate" in answer.told) == (None, True)
    assert site.posted == []


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("120", 120, 120),
        (" 7 ", 7, 7),
        (600, 300, 601),
        (-600, 0, 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(site: Site, value: str | int, least: float, most: float) -> None:
    """A number stands for the date that is so many seconds from now: cases have to be called the same everywhere."""
    sent = value if isinstance(value, str) else formatdate(time.time() + value, usegmt=True)
    site.answers = {"/": raw(b"HTTP/1.1 503 Busy\r\nRetry-After: " + sent.encode() + b"\r\n\r\n")}
    told = posted(f"http://{site.host}/", allow=(site.host,)).retry_after_s
    assert told is not None
    assert least <= told <= most


@pytest.mark.parametrize("value", ["soon", "-5", "1e9", "9" * 400, "Thu, 99 Foo 2026 00:00:00 GMT", ""])
def test_any_other_retry_after_is_none(site: Site, value: str) -> None:
    site.answers = {"/": raw(b"HTTP/1.1 503 Busy\r\nRetry-After: " + value.encode() + b"\r\n\r\n")}
    assert posted(f"http://{site.host}/", allow=(site.host,)) == Answer(503)
