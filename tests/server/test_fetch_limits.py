"""Fetching ends: within its bytes, in its time, over TLS that is checked, and with everything cleaned up."""

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen_image_studio.guard.errand import tls
from tests.server.site import BODY, Site, Visit, behind_tls, get, raw, redirect, refusal, resolves_to, running


@pytest.fixture
def site() -> Iterator[Site]:
    """A server that runs during one test."""
    with running() as site:
        yield site


OK = b"HTTP/1.1 200 OK\r\n"
UNTIL_CLOSED = raw(OK + b"\r\n", b"x" * 1001)


@pytest.mark.parametrize(
    "answer",
    [
        raw(OK + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001),
        raw(OK + b"Content-Length: 99999999999999\r\n\r\n"),
        UNTIL_CLOSED,
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n", *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 11, b"0\r\n\r\n"),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffff\r\n", b"x" * 5000),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 5000),
    ],
    ids=["length told", "huge length told", "until closed", "chunked", "one huge chunk", "a chunk of -1"],
)
def test_a_body_beyond_the_limit_is_refused(site: Site, answer: Callable[[Visit], None]) -> None:
    site.answers = {"/": answer}
    error = refusal(f"http://{site.host}/", allow=(site.host,))
    assert error.code == "url_not_fetched"
    assert "larger than 0.001 MB" in error.message


@pytest.mark.parametrize(
    "answer",
    [
        raw(OK + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000),
        raw(OK + b"\r\n" + b"x" * 1000),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n", *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 10, b"0\r\n\r\n"),
    ],
    ids=["length told", "until closed", "chunked"],
)
def test_a_body_at_the_limit_is_taken(site: Site, answer: Callable[[Visit], None]) -> None:
    site.answers = {"/": answer}
    assert get(f"http://{site.host}/", allow=(site.host,)) == b"x" * 1000


@pytest.mark.parametrize("head", [b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n-1\r\n"], ids=["plain", "chunk of -1"])
def test_an_endless_body_is_not_read_on(site: Site, head: bytes) -> None:
    written = 0

    def endless(visit: Visit) -> None:
        nonlocal written
        visit.wfile.write(OK + head)
        while not visit.server.closing.is_set():
            visit.wfile.write(b"x" * 65536)
            written += 65536

    site.answers = {"/": endless}
    assert refusal(f"http://{site.host}/", allow=(site.host,)).code == "url_not_fetched"
    assert written < 20_000_000  # what the buffers of the sockets hold


DRIP = {"pause_s": 0.1}


@pytest.mark.parametrize(
    "answer",
    [
        raw(OK + b"Content-Length: 100\r\n\r\n", *[b"x"] * 100, **DRIP),
        raw(OK + b"\r\n", *[b"x"] * 100, **DRIP),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 100, **DRIP),
        raw(OK, *[b"X-More: 1\r\n"] * 90, **DRIP),
        raw(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 100, **DRIP),
        raw(b"", b"", pause_s=10),
    ],
    ids=["body", "until closed", "chunks", "headers", "continue", "silence"],
)
def test_what_drips_beyond_the_deadline_is_cut_off(site: Site, answer: Callable[[Visit], None]) -> None:
    site.answers = {"/": answer}
    error = refusal(f"http://{site.host}/", allow=(site.host,), timeout_s=0.5)
    assert error.code == "url_not_fetched"
    assert "too long" in error.message


def test_redirects_share_one_deadline(site: Site) -> None:
    def slow(visit: Visit) -> None:
        visit.server.closing.wait(0.3)
        redirect("/slow")(visit)

    site.answers = {"/slow": slow}
    # With a deadline for each of them there would be too many redirects at last.
    assert "too long" in refusal(f"http://{site.host}/slow", allow=(site.host,), timeout_s=0.5).message


def test_a_slow_look_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    released, answered = threading.Event(), threading.Event()

    def look_up(*_: Any, **__: Any) -> list[Any]:
        released.wait(60)
        answered.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    error = refusal("http://slow.example/", timeout_s=0.3)
    assert not answered.is_set()
    released.set()
    assert (error.code, "too long" in error.message) == ("url_not_fetched", True)


# What else can go wrong


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 404, 500, 503, 999])
def test_another_status_is_named(site: Site, status: int) -> None:
    site.answers = {"/": raw(b"HTTP/1.1 %d Word\r\nContent-Length: 0\r\n\r\n" % status)}
    error = refusal(f"http://{site.host}/", allow=(site.host,))
    assert error.code == "url_not_fetched"
    assert f"status {status}" in error.message


