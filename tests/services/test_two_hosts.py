"""Two hosts with a data folder each, one PostgreSQL and one store of pictures: whichever host a caller reaches, the
server is the same.
"""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from qwen_image_studio.contract.limits import KeyLimits, Limits
from tests.support.database import Schemas
from tests.support.hosts import Fleet, Host
from tests.support.waiting import PATIENCE_S, until

LIMIT = 3


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, schemas: Schemas | None) -> Iterator[Fleet]:
    """Hosts `a` and `b` with a web process and a worker each; both have a light worker, too."""
    if schemas is None:
        pytest.skip("needs PostgreSQL; `make test-services` runs it (TEST_DATABASE=postgresql)")
    folder = tmp_path_factory.mktemp("fleet")
    with Fleet(folder, schemas.url(folder)) as fleet:
        for name in ("a", "b"):
            fleet.add_host(name, "light", "worker", "web")
        for host in fleet.hosts.values():
            fleet.wait_for(host, painters=2)
        yield fleet


@pytest.fixture
def a(fleet: Fleet) -> Host:
    """The host that most requests reach first."""
    return fleet.hosts["a"]


@pytest.fixture
def b(fleet: Fleet) -> Host:
    """The other one."""
    return fleet.hosts["b"]


def picture_at(host: Host, url: str) -> requests.Response:
    """Follow a link, which was given out by any host, to one of them."""
    split = urlsplit(url)
    return requests.get(f"{host.url}{split.path}?{split.query}", timeout=70)


def running(host: Host, job_id: str) -> bool:
    return bool(host.job(job_id)["state"] == "running")


def events_of(host: Host, headers: dict[str, str], until_seen: str) -> tuple[list[dict[str, Any]], str]:
    """The jobs that a stream tells until it tells the end of one, and its last cursor."""
    told: list[dict[str, Any]] = []
    headers = {"Authorization": f"Bearer {host.api_key}", **headers}
    cursor = ""
    with requests.get(f"{host.url}/v1/events", headers=headers, stream=True, timeout=70) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            name, _, value = line.decode().partition(": ")
            cursor = value if name == "id" else cursor
            if name == "data" and "state" in (seen := json.loads(value)):
                told.append(seen)
            if name == "id" and any(job["id"] == until_seen and job["state"] == "succeeded" for job in told):
                return told, cursor
    raise AssertionError("the stream ended")


def test_a_job_of_one_host_is_followed_and_its_pictures_are_fetched_at_the_other(a: Host, b: Host) -> None:
    job = a.submit(prompt="a cup", steps=3, seed=5, n=2)
    done = b.finished(job["id"])
    assert done["state"] == "succeeded"
    assert a.finished(job["id"]) == done
    for image in done["images"]:
        pictures = [picture_at(host, image["url"]) for host in (a, b)]
        assert [answer.status_code for answer in pictures] == [200, 200]
        assert pictures[0].content == pictures[1].content
        again = a.request("GET", f"/v1/images/{image['id']}/content")
        assert again.content == pictures[1].content


def test_both_hosts_paint_and_each_sees_the_workers_of_both(a: Host, b: Host) -> None:
    jobs = [host.submit(prompt=f"forever {host.port}") for host in (a, b)]
    until(lambda: all(running(a, job["id"]) for job in jobs))
    for host in (a, b):
        workers = host.wait_for_state("busy")["workers"]
        assert {(worker["host"], worker["device"]) for worker in workers} == {
            ("a", "cpu"), ("b", "cpu"), ("a", "light"), ("b", "light"),
        }  # fmt: skip
    for host, job in zip((b, a), jobs, strict=True):  # a cancel reaches the worker, wherever it is
        assert host.request("POST", f"/v1/jobs/{job['id']}/cancel").status_code == 200
        assert host.finished(job["id"])["state"] == "cancelled"


