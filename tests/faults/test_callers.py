"""Callers that misbehave on the wire: the server answers them, forgets them, and serves everybody else meanwhile."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from io import BytesIO

import psutil
import pytest
import requests
from PIL import Image

from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.support.crowds import (
    DRIPPING_BODY,
    DRIPPING_CHUNK,
    DRIPPING_HEAD,
    SMALL_BUFFER,
    Dripping,
    NotReading,
    Waiting,
    get,
)
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

END = b"0\r\n\r\n"
ENDLESS_MB = 500
SOME = 20
MANY = 80
"""More callers of a kind than the threads that a server of threads would have for them."""


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


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server with a key, by which callers may fall behind for a second."""
    folder = tmp_path_factory.mktemp("impatient")
    with Studio(folder, with_key=True, **SCRIPTED, read_timeout_s=1, shutdown_grace_s=0.5) as server:
        yield server


HUGE = b"x" * 2**20
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (CHUNKED + b"-1\r\n{}\r\n0\r\n\r\n", 400),
        (CHUNKED + b"zz\r\n", 400),
        (CHUNKED + b"2;" + HUGE + b"\r\n{}\r\n0\r\n\r\n", 400),
        (CHUNKED + b"2\r\n{}\r\n0\r\nX: " + HUGE + b"\r\n\r\n", 400),
        (b"GET /" + HUGE + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + HUGE + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_in_the_contracts_shape(scripted: Studio, data: bytes, status: int) -> None:
    """B12: also what only the web server sees; nothing of it is a 500 with a traceback."""
    head, _, body = exchange(scripted, data).partition(b"\r\n\r\n")
    assert int(head[9:12]) == status
    assert json.loads(body)["error"]["code"] == "malformed_body"
    assert "Traceback" not in scripted.log.read_text()


@pytest.mark.parametrize(
    "data", [b"\x00\x01 what\r\n\r\n", HEAD + b"Content-Length: -5\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_what_is_not_http_is_400(scripted: Studio, data: bytes) -> None:
    assert exchange(scripted, data).split()[1:2] in ([b"400"], [b"505"])


@pytest.mark.parametrize("beginning", [DRIPPING_HEAD, DRIPPING_BODY, DRIPPING_CHUNK])
def test_senders_of_a_byte_at_a_time_are_given_up_and_keep_nobody_waiting(impatient: Studio, beginning: bytes) -> None:
    """B1: no thread is held, and a time-out is not renewed by every byte; the body comes without a key."""
    with Dripping(impatient.port, [beginning] * MANY) as crowd:
        assert_answers(impatient)
        until(lambda: crowd.held == 0)


def test_a_sender_that_keeps_up_is_heard_out(impatient: Studio) -> None:
    """B1: what counts is the rate, not the time."""
    body = b'{"operation": "generate", "prompt": "a cup", "steps": 2}'
    padded = body + b" " * (60_000 - len(body))
    head = HEAD + f"Authorization: Bearer {impatient.api_key}\r\nConnection: close\r\n".encode()
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as caller:
        caller.sendall(head + b"Content-Length: 60000\r\n\r\n")
        for start in range(0, 60_000, 12_000):
            caller.sendall(padded[start : start + 12_000])
            time.sleep(0.5)  # longer in all than the time of grace
        assert caller.recv(65536).startswith(b"HTTP/1.1 202")


def test_a_large_body_that_is_refused_gets_its_answer(impatient: Studio) -> None:
    """B1: what is left of a refused body is thrown away for a moment, so that the sender sees why."""
    answer = requests.post(f"{impatient.url}/v1/jobs", data=b"x" * 5_000_000, timeout=60)
    assert answer.status_code == 401


def test_readers_that_stop_are_given_up_and_keep_nobody_waiting(impatient: Studio) -> None:
    """B2: neither threads nor memory are held by who does not read."""
    studio = impatient
    noise = Image.effect_noise((1500, 1000), 200).convert("RGB")
    buffer = BytesIO()
    noise.save(buffer, "PNG", compress_level=0)
    job = studio.finished(studio.edit(buffer.getvalue(), steps=2).json()["id"])
    request = get(f"/v1/images/{large_image(studio, job['id'])}/content", Authorization=f"Bearer {studio.api_key}")
    web = studio.processes("web")[-1]
    before = web.memory_info().rss
    with NotReading(studio.port, [request] * MANY, buffer=SMALL_BUFFER):
        assert_answers(studio)
        until(lambda: connections(web) >= MANY)
        assert web.memory_info().rss - before < 50 * 2**20
        until(lambda: connections(web) < MANY)


def connections(process: psutil.Process) -> int:
    """The callers that a process is connected to."""
    return sum(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp4"))


def test_waiters_hold_no_threads_and_leave_room_for_submits(impatient: Studio) -> None:
    """B4: long polls and event streams, several times as many as there are threads."""
    studio = impatient
    key = f"Bearer {studio.api_key}"
    job = studio.submit(prompt="forever")
    polls = [get(f"/v1/jobs/{job['id']}?wait=30", Authorization=key)] * MANY
    streams = [get(f"/v1/jobs/{job['id']}/events", Authorization=key)] * SOME
    web = studio.processes("web")[-1]
    with Waiting(studio.port, polls) as polling, Waiting(studio.port, streams) as following:
        until(lambda: connections(web) >= MANY + SOME)
        assert_answers(studio)
        assert studio.submit(prompt="a cup")["state"] == "queued"
        assert web.num_threads() < MANY
        assert (polling.held, following.held) == (MANY, SOME)
        studio.request("POST", f"/v1/jobs/{job['id']}/cancel")
        until(lambda: len(polling.answers) >= MANY and not following.held)
        assert set(polling.answers) == {200}


def large_image(studio: Studio, job_id: str) -> str:
    """The id of the job's input, which is many megabytes."""
    store = open_store(Settings(data_dir=studio.folder / "data"))
    return store.jobs.get(job_id).inputs[0]
