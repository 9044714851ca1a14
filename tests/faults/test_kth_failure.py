"""The k-th storage or database call of one job fails, for every k: the job ends, and nothing half-made is served.

After "How SQLite Is Tested" (sqlite.org/testing.html), where every allocation and every write is made to fail in turn.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.contract.errors import ERRORS, LeaseLost, StudioError
from qwen_image_studio.contract.words import Lane
from qwen_image_studio.database.connection import check_database
from qwen_image_studio.gallery import STORES
from qwen_image_studio.gallery.store import FileStore
from qwen_image_studio.jobs.retries import INPUT_UNREADABLE, RETRIES
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.seats import worker_name
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.engine import ScriptedEngine
from tests.support.worker import scripted_worker


class FailKth:
    """Lets through every call to an object, and to those that it is made of, but the k-th, which raises."""

    def __init__(self, inner: Any, k: int, error: Callable[[], Exception], calls: list[str] | None = None) -> None:
        self._inner, self._k, self._error = inner, k, error
        self.calls: list[str] = [] if calls is None else calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not inspect.isroutine(method):
            of_jobs = type(method).__module__.startswith("qwen_image_studio.jobs.")
            return FailKth(method, self._k, self._error, self.calls) if of_jobs else method

        def call(*args: Any, **named: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) == self._k:
                raise self._error()
            return method(*args, **named)

        return call


def always(files: FileStore, _: Settings) -> FileStore:
    """Open these files, whatever the settings say."""
    return files


ASK = {"operation": "edit", "prompt": "preview pace=0.12", "steps": 2, "n": 2, "seed": 3, "cache": False}


def painted_before(client: FlaskClient, worker: Worker) -> str:
    """The id of an image to edit."""
    job_id = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", "steps": 2}).get_json()["id"]
    assert worker.run_next()
    return str(client.get(f"/v1/jobs/{job_id}").get_json()["images"][0]["id"])


@pytest.mark.parametrize("port", ["files", "store"])
@pytest.mark.parametrize("code", ["storage_failed", "database_busy"])
def test_the_kth_call_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: str, code: str) -> None:
    monkeypatch.setitem(RETRIES, INPUT_UNREADABLE, replace(RETRIES[INPUT_UNREADABLE], pause_s=0))
    settings = Settings(data_dir=tmp_path, models="miniature", lease_s=2, max_attempts=6)
    on_failing = settings.model_copy(update={"storage_url": "failing://"})
    models = configured_models(settings, card_gib=0)
    app = create_app(settings, models)
    parts: Services = app.extensions["qwen-image-studio"]
    client = app.test_client()
    engine = ScriptedEngine("miniature", "cpu")
    engine.load("miniature")
    ask = ASK | {"image": painted_before(client, scripted_worker(parts))}
    endings: set[str] = set()
    for k in range(1, 40):
        failing: Any = FailKth(
            parts.gallery.files if port == "files" else parts.store, k, lambda: StudioError(code, "Planted.")
        )
        monkeypatch.setitem(STORES, "failing", partial(always, failing))
        worker = (
            Worker(settings, "cpu", engine, list(models), failing)
            if port == "store"
            else Worker(on_failing, "cpu", engine, list(models), parts.store)
        )
        headers = {"Idempotency-Key": f"{port}-{code}-{k}"}
        job_id = client.post("/v1/jobs", json=ask, headers=headers).get_json()["id"]
        parts.store.leases.claim("ghost", Lane.PAINT, list(models))  # an attempt before, of a worker that died
        parts.store.leases.abandon("ghost")
        for _ in range(4):  # a process that dies of it is started again
            try:
                worker.run_next()
            except (StudioError, LeaseLost):
                parts.store.leases.abandon(worker_name("cpu"))
        job = client.get(f"/v1/jobs/{job_id}").get_json()
        assert job["state"] in {"succeeded", "failed"}, (k, failing.calls)
        endings.add(job["state"])
        if job["state"] == "failed":
            assert job["error"]["code"] in ERRORS
            assert job["images"] == []
        for image in job["images"]:
            for url in (image["url"], image["thumbnail_url"], image["comparison_url"]):
                answer = client.get(url)
                assert answer.status_code == 200, (k, failing.calls)
                Image.open(BytesIO(answer.data)).load()
        again = client.post("/v1/jobs", json=ask, headers=headers).get_json()
        assert again["id"] == job_id
        if len(failing.calls) < k:
            break  # every call has had its turn
    else:
        raise AssertionError("more calls than expected; raise the bound")
    assert "succeeded" in endings
    check_database(parts.store.database)
