"""Layers that are held, judged and blocked: what shows a picture in part shows it, so all of them go together."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import HeldFor, Policy, Review
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support import classifier
from tests.support.classifier import ScriptedClassifier
from tests.support.database import with_tables
from tests.support.layers import offer_layers
from tests.support.pictures import png
from tests.support.reviewing import headers_of
from tests.support.studio import stored_pictures

PASSES, DOUBTFUL, BLOCKED = 0.1, 0.5, 0.9
"""Scores in each band."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A server with the scripted classifier."""
    asked: dict[str, Any] = {"safety": Policy.STANDARD, "classifier": classifier.NAME, "safety_timeout_s": 5.0}
    return with_tables(Settings(_env_file=None, data_dir=tmp_path / "data", models="miniature", **asked))


@pytest.fixture
def answers(settings: Settings) -> Iterator[ScriptedClassifier]:
    """The classifier, which answers."""
    with classifier.answering(settings) as answers:
        yield answers


@pytest.fixture(autouse=True)
def offered(parts: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that takes pictures apart, beside the miniature."""
    offer_layers(parts.models, monkeypatch)


def painted(client: FlaskClient, worker: Worker, headers: dict[str, str], **params: Any) -> dict[str, Any]:
    """The job for two layers, once it has been painted."""
    asked = {"operation": "layers", "layers": 2, "seed": 7, **params}
    data = {"params": json.dumps(asked), "image": (BytesIO(png(64, 48)), "a.png")}
    answer = client.post("/v1/jobs", data=data, headers=headers)
    assert answer.status_code == 202, answer.text
    assert worker.run_next()
    worker._finisher.close()
    job: dict[str, Any] = client.get(f"/v1/jobs/{answer.get_json()['id']}", headers=headers).get_json()
    return job


def scored(answers: ScriptedClassifier, monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    """Let the classifier give these scores: to the image that is sent, to each layer, and to the recomposed picture."""
    left = iter(scores)
    monkeypatch.setattr(answers, "scores", lambda _picture: {"nsfw": next(left)})


@pytest.mark.parametrize("doubtful", [1, 2, 3])
def test_one_that_is_doubtful_holds_all(
    app: Flask,
    parts: Services,
    worker: Worker,
    store: JobStore,
    answers: ScriptedClassifier,
    monkeypatch: pytest.MonkeyPatch,
    doubtful: int,
) -> None:
    scored(answers, monkeypatch, *(DOUBTFUL if place == doubtful else PASSES for place in range(4)))
    job = painted(app.test_client(), worker, headers_of(parts)["owner"])
    assert (job["state"], job["held"], job["images"], job["archive_url"]) == ("review", 3, [], None)
    images = store.images.of_jobs([job["id"]])[job["id"]]
    assert {image.held_for for image in images} == {HeldFor.SAFETY}


@pytest.mark.parametrize("blocked", [1, 2, 3])
def test_one_that_is_blocked_leaves_none_and_no_file(
    app: Flask,
    parts: Services,
    worker: Worker,
    settings: Settings,
    answers: ScriptedClassifier,
    monkeypatch: pytest.MonkeyPatch,
    blocked: int,
) -> None:
    scored(answers, monkeypatch, *(BLOCKED if place == blocked else PASSES for place in range(4)))
    job = painted(app.test_client(), worker, headers_of(parts)["owner"])
    assert (job["state"], job["error"]["code"], job["images"]) == ("failed", "content_blocked", [])
    assert [path for path in stored_pictures(settings.data_dir) if job["id"] in path.name] == []


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("state", "left", "ends"), [("approved", 3, "succeeded"), ("rejected", 0, "failed")])
def test_a_verdict_on_any_of_them_is_one_on_all(
    app: Flask,
    parts: Services,
    worker: Worker,
    store: JobStore,
    answers: ScriptedClassifier,
    monkeypatch: pytest.MonkeyPatch,
    place: int,
    state: str,
    left: int,
    ends: str,
) -> None:
    scored(answers, monkeypatch, *[PASSES] * 4)
    client, headers = app.test_client(), headers_of(parts)
    job = painted(client, worker, headers["owner"], hold=True)
    assert (job["state"], job["held"]) == ("review", 3)
    images = store.images.of_jobs([job["id"]])[job["id"]]
    path, verdict = f"/v1/images/{images[place].id}/review", {"state": state, "reasons": ["a logo"]}
    answer = client.post(path, json=verdict, headers=headers["reviewer"])
    assert answer.status_code == 200, answer.text
    judged = client.get(f"/v1/jobs/{job['id']}", headers=headers["owner"]).get_json()
    assert (judged["state"], len(judged["images"]), judged["held"]) == (ends, left, 0)
    assert {image.review for image in store.images.of_jobs([job["id"]])[job["id"]]} == {Review(state)}
    assert client.post(path, json=verdict, headers=headers["reviewer"]).status_code == 200, "the same once more"
    other = f"/v1/images/{images[place - 1].id}/review"
    assert client.post(other, json={"state": state}, headers=headers["operator"]).status_code == 409


def test_a_verdict_on_one_of_several_pictures_is_on_that_alone(
    app: Flask, parts: Services, worker: Worker, answers: ScriptedClassifier
) -> None:
    client, headers = app.test_client(), headers_of(parts)
    asked = {"operation": "generate", "prompt": "a cup", "model": "miniature", "n": 2, "seed": 5, "hold": True}
    job_id = client.post("/v1/jobs", json=asked, headers=headers["owner"]).get_json()["id"]
    assert worker.run_next()
    worker._finisher.close()
    first = parts.store.images.of_jobs([job_id])[job_id][0].id
    path = f"/v1/images/{first}/review"
    assert client.post(path, json={"state": "approved"}, headers=headers["reviewer"]).status_code == 200
    job = client.get(f"/v1/jobs/{job_id}", headers=headers["owner"]).get_json()
    assert (job["state"], job["held"], [image["id"] for image in job["images"]]) == ("review", 1, [first])
