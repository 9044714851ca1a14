"""Layers over HTTP: an image is taken apart, and its layers and what they make together are delivered as one."""

import json
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.datastructures import MultiDict

from qwen_image_studio.contract.layers import ARCHIVE_TYPES, ArchiveFormat
from qwen_image_studio.gallery import documents
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.planning.plan import PaintPlan, read_plan
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.layers import TAKES_APART, offer_layers, recomposed, toy_layers
from tests.support.refusals import assert_refused


@pytest.fixture(autouse=True)
def offered(parts: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that takes pictures apart, beside the miniature."""
    offer_layers(parts.models, monkeypatch)


def a_file(size: tuple[int, int] = (120, 80), mode: str = "RGB") -> BytesIO:
    """A picture that is sent."""
    file = BytesIO()
    Image.new(mode, size, "red").save(file, "PNG")
    file.seek(0)
    return file


def sent(client: FlaskClient, file: BytesIO | None = None, **params: Any) -> Any:
    """The answer to a job for layers of a picture."""
    asked = {"operation": "layers", "seed": 7, **params}
    return client.post("/v1/jobs", data={"params": json.dumps(asked), "image": [(file or a_file(), "a.png")]})


def painted(client: FlaskClient, worker: Worker, **params: Any) -> dict[str, Any]:
    """The job once it has ended."""
    answer = sent(client, **params)
    assert answer.status_code == 202, answer.text
    assert worker.run_next()
    job: dict[str, Any] = client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json()
    return job


def opened(client: FlaskClient, image: dict[str, Any]) -> Image.Image:
    """The picture behind a link."""
    return Image.open(BytesIO(client.get(image["url"]).data))


def test_a_picture_is_delivered_as_its_layers_and_what_they_make(client: FlaskClient, worker: Worker) -> None:
    job = painted(client, worker, layers=3)
    assert (job["state"], job["operation"], job["model"]) == ("succeeded", "layers", TAKES_APART), job
    assert [image["layer"] for image in job["images"]] == [0, 1, 2, None]
    assert {(image["width"], image["height"], image["seed"]) for image in job["images"]} == {(120, 80, 7)}
    made = toy_layers(3, (120, 80), 7)
    for image, layer in zip(job["images"], [*made, recomposed(made)], strict=True):
        assert np.array_equal(np.asarray(opened(client, image)), np.asarray(layer))
    assert [image["comparison_url"] is None for image in job["images"]] == [True, True, True, False]


def test_layers_are_painted_together_and_each_has_pixels(client: FlaskClient, store: JobStore) -> None:
    plan = read_plan(store.jobs.get(sent(client, layers=3, steps=10).get_json()["id"]).plan)
    assert isinstance(plan, PaintPlan)
    assert (plan.images, plan.asked, plan.all_steps) == (4, 4, 10)
    assert [plan.steps_after(number) for number in (1, 2, 3, 4)] == [10] * 4
    assert [plan.layer_of(number) for number in range(4)] == [0, 1, 2, None]
    of_one = plan.paint_width * plan.paint_height / 1e6
    assert plan.megapixel_steps(10) == pytest.approx(4 * 10 * of_one)
    assert plan.megapixel_steps(3) == pytest.approx(4 * 3 * of_one)


def test_what_is_left_out_is_decided_and_told(client: FlaskClient, worker: Worker, store: JobStore) -> None:
    job = painted(client, worker, seed=None)
    assert len(job["images"]) == 5
    asked = job["request"]
    assert (asked["layers"], asked["model"], asked["output_format"]) == (4, TAKES_APART, "png")
    assert "n" not in asked
    again = client.post("/v1/jobs", json={**asked, "cache": False})
    assert again.status_code == 202, again.text
    assert store.jobs.get(again.get_json()["id"]).plan == store.jobs.get(job["id"]).plan


@pytest.mark.parametrize(
    ("size", "asked", "delivered", "painted_at", "said"),
    [
        ((120, 80), {}, (120, 80), (144, 96), ""),
        ((120, 80), {"resolution": 640}, (120, 80), (176, 112), "resolution 640 is none of takes-apart's"),
        ((1600, 400), {}, (1024, 256), (256, 64), "more than the 262144 pixels that takes-apart delivers"),
        ((600, 60), {}, (600, 60), (384, 48), "longer than takes-apart paints"),
    ],
)
def test_layers_have_the_images_size(
    client: FlaskClient,
    store: JobStore,
    size: tuple[int, int],
    asked: dict[str, Any],
    delivered: tuple[int, int],
    painted_at: tuple[int, int],
    said: str,
) -> None:
    job = sent(client, a_file(size), **asked).get_json()
    plan = store.jobs.get(job["id"]).plan
    assert (plan["width"], plan["height"]) == delivered
    assert (plan["paint_width"], plan["paint_height"]) == painted_at
    assert any(said in warning for warning in job["warnings"]), job["warnings"]


@pytest.mark.parametrize(
    ("params", "code", "param", "named"),
    [
        ({"layers": 1}, "invalid_value", "layers", "2"),
        ({"layers": 9}, "invalid_value", "layers", "8"),
        ({"resolution": 1328}, "invalid_value", "resolution", "640"),
        ({"n": 2}, "unknown_parameter", "n", "n"),
        ({"template": "logo"}, "unknown_parameter", "template", "template"),
        ({"style": "brand"}, "unknown_parameter", "style", "style"),
        ({"output_format": "jpeg"}, "invalid_value", "output_format", "png or webp"),
        ({"output_format": "jpg"}, "invalid_value", "output_format", "png or webp"),
        ({"model": "miniature"}, "unsupported_operation", "model", TAKES_APART),
        ({"model": "nobody"}, "unknown_model", "model", TAKES_APART),
        ({"steps": 1}, "invalid_value", "steps", "2"),
    ],
)
def test_a_request_that_cannot_be_is_refused(
    client: FlaskClient, params: dict[str, Any], code: str, param: str, named: str
) -> None:
    answer = sent(client, **params)
    assert_refused(answer, 422, code, param)
    assert named in answer.get_json()["error"]["message"]


def test_layers_are_taken_of_one_image(client: FlaskClient) -> None:
    none = client.post("/v1/jobs", json={"operation": "layers"})
    assert_refused(none, 422, "invalid_value", "image")
    files = [("image", (a_file(), "a.png")), ("image", (a_file(), "b.png"))]
    two = client.post("/v1/jobs", data=MultiDict([("params", '{"operation": "layers"}'), *files]))
    assert_refused(two, 422, "invalid_value", "image")


def test_a_server_without_such_a_model_names_those_that_could_be_added(
    client: FlaskClient, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: Any = parts.models
    monkeypatch.delitem(models, TAKES_APART)
    answer = sent(client)
    assert_refused(answer, 422, "unsupported_operation", "operation")
    message = answer.get_json()["error"]["message"]
    assert "STUDIO_MODELS" in message
    assert TAKES_APART in message


def test_a_conversation_goes_on_with_the_picture_as_a_whole(
    client: FlaskClient, worker: Worker, store: JobStore
) -> None:
    job = painted(client, worker, conversation="c")
    whole = job["images"][-1]
    after = client.post("/v1/jobs", json={"operation": "edit", "prompt": "make it blue", "conversation": "c"})
    assert after.status_code == 202, after.text
    assert list(store.jobs.get(after.get_json()["id"]).inputs) == [whole["id"]]


def test_a_conversation_does_not_go_on_with_a_layer(client: FlaskClient, worker: Worker) -> None:
    job = painted(client, worker, conversation="c")
    assert client.delete(f"/v1/images/{job['images'][-1]['id']}").status_code == 204
    after = client.post("/v1/jobs", json={"operation": "edit", "prompt": "make it blue", "conversation": "c"})
    assert_refused(after, 422, "image_not_found", "image")


def test_a_layer_is_an_image_like_any_other(client: FlaskClient, worker: Worker) -> None:
    job = painted(client, worker, layers=2)
    layer = job["images"][1]
    record = client.get(f"/v1/images/{layer['id']}").get_json()
    assert (record["layer"], record["mime_type"], record["job_id"]) == (1, "image/png", job["id"])
    assert layer["studio_url"]
    listed = client.get("/v1/images").get_json()["data"]
    assert {each["layer"] for each in listed if each["job_id"] == job["id"]} == {0, 1, None}
    asked = {"operation": "adjust", "image": layer["id"], "prompt": "rotate it 90 degrees"}
    edited = client.post("/v1/jobs", json=asked)
    assert edited.status_code == 202, edited.text


def test_an_equal_request_is_answered_with_the_same_files(client: FlaskClient, worker: Worker) -> None:
    first = painted(client, worker, layers=3)
    again = sent(client, layers=3).get_json()
    assert (again["state"], again["cached"]) == ("succeeded", True)
    assert [image["layer"] for image in again["images"]] == [0, 1, 2, None]
    assert [image["sha256"] for image in again["images"]] == [image["sha256"] for image in first["images"]]
    other = sent(client, layers=4).get_json()
    assert (other["state"], other["cached"]) == ("queued", False)


def test_layers_that_are_not_all_there_answer_nothing(client: FlaskClient, worker: Worker) -> None:
    first = painted(client, worker, layers=3)
    assert client.delete(f"/v1/images/{first['images'][1]['id']}").status_code == 204
    assert sent(client, layers=3).get_json()["cached"] is False


def test_rows_of_a_batch_are_taken_apart(client: FlaskClient, worker: Worker, light: Worker) -> None:
    files = [(a_file((64, height)), "a.png") for height in (64, 80)]
    images = [client.post("/v1/images", data={"image": file}).get_json() for file in files]
    batch = client.post(
        "/v1/jobs",
        json={
            "operation": "batch",
            "job": {"operation": "layers", "image": "{{image}}", "layers": "{{layers}}"},
            "rows": [{"image": image["id"], "layers": layers} for image, layers in zip(images, (2, "3"), strict=True)],
        },
    )
    assert batch.status_code == 202, batch.text
    batch_id = batch.get_json()["id"]
    while client.get(f"/v1/jobs/{batch_id}").get_json()["state"] in {"queued", "running"}:
        assert light.run_next() | worker.run_next()
    rows = client.get(f"/v1/jobs?parent_id={batch_id}").get_json()["data"]
    assert [len(row["images"]) for row in rows] == [3, 4]
    assert [row["images"][-1]["height"] for row in rows] == [64, 80]


def test_a_batch_counts_each_layer(client: FlaskClient) -> None:
    image = client.post("/v1/images", data={"image": (a_file(), "a.png")}).get_json()["id"]
    job = {"operation": "layers", "image": image, "layers": 8}
    answer = client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": [{"a": 1}] * 56})
    assert_refused(answer, 422, "invalid_value", "rows")
    assert "504 images" in answer.get_json()["error"]["message"]


def test_the_zip_tells_the_order_of_the_layers(client: FlaskClient, worker: Worker) -> None:
    job = painted(client, worker, layers=3)
    with ZipFile(BytesIO(client.get(job["archive_url"]).data)) as archive:
        names = ["01-background.png", "02-layer-1.png", "03-layer-2.png", "recomposed.png"]
        assert archive.namelist() == names
        for name, image in zip(names, job["images"], strict=True):
            assert archive.read(name) == client.get(image["url"]).data


@pytest.mark.parametrize(("kind", "beginning"), [("psd", b"8BPS"), ("pptx", b"PK")])
def test_layers_are_had_as_a_document(client: FlaskClient, worker: Worker, kind: str, beginning: bytes) -> None:
    job = painted(client, worker, layers=2)
    assert job["archive_formats"] == ["zip", "psd", "pptx"]
    for path in (f"/v1/jobs/{job['id']}/archive?format={kind}", f"{job['archive_url']}&format={kind}"):
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.data.startswith(beginning)
        assert answer.mimetype == ARCHIVE_TYPES[ArchiveFormat(kind)]
        assert f"{job['id']}.{kind}" in answer.headers["Content-Disposition"]


def test_a_document_is_of_layers_alone(client: FlaskClient, worker: Worker) -> None:
    queued = client.post("/v1/jobs", json={"operation": "generate", "prompt": "an apple", "model": "miniature"})
    assert worker.run_next()
    job = client.get(f"/v1/jobs/{queued.get_json()['id']}").get_json()
    assert job["archive_formats"] == ["zip"]
    answer = client.get(f"/v1/jobs/{job['id']}/archive?format=psd")
    assert_refused(answer, 422, "invalid_value", "format")
    assert "layers" in answer.get_json()["error"]["message"]


@pytest.mark.parametrize("door", ["/v1/jobs/{id}/archive?format=tiff", "{archive_url}&format=tiff"])
def test_a_document_of_another_kind_is_refused(client: FlaskClient, worker: Worker, door: str) -> None:
    job = painted(client, worker, layers=2)
    answer = client.get(door.format(**job))
    assert_refused(answer, 422, "invalid_value", "format")
    assert "pptx" in answer.get_json()["error"]["message"]


def test_a_server_without_the_extra_says_what_to_install(
    client: FlaskClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "can_make", lambda kind: kind is ArchiveFormat.ZIP)
    job = painted(client, worker, layers=2)
    assert job["archive_formats"] == ["zip"]
    answer = client.get(f"{job['archive_url']}&format=psd")
    assert_refused(answer, 422, "invalid_value", "format")
    assert "pip install 'qwen-image-studio[design]'" in answer.get_json()["error"]["message"]


def test_a_document_of_too_many_pixels_is_refused(
    client: FlaskClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MOST_PIXELS", 3 * 120 * 80 - 1)
    job = painted(client, worker, layers=2)
    answer = client.get(f"{job['archive_url']}&format=psd")
    assert_refused(answer, 422, "invalid_value", "format")
    assert "120x80" in answer.get_json()["error"]["message"]
    assert client.get(job["archive_url"]).status_code == 200


def test_a_document_of_layers_that_are_not_all_there_is_none(client: FlaskClient, worker: Worker) -> None:
    job = painted(client, worker, layers=2)
    assert client.delete(f"/v1/images/{job['images'][0]['id']}").status_code == 204
    answer = client.get(f"/v1/jobs/{job['id']}/archive?format=psd")
    assert_refused(answer, 404, "not_found", None)
    with ZipFile(BytesIO(client.get(job["archive_url"]).data)) as archive:
        assert archive.namelist() == ["02-layer-1.png", "recomposed.png"]
