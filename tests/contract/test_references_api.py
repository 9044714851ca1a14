"""References over HTTP: how many a model takes, what each is to the painting, and what answers say of that."""

import base64
import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_INPUTS, Way
from qwen_image_studio.imaging.origin import read_origin
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.planning.plan import PaintPlan, read_plan
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.bodies import receive_once
from qwen_image_studio.web.huggingface.reading import read_inference
from qwen_image_studio.web.openai.reading import read_edit
from qwen_image_studio.worker.loop import Worker
from tests.contract.test_conversations_api import painted
from tests.contract.test_parts_api import send
from tests.support.pictures import png

EDIT: dict[str, Any] = {"operation": "edit", "prompt": "put them side by side"}
TEN = replace(
    MODELS["miniature"], name="ten", families={Way.EDIT: "qwen-image-2.1"}, max_images=10, shares="", stands_in=False
)


@pytest.fixture
def app(settings: Settings) -> Flask:
    """The application with two models: the miniature takes three images, the other one ten."""
    app = create_app(settings, {"miniature": MODELS["miniature"], "ten": TEN})
    app.testing = False
    return app


def files(count: int) -> dict[str, Any]:
    return {"image[]": [png(8 + number, 8) for number in range(count)]}


def sent(client: FlaskClient, count: int, **params: Any) -> Any:
    form: dict[str, Any] = {"params": json.dumps({**EDIT, **params})}
    form["image[]"] = [(BytesIO(data), "x.png") for data in files(count)["image[]"]]
    return client.post("/v1/jobs", data=form)


def plan_of(store: JobStore, answer: Any) -> PaintPlan:
    assert answer.status_code == 202, answer.json
    plan = read_plan(store.jobs.get(answer.json["id"]).plan)
    assert isinstance(plan, PaintPlan)
    return plan


# how many


def test_models_say_how_many_they_take(client: FlaskClient) -> None:
    answer = client.get("/v1/models").get_json()
    assert {model["id"]: model["max_inputs"] for model in answer["data"]} == {"miniature": 3, "ten": 10}


@pytest.mark.parametrize(("count", "model"), [(1, "miniature"), (3, "miniature"), (4, "ten"), (10, "ten")])
def test_the_first_model_that_takes_enough_paints(client: FlaskClient, store: JobStore, count: int, model: str) -> None:
    assert plan_of(store, sent(client, count)).model == model