def test_a_request_that_is_sent_again_to_the_other_host_gives_the_same_job(a: Host, b: Host) -> None:
    body, headers = {"operation": "generate", "prompt": "a cup", "steps": 2}, {"Idempotency-Key": "once"}
    first, second = (host.request("POST", "/v1/jobs", json=body, headers=headers) for host in (a, b))
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["Idempotent-Replayed"] == "true"


def test_what_one_host_has_painted_answers_an_equal_request_at_the_other(a: Host, b: Host) -> None:
    asked = {"prompt": "a cup that is cached", "steps": 2, "seed": 11, "cache": True}
    assert a.finished(a.submit(**asked)["id"])["cached"] is False
    answered = b.finished(b.submit(**asked)["id"])
    assert (answered["state"], answered["cached"]) == ("succeeded", True)


def test_twelve_equal_requests_at_once_at_both_hosts_make_one_job(a: Host, b: Host) -> None:
    asked = {"prompt": "pace=0.3 a shared cup", "steps": 4, "seed": 12, "cache": True}
    with ThreadPoolExecutor(12) as threads:
        jobs = list(threads.map(lambda number: (a, b)[number % 2].submit(**asked), range(12)))
    assert len({job["id"] for job in jobs}) == 1
    assert a.finished(jobs[0]["id"])["state"] == "succeeded"


def test_a_conversation_goes_on_at_the_other_host(a: Host, b: Host) -> None:
    first = a.finished(a.submit(prompt="a cup", steps=2, conversation="talk")["id"])
    asked = {"operation": "edit", "prompt": "make it green", "steps": 2, "conversation": "talk"}
    second = b.finished(b.submit(**asked)["id"])
    assert second["state"] == "succeeded", second["error"]
    chain = a.request("GET", f"/v1/images/{second['images'][0]['id']}/chain").json()
    assert first["images"][0]["id"] in json.dumps(chain)


def test_a_stream_of_events_goes_on_at_the_other_host_where_it_was(a: Host, b: Host) -> None:
    first = a.submit(prompt="pace=0.2 a cup", steps=3)
    told, cursor = events_of(b, {}, first["id"])
    assert {job["state"] for job in told if job["id"] == first["id"]} >= {"running", "succeeded"}
    missed = b.submit(prompt="a cup", steps=2)
    assert b.finished(missed["id"])["state"] == "succeeded"
    told, _ = events_of(a, {"Last-Event-ID": cursor}, missed["id"])
    assert missed["id"] in {job["id"] for job in told}


def test_a_limit_of_a_key_holds_over_both_hosts(fleet: Fleet, a: Host, b: Host) -> None:
    key = fleet.add_key("limited", KeyLimits(key=Limits(requests_per_minute=LIMIT)))
    body, headers = {"operation": "generate", "prompt": "a cup", "steps": 2}, {"Authorization": f"Bearer {key}"}
    answers = [
        (a, b)[number % 2].request("POST", "/v1/jobs", json=body, headers=headers) for number in range(LIMIT + 2)
    ]
    assert [answer.status_code for answer in answers] == [202] * LIMIT + [429] * 2
    assert {answer.json()["error"]["code"] for answer in answers[LIMIT:]} == {"rate_limited"}


def test_batches_of_both_hosts_are_run_by_two_light_workers(a: Host, b: Host) -> None:
    def batch(host: Host) -> str:
        job = {"operation": "generate", "prompt": "a {{thing}}", "steps": 2}
        rows = [{"thing": f"{thing} {host.port}"} for thing in ("cup", "jug", "pot")]
        answer = host.request("POST", "/v1/jobs", json={"operation": "batch", "job": job, "rows": rows})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    for job_id in [batch(host) for host in (a, b, a, b)]:
        done = b.finished(job_id)
        assert (done["state"], done["rows"]["succeeded"]) == ("succeeded", 3)


