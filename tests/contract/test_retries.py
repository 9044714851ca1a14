"""What is tried again by itself and what is not: a test for each row of the table, with the worker's own loop.

A lost device, whose worker ends, is in tests/faults/test_kills.py, with real processes; and a lost worker there too.
"""

import json
import logging
import re
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Lane
from qwen_image_studio.gallery.local import LocalStore
from qwen_image_studio.gallery.store import StoredFile
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.jobs.retries import INPUT_UNREADABLE, LONGEST_REST_S, RETRIES
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.seats import worker_name
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.light import light_worker
from qwen_image_studio.worker.loop import Worker
from tests.support import ROOT
from tests.support.pictures import png
from tests.support.waiting import until
from tests.support.worker import working

NAME = worker_name("cpu")


def submit(client: FlaskClient, prompt: str = "a cup", **more: Any) -> str:
    answer = client.post("/v1/jobs", json={"operation": "generate", "prompt": prompt, "steps": 2, "seed": 7, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.get_json()["id"])


def edit(client: FlaskClient, instruction: str = "make it green", **more: Any) -> str:
    asked = {"operation": "edit", "prompt": instruction, "steps": 2, **more}
    data = {"params": json.dumps(asked), "image": (BytesIO(png()), "a.png")}
    answer = client.post("/v1/jobs", data=data)
    assert answer.status_code == 202, answer.text
    return str(answer.get_json()["id"])


def look(client: FlaskClient, job_id: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/jobs/{job_id}").get_json())


def ended(client: FlaskClient, job_id: str) -> dict[str, Any]:
    return until(lambda: job if (job := look(client, job_id))["finished_at"] else {})


def end_of(client: FlaskClient, job_id: str) -> tuple[str, str | None, int]:
    """State, error's code and number of attempts once the job has ended."""
    job = ended(client, job_id)
    return job["state"], (job["error"] or {}).get("code"), job["attempt"]


def told(job: dict[str, Any]) -> list[str]:
    return [warning for warning in job["warnings"] if not warning.startswith("Painted by the miniature")]


class Unreadable:
    """A storage that cannot read files of inputs for so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int, pause_s: float = 0.01) -> None:
        self.left, self._open = times, LocalStore.open
        monkeypatch.setitem(RETRIES, INPUT_UNREADABLE, replace(RETRIES[INPUT_UNREADABLE], pause_s=pause_s))
        monkeypatch.setattr(LocalStore, "open", lambda store, key: self.open(store, key))

    def open(self, store: LocalStore, key: str) -> StoredFile:
        if self.left:
            self.left -= 1
            raise StudioError("storage_failed", "The image store failed (Input/output error). Try again later.")
        return self._open(store, key)


# -- the next attempt ----------------------------------------------------------------------------------------------


def test_after_a_lost_worker_the_next_attempt_paints_the_same_picture(
    client: FlaskClient, store: JobStore, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    alone = submit(client)
    worker.run_next()
    lost = submit(client, cache=False)
    assert store.leases.claim(NAME, Lane.PAINT, ["miniature"]) is not None
    with caplog.at_level(logging.WARNING):
        assert store.leases.abandon(NAME) == 1
    worker.run_next()
    job = ended(client, lost)
    assert (job["state"], job["attempt"]) == ("succeeded", 2)
    assert told(job) == ["Attempt 2 painted this, since the worker was lost before."]
    assert job["images"][0]["sha256"] == look(client, alone)["images"][0]["sha256"]
    assert f"job {lost}: attempt 1 has lost its worker; the next one follows" in caplog.text


def test_after_a_lack_of_memory_one_attempt_saves_it(
    client: FlaskClient, worker: Worker, store: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        job_id = submit(client, "large@1")
        with working(worker):
            job = ended(client, job_id)
    assert (job["state"], job["attempt"], store.jobs.get(job_id).retried_for) == ("succeeded", 2, "out_of_memory")
    assert told(job)[-2:] == ["Attempt 2 painted this, since memory had run out before.", "Sparing."]
    assert re.search(f"job {job_id}: attempt 1: out_of_memory: .*; the next attempt follows", caplog.text)


def test_where_saving_memory_is_not_enough_the_job_fails_with_advice(client: FlaskClient, worker: Worker) -> None:
    job_id = submit(client, "memory@1 always")
    with working(worker):
        assert end_of(client, job_id) == ("failed", "out_of_memory", 2)
    assert "smaller" in look(client, job_id)["error"]["message"]


def test_memory_stays_saved_when_that_attempt_is_lost(client: FlaskClient, store: JobStore, worker: Worker) -> None:
    job_id = submit(client, "large@1")
    worker.run_next()
    assert store.leases.claim(NAME, Lane.PAINT, ["miniature"]) is not None
    store.leases.abandon(NAME)
    worker.run_next()
    job = ended(client, job_id)
    assert (job["state"], job["attempt"], told(job)[-1]) == ("succeeded", 3, "Sparing.")


def test_the_row_of_a_batch_is_tried_again_likewise(client: FlaskClient, worker: Worker, light: Worker) -> None:
    asked = {"operation": "batch", "job": {"operation": "generate", "prompt": "{{x}}", "steps": 2}}
    batch = client.post("/v1/jobs", json={**asked, "rows": [{"x": "large@1"}, {"x": "memory@1 always"}]}).get_json()
    while light.run_next() or worker.run_next():
        pass
    rows = client.get(f"/v1/jobs?parent_id={batch['id']}").get_json()["data"]
    assert [(row["state"], row["attempt"]) for row in rows] == [("succeeded", 2), ("failed", 2)]
    assert ended(client, batch["id"])["state"] == "succeeded"


def test_an_input_that_can_be_read_later_is(
    client: FlaskClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = edit(client)
    Unreadable(monkeypatch, 2)
    with working(worker):
        job = ended(client, job_id)
    assert (job["state"], job["attempt"]) == ("succeeded", 3)
    assert told(job)[0] == "Attempt 3 painted this, since an input could not be read before."


def test_an_adjustment_waits_for_its_input_as_well(
    client: FlaskClient, light: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = edit(client, "rotate it 90 degrees")
    Unreadable(monkeypatch, 1)
    with working(light):
        assert end_of(client, job_id) == ("succeeded", None, 2)


def test_an_input_that_can_never_be_read_ends_the_job(
    client: FlaskClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = edit(client)
    Unreadable(monkeypatch, 100)
    with working(worker):
        assert end_of(client, job_id) == ("failed", "storage_failed", 3)


def test_a_job_that_rests_before_its_next_attempt_holds_nobody_up(
    client: FlaskClient, worker: Worker, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    resting = edit(client)
    Unreadable(monkeypatch, 1, pause_s=LONGEST_REST_S)
    assert worker.run_next()
    assert look(client, resting)["state"] == "queued"
    assert not worker.run_next()
    other = submit(client)  # of the same person, for the same model
    assert worker.run_next()
    assert look(client, other)["state"] == "succeeded"
    assert store.leases.unclaimed(Lane.PAINT, ["miniature"]) is None
    lease = store.leases.claim(NAME, Lane.PAINT, ["miniature"], now=time.time() + LONGEST_REST_S + 1)
    assert lease is not None
    assert (lease.job.id, lease.job.attempt) == (resting, 2)


def test_a_job_that_rests_is_cancelled_at_once(
    client: FlaskClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = edit(client)
    Unreadable(monkeypatch, 1, pause_s=LONGEST_REST_S)
    worker.run_next()
    assert client.post(f"/v1/jobs/{job_id}/cancel").get_json()["state"] == "cancelled"


def test_no_job_rests_long_where_the_clock_is_set_back(
    client: FlaskClient, worker: Worker, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(client)
    Unreadable(monkeypatch, 1, pause_s=LONGEST_REST_S)
    worker.run_next()
    assert store.leases.claim(NAME, Lane.PAINT, ["miniature"], now=time.time() - 3600) is not None


def test_attempts_are_counted_whatever_they_end_for(
    client: FlaskClient, store: JobStore, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = edit(client, "large@1")
    for _ in range(2):
        assert store.leases.claim(NAME, Lane.PAINT, ["miniature"]) is not None
        store.leases.abandon(NAME)
    Unreadable(monkeypatch, 0)
    worker.run_next()
    assert end_of(client, job_id) == ("failed", "out_of_memory", 3)


# -- never ---------------------------------------------------------------------------------------------------------


def input_file(client: FlaskClient, store: JobStore, settings: Settings, job_id: str) -> Path:
    [image_id] = store.jobs.get(job_id).inputs
    return settings.data_dir / "images" / store.images.get(image_id).key


def test_an_input_that_is_refused_is_not_tried_again(
    client: FlaskClient, store: JobStore, settings: Settings, worker: Worker
) -> None:
    job_id = edit(client)
    input_file(client, store, settings, job_id).write_bytes(b"no picture")
    worker.run_next()
    assert end_of(client, job_id) == ("failed", "unsupported_image", 1)


def test_an_input_whose_file_is_gone_is_not_tried_again(
    client: FlaskClient, store: JobStore, settings: Settings, worker: Worker
) -> None:
    job_id = edit(client)
    input_file(client, store, settings, job_id).unlink()
    worker.run_next()
    assert end_of(client, job_id) == ("failed", "not_found", 1)


def test_a_fault_of_the_engine_is_not_tried_again(client: FlaskClient, worker: Worker) -> None:
    job_id = submit(client, "bug@1 always")
    worker.run_next()
    assert end_of(client, job_id) == ("failed", "engine_failed", 1)


def test_a_picture_that_cannot_be_stored_is_not_painted_again(
    client: FlaskClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(*_: object) -> None:
        raise StudioError("storage_failed", "The image store failed (No space left on device). Try again later.")

    job_id = submit(client)
    monkeypatch.setattr(LocalStore, "put", put)
    worker.run_next()
    assert end_of(client, job_id) == ("failed", "storage_failed", 1)


def test_what_is_cancelled_is_not_tried_again(client: FlaskClient, worker: Worker) -> None:
    job_id = submit(client, "forever")
    with working(worker):
        until(lambda: look(client, job_id)["state"] == "running")
        client.post(f"/v1/jobs/{job_id}/cancel")
        assert end_of(client, job_id) == ("cancelled", None, 1)


def test_blocked_words_are_not_tried_again(
    client: FlaskClient, parts: Services, worker: Worker, tmp_path: Path
) -> None:
    """A row is looked at when it is made into a job, by the list that there is then."""
    asked = {"operation": "batch", "job": {"operation": "generate", "prompt": "a {{x}}", "steps": 2}}
    batch = client.post("/v1/jobs", json={**asked, "rows": [{"x": "cup"}, {"x": "gun"}]}).get_json()
    terms = tmp_path / "terms.txt"
    terms.write_text("gun\n", encoding="utf-8")
    light = light_worker(parts.settings.model_copy(update={"blocked_terms": terms}), parts.models, parts.store)
    while light.run_next() or worker.run_next():
        pass
    [_, blocked] = client.get(f"/v1/jobs?parent_id={batch['id']}").get_json()["data"]
    assert (blocked["state"], blocked["error"]["code"], blocked["attempt"]) == ("failed", "content_blocked", 0)


def test_the_documentation_lists_what_is_tried_again() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    table = page[page.index("| an attempt ended for |") :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
    reasons = {match[1]: then for first, then, _ in cells if (match := re.match(r"`(\w+)`: ", first))}
    assert {reason for reason, then in reasons.items() if then != "never"} == {*RETRIES}
    pauses = re.findall(r"(\d+) s", reasons[INPUT_UNREADABLE])
    assert [float(each) for each in pauses] == [RETRIES[INPUT_UNREADABLE].pause_s * number for number in (1, 2)]
