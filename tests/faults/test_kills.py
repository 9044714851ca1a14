"""kill -9 of every process at every bad moment: an accepted job ends exactly once, with pictures that are whole."""

import signal
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import psutil
import pytest
import requests
from PIL import Image

from tests.support.pictures import png
from tests.support.studio import Studio, stored_pictures
from tests.support.waiting import until, until_ended

STEPS = 5


def assert_whole(studio: Studio, job: dict[str, Any], *, images: int = 1) -> None:
    """The job succeeded and every link serves a whole picture of the promised size."""
    assert job["state"] == "succeeded", job
    assert len(job["images"]) == images
    for image in job["images"]:
        answer = requests.get(image["url"], timeout=60)
        assert answer.status_code == 200
        picture = Image.open(BytesIO(answer.content))
        picture.load()
        assert picture.size == (image["width"], image["height"])
        thumbnail = requests.get(image["thumbnail_url"], timeout=60)
        assert Image.open(BytesIO(thumbnail.content)).format == "WEBP"


def stored_files(studio: Studio) -> set[str]:
    """Names of the picture files in the server's storage."""
    return {path.name for path in stored_pictures(studio.folder / "data")}


@pytest.mark.parametrize("moment", ["1", "3", str(STEPS), "finish"])
def test_worker_killed(scripted: Studio, moment: str) -> None:
    job = scripted.submit(prompt=f"preview pace=0.15 kill@{moment}", steps=STEPS, n=2, seed=40)
    done = scripted.finished(job["id"])
    assert_whole(scripted, done, images=2)
    assert done["attempt"] == 2
    assert [image["seed"] for image in done["images"]] == [40, 41]
    assert "Attempt 2 painted this, since the worker was lost before." in done["warnings"]
    # Nothing of the attempt that died is left over.
    assert len([name for name in stored_files(scripted) if job["id"] in name]) == 4


def test_web_killed_after_the_202(scripted: Studio) -> None:
    job = scripted.submit(prompt="pace=0.05", steps=10)
    for process in scripted.processes("web"):
        process.kill()
    done = scripted.finished(job["id"])
    assert_whole(scripted, done)
    assert done["attempt"] == 1
    assert scripted.request("GET", "/v1/jobs").json()["data"][0]["id"] == job["id"]


def test_supervisor_killed(make_scripted: Callable[..., Studio]) -> None:
    studio = make_scripted().start()
    running = studio.submit(prompt="pace=0.1", steps=20)
    waiting = studio.submit(prompt="a cup", steps=2)
    while studio.job(running["id"])["state"] != "running":
        time.sleep(0.05)
    family = studio.family()
    assert len(family) >= 4  # supervisor, gunicorn and its child, worker
    family[0].kill()
    until_ended(family)
    studio.start()
    for job in (running, waiting):
        assert_whole(studio, studio.finished(job["id"]))
    assert studio.job(running["id"])["attempt"] == 2
    painted = (studio.folder / "data" / "painted.log").read_text().splitlines()
    assert len(painted) == 2, "a job was painted twice"


def test_poison_job_fails_and_the_next_one_runs(scripted: Studio) -> None:
    poison = scripted.submit(prompt="kill@2 always", steps=3)
    behind = scripted.submit(prompt="a cup", steps=2)
    done = scripted.finished(poison["id"])
    assert (done["state"], done["error"]["code"], done["attempt"]) == ("failed", "worker_lost", 3)
    assert "3 times" in done["error"]["message"]
    assert done["images"] == []
    assert_whole(scripted, scripted.finished(behind["id"]))


def test_lost_lease_changes_nothing(make_scripted: Callable[..., Studio]) -> None:
    """A worker that was stopped past its lease finds the job done by another, and takes the next one."""
    studio = make_scripted(lease_s=3)
    studio.process = studio.spawn("web")
    first = studio.spawn("worker", "--device", "cpu:0")
    try:
        job = studio_submit(studio, prompt="stop@2", steps=4, seed=3)
        while psutil.Process(first.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.05)
        second = studio.spawn("worker", "--device", "cpu:1")
        try:
            done = studio.finished(job["id"])
            assert_whole(studio, done)
            assert done["attempt"] == 2
        finally:
            second.kill()
            second.wait()
        first.send_signal(signal.SIGCONT)
        after = studio.finished(studio.submit(prompt="a cup", steps=2)["id"])
        assert_whole(studio, after)
        assert studio.job(job["id"]) == done
        assert_whole(studio, done)
        assert "lost lease" in studio.log.read_text()
    finally:
        first.kill()
        first.wait()


def studio_submit(studio: Studio, **params: Any) -> dict[str, Any]:
    """Submit once the web process listens."""

    def submitted() -> dict[str, Any] | None:
        try:
            return studio.submit(**params)
        except requests.ConnectionError:
            return None

    return until(submitted) or {}


def test_hanging_engine_is_ended(make_scripted: Callable[..., Studio]) -> None:
    studio = make_scripted(job_timeout_s=2).start()
    stuck = studio.submit(prompt="hang@2 always", steps=4)
    behind = studio.submit(prompt="a cup", steps=2)
    done = studio.finished(stuck["id"])
    assert (done["state"], done["error"]["code"]) == ("failed", "engine_timeout")
    assert_whole(studio, studio.finished(behind["id"]))
    assert studio.wait_for_state("ready", timeout=60)


