"""Downloading the files that Dify hands over: limits, retries, redirects, and sentences that name the setting."""

import ipaddress
import re
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import urllib3.util.connection

from tests.support import ROOT
from tests.support.addresses import NOT_PUBLIC
from tests.support.scripted import PNG, Answer, Call, ScriptedServer
from tools import inputs, public_hosts
from tools.errors import InputNotFetched
from tools.formats import media_type
from tools.inputs import SETTING, fetch_all, fetch_mask, fetch_table
from tools.views import InputFile


class Files(ScriptedServer):
    """A file server that plays ``script`` and then delivers a picture."""

    def __init__(self) -> None:
        super().__init__(self._play)
        self.script: deque[Answer] = deque()

    def _play(self, call: Call) -> Answer:
        return self.script.popleft() if self.script else Answer(200, PNG)

    def fetch(self, path: str = "/files/a?sign=hidden") -> list[InputFile]:
        """Download one file within ten seconds."""
        return fetch_all([f"{self.url}{path}"], time.monotonic() + 10)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """A file server; pauses between attempts are short."""
    monkeypatch.setattr(inputs, "FIRST_PAUSE_S", 0.01)
    with Files() as server:
        yield server


def test_order_and_names(files: Files) -> None:
    fetched = fetch_all([f"{files.url}/files/{name}?sign=s" for name in "abc"], time.monotonic() + 10)
    assert [call.path for call in files.calls] == ["/files/a", "/files/b", "/files/c"]
    assert [(file.name, file.mime_type, file.content) for file in fetched] == [
        (f"image-{position}.png", "image/png", PNG) for position in (1, 2, 3)
    ]


def test_no_credentials_are_sent(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    files.fetch()
    assert "Authorization" not in files.calls[0].headers


@pytest.mark.parametrize("answer", [Answer(503), Answer(429), Answer(drop=True)])
def test_a_passing_fault_is_tried_again(files: Files, answer: Answer) -> None:
    files.script += [answer, answer]
    assert files.fetch()[0].content == PNG
    assert len(files.calls) == 3


def test_a_lasting_fault_ends_after_three_attempts(files: Files) -> None:
    files.script += [Answer(503)] * 9
    with pytest.raises(InputNotFetched, match=r"127\.0\.0\.1.*HTTP 503.*FILES_URL.*INTERNAL_FILES_URL") as caught:
        files.fetch()
    assert len(files.calls) == 3
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_link_is_not_tried_again(files: Files, status: int) -> None:
    files.script.append(Answer(status))
    with pytest.raises(InputNotFetched, match=rf"HTTP {status}.*expire.*FILES_URL"):
        files.fetch()
    assert len(files.calls) == 1


def test_a_dead_host_is_named_with_the_setting(files: Files) -> None:
    with pytest.raises(InputNotFetched, match=r"127\.0\.0\.1:1.*refused.*INTERNAL_FILES_URL"):
        fetch_all(["http://127.0.0.1:1/files/a?sign=s"], time.monotonic() + 10)


CUT = Answer(200, PNG, {"Content-Length": "999"})


@pytest.mark.parametrize("answer", [Answer(503), Answer(drop=True), CUT, Answer(200, PNG, delay_s=0.5), None])
def test_host_and_setting_are_named_once(files: Files, monkeypatch: pytest.MonkeyPatch, answer: Answer | None) -> None:
    monkeypatch.setattr(inputs, "READ_TIMEOUT_S", 0.1)
    url = f"{files.url}/files/a?sign=s" if answer else "http://127.0.0.1:1/files/a?sign=s"
    files.script += [answer] * 3 if answer else []
    with pytest.raises(InputNotFetched) as caught:
        fetch_all([url], time.monotonic() + 10)
    assert (str(caught.value).count("127.0.0.1"), str(caught.value).count(SETTING)) == (1, 1)


@pytest.mark.parametrize("url", ["/files/abc/file-preview?sign=1", "ftp://host/a", "file:///etc/passwd"])
def test_only_complete_web_addresses(url: str) -> None:
    with pytest.raises(InputNotFetched, match="FILES_URL"):
        fetch_all([url], time.monotonic() + 10)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "127.0.0.1:1", "localhost:{port}", "[::1]:1", "10.1.2.3", "169.254.169.254", "a..b",
             "no-such-host.invalid", "[fe80::1]", "0.0.0.0:{port}", "[::ffff:127.0.0.1]:{port}", "[64:ff9b::7f00:1]",
             "[2002:7f00:1::]", "[::127.0.0.1]", "[fec0::1]", "[ff0e::1]", "224.0.0.1", "192.0.0.192"],
)  # fmt: skip
def test_a_link_that_is_not_difys_own_finds_out_nothing_of_the_network(files: Files, host: str) -> None:
    said = set()
    for path in ("/a.png", "/files/a.png", "/a.png?sign=s"):
        address = f"http://{host.format(port=files.url.rpartition(':')[2])}{path}"
        with pytest.raises(InputNotFetched, match="is unknown, or not on the public Internet") as caught:
            fetch_all([address], time.monotonic() + 10)
        said.add(str(caught.value))
    assert len(said) == 1
    assert files.calls == []


