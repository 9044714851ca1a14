"""LoRAs over HTTP: who is told of which, in which ways they may be sent, and what answers say of them."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.models.loras import Lora
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.bodies import receive_once
from qwen_image_studio.web.huggingface.reading import read_inference
from qwen_image_studio.web.openai.reading import read_edit
from qwen_image_studio.web.routing import Services
from tests.support.loras import a_lora
from tests.support.pictures import png

ASKED = {"operation": "generate", "prompt": "a red apple", "seed": 7}
INK = [{"name": "ink", "scale": 0.5}]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder of the files."""
    (tmp_path / "ink.safetensors").write_bytes(b"one")
    return tmp_path


@pytest.fixture
def app(settings: Settings, files: Path) -> Flask:
    """The application, with two LoRAs for the miniature, one of them for the key of design alone."""
    ink = a_lora(file=str(files / "ink.safetensors"), words={"en": ["apple"], "zh": ["苹果"]}, max_scale=1.5)
    loras: dict[str, Lora] = {"ink": ink, "secret": a_lora("secret", keys=["design"])}
    return create_app(settings, {"miniature": replace(MODELS["miniature"], loras=loras)})


def submitted(client: FlaskClient, **params: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json={**ASKED, **params})
    assert answer.status_code == 202, answer.json
    assert answer.json is not None
    return dict(answer.json)


def offered(client: FlaskClient, **headers: str) -> list[dict[str, Any]]:
    answer = client.get("/v1/models", headers=headers)
    assert answer.json is not None
    return list(answer.json["data"][0]["loras"])


def test_the_models_list_what_the_key_may_use(client: FlaskClient, parts: Services) -> None:
    assert offered(client)[0] == {
        "name": "ink",
        "about": {"en": "Brush and ink.", "zh": "水墨画。"},
        "words": {"en": ["apple"], "zh": ["苹果"]},
        "scale": 1.0,
        "max_scale": 1.5,
        "licence": "CC0-1.0",
    }
    keys = {name: parts.keys.add(name) for name in ("design", "sales")}
    for name, seen in (("design", ["ink", "secret"]), ("sales", ["ink"])):
        told = offered(client, Authorization=f"Bearer {keys[name]}")
        assert [lora["name"] for lora in told] == seen
    refused = client.post(
        "/v1/jobs", json={**ASKED, "loras": "secret"}, headers={"Authorization": f"Bearer {keys['sales']}"}
    )
    assert refused.json is not None
    assert (refused.status_code, refused.json["error"]["code"]) == (422, "unknown_lora")
    assert refused.json["error"]["message"] == "loras: there is no 'secret'; miniature has: ink."


def test_a_job_tells_its_loras_and_asks_for_them_again(client: FlaskClient) -> None:
    job = submitted(client, loras=[{"name": "INK"}])
    shown = client.get(f"/v1/jobs/{job['id']}").json
    assert shown is not None
    assert shown["loras"] == shown["request"]["loras"] == [{"name": "ink", "scale": 1.0}]
    again = client.post("/v1/jobs", json={**shown["request"], "loras": shown["request"]["loras"]})
    assert again.status_code == 202
    assert submitted(client)["loras"] == []
    assert "loras" not in submitted(client)["request"]


def test_a_form_takes_them_as_text(client: FlaskClient) -> None:
    form = {"params": json.dumps({**ASKED, "loras": "ink:0.5"})}
    answer = client.post("/v1/jobs", data=form, content_type="multipart/form-data")
    assert answer.json is not None
    assert answer.json["loras"] == INK


@pytest.mark.parametrize(
    "fields",
    [
        {"loras": "ink:0.5"},
        {"loras": json.dumps(INK)},
        {"loras[][name]": "ink", "loras[][scale]": "0.5"},
        {"loras[0][name]": "ink", "loras[0][scale]": "0.5"},
    ],
)
def test_forms_of_openai_clients_take_them_as_these_write_them(app: Flask, fields: dict[str, str]) -> None:
    form = {"prompt": "make it blue", **fields, "image": (BytesIO(png()), "a.png")}
    with app.test_request_context("/v1/images/edits", method="POST", data=form):
        job = read_edit().submission.request
    assert job.model_dump(mode="json")["loras"] == INK


def test_a_form_in_which_it_is_not_clear_whose_scale_it_is_is_refused(app: Flask) -> None:
    form = {"prompt": "x", "loras[][name]": ["ink", "photo"], "loras[][scale]": ["0.5"], "image": (BytesIO(png()), "a")}
    with (
        app.test_request_context("/v1/images/edits", method="POST", data=form),
        pytest.raises(StudioError, match="loras: in a form, send a scale for each name"),
    ):
        read_edit()


def test_clients_of_hugging_face_send_them_among_their_parameters(app: Flask) -> None:
    body = {"inputs": "a red apple", "parameters": {"loras": INK}}
    with app.test_request_context("/models/miniature", method="POST", json=body) as context:
        receive_once(10**6)
        assert context.request.view_args is not None
        job = read_inference().submission.request
    assert job.model_dump(mode="json")["loras"] == INK


def test_a_file_that_changes_answers_nothing_of_before(client: FlaskClient, store: JobStore, files: Path) -> None:
    def key() -> str | None:
        return store.jobs.get(submitted(client, loras=INK, cache=True)["id"], "local").cache_key

    before = key()
    assert before is not None
    assert key() == before
    (files / "ink.safetensors").write_bytes(b"two")
    assert key() != before
    (files / "ink.safetensors").unlink()
    assert key() is None
