"""A whole server with its pictures in an object store: from submit to delete, and with a store that goes away."""

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image

from qwen_image_studio.gallery.names import is_picture_key
from qwen_image_studio.gallery.s3 import open_s3
from qwen_image_studio.settings import Settings
from tests.support.pictures import png
from tests.support.servers.objects import Moto, ObjectStore
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until


def stored(studio: Studio) -> set[str]:
    """The keys of all pictures of a server, beside which there are marks."""
    names = ("storage_url", "storage_access_key", "storage_secret_key")
    told = {name: studio.environment[f"STUDIO_{name.upper()}"] for name in names}
    return {key for key, _ in open_s3(Settings.model_validate(told)).keys() if is_picture_key(key)}


@pytest.fixture
def studio(tmp_path: Path, nanio: ObjectStore) -> Iterator[Studio]:
    """A server whose pictures are in a store that checks signatures."""
    with Studio(tmp_path, with_key=True, **SCRIPTED, **nanio.settings) as server:
        yield server


def painted(studio: Studio, **ask: Any) -> dict[str, Any]:
    job = studio.finished(studio.submit(steps=2, **ask)["id"])
    assert job["state"] == "succeeded", job
    return job


def test_from_submit_to_delete(studio: Studio, nanio: ObjectStore) -> None:
    job = painted(studio)
    [image] = job["images"]
    # With the key, as a caller who sends it everywhere: another host must not get it.
    answer = studio.request("GET", urlsplit(image["url"]).path + "?" + urlsplit(image["url"]).query)
    assert [each.status_code for each in (*answer.history, answer)] == [302, 200]
    assert answer.url.startswith(nanio.endpoint)
    assert "Authorization" not in answer.request.headers
    content = studio.request("GET", f"/v1/images/{image['id']}/content")
    assert (content.status_code, content.content, content.history) == (200, answer.content, [])
    assert answer.headers["Content-Type"] == "image/png"
    Image.open(BytesIO(answer.content)).load()
    part = requests.get(image["url"], headers={"Range": "bytes=1-3"}, timeout=60)
    assert (part.status_code, part.content) == (206, b"PNG")
    edit = painted(studio, operation="edit", prompt="make it green", image=image["url"])
    uploaded = studio.finished(studio.edit(png()).json()["id"])
    with zipfile.ZipFile(BytesIO(requests.get(edit["archive_url"], timeout=60).content)) as archive:
        assert archive.namelist() == ["image.png"]
    assert not (studio.folder / "data" / "images").exists()
    for each in (job, edit, uploaded):
        assert studio.request("DELETE", f"/v1/jobs/{each['id']}").status_code == 204
    assert requests.get(image["url"], timeout=60).status_code == 404
    assert not stored(studio)


def test_openai_and_hugging_face_get_bytes(studio: Studio) -> None:
    ask = {"prompt": "a cup", "size": "256x256", "n": 1}
    asked = studio.request("POST", "/v1/images/generations", json={**ask, "response_format": "b64_json"})
    assert asked.json()["data"][0]["b64_json"]
    asked = studio.request("POST", "/v1/images/generations", json={**ask, "response_format": "url"})
    assert requests.get(asked.json()["data"][0]["url"], timeout=60).content[:4] == b"\x89PNG"
    asked = studio.request("POST", "/models/Qwen/Qwen-Image", json={"inputs": "a cup"})
    assert asked.headers["Content-Type"].startswith("image/")


def test_killed_servers_leave_nothing_that_counts(studio: Studio) -> None:
    job_id = studio.submit(prompt="preview pace=0.3", steps=4)["id"]
    until(lambda: studio.job(job_id)["state"] == "running")
    studio.kill()
    studio.start()
    job = studio.finished(job_id)
    assert job["state"] == "succeeded", job
    for image in job["images"]:
        Image.open(BytesIO(requests.get(image["url"], timeout=60).content)).load()
    assert len(stored(studio)) == 2, "the picture and its thumbnail; the preview is gone"


@pytest.fixture
def moto_alone() -> Iterator[Moto]:
    """A store that the test may stop."""
    with Moto() as server:
        yield server


def test_a_store_that_hangs_fails_what_needs_it_and_nothing_else(
    tmp_path: Path, moto: ObjectStore, moto_alone: Moto
) -> None:
    with Studio(tmp_path, with_key=True, **SCRIPTED, **moto_alone.settings) as studio:
        [image] = painted(studio)["images"]
        moto_alone.freeze()
        job_id = studio.submit(steps=2)["id"]
        asked = studio.request("GET", f"/v1/images/{image['id']}/content")
        assert (asked.status_code, asked.json()["error"]["code"]) == (503, "storage_failed")
        assert "it did not answer in time" in asked.json()["error"]["message"]
        job = studio.finished(job_id)
        assert (job["state"], job["error"]["code"]) == ("failed", "storage_failed"), job
        assert "The image store failed" in job["error"]["message"]
        assert studio.request("GET", image["url"].removeprefix(studio.url), allow_redirects=False).status_code == 302
        moto_alone.thaw()
        painted(studio)


def test_a_store_that_is_away_is_waited_for(tmp_path: Path, moto: ObjectStore, moto_alone: Moto) -> None:
    told = moto_alone.settings
    moto_alone.kill()
    with Studio(tmp_path, with_key=True, **SCRIPTED, **told) as studio:
        assert "it cannot be reached" in studio.log.read_text()
        refused = studio.edit(png())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_failed")
        job = studio.finished(studio.submit(steps=2)["id"])
        assert (job["state"], job["error"]["code"]) == ("failed", "storage_failed"), job
        moto_alone.start()
        painted(studio)


@pytest.mark.parametrize("command", [["serve"], ["web"], ["worker"], ["light"]], ids=lambda command: command[0])
def test_what_has_to_be_changed_is_said_before_anything_starts(
    tmp_path: Path, nanio: ObjectStore, command: list[str]
) -> None:
    studio = Studio(tmp_path, with_key=True, **SCRIPTED, **{**nanio.settings, "storage_secret_key": "other"})
    process = studio.spawn(*command)
    assert process.wait(120) == 1
    assert "STUDIO_STORAGE_URL: bucket 'studio' at http" in studio.log.read_text()
    assert "Traceback" not in studio.log.read_text()
