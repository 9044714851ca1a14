"""Images that are sent by themselves: taken as inputs are, kept for a time, and longer where a job uses them."""

import time
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.gallery.pruning import Pruning
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png

DAY_S = 86400.0


def sent(client: FlaskClient, data: bytes = b"", key: str | None = None, **form: Any) -> Any:
    """The answer to an upload."""
    headers = {} if key is None else {"Idempotency-Key": key}
    fields = form or {"image": (BytesIO(data or png()), "x.png")}
    return client.post("/v1/images", data=fields, headers=headers, content_type="multipart/form-data")


def pruned(parts: Services, later_s: float) -> int:
    """How many uploads are gone when pruning runs that much later."""
    pruning = Pruning(parts.gallery, parts.store, parts.settings)
    for _ in pruning.pieces(None, now=time.time() + later_s):
        pass
    return pruning.pruned.uploads


def test_an_upload_answers_201_with_its_record_and_where_it_is(client: FlaskClient) -> None:
    before = time.time()
    answer = sent(client, png(40, 30))
    image = answer.get_json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/images/{image['id']}"
    assert (image["width"], image["height"], image["job_id"], image["seed"]) == (40, 30, None, None)
    assert before + DAY_S <= image["expires_at"] <= time.time() + DAY_S
    assert client.get(answer.headers["Location"]).get_json() == image
    assert client.get(image["url"]).status_code == 200


def test_an_upload_is_an_input_by_its_id(client: FlaskClient, store: JobStore) -> None:
    image = sent(client).get_json()["id"]
    job = client.post("/v1/jobs", json={"operation": "edit", "prompt": "red", "image": image}).get_json()
    assert store.jobs.get(job["id"]).inputs == (image,)


def test_an_upload_by_its_url_is_fetched(client: FlaskClient) -> None:
    first = sent(client, png(40, 30)).get_json()
    answer = client.post("/v1/images", json={"url": first["url"]})
    assert answer.status_code == 201, answer.text
    assert answer.get_json()["id"] != first["id"]
    assert answer.get_json()["width"] == 40


@pytest.mark.parametrize(
    ("form", "status", "code", "param"),
    [
        ({"image": (b"junk", "x.png")}, 422, "unsupported_image", "image"),
        ({"image": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "x.svg")}, 422, "unsupported_image", "image"),
        ({"picture": (png(), "x.png")}, 422, "unknown_parameter", "picture"),
        ({"mask": (png(), "x.png")}, 422, "unknown_parameter", "mask"),
        ({"image": (png(), "x.png"), "url": "http://x.example/a.png"}, 422, "unknown_parameter", "url"),
        ({"image": [(png(), "x.png"), (png(), "y.png")]}, 422, "invalid_value", "image"),
        ({"image": (b"", "")}, 422, "invalid_value", "image"),
    ],
)
def test_what_is_no_image_is_refused_as_an_input_is(
    client: FlaskClient, form: dict[str, Any], status: int, code: str, param: str
) -> None:
    def part(value: Any) -> Any:
        if isinstance(value, list):
            return [part(each) for each in value]
        return (BytesIO(value[0]), value[1]) if isinstance(value, tuple) else value

    answer = sent(client, **{name: part(value) for name, value in form.items()})
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), error


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "invalid_value", "url"),
        ({"url": "img_1"}, "invalid_value", "url"),
        ({"url": "data:image/png;base64,AAAA"}, "invalid_value", "url"),
        ({"url": 7}, "invalid_value", "url"),
        ({"url": "http://127.0.0.1:1/x.png"}, "url_not_allowed", "image"),
        ({"url": "http://x.example", "colour": 1}, "unknown_parameter", "colour"),
    ],
)
def test_an_url_that_is_none_is_named(client: FlaskClient, body: dict[str, Any], code: str, param: str) -> None:
    answer = client.post("/v1/images", json=body)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, code, param), error


def test_an_upload_sent_again_with_its_key_is_the_same_image(client: FlaskClient) -> None:
    first, second = sent(client, png(), key="k1"), sent(client, png(), key="k1")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.get_json() == second.get_json()
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert client.get("/v1/images").get_json()["total"] == 1


def test_a_key_belongs_to_one_image(client: FlaskClient) -> None:
    sent(client, png(), key="k1")
    answer = sent(client, png(colour="blue"), key="k1")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (422, "idempotency_key_reused")


def test_the_key_of_a_deleted_upload_is_free_again(client: FlaskClient) -> None:
    first = sent(client, png(), key="k1").get_json()["id"]
    assert client.delete(f"/v1/images/{first}").status_code == 204
    again = sent(client, png(), key="k1")
    assert again.status_code == 201
    assert again.get_json()["id"] != first


def test_an_upload_that_nobody_uses_is_deleted_when_its_time_is_over(client: FlaskClient, parts: Services) -> None:
    image = sent(client).get_json()
    assert pruned(parts, DAY_S - 60) == 0
    assert pruned(parts, DAY_S + 60) == 1
    assert client.get(f"/v1/images/{image['id']}").status_code == 404
    assert client.get(image["url"]).status_code == 404
    assert [path for path in (parts.settings.data_dir / "images").rglob("*.png")] == []


def test_an_upload_that_a_job_uses_stays_and_goes_with_it(client: FlaskClient, parts: Services, worker: Worker) -> None:
    image = sent(client).get_json()["id"]
    job = client.post("/v1/jobs", json={"operation": "edit", "prompt": "red", "image": image, "steps": 2}).get_json()
    assert worker.run_next()
    assert pruned(parts, DAY_S + 60) == 0
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/images/{image}").status_code == 200, "its own time is not over"
    assert pruned(parts, DAY_S + 60) == 1


def test_an_image_that_came_with_a_job_has_no_time_of_its_own(client: FlaskClient, store: JobStore) -> None:
    job = client.post(
        "/v1/jobs", data={"params": '{"operation":"outpaint","left":8}', "image": (BytesIO(png()), "x.png")}
    )
    image = store.jobs.get(job.get_json()["id"]).inputs[0]
    assert client.get(f"/v1/images/{image}").get_json()["expires_at"] is None
