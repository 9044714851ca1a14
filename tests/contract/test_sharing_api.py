"""Equal submits over HTTP, as long as none of them has its picture: they share a job, and each can be taken back."""

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from qwen_image_studio.contract.caller import LOCAL, Caller
from qwen_image_studio.contract.words import Prompts
from qwen_image_studio.database.tables import calls, deliveries, images, job_inputs, usage
from qwen_image_studio.intake import Intake
from qwen_image_studio.jobs import JobStore, Submitted, open_store
from qwen_image_studio.jobs.sharing import share_key
from qwen_image_studio.operations.request import validated
from qwen_image_studio.recipe import Submission
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.database import with_tables
from tests.support.pictures import png
from tests.support.waiting import until

ASK: dict[str, Any] = {"operation": "generate", "prompt": "红苹果", "steps": 2, "seed": 5}
NO_SEED = {name: value for name, value in ASK.items() if name != "seed"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings that let callbacks go to this machine."""
    folder = tmp_path / "data"
    return with_tables(Settings(data_dir=folder, models="miniature", webhook_allow="127.0.0.1", queue_limit=30))


def keyed(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": key}


def submit(client: FlaskClient, key: str | None = None, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json={**ASK, **changes}, headers=keyed(key))
    assert answer.status_code == 202, answer.text
    return dict(answer.get_json())


def edit(client: FlaskClient, file: bytes, prompt: str = "make it green") -> dict[str, Any]:
    params = {"operation": "edit", "prompt": prompt, "steps": 2, "seed": 5}
    answer = client.post("/v1/jobs", data={"params": json.dumps(params), "image": (BytesIO(file), "a.png")})
    assert answer.status_code == 202, answer.text
    return dict(answer.get_json())


def cancel(client: FlaskClient, job: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
    answer = client.post(f"/v1/jobs/{job['id']}/cancel", headers=keyed(key))
    assert answer.status_code == 200, answer.text
    return dict(answer.get_json())


def look(client: FlaskClient, job: Mapping[str, Any]) -> dict[str, Any]:
    return dict(client.get(f"/v1/jobs/{job['id']}").get_json())


def number_of(store: JobStore, table: Any) -> int:
    """How many rows a table has."""
    with store.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


# -- which submits share a job -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "with_keys", "jobs"), [(ASK, False, 1), (ASK, True, 1), (NO_SEED, False, 12)], ids=["seed", "keys", "no"]
)
def test_twelve_equal_submits_at_once(
    app: Flask, store: JobStore, asked: dict[str, Any], with_keys: bool, jobs: int
) -> None:
    """With a seed they are one job; without one, twelve people want twelve pictures."""
    start = threading.Barrier(12)

    def send(number: int) -> Any:
        with app.test_client() as client:
            start.wait()
            return client.post("/v1/jobs", json=asked, headers=keyed(f"k{number}" if with_keys else None))

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, range(12)))
    assert [answer.status_code for answer in answers] == [202] * 12
    assert len({answer.headers["Location"] for answer in answers}) == jobs
    assert not [answer for answer in answers if "Idempotent-Replayed" in answer.headers], "none was sent before"
    assert store.jobs.counts() == (jobs, 0)
    assert max(answer.get_json()["shared"] for answer in answers) == 12 // jobs


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "绿苹果"},
        {"size": "80x80"},
        {"seed": 6},
        {"n": 2},
        {"user": "ann"},
        {"conversation": "talk"},
        {"webhook_url": "http://127.0.0.1:9/hook"},
        {"hold": True},
        {"cache": False},
        {"cache": "similar"},
        {"output_format": "webp"},
    ],
    ids=lambda other: next(iter(other)) + str(next(iter(other.values()))).partition(":")[0],
)
def test_what_differs_is_a_job_of_its_own(client: FlaskClient, other: dict[str, Any]) -> None:
    first, second = submit(client), submit(client, **other)
    assert (first["id"] != second["id"], second["shared"]) == (True, 1)


@pytest.mark.parametrize("never", [{"hold": True}, {"cache": False}, {"seed": -1}], ids=lambda each: next(iter(each)))
def test_what_is_to_be_painted_anew_is_never_shared(client: FlaskClient, never: dict[str, Any]) -> None:
    assert len({submit(client, **never)["id"] for _ in range(2)}) == 2


def test_other_keys_and_other_owners_have_jobs_of_their_own(parts: Services) -> None:
    who = [LOCAL, Caller("local", "ann"), Caller("local", "bob"), Caller("shop", "bob"), Caller("shop", "bob")]
    made = [parts.intake.accept(Submission(validated(ASK)), caller) for caller in who]
    assert [how for _, how in made] == [*[Submitted.ADDED] * 4, Submitted.SHARED]
    assert len({job.id for job, _ in made}) == 4


def test_batches_and_their_rows_share_nothing(client: FlaskClient, light: Worker, store: JobStore) -> None:
    batch = {"operation": "batch", "job": ASK, "rows": [{}, {}], "seed_mode": "fixed"}
    first, second = (client.post("/v1/jobs", json=batch).get_json() for _ in range(2))
    assert first["id"] != second["id"]
    while light.run_next():
        pass
    assert store.jobs.counts() == (4, 0)


def test_a_file_that_was_sent_for_a_share_is_withdrawn(client: FlaskClient, store: JobStore) -> None:
    first, second = edit(client, png(40, 30)), edit(client, png(40, 30))
    assert (first["id"], second["shared"]) == (second["id"], 2)
    assert (number_of(store, images), number_of(store, job_inputs)) == (1, 1)
    assert edit(client, png(40, 31))["id"] != first["id"]


@pytest.mark.parametrize("prompts", [Prompts.HASHED, Prompts.DROPPED])
def test_where_prompts_are_not_kept_equal_submits_share_a_job_all_the_same(
    parts: Services, store: JobStore, prompts: Prompts
) -> None:
    settings = parts.settings.model_copy(update={"prompts": prompts})
    with open_store(settings) as other:
        intake = Intake(settings, other, parts.gallery, parts.models)
        new = [intake.new_job(Submission(validated(ASK)), LOCAL) for _ in range(2)]
        assert new[0].share_key == new[1].share_key
        assert new[0].share_key != share_key(new[0], store.prompts), "nobody can try prompts against it"


# -- one job for all of them ---------------------------------------------------------------------------------------


def test_all_get_the_picture_which_is_painted_charged_logged_and_told_once(
    client: FlaskClient, worker: Worker, store: JobStore
) -> None:
    hook = {"webhook_url": "http://127.0.0.1:9/hook"}
    jobs = [submit(client, key, **hook) for key in ("a", "b", None)]
    assert worker.run_next()
    assert not worker.run_next()
    [image_id] = {look(client, job)["images"][0]["id"] for job in jobs}
    assert client.get(f"/v1/images/{image_id}/content").status_code == 200
    assert [number_of(store, table) for table in (usage, calls, deliveries)] == [1, 1, 1]
    with store.database.reading() as connection:
        assert connection.scalar(select(calls.c.job_id)) == jobs[0]["id"]
    assert look(client, jobs[0])["shared"] == client.get("/v1/jobs").get_json()["data"][0]["shared"] == 3


def test_a_share_sent_again_is_told_from_a_new_one(client: FlaskClient, worker: Worker) -> None:
    first = submit(client, "a")
    answers = [client.post("/v1/jobs", json=ASK, headers=keyed("b")) for _ in range(2)]
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]
    assert [answer.get_json()["shared"] for answer in answers] == [2, 2]
    worker.run_next()
    after = client.post("/v1/jobs", json=ASK, headers=keyed("b"))
    assert (after.get_json()["id"], after.get_json()["state"]) == (first["id"], "succeeded")
    assert after.headers["Idempotent-Replayed"] == "true"
    refused = client.post("/v1/jobs", json={**ASK, "n": 2}, headers=keyed("b"))
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (422, "idempotency_key_reused")


def test_after_the_end_an_equal_submit_is_a_job_of_its_own(client: FlaskClient, worker: Worker) -> None:
    first = submit(client)
    worker.run_next()
    assert submit(client)["id"] != first["id"]


def test_equal_requests_of_openais_clients_wait_for_one_job(app: Flask, store: JobStore, worker: Worker) -> None:
    def generate(_: int) -> Any:
        with app.test_client() as client:
            return client.post("/v1/images/generations", json={"prompt": "a cup", "seed": 5, "n": 1}).get_json()

    def shared() -> bool:
        found, _ = store.jobs.page("local", limit=5, after=None, state=None)
        return [job.shared for job in found] == [2]

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(generate, number) for number in range(2)]
        until(shared)
        assert worker.run_next()
        one, other = (each.result() for each in both)
    assert (one["job_id"], one["data"][0]["b64_json"]) == (other["job_id"], other["data"][0]["b64_json"])


# -- cancel --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [("a", "b"), (None, None), ("a", None), (None, "b")], ids=str)
def test_one_ones_cancel_leaves_the_others_picture(
    client: FlaskClient, worker: Worker, keys: tuple[str | None, str | None]
) -> None:
    job = [submit(client, key) for key in keys][1]
    assert job["shared"] == 2
    left = cancel(client, job, keys[0])
    assert (left["state"], left["shared"]) == ("queued", 1)
    assert worker.run_next()
    assert look(client, job)["state"] == "succeeded"


def test_the_job_is_cancelled_with_the_last_and_for_nobody_before(client: FlaskClient, worker: Worker) -> None:
    job = [submit(client, key) for key in ("a", "b")][1]
    for _ in range(3):
        assert cancel(client, job, "a")["state"] == "queued"
    ended = cancel(client, job, "b")
    assert (ended["state"], ended["shared"]) == ("cancelled", 0)
    assert not worker.run_next()


def test_an_ordinary_job_is_cancelled_whatever_key_is_sent(client: FlaskClient) -> None:
    for own, key in (("k1", None), ("k2", "another"), ("k3", "k3")):
        assert cancel(client, submit(client, own, seed=None), key)["state"] == "cancelled"
    bad = client.post(f"/v1/jobs/{submit(client)['id']}/cancel", headers={"Idempotency-Key": "ü"})
    assert (bad.status_code, bad.get_json()["error"]["param"]) == (422, "Idempotency-Key")
