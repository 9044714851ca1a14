"""Models with their limits, and a contract that cannot drift."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_pydantic.v3.v3_1 import OpenAPI

from qwen_image_studio.contract.service import ModelList
from qwen_image_studio.contract.words import WorkerState
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.jobs.workers import SILENT_S
from qwen_image_studio.web.openai.routes import AZURE_BASES
from qwen_image_studio.web.openapi import document
from tests.support import ROOT


def test_models_tell_their_limits_and_what_is_loaded(client: FlaskClient, store: JobStore) -> None:
    models = ModelList.model_validate(client.get("/v1/models").get_json()).data
    assert [(model.id, model.loaded) for model in models] == [("miniature", False)]
    assert models[0].min_steps == 2
    assert models[0].sizes["16:9"].width > models[0].sizes["16:9"].height  # type: ignore[index]
    words = models[0].vocabulary
    assert words is not None
    assert "apple" in words.objects[0].en
    assert "苹果" in words.objects[0].zh
    assert (len(words.objects) >= 100, len(words.backgrounds), "福" in words.texts) == (True, 12, True)
    assert words.edits["background"].zh == ["把背景改成绿色"]
    ready = WorkerReport("host/cuda:0", "cuda:0", WorkerState.READY, "miniature", "", time.time())
    store.workers.note(ready)
    assert client.get("/v1/models").get_json()["data"][0]["loaded"] is True
    store.workers.note(replace(ready, seen_at=time.time() - SILENT_S - 1))
    assert client.get("/v1/models").get_json()["data"][0]["loaded"] is False


def test_models_that_no_living_worker_offers_are_told(client: FlaskClient, store: JobStore) -> None:
    def unavailable() -> Any:
        return client.get("/v1/models").get_json()["data"][0]["unavailable"]

    assert "No worker" in unavailable()
    for offers, is_offered in (
        ({"models": {"Qwen-Image": {}}}, False),
        ({"models": {"miniature": {}}}, True),
        (None, True),
    ):
        for state in WorkerState:
            report = WorkerReport("far/cpu/1", "cpu", state, None, "", time.time(), host="far", offers=offers)
            store.workers.note(report)
            lives = state not in {WorkerState.FAILED, WorkerState.LOST}
            assert (unavailable() is None) is (is_offered and lives)


def test_openapi_is_valid_and_whole(app: Flask, client: FlaskClient) -> None:
    served = client.get("/openapi.json").get_json()
    OpenAPI.model_validate(served)
    assert served == json.loads(json.dumps(document(app)))
    assert set(served["paths"]) == {
        "/v1/jobs",
        "/v1/jobs/{job_id}",
        "/v1/jobs/{job_id}/archive",
        "/v1/jobs/{job_id}/events",
        "/v1/jobs/{job_id}/cancel",
        "/v1/events",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/images/variations",
        *(f"{base}/deployments/{{deployment}}/images/generations" for base in AZURE_BASES.values()),
        *(f"{base}/deployments/{{deployment}}/images/edits" for base in AZURE_BASES.values()),
        "/health",
        "/v1/images",
        "/v1/images/{image_id}",
        "/v1/images/{image_id}/chain",
        "/v1/images/{image_id}/review",
        "/v1/images/{image_id}/content",
        "/models/{model}",
        "/hf-inference/models/{model}",
        "/v1/styles",
        "/v1/styles/{name}",
        "/v1/deliveries",
        "/v1/deliveries/{delivery_id}/resend",
        "/v1/health",
        "/v1/health/live",
        "/v1/health/ready",
        "/v1/health/accepts",
        "/",
        "/static/{build}/{path}",
        "/v1/me",
        "/v1/session",
        "/v1/keys",
        "/v1/models",
        "/v1/models/{model_id}",
        "/files/{key}",
        "/v1/templates",
        "/v1/usage",
        "/v1/queue",
        "/v1/queue/cancel",
        "/v1/calls",
        "/metrics",
        "/openapi.json",
    }
    names = references(served)
    assert names <= set(served["components"]["schemas"]), "a reference leads nowhere"
    assert "GenerateRequest" in names
    submit = served["paths"]["/v1/jobs"]["post"]
    assert set(submit["responses"]) >= {"202", "400", "401", "413", "415", "422", "429", "503"}


def references(node: Any) -> set[str]:
    """Names of the schemas that a document refers to."""
    if isinstance(node, dict):
        own = {node["$ref"].rsplit("/", 1)[1]} if "$ref" in node else set()
        return own.union(*map(references, node.values()))
    return set[str]().union(*map(references, node)) if isinstance(node, list) else set()


@pytest.mark.parametrize(
    ("command", "path"),
    [("openapi", "docs/openapi.json"), ("settings", "docs/settings.md"), ("settings --env", ".env.example")],
)
def test_generated_documents_are_fresh(command: str, path: str) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "qwen_image_studio", *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.strip() in (ROOT / path).read_text(), f"run: qwen-image-studio {command} and commit {path}"
