"""The call log and the log of a real server: over real sockets, whose other end forges, leaves or is killed."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from qwen_image_studio.jobs import JobStore, open_store
from qwen_image_studio.jobs.calls import Call, Sought
from qwen_image_studio.settings import Settings
from tests.support.database import writing_nothing
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

FORGED = {"X-Forwarded-For": "192.0.2.66", "Forwarded": "for=192.0.2.77"}
HOSTS = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server for all tests that leave it as it is."""
    with Studio(tmp_path_factory.mktemp("running"), **SCRIPTED) as studio:
        yield studio


@contextmanager
def opened(studio: Studio) -> Iterator[JobStore]:
    """The server's store."""
    with open_store(Settings(_env_file=None, data_dir=studio.folder / "data")) as store:
        yield store


def rows(studio: Studio, **sought: Any) -> list[Call]:
    """Rows of the server's log, newest first."""
    with opened(studio) as store:
        return store.calls.page(Sought(**sought), 1000)[0]


@pytest.mark.parametrize(("proxies", "peer"), [("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("::1,127.0.0.1", None)])
def test_a_forged_header_is_ignored_unless_a_named_proxy_sent_it(
    make_scripted: Callable[..., Studio], proxies: str, peer: str | None
) -> None:
    studio = make_scripted(trusted_proxies=proxies).start()
    answer = studio.request("DELETE", "/v1/jobs/job_x", headers=FORGED)
    assert answer.status_code == 404
    [row] = until(lambda: rows(studio))
    assert row.peer == (peer or "192.0.2.66")
    body = {"operation": "generate", "prompt": "x"}
    answer = studio.request("POST", "/v1/jobs", headers={**FORGED, **HOSTS}, json=body)
    job = studio.finished(answer.json()["id"])
    assert job["images"][0]["url"].startswith(f"{studio.url}/files/"), "links are made of the settings alone"
    assert rows(studio, job_id=job["id"])[0].peer == (peer or "192.0.2.66")


def test_the_log_is_written_although_the_client_is_gone(running: Studio) -> None:
    studio = running
    body = json.dumps({"prompt": "pace=0.2", "size": "128x128", "steps": 5}).encode()
    head = "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: gone\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with opened(studio) as store, socket.create_connection(("127.0.0.1", studio.port)) as caller:
        caller.sendall(head.encode() + body)
        until(lambda: store.jobs.counts() != (0, 0))
    [row] = until(lambda: [each for each in rows(studio) if each.request_id == "gone"])
    assert (row.method, row.request_id, row.outcome) == ("job", "gone", "succeeded")
    with socket.create_connection(("127.0.0.1", studio.port)) as caller:
        caller.sendall(b"DELETE /v1/jobs/job_x HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: gone-too\r\n\r\n")
        caller.shutdown(socket.SHUT_WR)
    assert until(lambda: [each for each in rows(studio) if each.request_id == "gone-too"])


def test_what_waits_to_be_written_is_written_when_the_server_stops(make_scripted: Callable[..., Studio]) -> None:
    studio = make_scripted().start()
    for number in range(50):
        studio.request("DELETE", f"/v1/jobs/job_{number}")
    studio.stop()
    assert {row.route for row in rows(studio)} == {f"/v1/jobs/job_{number}" for number in range(50)}


def test_a_job_whose_worker_was_killed_has_one_row_that_tells_the_attempts(running: Studio) -> None:
    job = running.finished(running.submit(prompt="kill@1", steps=2)["id"])
    assert job["state"] == "succeeded"
    [row] = rows(running, job_id=job["id"])
    assert (row.job_id, row.outcome, row.attempt) == (job["id"], "succeeded", 2)


def test_every_line_of_every_process_is_json_and_names_the_request_or_the_job(
    make_scripted: Callable[..., Studio],
) -> None:
    studio = make_scripted(log_format="json").start()
    answer = studio.request(
        "POST", "/v1/jobs", headers={"X-Request-Id": "req-7"}, json={"operation": "generate", "prompt": "bug@1 always"}
    )
    job_id = answer.json()["id"]
    assert studio.finished(job_id)["state"] == "failed"
    with socket.create_connection(("127.0.0.1", studio.port)) as caller:
        caller.sendall(b"\x00\x01 nonsense\r\n\r\n")
        caller.recv(1000)
    studio.stop()
    entries = [json.loads(line) for line in studio.log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= entry.keys() for entry in entries)
    [submit] = [each for each in entries if "POST '/v1/jobs' 202" in each["message"]]
    assert (submit["request_id"], submit["owner"]) == ("req-7", "local")
    of_job = [each for each in entries if each.get("job_id") == job_id]
    assert {each["request_id"] for each in of_job} == {"req-7"}
    [fault] = [each for each in of_job if "exception" in each]
    assert "a bug in the engine" in fault["exception"]
    assert {"qwen_image_studio.web.edge", "qwen_image_studio.worker.loop"} <= {each["logger"] for each in entries}


def test_a_frozen_writer_of_the_database_holds_up_no_read(running: Studio) -> None:
    """Rows of refused requests wait beside the requests, and are written once the database is free."""
    with writing_nothing(running.folder / "data", "calls"):
        answers = [running.request("GET", f"/v1/jobs/frozen_{number}").status_code for number in range(20)]
        assert answers == [404] * 20
    until(lambda: sum(row.route.startswith("/v1/jobs/frozen") for row in rows(running)) == 20)


def test_the_web_process_killed_loses_no_row_of_a_job(running: Studio) -> None:
    job_id = running.submit(prompt="pace=0.3", steps=4)["id"]
    for process in running.processes("web"):
        process.send_signal(signal.SIGKILL)
    assert running.finished(job_id)["state"] == "succeeded"
    assert [row.job_id for row in rows(running, job_id=job_id)] == [job_id]


def test_the_command_goes_on_with_what_comes(running: Studio) -> None:
    running.request("DELETE", "/v1/jobs/before")
    until(lambda: rows(running)[0].route == "/v1/jobs/before")
    command = [sys.executable, "-m", "qwen_image_studio", "log", "--follow", "--json", "--limit", "1"]
    with subprocess.Popen(command, env=running.environment, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["route"] == "/v1/jobs/before"
        running.request("DELETE", "/v1/jobs/after")
        assert json.loads(follower.stdout.readline())["route"] == "/v1/jobs/after"
        follower.terminate()
