"""Editing the last image of a conversation without naming it."""

import threading
import time
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.jobs import JobStore
from qwen_image_studio.worker.loop import Worker
from tests.contract.test_batch_api import run
from tests.contract.test_parts_api import send
from tests.support.pictures import png


def painted(client: FlaskClient, worker: Worker, **asked: Any) -> dict[str, Any]:
    """Submit, let the worker run, and look."""
    answer = send(client, **asked)
    assert answer.status_code == 202, answer.json
    assert worker.run_next()
    done: Any = client.get(f"/v1/jobs/{answer.json['id']}").json
    assert done["state"] == "succeeded", done
    view: dict[str, Any] = done
    return view


def test_an_edit_without_an_image_takes_the_conversations_last(
    client: FlaskClient, worker: Worker, store: JobStore
) -> None:
    first = painted(client, worker, operation="generate", conversation="c1", n=2)
    painted(client, worker, operation="generate", conversation="c2")
    second = painted(client, worker, operation="edit", prompt="red sky", prefer="model", conversation="c1")
    assert store.jobs.get(second["id"]).inputs == (first["images"][0]["id"],)
    wider = painted(client, worker, operation="outpaint", prompt="", left=64, conversation="c1")
    assert store.jobs.get(wider["id"]).inputs == (second["images"][0]["id"],)
    part = send(client, operation="inpaint", region={"x": 0, "y": 0, "width": 0.5, "height": 0.5}, conversation="c1")
    assert store.jobs.get(part.json["id"]).inputs[0] == wider["images"][0]["id"]


def test_an_image_that_is_sent_goes_before(client: FlaskClient, worker: Worker, store: JobStore) -> None:
    painted(client, worker, operation="generate", conversation="c1")
    answer = send(client, {"image": png()}, operation="edit", prefer="model", conversation="c1")
    assert store.images.get(store.jobs.get(answer.json["id"]).inputs[0]).job_id is None
    fresh = send(client, operation="generate", conversation="c1")
    assert store.jobs.get(fresh.json["id"]).inputs == ()  # a generation needs none


def test_there_has_to_be_one(client: FlaskClient, worker: Worker, store: JobStore, monkeypatch: Any) -> None:
    answer = send(client, operation="edit", conversation="c1")
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "image_not_found")
    assert "no image in this conversation yet" in answer.json["error"]["message"]
    painted(client, worker, operation="generate", conversation="c1")
    assert store.images.last("local", "c2", 0) is None
    assert store.images.last("someone", "c1", 0) is None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86401)
    assert send(client, operation="edit", conversation="c1").status_code == 422


def test_an_image_that_is_still_being_made_is_waited_for(client: FlaskClient, worker: Worker, store: JobStore) -> None:
    first = painted(client, worker, operation="generate", conversation="c1")
    coming = send(client, operation="generate", conversation="c1").json["id"]
    for edit in ({"operation": "edit", "prompt": "red sky"}, {"operation": "outpaint", "left": 64}):
        answer = send(client, **edit, conversation="c1")
        error = answer.json["error"]
        assert (answer.status_code, error["code"], error["param"]) == (409, "image_not_ready", "image")
        assert f"job {coming}" in error["message"]
        assert send(client, **edit, image=first["images"][0]["id"], conversation="c1").status_code == 202
        client.post(f"/v1/jobs/{client.get('/v1/jobs').get_json()['data'][0]['id']}/cancel")
    client.post(f"/v1/jobs/{coming}/cancel")
    after = send(client, operation="edit", prompt="red sky", prefer="model", conversation="c1")
    assert store.jobs.get(after.json["id"]).inputs == (first["images"][0]["id"],), "what was cancelled made no image"


def test_names_of_conversations(client: FlaskClient) -> None:
    for name, status in (("x" * 128, 202), ("x" * 129, 422), ("", 202), (7, 422)):
        assert send(client, operation="generate", conversation=name).status_code == status
    answer = send(client, operation="edit")
    assert "edit takes 1 to 10 images" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "job",
    [
        {"operation": "edit"},
        {"operation": "outpaint", "left": 8},
        {"operation": "inpaint", "region": {"x": 0, "y": 0, "width": 0.5, "height": 0.5}},
    ],
)
def test_rows_of_a_batch_may_go_on_with_the_last_image(client: FlaskClient, job: dict[str, Any]) -> None:
    rows = [{"thing": "cat"}, {"thing": "dog"}]
    asked = {"prompt": "a {{thing}}", "conversation": "c1", **job}
    answer = client.post("/v1/jobs", json={"operation": "batch", "job": asked, "rows": rows})
    assert answer.status_code == 202, answer.json