def test_frozen_worker_is_replaced(make_scripted: Callable[..., Studio]) -> None:
    """A worker that cannot even run its keeper thread loses its lease and its life."""
    studio = make_scripted(lease_s=3, max_attempts=10).start()
    done = studio.finished(studio.submit(prompt="stop@2", steps=4)["id"])
    assert_whole(studio, done)
    assert done["attempt"] >= 2
    assert len(studio.processes("worker")) == 1


def test_the_light_worker_is_started_again_and_never_waits_for_a_painting(scripted: Studio) -> None:
    painting = scripted.submit(prompt="forever")
    scripted.processes("light")[0].kill()
    for wish in ("rotate it 90 degrees", "变成黑白"):
        done = scripted.finished(scripted.edit(png(), prompt=wish).json()["id"])
        assert_whole(scripted, done)
        assert done["engine"] == "cv"
    assert scripted.job(painting["id"])["state"] in {"queued", "running"}
    scripted.request("POST", f"/v1/jobs/{painting['id']}/cancel")
    scripted.finished(painting["id"])


def test_out_of_memory_is_tried_once_more_and_then_told(scripted: Studio) -> None:
    worker = scripted.processes("worker")[0].pid
    done = scripted.finished(scripted.submit(prompt="memory@1 always", steps=2)["id"])
    assert (done["state"], done["error"]["code"], done["attempt"]) == ("failed", "out_of_memory", 2)
    assert "smaller" in done["error"]["message"]
    assert_whole(scripted, scripted.finished(scripted.submit(steps=2)["id"]))
    assert scripted.processes("worker")[0].pid == worker


def test_a_lost_device_costs_a_process_and_not_the_queue(scripted: Studio) -> None:
    jobs = [scripted.submit(prompt="lost@1", steps=2), scripted.submit(steps=2)]
    lost, behind = (scripted.finished(job["id"]) for job in jobs)
    assert_whole(scripted, lost)
    assert_whole(scripted, behind)
    assert (lost["attempt"], behind["attempt"]) == (2, 1)
    assert "Attempt 2 painted this, since the device was lost before." in lost["warnings"]


def test_a_device_that_is_lost_each_time_ends_the_job(scripted: Studio) -> None:
    done = scripted.finished(scripted.submit(prompt="lost@1 always", steps=2)["id"])
    assert (done["state"], done["error"]["code"], done["attempt"]) == ("failed", "worker_lost", 3)
    assert done["error"]["message"].startswith("The device failed at attempt 3")


def test_a_restart_without_a_model_ends_its_waiting_jobs(make_scripted: Callable[..., Studio]) -> None:
    studio = make_scripted(models="Qwen-Image,miniature", shutdown_grace_s=0.5, unserved_s=1).start()
    running = studio.submit(prompt="forever")
    waiting = studio.submit(prompt="a cup")
    while studio.job(running["id"])["state"] != "running":
        time.sleep(0.05)
    studio.stop()
    studio.environment["STUDIO_MODELS"] = "miniature"
    studio.start()
    for job in (running, waiting):
        done = studio.finished(job["id"])
        assert (done["state"], done["error"]["code"]) == ("failed", "model_unavailable")


def test_engine_bug_fails_the_job_alone(scripted: Studio) -> None:
    done = scripted.finished(scripted.submit(prompt="bug@1 always", steps=2)["id"])
    assert (done["state"], done["error"]["code"]) == ("failed", "engine_failed")
    assert "ZeroDivisionError" not in done["error"]["message"]
    assert "a bug in the engine" in scripted.log.read_text()


def test_rolling_restart_under_load(make_scripted: Callable[..., Studio]) -> None:
    """SIGTERM again and again while 50 jobs run: none lost, none painted twice."""
    studio = make_scripted(queue_limit=100).start()
    submitted = [studio.submit(prompt=f"pace=0.02 job {number}", steps=4)["id"] for number in range(50)]
    for _ in range(3):
        time.sleep(0.7)
        worker = studio.processes("worker")[0]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) in {0, None}
        while not studio.processes("worker"):
            time.sleep(0.05)
    done = [studio.finished(job_id) for job_id in submitted]
    assert {job["state"] for job in done} == {"succeeded"}
    assert {job["attempt"] for job in done} == {1}
    painted = (studio.folder / "data" / "painted.log").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in painted) == sorted(f"pace=0.02 job {n}" for n in range(50))


def test_stop_leaves_no_process_and_gives_the_job_back(make_scripted: Callable[..., Studio]) -> None:
    studio = make_scripted(shutdown_grace_s=0.5).start()
    job = studio.submit(prompt="forever")
    while studio.job(job["id"])["progress"]["step"] < 1:
        time.sleep(0.05)
    family = studio.family()
    assert studio.stop() == 0
    until_ended(family)
    studio.start()
    assert studio.job(job["id"])["state"] in {"queued", "running"}
    assert studio.job(job["id"])["attempt"] <= 1
    studio.request("POST", f"/v1/jobs/{job['id']}/cancel")
    assert studio.finished(job["id"])["state"] == "cancelled"
