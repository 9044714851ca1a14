"""Editing the last image of a conversation without naming it."""

import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from server.jobs import JobStore
from server.worker import JobWorker
from tests.contract.conftest import png
from tests.contract.test_parts_api import send


def painted(client: FlaskClient, worker: JobWorker, **asked: Any) -> dict[str, Any]:
    """Submit, let the worker run, and look."""
    answer = send(client, **asked)
    assert answer.status_code == 202, answer.json
    assert worker.run_next()
    done: Any = client.get(f"/v1/jobs/{answer.json['id']}").json
    assert done["state"] == "succeeded", done
    view: dict[str, Any] = done
    return view


def test_an_edit_without_an_image_takes_the_conversations_last(
    client: FlaskClient, worker: JobWorker, store: JobStore
) -> None:
    first = painted(client, worker, operation="generate", conversation="c1", n=2)
    painted(client, worker, operation="generate", conversation="c2")
    second = painted(client, worker, operation="edit", prompt="red sky", prefer="model", conversation="c1")
    assert store.get(second["id"]).inputs == (first["images"][0]["id"],)
    wider = painted(client, worker, operation="outpaint", prompt="", left=64, conversation="c1")
    assert store.get(wider["id"]).inputs == (second["images"][0]["id"],)
    part = send(client, operation="inpaint", region={"x": 0, "y": 0, "width": 0.5, "height": 0.5}, conversation="c1")
    assert store.get(part.json["id"]).inputs[0] == wider["images"][0]["id"]


def test_an_image_that_is_sent_goes_before(client: FlaskClient, worker: JobWorker, store: JobStore) -> None:
    painted(client, worker, operation="generate", conversation="c1")
    answer = send(client, {"image": png()}, operation="edit", prefer="model", conversation="c1")
    assert store.image(store.get(answer.json["id"]).inputs[0]).job_id is None
    fresh = send(client, operation="generate", conversation="c1")
    assert store.get(fresh.json["id"]).inputs == ()  # a generation needs none


def test_there_has_to_be_one(client: FlaskClient, worker: JobWorker, store: JobStore, monkeypatch: Any) -> None:
    answer = send(client, operation="edit", conversation="c1")
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "image_not_found")
    assert "no image in this conversation yet" in answer.json["error"]["message"]
    painted(client, worker, operation="generate", conversation="c1")
    assert store.last_image("local", "c2", 0) is None
    assert store.last_image("someone", "c1", 0) is None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86401)
    assert send(client, operation="edit", conversation="c1").status_code == 422


def test_an_image_that_is_still_being_made_is_waited_for(
    client: FlaskClient, worker: JobWorker, store: JobStore
) -> None:
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
    assert store.get(after.json["id"]).inputs == (first["images"][0]["id"],), "what was cancelled made no image"


def test_names_of_conversations(client: FlaskClient) -> None:
    for name, status in (("x" * 128, 202), ("x" * 129, 422), ("", 422), (7, 422)):
        assert send(client, operation="generate", conversation=name).status_code == status
    answer = send(client, operation="edit")
    assert "edit takes 1 to 3 images" in answer.json["error"]["message"]


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