@pytest.mark.parametrize(
    "path",
    [
        "/files/../latest/meta-data/creds?sign=1",
        "/files/%2e%2e/latest/meta-data?sign=1",
        "/latest/meta-data/;/files/?sign=",
        "/latest/meta-data;/files/a?sign=1",
        "/secrets/files/?design=",
        "/secrets/files/a?design=1",
        "/files/a?sign=",
        "/files/a?sign=&sign=1",
        "/files/a?sign=1&command=stop",
        "/files/a?sign=1;command=stop",
        "/files/a?sign=1#/b",
        "/files/a/b?sign=1",
        "/files//a?sign=1",
        "\\latest\\meta-data/files/a?sign=1",
        "/latest\n/files/a?sign=1",
    ],
)
def test_what_only_looks_like_difys_own_is_a_link_like_any_other(files: Files, path: str) -> None:
    for fetch in (
        lambda url: fetch_all([url], time.monotonic() + 10),
        lambda url: fetch_table(url, time.monotonic() + 10),
    ):
        with pytest.raises(InputNotFetched, match=r"not on the public Internet|the link is not a usable address"):
            fetch(f"{files.url}{path}")
    assert files.calls == []


@pytest.mark.parametrize(
    "path",
    [
        "/files/5f0e2d0c-7a4e-4d1c-9d5b-0f6f2b1f7a11/file-preview?timestamp=17&nonce=ab&sign=x-_%3D",
        "/files/5f0e2d0c-7a4e-4d1c-9d5b-0f6f2b1f7a11/image-preview?timestamp=17&nonce=ab&sign=x-_=&as_attachment=true",
        "/dify/v2/files/tools/5f0e2d0c7a4e.png?timestamp=17&nonce=ab&sign=x=",
        "/files/datasources/5f0e2d0c.csv?timestamp=17&nonce=ab&sign=x=",
        "/files/tools/5f0e2d0c?sign=s",
    ],
)
def test_difys_own_files_are_fetched_from_any_host(files: Files, path: str) -> None:
    assert files.fetch(path)[0].content == PNG
    assert files.calls[0].path == path.partition("?")[0]


