"""B14: inputs that were stored for a request which never became a job: they go at the next start, or after an hour."""

import os
import time
from io import BytesIO
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery.pruning import UPLOAD_LEFTOVER_S, Retention
from qwen_image_studio.web.routing import Services
from tests.support.pictures import png
from tests.support.studio import stored_pictures


def edit(client: FlaskClient, key: str) -> TestResponse:
    """Send an edit of a new picture."""
    form = {"params": '{"operation": "edit", "prompt": "make it green"}', "image": (BytesIO(png()), "a.png")}
    return client.post("/v1/jobs", data=form, headers={"Idempotency-Key": key})


def files_of(parts: Services) -> list[Path]:
    return stored_pictures(parts.settings.data_dir)


def upload_without_a_row(client: FlaskClient, parts: Services, monkeypatch: pytest.MonkeyPatch, times: int = 1) -> None:
    """Send an edit again and again on one key, each cut off between the files and their row."""

    def busy(*_: object) -> None:
        raise StudioError("database_busy", "Planted.")

    with monkeypatch.context() as broken:
        broken.setattr(type(parts.store.images), "add", busy)
        broken.setattr(type(parts.gallery), "clear", lambda *_: None)  # as if it were killed before it could
        for _ in range(times):
            assert edit(client, "again").status_code == 503


def put_back(paths: list[Path], seconds: float) -> None:
    for path in paths:
        os.utime(path, (time.time() - seconds,) * 2)


def test_at_a_start_what_the_server_before_was_storing_goes_at_once(
    client: FlaskClient, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = edit(client, "kept").get_json()
    upload_without_a_row(client, parts, monkeypatch, times=3)
    assert len(files_of(parts)) == 2 + 3 * 2
    Retention(parts.gallery, parts.store, parts.settings).work()
    assert len(files_of(parts)) == 8, "a request may be storing them just now"
    started_at = time.time() + 1
    Retention(parts.gallery, parts.store, parts.settings, server_started_at=started_at).work()
    assert len(files_of(parts)) == 2
    job = client.get(f"/v1/jobs/{kept['id']}").get_json()
    assert job["state"] == "queued"
    upload_without_a_row(client, parts, monkeypatch)
    Retention(parts.gallery, parts.store, parts.settings, server_started_at=started_at - 60).work()
    assert len(files_of(parts)) == 4, "those are of this server"


def test_after_an_hour_they_go_without_a_start(
    client: FlaskClient, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert edit(client, "kept").status_code == 202
    upload_without_a_row(client, parts, monkeypatch, times=3)
    put_back(files_of(parts), UPLOAD_LEFTOVER_S + 60)
    Retention(parts.gallery, parts.store, parts.settings).work()
    assert len(files_of(parts)) == 2
