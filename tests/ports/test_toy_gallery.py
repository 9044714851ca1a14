"""The seam of the store: a toy is put into the table of stores, and a server works with it from end to end."""

import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.gallery import STORES, open_gallery
from qwen_image_studio.gallery.names import is_picture_key
from qwen_image_studio.imaging.received import stored_form
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import close_app, create_app
from qwen_image_studio.web.routing import Services
from tests.ports.test_file_stores import Toy
from tests.support.worker import scripted_worker


def pictures(toy: Toy) -> list[str]:
    """The keys of pictures; there may be marks beside them."""
    return [key for key in toy.kept if is_picture_key(key)]


def test_a_toy_store_serves_from_submit_to_delete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy()
    monkeypatch.setitem(STORES, "toy", lambda _: toy)
    settings = Settings(_env_file=None, data_dir=tmp_path, models="miniature", storage_url="toy://chest")
    app = create_app(settings, configured_models(settings, card_gib=0))
    parts: Services = app.extensions["qwen-image-studio"]
    worker = scripted_worker(parts)
    client = app.test_client()

    def painted(**ask: Any) -> dict[str, Any]:
        job_id = client.post("/v1/jobs", json={"steps": 2, **ask}).get_json()["id"]
        assert worker.run_next()
        return dict(client.get(f"/v1/jobs/{job_id}").get_json())

    job = painted(operation="generate", prompt="preview pace=0.2")
    edit = painted(operation="edit", prompt="make it green", image=job["images"][0]["url"])
    [image] = edit["images"]
    for url in (image["url"], image["thumbnail_url"], image["comparison_url"]):
        Image.open(BytesIO(client.get(url).data)).load()
    answer = client.get(image["url"], headers={"Range": "bytes=1-3"})
    assert (answer.status_code, answer.data) == (206, b"PNG")
    tag = answer.headers["ETag"]
    assert client.get(image["url"], headers={"If-None-Match": tag}).status_code == 304
    assert client.get(edit["archive_url"]).data[:2] == b"PK"
    assert len(pictures(toy)) == 2 + 2 + 3  # what was painted, what was fetched for the edit, and what it made
    for each in (job, edit):
        assert client.delete(f"/v1/jobs/{each['id']}").status_code == 204
    assert client.get(image["url"]).status_code == 404
    assert pictures(toy) == []
    close_app(app)
    assert not (tmp_path / "images").exists()


def test_a_store_that_there_is_not_is_said_at_the_start(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, storage_url="ftp://bucket")
    with pytest.raises(CannotServe, match="'ftp'; use file, s3"):
        open_gallery(settings, open_store(settings))


def test_the_files_may_lie_in_another_folder(tmp_path: Path) -> None:
    folder = tmp_path / "other place"
    url = f"file://{str(folder).replace(' ', '%20')}"
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", storage_url=url)
    gallery = open_gallery(settings, open_store(settings))
    image = gallery.add(stored_form(Image.new("RGB", (8, 8), "red")), "local")
    assert (folder / image.key).is_file()
    assert not (settings.data_dir / "images").exists()


def test_what_cannot_be_deleted_only_shows_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gallery = open_gallery(Settings(_env_file=None, data_dir=tmp_path), open_store(Settings(data_dir=tmp_path)))
    with caplog.at_level(logging.WARNING):
        gallery.clear("../outside", "2026/11/21/not-there.png")
    assert "../outside stays behind" in caplog.text