def look_ups(monkeypatch: pytest.MonkeyPatch, name: str, *answers: list[str] | OSError) -> None:
    """Look-ups of ``name`` find these addresses or fail so, one after another, the last for good."""
    known, left = socket.getaddrinfo, deque(answers)

    def look_up(host: str, *others: Any, **settings: Any) -> list[Any]:
        if host != name:
            return known(host, *others, **settings)
        answer = left.popleft() if len(left) > 1 else left[0]
        if isinstance(answer, OSError):
            raise answer
        return [entry for address in answer for entry in known(address, *others, **settings)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def connect_timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each attempt at a connection may wait, as it is made, in seconds."""
    given, connect = [], urllib3.util.connection.create_connection

    def attempt(address: tuple[str, int], timeout: float, *others: Any, **settings: Any) -> socket.socket:
        given.append(timeout)
        return connect(address, timeout, *others, **settings)

    monkeypatch.setattr(urllib3.util.connection, "create_connection", attempt)
    return given


def test_a_name_that_moves_into_the_network_finds_out_nothing(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_hosts, "is_public", lambda host: host == "127.0.0.2")
    look_ups(monkeypatch, "moving.example", ["127.0.0.2"], ["127.0.0.1"])
    with pytest.raises(InputNotFetched, match=r"moving\.example is unknown, or not on the public Internet"):
        fetch_all([f"http://moving.example:{files.url.rpartition(':')[2]}/a.png"], time.monotonic() + 10)
    assert files.calls == []


@pytest.mark.parametrize(
    "found", [["127.0.0.2"], socket.gaierror(socket.EAI_NONAME, "unknown"), socket.gaierror(socket.EAI_AGAIN, "later")]
)
def test_a_look_up_is_tried_again_whatever_it_found(
    files: Files, monkeypatch: pytest.MonkeyPatch, found: list[str] | OSError
) -> None:
    """One that failed may have failed in passing, and how long it takes must not tell which hosts are private."""
    monkeypatch.setattr(public_hosts, "is_public", lambda host: host == "127.0.0.1")
    look_ups(monkeypatch, "some.example", found, found, ["127.0.0.1"])
    link = f"http://some.example:{files.url.rpartition(':')[2]}/a.png"
    assert fetch_all([link], time.monotonic() + 10)[0].content == PNG


def test_addresses_that_are_silent_take_no_longer_than_one(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_hosts, "is_public", lambda _: True)
    look_ups(monkeypatch, "silent.example", [f"127.0.0.{host}" for host in range(1, 6)])
    with socket.create_server(("", 0), backlog=0) as full, ExitStack() as waiting:
        port = full.getsockname()[1]
        with suppress(TimeoutError):
            while True:  # until no more can wait to be accepted
                waiting.enter_context(socket.create_connection(("127.0.0.1", port), timeout=0.3))
        waited = connect_timeouts(monkeypatch)
        with pytest.raises(InputNotFetched, match=r"silent\.example:\d+ did not accept a connection in time"):
            fetch_all([f"http://silent.example:{port}/a.png"], time.monotonic() + 1)
    assert len(waited) == 5
    assert sum(waited) <= 1.5


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_socket_is_made_for_an_address_that_is_not_public(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(inputs, "ATTEMPTS", 1)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a socket was to be connected"))
    host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    with pytest.raises(InputNotFetched, match="is unknown, or not on the public Internet"):
        fetch_all([f"http://{host}/a.png"], time.monotonic() + 60)


def test_a_peer_that_is_not_public_gets_nothing(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    here = ("127.0.0.1", int(files.url.rpartition(":")[2]))
    really_connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda sock, _: really_connect(sock, here))
    with pytest.raises(InputNotFetched, match="not on the public Internet"):
        fetch_all(["http://8.8.8.8/a.png"], time.monotonic() + 60)
    assert files.calls == []


@pytest.mark.parametrize("path", ["/a.png", "/files/a?sign=s"], ids=["a link", "Dify's own"])
def test_a_sender_that_never_ends_its_headers_is_left_in_time(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(public_hosts, "is_public", lambda _: True)
    left = threading.Event()

    def drip(sock: socket.socket) -> None:
        with suppress(OSError), sock:
            sock.sendall(b"HTTP/1.1 200 OK\r\nX-More: ")
            while not left.wait(0.05):
                sock.sendall(b"1")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: drip(server.accept()[0]))
        thread.start()
        with pytest.raises(InputNotFetched, match="did not answer in time"):
            fetch_all([f"http://127.0.0.1:{server.getsockname()[1]}{path}"], time.monotonic() + 1)
        left.set()
        thread.join()


def test_a_look_up_that_never_ends_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    left = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: left.wait() and [])
    with pytest.raises(InputNotFetched, match=r"slow\.example is unknown, or not on the public Internet"):
        fetch_all(["http://slow.example/a.png"], time.monotonic() + 0.5)
    left.set()


def test_a_link_stays_a_link_when_it_redirects(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_hosts, "is_public", lambda _: not files.calls)
    files.script.append(Answer(302, b"", {"Location": "/files/b?sign=s"}))
    with pytest.raises(InputNotFetched, match="not on the public Internet"):
        files.fetch("/a.png")
    assert [call.path for call in files.calls] == ["/a.png"]


def test_a_proxy_decides_what_a_link_may_reach(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", files.url)
    assert fetch_all(["http://10.1.2.3/a.png"], time.monotonic() + 10)[0].content == PNG
    assert files.calls[0].headers["Host"] == "10.1.2.3"


@pytest.mark.parametrize("public", [True, False])
def test_links_in_the_process_as_the_sdk_patches_it(files: Files, sdk_python: Path, public: bool) -> None:
    program = (
        "import dify_plugin, sys, time\n"
        "from tools import public_hosts\n"
        "from tools.inputs import fetch_all\n"
        f"public_hosts.is_public = lambda _: {public}\n"
        "print(fetch_all([sys.argv[1]], time.monotonic() + 10)[0].mime_type)\n"
    )
    done = subprocess.run([sdk_python, "-c", program, f"{files.url}/a.png"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == ("image/png\n" if public else ""), done.stderr
    assert ("not on the public Internet" in done.stderr, len(files.calls)) == ((False, 1) if public else (True, 0))


def test_a_public_link_is_fetched_and_its_faults_are_about_the_link(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_hosts, "is_public", lambda _: True)  # nothing public can be reached from a test
    link = f"{files.url}/a.png"
    assert fetch_all([link], time.monotonic() + 10)[0].content == PNG
    for answer, said in ((Answer(404), "Check the link"), (Answer(200, b"<html>"), "Send a PNG, JPEG or WebP.")):
        files.script.append(answer)
        with pytest.raises(InputNotFetched, match=said) as caught:
            fetch_all([link], time.monotonic() + 10)
        assert "FILES_URL" not in str(caught.value)


@pytest.mark.parametrize("host", ["[abc", "127.0.0.1:99999", "a..b", "x" * 64, "[1:::2]:80"])
def test_an_address_that_cannot_be_is_said_like_any_other(host: str) -> None:
    for path in ("/a", "/files/a?sign=hidden"):
        with pytest.raises(InputNotFetched) as caught:
            fetch_all([f"http://{host}{path}"], time.monotonic() + 10)
        assert "hidden" not in str(caught.value)
        assert "gpu-box" not in str(caught.value), "the address is not of a studio"


def test_too_many_bytes(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_BYTES", 1_000_000)
    files.script += [Answer(200, PNG + bytes(1_000_000))]
    with pytest.raises(InputNotFetched, match="larger than 1 MB"):
        files.fetch()
    assert len(files.calls) == 1


def test_a_busy_dify_that_does_not_answer_is_told_with_the_setting_for_many_people(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E1: ten people who run apps on uploads use up a stock Dify's connections."""
    monkeypatch.setattr(inputs, "READ_TIMEOUT_S", 0.1)
    files.script += [Answer(200, PNG, delay_s=0.5)] * 3
    with pytest.raises(InputNotFetched, match=r"did not answer in time.*raise SERVER_WORKER_CONNECTIONS"):
        files.fetch()


def test_an_unknown_host_of_difys_own_files_is_told_with_the_setting(files: Files) -> None:
    with pytest.raises(InputNotFetched, match=r"host name api\.invalid:5001 is not known.*INTERNAL_FILES_URL.*DNS"):
        fetch_all(["http://api.invalid:5001/files/a?sign=s"], time.monotonic() + 10)


def test_a_redirect_on_the_same_host_is_followed(files: Files) -> None:
    files.script.append(Answer(302, b"", {"Location": "/files/b?sign=s"}))
    assert files.fetch()[0].content == PNG
    assert [call.path for call in files.calls] == ["/files/a", "/files/b"]


def test_a_redirect_from_difys_files_to_anything_else_is_not(files: Files) -> None:
    files.script.append(Answer(302, b"", {"Location": "/latest/meta-data"}))
    with pytest.raises(InputNotFetched, match=r"redirects to another path which is not followed\. Set FILES_URL"):
        files.fetch()
    assert [call.path for call in files.calls] == ["/files/a"]


def test_a_redirect_to_another_host_is_not(files: Files) -> None:
    with Files() as other:
        target = other.url.replace("127.0.0.1", "localhost")
        files.script.append(Answer(302, b"", {"Location": f"{target}/secret"}))
        with pytest.raises(InputNotFetched, match="redirects to another host, localhost"):
            files.fetch()
        assert other.calls == []


def test_a_circle_of_redirects_ends(files: Files) -> None:
    files.script += [Answer(302, b"", {"Location": "/files/a?sign=s"})] * 9
    with pytest.raises(InputNotFetched, match="in a circle"):
        files.fetch()
    assert len(files.calls) == 4


def test_a_page_instead_of_a_picture(files: Files) -> None:
    files.script.append(Answer(200, b"<html>sign in</html>", {"Content-Type": "image/png"}))
    with pytest.raises(InputNotFetched, match=r"is no image of a kind that can be read.*FILES_URL"):
        files.fetch()


@pytest.mark.parametrize(
    ("content", "mime_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"GIF89a", "image/gif"),
        (b"BM\x10\x00\x00\x00\x00\x00\x00\x00", "image/bmp"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"\0\0\0\x1cftypavif", "image/avif"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"BMW is a car", None),
        (b"<svg xmlns=", None),
        (b"", None),
    ],
)
def test_the_media_type_is_told_by_the_first_bytes(content: bytes, mime_type: str | None) -> None:
    assert media_type(content) == mime_type


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'<?xml version="1.0"?>\n<!-- made by x -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\0\0\1\0\1\0", "an icon file"),
        (b"\0\0\0\x18ftypmp42", "a video"),
        (b"PK\x03\x04", "a ZIP archive or an office document"),
    ],
)
def test_a_file_of_another_format_is_named_with_the_remedy(files: Files, content: bytes, said: str) -> None:
    """A15: neither FILES_URL nor the person's upload is at fault."""
    files.script.append(Answer(200, content))
    with pytest.raises(
        InputNotFetched, match=rf"^Image 1 from 127\.0\.0\.1:\d+ is {re.escape(said)}.* PNG|pictures"
    ) as caught:
        files.fetch()
    assert "FILES_URL" not in str(caught.value)


