"""`background` over HTTP: who paints transparency, what refuses it, what is kept and told of it, by every way in."""

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from openai import OpenAI
from PIL import Image

from qwen_image_studio.guard.scoring import Scoring
from qwen_image_studio.imaging import read_origin
from qwen_image_studio.imaging.label import Label
from qwen_image_studio.imaging.pixels import digest
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.settings import Settings
from qwen_image_studio.worker.loop import Worker
from tests.contract.test_adjust_api import send
from tests.support.classifier import NAME, answering
from tests.support.database import with_tables
from tests.support.engine import clear_picture
from tests.support.pictures import png, saved
from tests.support.refusals import assert_refused
from tests.support.worker import working

CLEAR = {"background": "transparent", "size": "256x256", "steps": 2, "seed": 200}
CUP = {"operation": "generate", "prompt": "a cup", **CLEAR}
ABLE = "Qwen-Image-2.1"
LOGO = Image.new("RGBA", (64, 48))
LOGO.paste((200, 30, 30, 255), (20, 10, 40, 30))
CAME_OPAQUE = "background transparent was asked for, and Qwen-Image-2.1 painted a picture without transparency"


@pytest.fixture
def models() -> str:
    """A model that cannot paint transparency, and one that can."""
    return f"miniature,{ABLE}"


@pytest.fixture
def settings(tmp_path: Path, models: str) -> Settings:
    """A server with these models."""
    asked: dict[str, Any] = {"models": models, "licences": "qwen-research", "mark": "AI generated"}
    return with_tables(Settings(_env_file=None, data_dir=tmp_path / "data", **asked))


def alone(models: str) -> pytest.MarkDecorator:
    """Have a server with these models only."""
    return pytest.mark.parametrize("models", [models])


def painted(client: FlaskClient, worker: Worker, *files: bytes, **params: Any) -> dict[str, Any]:
    """The job, after the worker had it."""
    answer = send(client, *files, **params) if files else client.post("/v1/jobs", json=params)
    assert answer.status_code == 202, answer.text
    assert worker.run_next()
    job = client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json()
    assert job["state"] == "succeeded", job
    return dict(job)


