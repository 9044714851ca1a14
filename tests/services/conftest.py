"""Proxies of other people in front of a real server: the files of examples/, but for ports and names."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.servers import command
from tests.support.studio import SCRIPTED, Studio, free_port
from tests.support.waiting import PATIENCE_S, until

MAX_BODY_MB = 2
NAME = "studio.example.com"


@dataclass(frozen=True)
class Front:
    """A proxy with the server behind it."""

    studio: Studio
    url: str
    """Where people reach the server: its public address."""
    certificate: Path
    port: int


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that nobody signed, and its key."""
    made, key = folder / "localhost.crt", folder / "localhost.key"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(made))
    subprocess.run([command("openssl"), *new, *names], check=True, capture_output=True)
    return made, key


def rendered(example: str, changes: dict[str, str]) -> str:
    """An example's file with each of these texts replaced; all of them have to be there."""
    text = (ROOT / "examples" / example).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, f"{example}: {old}"
        text = text.replace(old, new)
    return text


def nginx(folder: Path, studio: Studio, port: int, plain: int, made: Path, key: Path) -> list[str]:
    """Nginx's command, with the site of the example in a configuration that needs no rights."""
    site = rendered(
        "nginx.conf",
        {
            "127.0.0.1:8300": f"127.0.0.1:{studio.port}",
            "listen 443": f"listen 127.0.0.1:{port}",
            "listen 80": f"listen 127.0.0.1:{plain}",
            f"server_name {NAME}": "server_name localhost",
            f"/etc/ssl/{NAME}.crt": str(made),
            f"/etc/ssl/{NAME}.key": str(key),
            "client_max_body_size 64m": f"client_max_body_size {MAX_BODY_MB}m",
        },
    )
    user = "user root;" if os.geteuid() == 0 else ""  # else it could not write into the test's folder
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/nginx.log; events {{}}\n"
        f"http {{ access_log off; {places}\n{site}\n}}\n"
    )
    return [command("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, studio: Studio, port: int, plain: int, made: Path, key: Path) -> list[str]:
    """Caddy's command, with the example's site and a certificate of our own."""
    options = f"{{\n\tadmin off\n\thttp_port {plain}\n\tskip_install_trust\n\tstorage file_system {folder}\n}}\n"
    site = rendered(
        "Caddyfile",
        {
            "127.0.0.1:8300": f"127.0.0.1:{studio.port}",
            f"\n{NAME} {{": f"\n{options}https://localhost:{port} {{\n\tbind 127.0.0.1\n\ttls {made} {key}",
        },
    )
    (folder / "Caddyfile").write_text(site)
    return [command("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


PROXIES: dict[str, Callable[[Path, Studio, int, int, Path, Path], list[str]]] = {"nginx": nginx, "caddy": caddy}


@contextmanager
def running(arguments: list[str], folder: Path, port: int) -> Iterator[None]:
    """A proxy, until the end of the block."""
    with (folder / "proxy.log").open("ab") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=folder)
    try:
        until(lambda: process.poll() is not None or is_open(port))
        assert process.poll() is None, (folder / "proxy.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=PROXIES)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The server behind each proxy."""
    command(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    port, plain = free_port(), free_port()
    url = f"https://localhost:{port}/studio"
    made, key = certificate(folder)
    told = {"public_url": url, "trusted_proxies": "127.0.0.1", "max_body_mb": MAX_BODY_MB}
    with Studio(folder, with_key=True, **{**SCRIPTED, **told}) as studio:
        arguments = PROXIES[request.param](folder, studio, port, plain, made, key)
        with running(arguments, folder, port):
            yield Front(studio, url, made, port)
