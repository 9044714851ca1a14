"""An operation is added by a row in the table: a toy one, from its request over HTTP to its picture."""

import json
from io import BytesIO
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.contract.adjustments import Flip
from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.operations.given import Given, Planned
from qwen_image_studio.operations.paint_request import ImageRequest
from qwen_image_studio.operations.parameters import OneImage
from qwen_image_studio.operations.request import OPERATIONS
from qwen_image_studio.planning.plan import AdjustPlan
from qwen_image_studio.worker.loop import Worker


class MirrorRequest(OneImage, ImageRequest):
    """Show an image as a mirror does."""

    NAME: ClassVar[str] = "mirror"
    TAKES_IMAGES: ClassVar[tuple[int, int]] = (1, 1)
    operation: Literal["mirror"]

    def plan(self, given: Given) -> Planned:
        """Return the plan, and a warning."""
        flip = Flip(axis="horizontal")
        return Planned(AdjustPlan(output_format=OutputFormat.PNG, adjustments=(flip,)), ["Left is right now."])


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of operations with one more."""
    monkeypatch.setitem(OPERATIONS, "mirror", MirrorRequest)


def half_blue() -> Image.Image:
    """A red image whose left half is blue."""
    image = Image.new("RGB", (32, 24), "red")
    image.paste("blue", (0, 0, 16, 24))
    return image


def sent(client: FlaskClient, *images: Image.Image, **params: Any) -> Any:
    """The answer to a job with files, or without."""
    if not images:
        return client.post("/v1/jobs", json=params)
    files = [(BytesIO(), f"{number}.png") for number, _ in enumerate(images)]
    for image, (file, _) in zip(images, files, strict=True):
        image.save(file, "PNG")
        file.seek(0)
    return client.post("/v1/jobs", data={"params": json.dumps(params), "image[]": files})


def look(client: FlaskClient, path: str) -> Any:
    """What is answered there."""
    return client.get(path).get_json()


def assert_mirrored(client: FlaskClient, job: dict[str, Any]) -> None:
    """The job made the one picture that a mirror shows."""
    assert (job["state"], job["operation"], job["engine"]) == ("succeeded", "mirror", "cv"), job
    [image] = job["images"]
    made = Image.open(BytesIO(client.get(image["url"]).data))
    assert np.array_equal(np.asarray(made), np.asarray(half_blue().transpose(Image.Transpose.FLIP_LEFT_RIGHT)))


def test_a_toy_operation_is_queued_done_delivered_and_listed(client: FlaskClient, light: Worker) -> None:
    queued = sent(client, half_blue(), operation="mirror", user="ann").get_json()
    assert (queued["operation"], queued["state"], queued["queue_position"]) == ("mirror", "queued", 1)
    assert light.run_next()
    job = look(client, f"/v1/jobs/{queued['id']}")
    assert_mirrored(client, job)
    assert job["warnings"] == ["Left is right now."]
    assert look(client, "/v1/jobs?user=ann")["data"] == [job]


def test_a_toy_operation_starts_from_an_image_of_the_server(client: FlaskClient, light: Worker) -> None:
    turned = sent(client, half_blue(), operation="adjust", prompt="rotate it 360 degrees").get_json()
    assert light.run_next()
    [image] = look(client, f"/v1/jobs/{turned['id']}")["images"]
    job = client.post("/v1/jobs", json={"operation": "mirror", "image": image["id"]}).get_json()
    assert light.run_next()
    assert_mirrored(client, look(client, f"/v1/jobs/{job['id']}"))


def test_rows_of_a_batch_may_be_of_a_toy_operation(client: FlaskClient, light: Worker) -> None:
    turned = sent(client, half_blue(), operation="adjust", prompt="rotate it 360 degrees").get_json()
    assert light.run_next()
    [image] = look(client, f"/v1/jobs/{turned['id']}")["images"]
    job = {"operation": "mirror", "image": "{{image}}"}
    batch = client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": [{"image": image["id"]}] * 2})
    batch_id = batch.get_json()["id"]
    while look(client, f"/v1/jobs/{batch_id}")["state"] in {"queued", "running"}:
        assert light.run_next()
    assert look(client, f"/v1/jobs/{batch_id}")["state"] == "succeeded"
    rows = look(client, f"/v1/jobs?parent_id={batch_id}")["data"]
    assert len(rows) == 2
    for row in rows:
        assert_mirrored(client, row)


@pytest.mark.parametrize(
    ("params", "files", "code", "param"),
    [
        ({"operation": "mirror", "axis": "both"}, 1, "unknown_parameter", "axis"),
        ({"operation": "mirror", "output_quality": 101}, 1, "invalid_value", "output_quality"),
        ({"operation": "mirror"}, 0, "invalid_value", "image"),
        ({"operation": "mirror"}, 2, "invalid_value", "image"),
        ({"operation": "shatter"}, 1, "unknown_operation", "operation"),
    ],
)
def test_a_toy_operation_is_checked_as_all_are(
    client: FlaskClient, params: dict[str, Any], files: int, code: str, param: str
) -> None:
    answer = sent(client, *[half_blue()] * files, **params)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, code, param)


def test_the_contract_shows_the_operations_that_come_with_the_server(client: FlaskClient) -> None:
    schemas = look(client, "/openapi.json")["components"]["schemas"]
    assert schemas["JobView"]["properties"]["operation"] == {"$ref": "#/components/schemas/Operation"}
    assert "mirror" not in schemas["Operation"]["enum"]