def data_of(client: FlaskClient, url: str) -> bytes:
    answer = client.get(url)
    assert answer.status_code == 200
    return bytes(answer.data)


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def alphas(image: Image.Image) -> tuple[int, int]:
    """Alpha in the upper left corner and in the middle."""
    plane = np.asarray(image.convert("RGBA"))[..., 3]
    return int(plane[0, 0]), int(plane[image.height // 2, image.width // 2])


# -- who paints ----------------------------------------------------------------------------------------------------


def test_the_first_model_that_can_paints_transparency_and_all_else_goes_on_as_before(
    client: FlaskClient, worker: Worker
) -> None:
    assert painted(client, worker, **CUP)["model"] == ABLE
    for background in ("auto", "opaque"):
        job = painted(client, worker, **{**CUP, "background": background})
        assert job["model"] == "miniature"
        assert not any("transparen" in each for each in job["warnings"])


def test_a_named_model_that_cannot_is_refused_with_those_that_can(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={**CUP, "model": "miniature"})
    assert_refused(answer, 422, "unsupported_operation", "background")
    said = answer.get_json()["error"]["message"]
    assert f"miniature does not paint a transparent background in this operation; name {ABLE} as model" in said


@alone("miniature")
@pytest.mark.parametrize(
    "asked",
    [
        CUP,
        {**CUP, "operation": "edit"},
        {**CUP, "operation": "inpaint", "region": {"x": 0, "y": 0, "width": 9, "height": 9}},
        {"operation": "outpaint", "left": 8, "background": "transparent"},
    ],
    ids=lambda asked: asked["operation"],
)
def test_where_no_model_can_the_error_says_which_could_be_added(client: FlaskClient, asked: dict[str, Any]) -> None:
    asked = {name: value for name, value in asked.items() if name != "size" or asked["operation"] != "inpaint"}
    files = [] if asked["operation"] == "generate" else [png()]
    answer = send(client, *files, **asked) if files else client.post("/v1/jobs", json=asked)
    assert_refused(answer, 422, "unsupported_operation", "background")
    said = answer.get_json()["error"]["message"]
    assert "no model of this server paints a transparent background" in said
    assert ABLE in said
    assert "STUDIO_LICENCES=qwen-research" in said
    assert "STUDIO_MODELS" in said


def test_models_tell_in_which_operations_they_paint_transparency(client: FlaskClient) -> None:
    told = {each["id"]: each["transparency"] for each in client.get("/v1/models").get_json()["data"]}
    assert told == {"miniature": [], ABLE: ["generate", "edit", "inpaint", "outpaint"]}


# -- files that have none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["jpeg", "JPG", ".jpg", "image/jpeg"])
@pytest.mark.parametrize("operation", ["generate", "campaign"])
def test_jpeg_is_refused_in_a_sentence_that_names_both_other_formats(
    client: FlaskClient, name: str, operation: str
) -> None:
    what = {"brief": "a cup"} if operation == "campaign" else {"prompt": "a cup"}
    body = {"operation": operation, **what, "output_format": name, "background": "Transparent"}
    answer = client.post("/v1/jobs", json=body)
    assert_refused(answer, 422, "invalid_value", "output_format")
    assert "png or webp" in answer.get_json()["error"]["message"]


def test_a_batch_says_which_row_asks_for_jpeg(client: FlaskClient) -> None:
    job = {"operation": "generate", "prompt": "a cup", "background": "transparent", "output_format": "{{format}}"}
    rows = [{"format": "png"}, {"format": "webp"}, {"format": "jpg"}]
    answer = client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": rows})
    assert answer.status_code == 422
    assert "row 3" in answer.get_json()["error"]["message"]
    assert "png or webp" in answer.get_json()["error"]["message"]


def test_a_batch_says_which_row_no_model_paints(client: FlaskClient) -> None:
    """Also rows that edit, whose images are only looked at later."""
    job = {"operation": "edit", "prompt": "a cup", "image": "{{image}}", "model": "{{model}}", "background": "{{b}}"}
    rows = [
        {"image": "img_0", "model": "miniature", "b": "auto"},
        {"image": "img_0", "model": "miniature", "b": "transparent"},
    ]
    answer = client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": rows})
    assert answer.status_code == 422
    assert "row 2" in answer.get_json()["error"]["message"]
    assert ABLE in answer.get_json()["error"]["message"]


def test_another_word_is_refused_with_those_there_are(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={**CUP, "background": "clear"})
    assert_refused(answer, 422, "invalid_value", "background")
    assert "'transparent'" in answer.get_json()["error"]["message"]


# -- what comes of it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["png", "webp"])
def test_a_transparent_picture_is_so_in_file_thumbnail_and_facts(
    client: FlaskClient, worker: Worker, store: JobStore, name: str
) -> None:
    job = painted(client, worker, **CUP, output_format=name)
    [image] = job["images"]
    data = data_of(client, image["url"])
    assert opened(data).mode == "RGBA"
    assert alphas(opened(data)) == (0, 255)
    assert alphas(opened(data_of(client, image["thumbnail_url"])))[0] == 0
    origin = read_origin(data)
    assert (origin["prompt"], origin["background"]) == ("a cup", "transparent"), "the text as it was sent"
    assert b"trainedAlgorithmicMedia" in data
    assert job["warnings"] == []
    stored = store.images.get(image["id"], store.jobs.get(job["id"]).owner)
    assert stored.pixels == (digest(opened(data)) if name == "png" else None)


def test_facts_say_nothing_of_a_background_that_was_left_open(client: FlaskClient, worker: Worker) -> None:
    job = painted(client, worker, **{**CUP, "background": "auto"})
    assert "background" not in read_origin(data_of(client, job["images"][0]["url"]))


def test_the_mark_of_a_transparent_picture_can_be_read(client: FlaskClient, worker: Worker, settings: Settings) -> None:
    image = opened(data_of(client, painted(client, worker, **CUP)["images"][0]["url"]))
    plain = Image.new("RGB", image.size, "white")
    shown = np.asarray(Label.of(settings).on(plain)) != 255
    inside = np.asarray(image)[shown.any(axis=2)]
    assert len(inside) > 500
    assert (inside[:, 3] == 255).all()


def test_what_comes_opaque_although_it_was_to_be_transparent_is_told(client: FlaskClient, worker: Worker) -> None:
    job = painted(client, worker, **{**CUP, "prompt": "a full cup"})
    [warning] = [each for each in job["warnings"] if "transparen" in each]
    assert warning.startswith(CAME_OPAQUE)


def test_a_classifier_sees_a_transparent_picture_on_white(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"classifier": NAME, "data_dir": tmp_path}
    settings = Settings(_env_file=None, **asked)
    with answering(settings):
        scores = Scoring(settings).scores(saved(clear_picture((64, 64), (0, 0, 0)), "PNG"))
    assert scores == {"nsfw": 0.75}, "its red, a quarter of which is the black in its middle"


def test_a_strip_of_before_and_after_keeps_what_is_clear(client: FlaskClient, worker: Worker) -> None:
    job = painted(client, worker, saved(LOGO, "PNG"), **{**CUP, "operation": "edit"})
    strip = np.asarray(opened(data_of(client, job["images"][0]["comparison_url"])).convert("RGBA"))
    assert strip[4, 4, 3] == 0
    assert strip[4, -5, 3] == 0
    assert (strip[..., 3] == 255).any()


def test_an_edit_that_needs_no_model_is_painted_where_a_background_is_asked_for(
    client: FlaskClient, worker: Worker
) -> None:
    turn = {"operation": "edit", "prompt": "rotate it 90 degrees", "background": "transparent", "steps": 2}
    job = painted(client, worker, png(), **turn)
    assert job["model"] == ABLE
    assert any("because of background" in each for each in job["warnings"])
    answer = send(client, png(), **turn, prefer="cv")
    assert_refused(answer, 422, "invalid_value", "background")


def test_the_same_again_has_the_same_background(client: FlaskClient, worker: Worker) -> None:
    first = painted(client, worker, **CUP)
    assert first["request"]["background"] == "transparent"
    again = painted(client, worker, **first["request"])
    assert again["images"][0]["sha256"] == first["images"][0]["sha256"]
    assert not painted(client, worker, **{**CUP, "background": "auto"})["cached"], "which is another picture"


def test_pieces_of_a_campaign_are_transparent(client: FlaskClient, worker: Worker, light: Worker) -> None:
    body = {"operation": "campaign", "brief": "a cup", "channels": ["post"], "steps": 2, "background": "transparent"}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    assert light.run_next()
    assert worker.run_next()
    [row] = client.get(f"/v1/jobs?parent_id={answer.get_json()['id']}").get_json()["data"]
    assert row["model"] == ABLE
    assert alphas(opened(data_of(client, row["images"][0]["url"]))) == (0, 255)


# -- OpenAI's clients ----------------------------------------------------------------------------------------------


@pytest.fixture
def openai(app: Flask, worker: Worker) -> Iterator[OpenAI]:
    """OpenAI's own client, of a server whose worker takes jobs meanwhile."""
    wires = httpx2.Client(transport=httpx2.WSGITransport(app=app))
    with (
        working(worker),
        OpenAI(base_url="http://localhost/v1", api_key="x", http_client=wires, max_retries=0) as client,
    ):
        yield client


@pytest.mark.parametrize("model", ["gpt-image-1", "auto"])
def test_openais_client_gets_a_transparent_picture_by_any_of_its_names(openai: OpenAI, model: str) -> None:
    answer = openai.images.generate(model=model, prompt="a cup", size="1024x1024", background="transparent")
    assert answer.background == "transparent"
    assert answer.data
    assert alphas(opened(base64.b64decode(str(answer.data[0].b64_json)))) == (0, 255)


def test_openais_client_edits_into_a_transparent_webp(openai: OpenAI) -> None:
    answer = openai.images.edit(
        model="gpt-image-1", image=("a.png", png()), prompt="a cup", background="transparent", output_format="webp"
    )
    assert answer.background == "transparent"
    assert answer.data
    assert alphas(opened(base64.b64decode(str(answer.data[0].b64_json)))) == (0, 255)


def test_on_openais_routes_a_model_that_cannot_paints_opaque_and_it_is_told(
    client: FlaskClient, worker: Worker
) -> None:
    """A model of another server's name takes one that can; one of ours is what was meant."""
    body = {"prompt": "a cup", "steps": 2, "background": "transparent", "model": "miniature"}
    with working(worker):
        answer = client.post("/v1/images/generations", json=body).get_json()
    assert (answer["background"], answer["model"]) == ("opaque", "miniature")
    [warning] = [each for each in answer["warnings"] if "transparent" in each]
    assert warning.startswith("background transparent was painted opaque, since miniature does not paint")
    assert ABLE in warning


@alone("miniature")
def test_on_openais_routes_a_server_without_such_a_model_paints_opaque_and_it_is_told(
    client: FlaskClient, worker: Worker
) -> None:
    with working(worker):
        answer = client.post("/v1/images/generations", json={"prompt": "a cup", "background": "transparent"}).get_json()
    assert answer["background"] == "opaque"
    [warning] = [each for each in answer["warnings"] if "transparent" in each]
    assert warning.startswith("background transparent was painted opaque, since no model of this server paints")


@pytest.mark.parametrize("path", ["generations", "edits"])
def test_openais_routes_answer_400_to_a_transparent_jpeg(client: FlaskClient, path: str) -> None:
    body = {"prompt": "a cup", "background": "transparent", "output_format": "jpeg"}
    image = {"image": f"data:image/png;base64,{base64.b64encode(png()).decode()}"} if path == "edits" else {}
    answer = client.post(f"/v1/images/{path}", json={**body, **image})
    assert_refused(answer, 400, "invalid_value", "output_format")
    assert "png or webp" in answer.get_json()["error"]["message"]


# -- Hugging Face's clients ----------------------------------------------------------------------------------------


def inferred(client: FlaskClient, accept: str, model: str = f"Qwen/{ABLE}") -> Any:
    body = {"inputs": "a cup", "parameters": {**CLEAR, "num_inference_steps": 2}}
    headers = {"Accept": accept, "Content-Type": "application/json"}
    return client.post(f"/models/{model}", data=json.dumps(body), headers=headers)


@pytest.mark.parametrize("accept", ["image/png", "image/jpeg, image/webp;q=0.5", "*/*"])
def test_hugging_faces_clients_get_transparency_in_a_file_that_has_it(
    client: FlaskClient, worker: Worker, accept: str
) -> None:
    with working(worker):
        answer = inferred(client, accept)
    assert answer.status_code == 200, answer.text
    assert alphas(opened(answer.data)) == (0, 255)


def test_hugging_faces_clients_hear_why_not(client: FlaskClient) -> None:
    answer = inferred(client, "image/jpeg")
    assert answer.status_code == 400
    assert "png or webp" in answer.get_json()["error"]
    answer = inferred(client, "*/*", "miniature")
    assert answer.status_code == 400
    assert ABLE in answer.get_json()["error"]