@pytest.mark.parametrize(
    "answer",
    [
        raw(OK + b"Content-Length: 10\r\n\r\nshort"),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n"),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nshort\r\n"),
        raw(OK + b"X: 1\r\n" * 200 + b"\r\n"),
        raw(b"HTTP/1.1 200 " + b"x" * 70000),
        raw(b"SSH-2.0-OpenSSH\r\n"),
        raw(b""),
    ],
    ids=[
        "cut off",
        "cut off between chunks",
        "bad chunk",
        "negative chunk",
        "many headers",
        "long line",
        "not HTTP",
        "nothing",
    ],
)
def test_a_broken_answer_is_said_to_be_broken(site: Site, answer: Callable[[Visit], None]) -> None:
    site.answers = {"/": answer}
    error = refusal(f"http://{site.host}/", allow=(site.host,))
    assert (error.code, "broke off" in error.message) == ("url_not_fetched", True)


def test_a_name_without_an_address_is_said_to_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, [])
    assert "resolved" in refusal("http://nowhere.example/").message


def test_the_next_address_is_tried_where_one_is_dead(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, ["::1", "127.0.0.1"])  # the site listens on IPv4 only
    assert get(f"http://two.example:{site.server_port}/", allow=("two.example",)) == BODY


def test_an_address_of_a_family_that_the_machine_lacks_is_passed_over(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves_to(monkeypatch, ["::1", "127.0.0.1"])
    real = socket.socket

    def without_ipv6(family: int = -1, *rest: Any, **more: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *rest, **more)

    monkeypatch.setattr("socket.socket", without_ipv6)
    assert get(f"http://two.example:{site.server_port}/", allow=("two.example",)) == BODY


def test_the_answer_is_not_unpacked(site: Site) -> None:
    packed = b"\x1f\x8b packed"
    site.answers = {"/": raw(OK + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n" + packed)}
    assert get(f"http://{site.host}/", allow=(site.host,)) == packed


# HTTPS


@pytest.fixture
def secure_site(site: Site, tmp_path: Path) -> tuple[Site, Path]:
    """The site behind TLS with a certificate of its own making for pictures.example; and that certificate."""
    return site, behind_tls(site, tmp_path)


def test_an_unknown_certificate_is_refused(secure_site: tuple[Site, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    site, _ = secure_site
    resolves_to(monkeypatch, ["127.0.0.1"])
    error = refusal(f"https://pictures.example:{site.server_port}/", allow=("pictures.example",))
    assert (error.code, "certificate" in error.message) == ("url_not_fetched", True)
    assert site.seen == []


FETCH_EACH = """
import socket, sys
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.guard.fetch import fetch

def look_up(host, port, *_, **__):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

socket.getaddrinfo = look_up
for host in sys.argv[2:]:
    try:
        print(fetch(f"https://{host}:{sys.argv[1]}/", max_bytes=1000, timeout_s=60, allow=(host,), param="image"))
    except StudioError as error:
        print(error.message)
"""


def test_a_known_certificate_is_good_for_its_own_name_only(secure_site: tuple[Site, Path]) -> None:
    site, certificate = secure_site
    # A process of its own, since what is trusted is read once.
    command = [sys.executable, "-c", FETCH_EACH, str(site.server_port), "pictures.example", "other.example"]
    trusting = {**os.environ, "SSL_CERT_FILE": str(certificate)}
    done = subprocess.run(command, env=trusting, capture_output=True, text=True, check=True)
    own, other = done.stdout.splitlines()
    assert own == repr(BODY)
    assert "certificate" in other


def test_a_handshake_that_never_ends_is_cut_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        assert "too long" in refusal(f"https://{host}/", allow=(host,), timeout_s=0.4).message


def test_the_systems_certificates_are_trusted_and_checked() -> None:
    context = tls()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) > 50


def test_nothing_is_left_behind(site: Site) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    site.answers = {"/cut": raw(OK + b"Content-Length: 10\r\n\r\nshort")}
    get(f"http://{site.host}/", allow=(site.host,))
    time.sleep(0.05)
    before, threads = descriptors(), threading.active_count()
    for _ in range(20):
        get(f"http://{site.host}/", allow=(site.host,))
        refusal(f"http://{site.host}/cut", allow=(site.host,))
        refusal(f"http://{site.host}/")
    time.sleep(0.2)
    assert descriptors() <= before
    assert threading.active_count() <= threads
