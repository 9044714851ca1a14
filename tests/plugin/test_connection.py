"""Bodies however they come, or do not; senders that drip; and certificates: of the server and of links to files."""

import contextlib
import gzip
import os
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests

from tests.plugin.test_client import PROMPT, drained
from tests.support import ROOT
from tests.support.dify import CANARY
from tests.support.loopback import LoopbackServer
from tests.support.scripted import PNG, SUCCEEDED, Answer, ScriptedServer, ScriptedStudio
from tools import exchange, inputs, public_hosts
from tools.client import StudioClient
from tools.connection import FAILURES, SERVER_URL, TooSlow, explain, is_final, read_capped
from tools.errors import InputNotFetched, Unreachable
from tools.inputs import fetch_all

BODY = random.Random(1).randbytes(200_000)
PACKED = gzip.compress(BODY)
DRIP_S, DRIPS = 0.05, 200
"""A sender that drips does so for ten seconds."""


def in_chunks(body: bytes, size: int) -> Iterator[bytes]:
    """A body as ``Transfer-Encoding: chunked`` has it, without its end."""
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        yield b"%x\r\n%s\r\n" % (len(piece), piece)


def head(*lines: str) -> bytes:
    """The beginning of an answer, with these headers."""
    return "\r\n".join(["HTTP/1.1 200 OK", "Connection: close", *lines, "\r\n"]).encode()


GZIP, CHUNKED = "Content-Encoding: gzip", "Transfer-Encoding: chunked"
WHOLE = {
    "of a length": [head(f"Content-Length: {len(BODY)}"), BODY],
    "in chunks": [head(CHUNKED), *in_chunks(BODY, 3000), b"0\r\n\r\n"],
    "to the end": [head(), BODY],
    "packed": [head(GZIP, f"Content-Length: {len(PACKED)}"), PACKED],
    "packed, in chunks": [head(GZIP, CHUNKED), *in_chunks(PACKED, 7), b"0\r\n\r\n"],
}
CUT = {
    "of a length": [head(f"Content-Length: {len(BODY)}"), BODY[:-1]],
    "within a chunk": [head(CHUNKED), *in_chunks(BODY, 3000), b"bb8\r\nhalf"],
    "between chunks": [head(CHUNKED), *in_chunks(BODY, 3000)],
    "packed": [head(GZIP, f"Content-Length: {len(PACKED)}"), PACKED[:-1]],
    "not packed as said": [head(GZIP, "Content-Length: 4"), b"abcd"],
}
DRIPPED = {
    "of a length": [head("Content-Length: 200000"), *[b"x"] * DRIPS],
    "in a chunk": [head(CHUNKED) + b"30000\r\n", *[b"x"] * DRIPS],
    "to the end": [head(), *[b"x"] * DRIPS],
    "packed": [head(GZIP), *[PACKED[at : at + 1] for at in range(DRIPS)]],
}


