"""Texts and numbers at the limits of their columns and beyond: over HTTP none is an error of the server's own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_PROMPT_CHARS, MAX_SENT_SEED, Lane
from qwen_image_studio.jobs import JobStore, open_store
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import close_app, create_app
from tests.ports.test_job_store import LIMIT, new
from tests.support.database import with_tables

WIDE = "人"
"""A character of three bytes: columns count characters."""
NUL, HALF = "a\0b", "a\ud800b"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    settings = with_tables(Settings(_env_file=None, data_dir=tmp_path / "data", models="miniature", queue_limit=100))
    app = create_app(settings, configured_models(settings, card_gib=0))
    app.testing = False  # an exception is answered, as the web process does
    with app.test_client() as client:
        yield client
    close_app(app)


@pytest.mark.parametrize(
    "fields",
    [
        {"user": WIDE * 1000},
        {"conversation": WIDE * 128},
        {"prompt": "a " * (MAX_PROMPT_CHARS // 2)},
        {"webhook_url": f"https://example.com/{'h' * 2000}"},
        {"seed": MAX_SENT_SEED},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_value_at_its_limit_is_kept(client: FlaskClient, fields: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", **fields})
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("text", [NUL, HALF, WIDE * 9000], ids=["NUL", "half a character", "too long"])
@pytest.mark.parametrize(
    "name",
    [
        "user",
        "conversation",
        "prompt",
        "negative_prompt",
        "webhook_url",
        "model",
        "image",
        "style",
        "tier",
        "save_style",
    ],
)
def test_a_text_that_no_column_takes_is_refused_or_cleaned(client: FlaskClient, name: str, text: str) -> None:
    body = json.dumps({"operation": "generate", "prompt": "a cup", name: text})
    answer = client.post("/v1/jobs", data=body, content_type="application/json")
    assert answer.status_code in {202, 400, 403, 404, 422}, answer.text
    if answer.status_code != 202:
        assert answer.get_json()["error"]["message"]
        assert "stored" not in answer.get_json()["error"]["message"], "the field is not named"


@pytest.mark.parametrize("text", ["%00", "a%00b", "%ED%A0%80", "x" * 3000], ids=["NUL", "with NUL", "half", "too long"])
@pytest.mark.parametrize(
    "path",
    ["/v1/jobs/{}", "/v1/images/{}", "/v1/styles/{}", "/v1/images/{}/file", "/v1/jobs?after={}", "/v1/jobs?user={}",
     "/v1/images?model={}", "/v1/images?q={}", "/v1/images?conversation={}", "/v1/queue?after={}", "/v1/calls?owner={}",
     "/v1/calls?job_id={}", "/v1/deliveries?after={}", "/v1/me?user={}", "/v1/usage?month={}"],
)  # fmt: skip
def test_an_address_with_such_a_text_leads_nowhere(client: FlaskClient, path: str, text: str) -> None:
    answer = client.get(path.format(text))
    assert answer.status_code < 500, answer.text
    if text in {"%00", "a%00b"}:
        assert answer.status_code in {404, 422}, answer.text


def test_such_headers_are_refused_or_left_out(client: FlaskClient) -> None:
    body = {"operation": "generate", "prompt": "a cup"}
    assert client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k" * 255}).status_code == 202
    refused = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k" * 300})
    assert (refused.status_code, refused.get_json()["error"]["param"]) == (422, "Idempotency-Key")
    assert client.post("/v1/jobs", json=body, headers={"X-Request-Id": "r" * 300}).status_code == 202


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with open_store(with_tables(Settings(_env_file=None, data_dir=tmp_path))) as store:
        yield store


def test_an_error_of_an_engine_may_say_anything(store: JobStore) -> None:
    store.jobs.submit(new(), queue_limit=LIMIT)
    lease = store.leases.claim("w", Lane.PAINT, ["small"])
    assert lease is not None
    store.leases.fail(lease, "engine_failed", f"{NUL} {HALF} {WIDE * 5000}")
    assert store.jobs.get(lease.job.id).error_message == f"a b a?b {WIDE * 5000}"


@pytest.mark.parametrize(
    "fields", [{"user": HALF}, {"plan": {"strength": float("nan")}}, {"seed": 2**70}], ids=["half", "NaN", "number"]
)
def test_what_slips_through_is_told_as_the_requests_fault(store: JobStore, fields: dict[str, Any]) -> None:
    with pytest.raises(StudioError) as caught:
        store.jobs.submit(new(**fields), queue_limit=LIMIT)
    assert caught.value.code == "invalid_value"
