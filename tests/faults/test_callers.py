"""Callers that misbehave on the wire: the server answers them, forgets them, and serves everybody else meanwhile."""

import contextlib
import socket
import threading
from collections.abc import Collection, Iterator
from io import BytesIO

import psutil
import pytest
import requests
from PIL import Image

from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

END = b"0\r\n\r\n"
ENDLESS_MB = 500


def exchange(studio: Studio, data: bytes, timeout: float = 10) -> bytes:
    """Send raw bytes and read until the server closes."""
    with socket.create_connection(("127.0.0.1", studio.port), timeout=timeout) as caller:
        answer = b""
        try:
            caller.sendall(data)
            while piece := caller.recv(65536):
                answer += piece
        except (BrokenPipeError, ConnectionResetError):
            pass
        return answer


def chunks(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + END


def test_a_body_in_chunks_is_read(scripted: Studio) -> None:
    body = b'{"operation": "generate", "prompt": "a cup", "steps": 2}'
    answer = exchange(scripted, HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks(body, 7))
    assert answer.startswith(b"HTTP/1.1 202")


def test_an_endless_body_in_chunks_is_cut_off(scripted: Studio) -> None:
    """No Content-Length announces it; far more than the limit is never read."""
    megabyte, sent = chunks(b"x" * 2**20, 2**20).removesuffix(END), 0
    with socket.create_connection(("127.0.0.1", scripted.port), timeout=60) as caller:
        caller.sendall(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < ENDLESS_MB:
                caller.sendall(megabyte)
                sent += 1
    assert sent < ENDLESS_MB
    assert_answers(scripted)


def assert_answers(studio: Studio) -> None:
    """The server tells how it is, whoever else is connected."""
    assert requests.get(f"{studio.url}/v1/health", timeout=60).status_code == 200


def wait_for_callers(studio: Studio, threads: Collection[threading.Thread]) -> None:
    """Return once each thread is connected to the server, or has been answered already."""

    def connected() -> bool:
        mine = psutil.Process().net_connections("tcp4")
        callers = sum(bool(each.raddr) and each.raddr.port == studio.port for each in mine)
        return callers >= sum(thread.is_alive() for thread in threads)

    until(connected)


@pytest.fixture(scope="module")
def few_threads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server whose threads are taken by four callers, each for a second without a word at most."""
    with Studio(tmp_path_factory.mktemp("few"), **SCRIPTED, web_threads=4, read_timeout_s=1) as server:
        yield server


@pytest.fixture(scope="module")
def more_threads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server with fewer threads than callers who wait."""
    with Studio(tmp_path_factory.mktemp("more"), **SCRIPTED, web_threads=20, shutdown_grace_s=0.5) as server:
        yield server


@pytest.mark.parametrize(
    "data", [b"\x00\x01 what\r\n\r\n", HEAD + b"Content-Length: -5\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_what_is_not_http_is_400(scripted: Studio, data: bytes) -> None:
    assert exchange(scripted, data).split()[1:2] in ([b"400"], [b"505"])


def test_callers_that_fall_silent_keep_nobody_else_waiting(few_threads: Studio) -> None:
    studio = few_threads
    stalled = [socket.create_connection(("127.0.0.1", studio.port)) for _ in range(12)]
    for number, caller in enumerate(stalled):
        caller.sendall(HEAD + b"Content-Length: 100\r\n\r\n{" if number % 2 else HEAD)
    try:
        assert_answers(studio)
    finally:
        for caller in stalled:
            caller.close()


def test_many_waiters_leave_room_for_submits(more_threads: Studio) -> None:
    studio = more_threads
    job = studio.submit(prompt="forever")
    waiters = [threading.Thread(target=studio.job, args=(job["id"], 60)) for _ in range(40)]
    streams = [threading.Thread(target=follow, args=(studio, job["id"])) for _ in range(10)]
    for thread in (*waiters, *streams):
        thread.start()
    wait_for_callers(studio, [*waiters, *streams])
    for _ in range(5):
        studio.submit(prompt="a cup")
    assert [thread for thread in (*waiters, *streams) if thread.is_alive()], "somebody waits still"
    studio.request("POST", f"/v1/jobs/{job['id']}/cancel")
    for thread in (*waiters, *streams):
        thread.join(60)
        assert not thread.is_alive()


def test_event_streams_leave_room_too(more_threads: Studio) -> None:
    studio = more_threads
    job = studio.submit(prompt="forever")
    streams = [studio.request("GET", f"/v1/jobs/{job['id']}/events", stream=True) for _ in range(30)]
    try:
        assert_answers(studio)
    finally:
        for stream in streams:
            stream.close()
        studio.request("POST", f"/v1/jobs/{job['id']}/cancel")


def test_callers_that_stop_reading_keep_nobody_else_waiting(few_threads: Studio) -> None:
    studio = few_threads
    noise = Image.effect_noise((2048, 1536), 200).convert("RGB")
    buffer = BytesIO()
    noise.save(buffer, "PNG", compress_level=0)
    job = studio.finished(studio.edit(buffer.getvalue(), steps=2).json()["id"])
    image_id = large_image(studio, job["id"])
    head = f"GET /v1/images/{image_id}/content HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    stalled = []
    for _ in range(10):
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(("127.0.0.1", studio.port))
        caller.sendall(head)
        stalled.append(caller)
    try:
        assert_answers(studio)
    finally:
        for caller in stalled:
            caller.close()


def large_image(studio: Studio, job_id: str) -> str:
    """The id of the job's input, which is many megabytes."""
    store = open_store(Settings(data_dir=studio.folder / "data"))
    return store.jobs.get(job_id).inputs[0]


def follow(studio: Studio, job_id: str) -> None:
    """Read a job's events to the end."""
    for _ in studio.request("GET", f"/v1/jobs/{job_id}/events", stream=True).iter_lines():
        pass