def test_a_worker_that_stops_gives_its_job_back_to_the_other_host(fleet: Fleet, a: Host, b: Host) -> None:
    """It has no supervisor: SIGTERM has it finish within its grace, or give back, and its exit code is 0."""
    a.environment["STUDIO_SHUTDOWN_GRACE_S"] = b.environment["STUDIO_SHUTDOWN_GRACE_S"] = "1"
    assert [host.end("worker") for host in (a, b)] == [0, 0]
    a.run("worker")
    fleet.wait_for(b, painters=1)
    job = b.submit(prompt="pace=1 a cup", steps=16)
    until(lambda: running(b, job["id"]))
    assert a.end("worker") == 0
    assert a.job(job["id"])["state"] == "queued"
    b.run("worker")
    done = a.finished(job["id"])
    assert (done["state"], done["attempt"]) == ("succeeded", 1)
    a.run("worker")


def test_a_worker_that_is_killed_costs_its_job_a_lease_and_no_more(fleet: Fleet, a: Host, b: Host) -> None:
    fleet.wait_for(a, painters=2)
    jobs = [host.submit(prompt=f"pace=0.4 a cup {host.port}", steps=30) for host in (a, b)]
    until(lambda: all(running(a, job["id"]) for job in jobs))
    a.end("worker", signal.SIGKILL)  # nobody on this host takes back what it held
    for job in jobs:
        assert b.finished(job["id"])["state"] == "succeeded"
    assert sorted(b.job(job["id"])["attempt"] for job in jobs) == [1, 2]
    a.run("worker")
    fleet.wait_for(b, painters=2)


@pytest.mark.parametrize("command", ["worker", "light"])
def test_a_host_whose_pictures_lie_elsewhere_does_not_start(
    fleet: Fleet, a: Host, tmp_path: Path, command: str
) -> None:
    fleet.wait_for(a, painters=2)
    stranger = fleet.add_host(f"stranger-{command}", storage_url=f"file://{tmp_path}")
    process = stranger.run(command)
    assert process.wait(PATIENCE_S) == 1
    [line] = [line for line in stranger.log.read_text().splitlines() if line.startswith("Error: ")]
    assert "lie in another place" in line
    assert "STUDIO_STORAGE_URL" in line


@pytest.mark.parametrize(
    ("changed", "setting"), [("storage_url", "STUDIO_STORAGE_URL"), ("secret_key", "STUDIO_SECRET_KEY")]
)
def test_a_web_process_says_where_it_does_not_go_with_the_workers(
    fleet: Fleet, tmp_path: Path, changed: str, setting: str
) -> None:
    stranger = fleet.add_host(f"web-{changed}", **{changed: f"file://{tmp_path}"})
    stranger.run("web")
    health = stranger.wait_for_state("degraded")
    assert setting in health["message"]
    stranger.end("web")


def test_a_host_without_models_of_its_own_has_to_be_told_them(fleet: Fleet) -> None:
    stranger = fleet.add_host("unnamed", models="")
    assert stranger.run("web").wait(PATIENCE_S) == 1
    assert "Error: STUDIO_MODELS is empty" in stranger.log.read_text()


def test_a_job_waits_for_a_worker_that_offers_its_model(fleet: Fleet, a: Host) -> None:
    """It is taken all the same, with a warning; nobody fails it before the time of grace is over."""
    host = fleet.add_host("front", models="miniature,Qwen-Image")
    host.run("web")
    fleet.wait_for(host, painters=2)
    offered = {model["id"]: model["unavailable"] for model in host.request("GET", "/v1/models").json()["data"]}
    assert offered["miniature"] is None
    assert "No worker" in offered["Qwen-Image"]
    job = host.submit(model="Qwen-Image", prompt="a cup", steps=2)
    assert any("No worker that paints Qwen-Image" in warning for warning in job["warnings"])
    assert (a.job(job["id"])["state"], a.job(job["id"])["warnings"]) == ("queued", [])
    a.request("POST", f"/v1/jobs/{job['id']}/cancel")
    host.end("web")
