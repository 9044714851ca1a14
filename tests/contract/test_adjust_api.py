"""Adjustments over HTTP: a job like any other, done by the worker that needs no model."""

import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.imaging import read_origin
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png

TURN = [{"do": "rotate", "degrees": 90}]


def send(client: FlaskClient, *files: bytes, **params: Any) -> Any:
    """A job with files."""
    parts = {"image[]": [(BytesIO(data), f"{number}.png") for number, data in enumerate(files)]}
    return client.post("/v1/jobs", data={"params": json.dumps(params), **parts})


def finished(client: FlaskClient, light: Worker, answer: Any) -> dict[str, Any]:
    """The job after the light worker had it."""
    assert answer.status_code == 202, answer.text
    assert light.run_next()
    return dict(client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json())


@pytest.mark.parametrize(
    "params",
    [
        {"operation": "adjust", "adjustments": TURN},
        {"operation": "adjust", "prompt": "rotate it 90 degrees"},
        {"operation": "edit", "prompt": "顺时针旋转90度"},
        {"operation": "edit", "prompt": "rotate it 90 degrees", "prefer": "cv"},
    ],
)
def test_a_picture_is_turned_without_a_model(client: FlaskClient, light: Worker, params: dict[str, Any]) -> None:
    half = Image.new("RGB", (32, 24), "red")
    half.paste("blue", (0, 0, 16, 24))
    buffer = BytesIO()
    half.save(buffer, "PNG")
    job = finished(client, light, send(client, buffer.getvalue(), **params))
    assert (job["state"], job["engine"], job["model"]) == ("succeeded", "cv", "cv"), job
    [image] = job["images"]
    assert (image["width"], image["height"], image["seed"]) == (24, 32, None)
    data = client.get(image["url"]).data
    expected = np.asarray(half.transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(np.asarray(Image.open(BytesIO(data))), expected)
    assert json.loads(str(read_origin(data)["adjustments"])) == [{"do": "rotate", "degrees": 90.0}]


def test_only_what_a_model_painted_is_labelled_as_made_by_ai(
    client: FlaskClient, light: Worker, worker: Worker
) -> None:
    uploaded = finished(client, light, send(client, png(), operation="adjust", adjustments=TURN))
    assert b"trainedAlgorithmicMedia" not in client.get(uploaded["images"][0]["url"]).data
    painted = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", "steps": 2}).get_json()
    worker.run_next()
    ours = client.get(f"/v1/jobs/{painted['id']}").get_json()["images"][0]["id"]
    turned = finished(
        client, light, client.post("/v1/jobs", json={"operation": "adjust", "image": ours, "adjustments": TURN})
    )
    assert b"trainedAlgorithmicMedia" in client.get(turned["images"][0]["url"]).data
    again = {"operation": "adjust", "image": turned["images"][0]["id"], "prompt": "make it brighter"}
    brighter = finished(client, light, client.post("/v1/jobs", json=again))
    data = client.get(brighter["images"][0]["url"]).data
    assert b"trainedAlgorithmicMedia" in data
    done = json.loads(str(read_origin(data)["adjustments"]))
    assert [one["do"] for one in done] == ["rotate", "brightness"]
    uploaded_again = finished(client, light, send(client, data, operation="adjust", adjustments=TURN))
    assert b"trainedAlgorithmicMedia" in client.get(uploaded_again["images"][0]["url"]).data


def test_the_painting_worker_leaves_them_to_the_light_one(client: FlaskClient, light: Worker, worker: Worker) -> None:
    light_job = send(client, png(), operation="adjust", adjustments=TURN)
    assert not worker.run_next()
    assert finished(client, light, light_job)["state"] == "succeeded"
    client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup"})
    assert not light.run_next()


@pytest.mark.parametrize(
    ("params", "param", "said"),
    [
        ({"adjustments": []}, "adjustments", "adjustments, or an instruction"),
        ({}, "adjustments", "adjustments, or an instruction"),
        ({"adjustments": TURN, "prompt": "blur it"}, "adjustments", "not both"),
        ({"adjustments": [{"do": "explode"}]}, "adjustments", "watermark"),
        ({"adjustments": [{"do": "rotate", "degrees": 1e9}]}, "adjustments[0].degrees", "360"),
        ({"adjustments": [{"do": "crop"}]}, "adjustments", "one of region"),
        ({"adjustments": [{"do": "crop", "region": {"x": -1, "y": 0, "width": 1, "height": 1}}]}, "adjustments", "0"),
        ({"adjustments": TURN * 21}, "adjustments", "20"),
        ({"prompt": "remove the cup"}, "prompt", "only adjustments"),
        ({"adjustments": TURN, "steps": 4}, "steps", "steps"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    client: FlaskClient, params: dict[str, Any], param: str, said: str
) -> None:
    answer = send(client, png(), operation="adjust", **params)
    assert answer.status_code == 422, answer.text
    error = answer.get_json()["error"]
    assert error["param"].startswith(param)
    assert said in error["message"]


def test_one_image_is_adjusted(client: FlaskClient) -> None:
    for answer in (
        send(client, png(), png(), operation="adjust", adjustments=TURN),
        client.post("/v1/jobs", json={"operation": "adjust", "adjustments": TURN}),
    ):
        assert (answer.status_code, answer.get_json()["error"]["param"]) == (422, "image")


def test_what_this_picture_does_not_allow_is_refused_with_the_remedy(client: FlaskClient) -> None:
    too_large = [{"do": "crop", "width": 500, "height": 500}]
    answer = send(client, png(), operation="adjust", adjustments=too_large)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (422, "adjustments[0]")
    assert "resize it first" in answer.get_json()["error"]["message"]


def test_adjustments_have_a_queue_of_their_own(client: FlaskClient, light: Worker, worker: Worker) -> None:
    paintings = [client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup"}) for _ in range(30)]
    assert client.post("/v1/jobs", json={"operation": "generate", "prompt": "one too many"}).status_code == 429
    turned = send(client, png(), operation="adjust", adjustments=TURN)
    assert turned.get_json()["queue_position"] == 1
    assert [answer.get_json()["queue_position"] for answer in paintings[::29]] == [1, 30]
    assert finished(client, light, turned)["state"] == "succeeded"


def test_a_format_alone_is_an_adjustment(client: FlaskClient, light: Worker) -> None:
    job = finished(client, light, send(client, png(), operation="adjust", output_format="webp"))
    assert job["images"][0]["mime_type"] == "image/webp"
    job = finished(client, light, send(client, png(), operation="edit", prompt="转为jpg格式"))
    assert job["images"][0]["mime_type"] == "image/jpeg"