class Sender(LoopbackServer):
    """Sends pieces as they are, the first after ``delay_s`` seconds and the rest ``pause_s`` seconds apart."""

    def __init__(self, pieces: Iterable[bytes], pause_s: float = 0.0, delay_s: float = 0.0) -> None:
        self.pieces, self.pause_s, self.delay_s = list(pieces), pause_s, delay_s
        self.over = threading.Event()
        self.is_through = False
        """Whether all pieces of an answer were sent."""
        super().__init__()

    def __exit__(self, *of_error: object) -> None:
        self.over.set()
        super().__exit__(None, None, None)

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Send until it is over or nobody listens."""
        handler.close_connection = True
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.over.wait(self.delay_s)
        with contextlib.suppress(ConnectionError):
            for piece in self.pieces:
                handler.wfile.write(piece)
                if self.pause_s and self.over.wait(self.pause_s):
                    return
            self.is_through = True


def read(url: str, seconds: float = 10.0, **settings: bool) -> bytes:
    """What is read of a body within so many seconds."""
    with requests.get(url, stream=True, timeout=5, **settings) as response:  # type: ignore[arg-type]
        return read_capped(response, 10**6, time.monotonic() + seconds)


@pytest.mark.parametrize("way", WHOLE)
def test_a_body_comes_whole(way: str) -> None:
    with Sender(WHOLE[way]) as sender:
        assert read(sender.url) == BODY


@pytest.mark.parametrize("way", CUT)
def test_a_body_that_is_cut_is_a_connection_that_broke_off(way: str) -> None:
    with Sender(CUT[way]) as sender, pytest.raises(FAILURES) as caught:
        read(sender.url)
    assert " broke off." in explain(caught.value, sender.url, SERVER_URL)
    assert not is_final(caught.value)


@pytest.mark.parametrize("way", DRIPPED)
def test_a_body_that_drips_ends_at_the_deadline(way: str) -> None:
    with Sender(DRIPPED[way], DRIP_S) as sender, pytest.raises(TooSlow):
        read(sender.url, 1.0)
    assert not sender.is_through


def test_the_time_of_the_headers_is_not_given_to_the_body_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "LAST_BYTES_S", 0.2)
    with Sender(DRIPPED["of a length"], DRIP_S, delay_s=2.0) as sender:
        with StudioClient(sender.url, time_budget_s=3) as studio, pytest.raises(Unreachable, match="sends too slowly"):
            studio.check()
    assert not sender.is_through


def test_drips_in_the_process_as_the_sdk_patches_it(sdk_python: Path) -> None:
    program = (
        "import dify_plugin, sys, time\n"
        "from tools import client, errors, exchange, inputs\n"
        "exchange.LAST_BYTES_S = 0.2\n"
        "for call in (lambda: inputs.fetch_all([sys.argv[1] + '/files/a?sign=s'], time.monotonic() + 1),\n"
        "             lambda: client.StudioClient(sys.argv[1], time_budget_s=1).check()):\n"
        "    try:\n"
        "        call()\n"
        "    except errors.ClientError as error:\n"
        "        print('sends too slowly' in str(error))\n"
    )
    with Sender(DRIPPED["of a length"], DRIP_S) as sender:
        command = [str(sdk_python), "-c", program, sender.url]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "True\n" * 2, done.stderr
    assert not sender.is_through


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    if not (openssl := shutil.which("openssl")):
        if os.environ.get("CI"):
            pytest.fail("openssl is missing")
        pytest.skip("openssl is missing: no self-signed certificate to test with")
    folder = tmp_path_factory.mktemp("tls")
    wanted = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    wanted += ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([openssl, "req", "-x509", *wanted, *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """What a server with that certificate speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def secured(scripted: ScriptedStudio, tls: ssl.SSLContext) -> ScriptedStudio:
    """The scripted studio behind a self-signed certificate."""
    scripted.secure(tls)
    return scripted


def test_a_self_signed_certificate_is_refused_and_verify_tls_named(secured: ScriptedStudio) -> None:
    with StudioClient(secured.url, CANARY) as studio, pytest.raises(Unreachable, match="switch verify_tls off"):
        studio.check()
    assert secured.calls == [], "the key must not go to a server that is not verified"


def test_verify_tls_off_holds_against_a_bundle_of_the_environment(
    secured: ScriptedStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    import certifi

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    secured.states = [SUCCEEDED]
    with StudioClient(secured.url, CANARY, verify_tls=False) as studio:
        studio.check()
        _, painted = drained(studio.paint(PROMPT))
    assert painted.contents == [PNG]


@pytest.mark.parametrize("path", ["/files/a?sign=s", "/a.png"])
def test_the_certificate_of_a_file_is_trusted_as_its_refusal_says(
    certificate: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(public_hosts, "is_public", lambda _: True)
    with ScriptedServer(lambda call: Answer(200, PNG)) as files:
        files.secure(tls)
        with pytest.raises(InputNotFetched, match=r"could not be verified.*\(REQUESTS_CA_BUNDLE\)") as caught:
            fetch_all([f"{files.url}{path}"], time.monotonic() + 10)
        assert "verify_tls" not in str(caught.value)
        assert str(caught.value).endswith(
            f" The address comes from {inputs.SETTING if 'sign' in path else inputs.LINK}."
        )
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert fetch_all([f"{files.url}{path}"], time.monotonic() + 10)[0].content == PNG


class Garbler(ScriptedServer):
    """Begins a body well and goes on outside TLS."""

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer so."""
        handler.wfile.write(head("Content-Length: 999") + b"x")
        socket.socket.sendall(handler.connection, b"this is no record")
        handler.close_connection = True


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_tls_that_breaks_within_a_body_is_a_connection_that_broke_off(tls: ssl.SSLContext) -> None:
    with Garbler(lambda call: Answer()) as garbler:
        garbler.secure(tls)
        with pytest.raises(FAILURES) as caught:
            read(garbler.url, verify=False)
    assert " broke off." in explain(caught.value, garbler.url, SERVER_URL)
    assert not is_final(caught.value)
