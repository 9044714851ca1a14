"""A server on loopback for tests of fetching: it counts the connections that reach it and answers as told."""

import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.guard.fetch import fetch

BODY = b"\x89PNG the picture"


class Site(ThreadingHTTPServer):
    """A server on loopback that counts connections and answers each path as told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.connections = 0
        self.seen: list[dict[str, str]] = []
        self.posted: list[bytes] = []
        self.answers: dict[str, Callable[[Visit], None]] = {}
        self.closing = threading.Event()

    @property
    def host(self) -> str:
        """Host and port as a URL has them."""
        return f"127.0.0.1:{self.server_port}"

    def get_request(self) -> tuple[Any, Any]:
        """Count, then accept."""
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what these tests are about."""


class Visit(BaseHTTPRequestHandler):
    """One request to the site."""

    server: Site

    def do_GET(self) -> None:
        """Answer as told, else with the picture."""
        self.server.seen.append(dict(self.headers))
        self.server.answers.get(self.path.split("?")[0], Visit.picture)(self)

    def do_POST(self) -> None:
        """Keep what was sent, and answer as to any request."""
        self.server.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_GET()

    def picture(self) -> None:
        """The plain good answer."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[Site]:
    """A site that serves until the end of the block."""
    site = Site()
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.closing.set()
        site.shutdown()
        thread.join()
        site.server_close()


def behind_tls(site: Site, folder: Path) -> Path:
    """Put the site behind TLS with a certificate of its own making for pictures.example; the file of that."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=pictures.example"]
    name = ["-addext", "subjectAltName=DNS:pictures.example"]
    subprocess.run([*make, *name, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site.socket = context.wrap_socket(site.socket, server_side=True, do_handshake_on_connect=False)
    return certificate


def redirect(location: str, status: int = 302) -> Callable[[Visit], None]:
    def answer(visit: Visit) -> None:
        visit.send_response(status)
        visit.send_header("Location", location)
        visit.send_header("Content-Length", "0")
        visit.end_headers()

    return answer


def raw(*pieces: bytes, pause_s: float = 0) -> Callable[[Visit], None]:
    """Write the pieces as they are, with a pause before each but the first, and close."""

    def answer(visit: Visit) -> None:
        for number, piece in enumerate(pieces):
            if number and visit.server.closing.wait(pause_s):
                return
            visit.wfile.write(piece)
            visit.wfile.flush()

    return answer


def get(url: str, *, allow: tuple[str, ...] = (), max_bytes: int = 1000, timeout_s: float = 5) -> bytes:
    return fetch(url, max_bytes=max_bytes, timeout_s=timeout_s, allow=allow, param="image[1]")


def refusal(url: str, **limits: Any) -> StudioError:
    with pytest.raises(StudioError) as caught:
        get(url, **limits)
    assert caught.value.param == "image[1]"
    return caught.value


def resolves_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let every name resolve to the addresses of the first answer, then of the second, and so on; returns the names.

    Addresses stay what they are.
    """
    asked: list[str] = []
    really_look_up = socket.getaddrinfo

    def look_up(host: str, port: int, *more: Any, **named: Any) -> list[tuple[Any, ...]]:
        with suppress(ValueError):
            return list(really_look_up(str(ipaddress.ip_address(host)), port, *more, **named))
        addresses = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port))
            for family, address in zip(families, addresses, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked
