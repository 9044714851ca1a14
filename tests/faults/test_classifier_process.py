"""The classifier's process beside a whole server: killed, hung, replaced; and nothing unseen comes out."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qwen_image_studio.guard.scoring import SOCKET
from tests.support import classifier
from tests.support.classifier import HANGS, KILLS, seed_of
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until, until_ended

STRICT: dict[str, Any] = {
    **SCRIPTED, "safety": "strict", "classifier": classifier.NAME, "safety_timeout_s": 60, "lease_s": 60,
}  # fmt: skip


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server that gives out nothing that its classifier has not seen."""
    with Studio(tmp_path_factory.mktemp("strict"), **STRICT) as studio:
        yield studio


def safety(studio: Studio) -> psutil.Process:
    """The classifier's process."""
    return until(lambda: studio.processes("safety"))[0]


def state(studio: Studio) -> str:
    """How health says that it is."""
    workers = studio.request("GET", "/v1/health").json()["workers"]
    return next((str(each["state"]) for each in workers if each["device"] == "safety"), "none")


def test_one_process_scores_pictures_and_health_shows_it(strict: Studio) -> None:
    until(lambda: state(strict) == "ready")
    assert len(strict.processes("safety")) == 1
    job = strict.finished(strict.submit(size="64x64", steps=2, seed=seed_of(10))["id"])
    assert job["state"] == "succeeded"


def test_a_picture_that_ends_the_process_is_asked_about_again_in_the_next(strict: Studio) -> None:
    before = safety(strict)
    job = strict.finished(strict.submit(size="64x64", steps=2, seed=seed_of(10, KILLS))["id"])
    assert job["state"] == "succeeded"
    until_ended([before])
    assert safety(strict).pid != before.pid


def test_a_job_whose_classifier_is_killed_again_and_again_ends_once_it_answers(strict: Studio) -> None:
    ids = [strict.submit(size="64x64", steps=2, seed=seed_of(10, n), n=3)["id"] for n in range(4)]
    for _ in range(2):
        victim = safety(strict)
        victim.kill()
        until_ended([victim])
    assert {strict.finished(job_id)["state"] for job_id in ids} == {"succeeded"}
    until(lambda: state(strict) == "ready")


def test_a_process_that_is_stopped_is_ended_and_replaced(
    tmp_path: Path,
) -> None:
    with Studio(tmp_path, **{**STRICT, "safety_timeout_s": 2}) as studio:
        until(lambda: state(studio) == "ready")
        frozen = safety(studio)
        os.kill(frozen.pid, signal.SIGSTOP)
        job = studio.finished(studio.submit(size="64x64", steps=2, seed=seed_of(10))["id"])
        assert (job["state"], job["error"]["code"]) == ("failed", "safety_unavailable")
        assert job["images"] == []
        until_ended([frozen])
        until(lambda: state(studio) == "ready")
        job = studio.finished(studio.submit(size="64x64", steps=2, seed=seed_of(10))["id"])
        assert job["state"] == "succeeded"


def test_a_check_that_hangs_holds_up_nobodys_painting(tmp_path: Path) -> None:
    standard = {**STRICT, "safety": "standard", "safety_timeout_s": 3}
    with Studio(tmp_path, **standard) as studio:
        until(lambda: state(studio) == "ready")
        hung = studio.submit(size="64x64", steps=2, seed=seed_of(10, HANGS))["id"]
        until(lambda: studio.job(hung)["progress"]["phase"] == "checking" or studio.job(hung)["state"] == "succeeded")
        other = studio.finished(studio.submit(size="64x64", steps=2, seed=seed_of(10))["id"])
        assert other["state"] == "succeeded"
        job = studio.finished(hung)
        assert job["state"] == "succeeded"
        assert [True for warning in job["warnings"] if "not checked" in warning]


def test_what_is_painted_already_is_not_painted_again_where_the_device_is_lost(tmp_path: Path) -> None:
    standard = {**STRICT, "safety": "standard", "safety_timeout_s": 3}
    with Studio(tmp_path, **standard) as studio:
        until(lambda: state(studio) == "ready")
        painted = studio.submit(size="64x64", steps=2, seed=seed_of(10, HANGS))["id"]
        lost = studio.submit(prompt="lost@1", size="64x64", steps=2, seed=seed_of(10))["id"]
        attempts = [(job["state"], job["attempt"]) for job in map(studio.finished, (painted, lost))]
        assert attempts == [("succeeded", 1), ("succeeded", 2)]


def test_a_folder_that_takes_no_socket_is_told_of_in_one_line(tmp_path: Path) -> None:
    studio = Studio(tmp_path, **STRICT)
    (tmp_path / "data" / SOCKET).mkdir(parents=True)
    assert studio.spawn("safety").wait(120) == 1
    assert "takes no socket for the classifier" in studio.log.read_text().splitlines()[-1]


def test_the_process_ends_with_its_supervisor(tmp_path: Path) -> None:
    with Studio(tmp_path, **STRICT) as studio:
        process = safety(studio)
        assert studio.process is not None
        os.kill(studio.process.pid, signal.SIGKILL)
        until_ended([process])


def test_without_a_classifier_there_is_no_process(tmp_path: Path) -> None:
    with Studio(tmp_path, **SCRIPTED) as studio:
        assert studio.processes("safety") == []
        assert state(studio) == "none"
