"""The visible mark and the producer's name through a whole job: on what a model paints, and on nothing else."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.contract.words import State
from qwen_image_studio.imaging.label import Label
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.settings import Settings
from qwen_image_studio.worker.loop import Worker
from tests.support.database import with_tables
from tests.support.pictures import png
from tests.support.waiting import until
from tests.support.worker import working

PRODUCER = "Beispiel & Söhne <GmbH>"
MARK = Label(mark="AI generated")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A server that marks what it paints."""
    folder = tmp_path / "data"
    asked: dict[str, Any] = {"mark": "AI generated", "label_producer": PRODUCER}
    return with_tables(Settings(_env_file=None, data_dir=folder, models="miniature", **asked))


def ended(client: FlaskClient, worker: Worker, *files: bytes, **params: Any) -> dict[str, Any]:
    """The job, after the worker had it."""
    sent = {"image[]": [(BytesIO(file), f"{number}.png") for number, file in enumerate(files)]}
    data = {"params": json.dumps(params), **sent}
    answer = client.post("/v1/jobs", data=data) if files else client.post("/v1/jobs", json=params)
    assert answer.status_code == 202, answer.text
    assert worker.run_next()
    job = client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json()
    assert job["state"] == "succeeded", job
    return dict(job)


def bytes_of(client: FlaskClient, url: str) -> bytes:
    answer = client.get(url)
    assert answer.status_code == 200
    return bytes(answer.data)


def opened(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as image:
        image.load()
        return image.convert("RGB")


PAINT = {"operation": "generate", "prompt": "a cup", "size": "256x256", "steps": 2, "seed": 200}


def plain() -> Image.Image:
    """What the scripted engine paints for that."""
    return Image.new("RGB", (256, 256), (200, 0, 128))


def test_a_painted_picture_is_marked_and_so_is_its_thumbnail(client: FlaskClient, worker: Worker) -> None:
    [image] = ended(client, worker, **PAINT)["images"]
    file = bytes_of(client, image["url"])
    assert opened(file).tobytes() == MARK.on(plain()).tobytes()
    thumbnail = opened(bytes_of(client, image["thumbnail_url"]))
    right, left = np.asarray(thumbnail)[-40:, -120:], np.asarray(thumbnail)[-40:, :80]
    assert right.std(axis=(0, 1)).max() > 20 > left.std(axis=(0, 1)).max()


def test_the_label_in_the_file_names_the_operators_producer(client: FlaskClient, worker: Worker) -> None:
    for output_format in ("png", "jpeg", "webp"):
        [image] = ended(client, worker, **PAINT, output_format=output_format)["images"]
        named = json.dumps({"ContentProducer": PRODUCER}, ensure_ascii=False)[1:-1].replace(" ", "", 1)
        escaped = named.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert escaped.encode() in bytes_of(client, image["url"])


def test_the_mark_is_no_change_of_an_edit(client: FlaskClient, worker: Worker) -> None:
    before = BytesIO()
    plain().save(before, "PNG")
    region = {"x": 0, "y": 0, "width": 0.25, "height": 0.25}
    asked = {**PAINT, "operation": "inpaint", "region": region}
    del asked["size"]
    job = ended(client, worker, before.getvalue(), **asked)
    [image] = job["images"]
    assert image["change"] == {"inside": 0.0, "outside": 0.0}, "the engine paints what was there"
    assert opened(bytes_of(client, image["url"])).tobytes() == MARK.on(plain()).tobytes()
    again = ended(client, worker, bytes_of(client, image["url"]), **asked)
    assert opened(bytes_of(client, again["images"][0]["url"])).tobytes() == MARK.on(plain()).tobytes(), "drawn once"


def test_an_adjusted_picture_is_not_marked(client: FlaskClient, light: Worker) -> None:
    params = {"operation": "adjust", "prompt": "rotate it 180 degrees"}
    [image] = ended(client, light, png(256, 256, "red"), **params)["images"]
    assert opened(bytes_of(client, image["url"])).tobytes() == Image.new("RGB", (256, 256), "red").tobytes()


def test_previews_are_marked(client: FlaskClient, store: JobStore, worker: Worker) -> None:
    answer = client.post("/v1/jobs", json={**PAINT, "prompt": "preview=200 forever"})
    job_id = answer.get_json()["id"]
    with working(worker):
        until(lambda: store.jobs.get(job_id).progress.preview_key)
        url = client.get(f"/v1/jobs/{job_id}").get_json()["progress"]["preview_url"]
        preview = np.asarray(opened(bytes_of(client, url)), dtype=int)
        client.post(f"/v1/jobs/{job_id}/cancel")
        until(lambda: store.jobs.get(job_id).state is State.CANCELLED)
    half = preview.shape[0] // 2
    assert preview[:half].std(axis=(0, 1)).max() < 5
    assert preview[half:].std(axis=(0, 1)).max() > 20