@pytest.mark.parametrize("kind", ["tiff", "avif", "heic"])
def test_pictures_of_cameras_and_scanners_are_handed_on_as_they_are(files: Files, kind: str) -> None:
    """A15: the server decodes them."""
    content = {"tiff": b"II*\0....", "avif": b"\0\0\0\x1cftypavif....", "heic": b"\0\0\0\x18ftypheic...."}[kind]
    files.script.append(Answer(200, content))
    assert files.fetch() == [InputFile(f"image-1.{kind}", f"image/{kind}", content)]


def test_masks_and_tables_are_fetched_alike_and_named_as_what_they_are(files: Files) -> None:
    until = time.monotonic() + 10
    assert (fetch_mask(None, until), fetch_table(None, until)) == (None, None)
    assert fetch_mask(f"{files.url}/files/m?sign=s", until) == InputFile("mask.png", "image/png", PNG)
    files.script += [Answer(503), Answer(200, b"a,b")]
    assert fetch_table(f"{files.url}/files/t?sign=s", until) == b"a,b"
    files.script.append(Answer(404))
    with pytest.raises(InputNotFetched, match=r"^The mask: 127.0.0.1:.* HTTP 404.*FILES_URL"):
        fetch_mask(f"{files.url}/files/m?sign=s", until)
    with pytest.raises(InputNotFetched, match=r"^The file of rows has no complete address.*FILES_URL"):
        fetch_table("/files/t", until)