def test_more_than_a_model_takes_names_the_one_that_takes_more(client: FlaskClient) -> None:
    error = sent(client, 4, model="miniature").json["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "image")
    assert error["message"] == (
        "image: there are 4; miniature takes 3; ten takes 10; send 3 at most, or name that model."
    )


def test_where_none_here_takes_more_the_one_that_would_is_named(settings: Settings) -> None:
    client = create_app(settings, {"miniature": MODELS["miniature"]}).test_client()
    message = sent(client, 4).json["error"]["message"]
    assert message == (
        "image: there are 4; miniature takes 3; Qwen-Image-2.1, which is not on this server, takes 10; send 3 at most."
    )


@pytest.mark.parametrize("operation", ["edit", "inpaint"])
def test_the_eleventh_is_refused_before_any_is_opened(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setattr("qwen_image_studio.recipe.receive_image", lambda *_, **__: pytest.fail("was opened"))
    box = {"region": {"x": 0, "y": 0, "width": 4, "height": 4}} if operation == "inpaint" else {}
    error = sent(client, MAX_INPUTS + 1, operation=operation, **box).json["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "image")
    assert "takes 1 to 10 images" in error["message"]
    assert "there are 11" in error["message"]


def test_more_than_the_model_takes_is_refused_before_any_is_opened(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen_image_studio.recipe.receive_image", lambda *_, **__: pytest.fail("was opened"))
    assert "there are 4" in sent(client, 4, model="miniature").json["error"]["message"]


def test_eleven_ids_are_refused_in_json(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={**EDIT, "image": ["img_x"] * 11})
    assert answer.status_code == 422
    assert answer.json is not None
    assert answer.json["error"]["param"] == "image"
    assert "10" in answer.json["error"]["message"]


def test_a_row_of_a_batch_names_up_to_ten_in_columns(client: FlaskClient, store: JobStore, light: Worker) -> None:
    ids = [client.post("/v1/images", data={"image": (BytesIO(png(9, 9)), "x.png")}).get_json()["id"] for _ in range(4)]
    columns = [f"p{number}" for number in range(4)]
    job = {**EDIT, "image": [f"{{{{{name}}}}}" for name in columns], "roles": ["subject", "{{as}}"]}
    row = {**dict(zip(columns, ids, strict=True)), "as": "style"}
    answer = client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": [row]})
    assert answer.status_code == 202, answer.json
    assert light.run_next()
    [made] = client.get(f"/v1/jobs?parent_id={answer.get_json()['id']}").get_json()["data"]
    plan = read_plan(store.jobs.get(made["id"]).plan)
    assert isinstance(plan, PaintPlan)
    assert (plan.model, list(map(str, plan.roles))) == ("ten", ["subject", "style"])


# what each is


@pytest.mark.parametrize(
    "said",
    [
        ["subject", "", "control:edges"],
        "subject, , control:edges",
        "Subject，，control：edges",
        '["subject", null, "control:edges"]',
        [{"role": "subject"}, {}, {"role": "control", "derive": "edges"}],
        '[{"role": "subject"}, {"role": null}, {"role": "control", "derive": "edges"}]',
    ],
)
def test_roles_are_said_in_any_of_these_ways(client: FlaskClient, store: JobStore, said: Any) -> None:
    answer = sent(client, 3, roles=said)
    assert list(map(str, plan_of(store, answer).roles)) == ["subject", "", "control:edges"]
    again = client.get(f"/v1/jobs/{answer.json['id']}").get_json()["request"]
    assert again["roles"][2] == {"role": "control", "derive": "edges"}
    assert client.post("/v1/jobs", json=again).status_code == 202


@pytest.mark.parametrize(
    ("said", "param", "told"),
    [
        (["subject", "style", "hat"], "roles[2].role", "'subject', 'style', 'control' or 'background'"),
        (["subject"] * 4, "roles[3]", "there are 3 images, and 4 roles; leave it out, or send the image"),
        (["style:edges"], "roles[0].derive", "send control:edges"),
        (["control:depth"], "roles[0].derive", "'edges'"),
        ([{"derive": "edges"}], "roles[0].derive", "send control:edges"),
        ([7], "roles", "takes a role for each image"),
        ("[", "roles", "is not JSON"),
        (7, "roles", "takes a role for each image"),
        (["subject"] * 11, "roles", "10"),
    ],
)
def test_roles_that_cannot_be(client: FlaskClient, said: Any, param: str, told: str) -> None:
    answer = sent(client, 3, roles=said)
    assert answer.status_code == 422
    error = answer.json["error"]
    assert error["param"] == param, error
    assert told in error["message"]


def test_roles_are_of_an_instruction(client: FlaskClient) -> None:
    box = {"x": 0, "y": 0, "width": 4, "height": 4}
    answer = send(
        client, {"image": png()}, operation="inpaint", region=box, prompt_kind="description", roles=["subject"]
    )
    assert answer.json["error"]["param"] == "roles"
    changed = send(client, {"image": png()}, operation="inpaint", region=box, roles=["control:edges"])
    assert changed.json["error"]["param"] == "roles[0].derive"
    assert "the one that is changed" in changed.json["error"]["message"]


def test_an_instruction_with_roles_is_painted_although_it_only_adjusts(client: FlaskClient, store: JobStore) -> None:
    answer = sent(client, 1, prompt="rotate it 90 degrees", roles="subject")
    assert plan_of(store, answer).roles
    refused = sent(client, 1, prompt="rotate it 90 degrees", roles="subject", prefer="cv")
    assert refused.json["error"]["param"] == "roles"


def test_roles_count_the_image_that_is_remembered(client: FlaskClient, worker: Worker) -> None:
    painted(client, worker, operation="generate", conversation="c1")
    error = send(client, **EDIT, conversation="c1", roles="style, subject").json["error"]
    assert error["param"] == "roles[1]"
    assert "there is 1 image, and 2 roles" in error["message"]
    assert send(client, **EDIT, conversation="c1", roles="style").status_code == 202


def test_files_say_the_roles(client: FlaskClient, worker: Worker) -> None:
    assert worker is not None
    answer = sent(client, 2, roles="subject, control:edges")
    assert worker.run_next()
    [image] = client.get(f"/v1/jobs/{answer.json['id']}").get_json()["images"]
    told = read_origin(client.get(image["url"]).data)
    assert told["roles"] == "subject, control:edges"


@pytest.mark.parametrize("roles", [{"roles": "subject, , style"}, {"roles[]": ["subject", "", "style"]}])
def test_openais_clients_send_roles_as_a_text_or_a_list(app: Flask, roles: dict[str, Any]) -> None:
    form = {**roles, "prompt": "x", "image[]": [(BytesIO(png()), "x.png") for _ in range(3)]}
    with app.test_request_context("/v1/images/edits", method="POST", data=form):
        job = read_edit().submission.request
    assert list(map(str, getattr(job, "roles", ()))) == ["subject", "", "style"]


def test_openais_clients_cannot_say_roles_twice(app: Flask) -> None:
    form = {"roles": "subject", "roles[]": "style", "prompt": "x", "image": (BytesIO(png()), "x.png")}
    with (
        app.test_request_context("/v1/images/edits", method="POST", data=form),
        pytest.raises(StudioError, match="roles: was sent more than once"),
    ):
        read_edit()


def test_clients_of_hugging_face_send_roles_among_their_parameters(app: Flask) -> None:
    picture = base64.b64encode(png()).decode()
    body = {"inputs": [picture], "parameters": {"prompt": "x", "images": [picture], "roles": "subject, style"}}
    with app.test_request_context("/models/ten", method="POST", json=body) as context:
        receive_once(10**6)
        assert context.request.view_args is not None
        job = read_inference().submission.request
    assert list(map(str, getattr(job, "roles", ()))) == ["subject", "style"]