# Where the name of the conversation stands: with the batch, or in the job that the rows are made from.
@pytest.mark.parametrize("of_rows", [False, True])
def test_a_batch_is_what_was_last(
    client: FlaskClient, light: Worker, worker: Worker, store: JobStore, of_rows: bool
) -> None:
    edit = {"operation": "edit", "prompt": "red sky", "prefer": "model", "conversation": "c1"}

    def batch(rows: int, **job: Any) -> dict[str, Any]:
        named = {"conversation": "c1"}
        asked = {"operation": "generate", "prompt": "a cup {{n}}", "size": "64x64", "steps": 2, **job}
        table = [{"n": number} for number in range(rows)]
        body = {"operation": "batch", "job": asked | (named if of_rows else {}), "rows": table}
        answer = client.post("/v1/jobs", json=body | ({} if of_rows else named))
        assert answer.status_code == 202, answer.json
        return dict(answer.json or {})

    going = batch(2)
    refused: Any = client.post("/v1/jobs", json=edit)
    assert (refused.status_code, going["id"] in refused.json["error"]["message"]) == (409, True)
    run(light, worker)
    refused = client.post("/v1/jobs", json=edit)
    assert refused.json["error"]["code"] == "image_not_found"
    assert f"batch {going['id']} with 2 images; name the one" in refused.json["error"]["message"]
    one = batch(1)
    run(light, worker)
    rows: Any = client.get(f"/v1/jobs?parent_id={one['id']}").json
    [row] = rows["data"]
    taken: Any = client.post("/v1/jobs", json=edit)
    assert taken.status_code == 202, taken.json
    assert store.jobs.get(taken.json["id"]).inputs == (row["images"][0]["id"],)


def test_rows_may_belong_to_conversations_of_their_own(
    client: FlaskClient, light: Worker, worker: Worker, store: JobStore
) -> None:
    paint = {"operation": "generate", "prompt": "a {{thing}}", "size": "64x64", "steps": 2}
    rows = [{"thing": "cat"}, {"thing": "dog"}]
    body = {"operation": "batch", "job": {**paint, "conversation": "c-{{thing}}"}, "rows": rows, "conversation": "all"}
    batch: Any = client.post("/v1/jobs", json=body).json
    run(light, worker)
    painted_rows: Any = client.get(f"/v1/jobs?parent_id={batch['id']}").json
    for thing, row in zip(("cat", "dog"), painted_rows["data"], strict=True):
        taken = send(client, operation="edit", prompt="red sky", prefer="model", conversation=f"c-{thing}")
        assert store.jobs.get(taken.json["id"]).inputs == (row["images"][0]["id"],)
    refused = send(client, operation="edit", prompt="red sky", conversation="all")
    assert f"batch {batch['id']} with 2 images" in refused.json["error"]["message"]


def test_a_repeat_whose_first_attempt_comes_in_meanwhile_is_that_job(
    app: Flask, client: FlaskClient, worker: Worker, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted(client, worker, operation="generate", conversation="c1")
    looked, known = [False], type(store.images).last
    edit = {"operation": "edit", "prompt": "red sky", "prefer": "model", "conversation": "c1"}
    answers: list[Any] = []

    def submit() -> None:
        answers.append(app.test_client().post("/v1/jobs", json=edit, headers={"Idempotency-Key": "k1"}))

    def overtaken(*asked: Any, **how: Any) -> Any:
        if not looked[0]:  # the second attempt, before it looks: the first one comes in
            looked[0] = True
            first = threading.Thread(target=submit)
            first.start()
            first.join()
        return known(*asked, **how)

    monkeypatch.setattr(type(store.images), "last", overtaken)
    submit()
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json["id"] == answers[1].json["id"]
