"""Pictures that wait for a reviewer, and the reviewer's tool, on both SDKs, against a studio that plays a script."""

from typing import Any

import pytest

from tests.plugin.test_batch_tool import ARCHIVE, CSV, counted
from tests.plugin.test_job_tool import assert_empty, image_job
from tests.plugin.test_tools import GENERATION_VARIABLES, JOB_VARIABLES, PERSON, REVIEW_VARIABLES
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER
from tests.support.scripted import PNG, RUNNING, SUCCEEDED, Answer, ScriptedStudio, error

REVIEW: dict[str, Any] = {"state": "review", "held": 2}
IMAGE = "img_0123456789abcdef01234567"
ROUTE = f"POST /v1/images/{IMAGE}/review"


def image_review(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    given = {"image_id": IMAGE, "verdict": "approved", **parameters}
    return plugin.invoke(PROVIDER, "image_review", given, credentials)


def decided(review: str, **more: Any) -> Answer:
    """The server's answer to a verdict."""
    known = {"id": IMAGE, "url": "https://studio.example/files/a.png", "job_id": "job7", "review": review}
    return Answer(200, {**known, "review_reasons": [], **more})


# -- jobs that wait for a reviewer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [True, False])
def test_a_job_that_waits_for_a_reviewer_is_a_result_and_no_error(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], wait: bool
) -> None:
    scripted.states = [REVIEW]
    outcome = image_job(plugin, credentials, job_id="job0", wait=wait)
    outcome.raise_on_error()
    assert outcome.texts == ["Job job0 waits for a person's approval; then fetch it with image_job.\n"]
    assert outcome.blobs == []
    assert set(outcome.variables) == JOB_VARIABLES
    assert_empty(outcome, job_id="job0", state="review", model="qwen-image", tier="quality", held=2)
    assert scripted.routes() == ["GET /v1/jobs/job0"], "it waits for no person"


def test_what_may_be_seen_is_delivered_and_the_rest_is_told(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.states = [RUNNING, {**REVIEW, "images": scripted.view("j", SUCCEEDED)["images"]}]
    outcome = plugin.invoke(PROVIDER, "image_generation", {"prompt": "x", "n": 3}, credentials)
    outcome.raise_on_error()
    assert [blob.content for blob in outcome.blobs] == [PNG]
    assert "image_id img0. " in outcome.texts[0]
    assert "2 more wait for a reviewer; fetch them later with image_job, job_id job0." in outcome.texts[0]
    assert set(outcome.variables) == GENERATION_VARIABLES
    told = {name: outcome.variables[name] for name in ("state", "held", "count", "image_ids")}
    assert told == {"state": "review", "held": 2, "count": 1, "image_ids": ["img0"]}


def test_it_is_told_in_chinese(plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]) -> None:
    scripted.states = [REVIEW]
    outcome = plugin.invoke(PROVIDER, "image_generation", {"prompt": "一个红苹果"}, credentials)
    assert outcome.texts == ["作业 job0 等待人工审核；之后请用 image_job 取回结果。\n"]
    scripted.states = [{**REVIEW, "images": scripted.view("j", SUCCEEDED)["images"]}]
    outcome = plugin.invoke(PROVIDER, "image_generation", {"prompt": "两个红苹果"}, credentials)
    assert "另有 2 张等待审核" in outcome.texts[0]


def test_a_batch_that_waits_for_reviewers_tells_how_far_it_is(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.operation = "batch"
    scripted.rows = [scripted.row_view(0), scripted.row_view(1, "failed", "No."), scripted.row_view(2, "review")]
    scripted.states = [{"state": "review", "held": 1, "rows": counted(3, 1, 1), "archive_url": ARCHIVE}]
    outcome = plugin.invoke(PROVIDER, "image_batch", {"prompt": "a {{thing}}", "rows": CSV}, credentials)
    outcome.raise_on_error()
    assert outcome.texts == [
        "Job job0 waits for a person's approval, 2 of 3 rows done; then fetch it with image_job.\n"
    ]
    named = ("state", "held", "succeeded", "failed", "failures", "image_ids", "archive_url")
    assert {name: outcome.variables[name] for name in named} == {
        **{"state": "review", "held": 1, "succeeded": 1, "failed": 1, "failures": ["row 2: No"]},
        **{"image_ids": ["img0"], "archive_url": ARCHIVE},
    }


def test_image_job_delivers_after_the_approval_and_says_why_not(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.states = [REVIEW, SUCCEEDED]
    assert image_job(plugin, credentials, job_id="job0").blobs == []
    assert [blob.content for blob in image_job(plugin, credentials, job_id="job0").blobs] == [PNG]
    reason = "A reviewer rejected all images: six fingers."
    scripted.states = [{"state": "failed", "error": {"code": "rejected", "message": reason}}]
    scripted.look_afresh()
    outcome = image_job(plugin, credentials, job_id="job0")
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == (
        "InvokeBadRequestError", f"Job job0 failed: {reason}",
    )  # fmt: skip


def test_a_held_picture_cannot_be_edited(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    said = f"image: image {IMAGE} is withheld: a reviewer has to approve it first, or has rejected it."
    scripted.script["POST /v1/jobs"].append(error(403, said, code="held_for_review"))
    outcome = plugin.invoke(PROVIDER, "image_edit", {"prompt": "red", "image_id": IMAGE}, credentials)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("InvokeBadRequestError", said)


# -- the reviewer's tool -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["approved", " Approve ", "通过"])
def test_an_approval_is_recorded_with_who_started_the_run(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], verdict: str
) -> None:
    scripted.script[ROUTE].append(decided("approved"))
    outcome = image_review(plugin, credentials, verdict=verdict, image_id=f"image_id: {IMAGE}.")
    outcome.raise_on_error()
    assert outcome.texts == [f"Image {IMAGE} is approved. The record names the person who started this run.\n"]
    assert set(outcome.variables) == REVIEW_VARIABLES
    assert outcome.variables == {
        **{"progress": "", "image_id": IMAGE, "verdict": "approved"},
        **{"image_url": "https://studio.example/files/a.png", "studio_url": "", "job_id": "job7"},
    }
    [call] = scripted.calls
    assert (call.route, call.json()) == (ROUTE, {"state": "approved", "reasons": [], **PERSON})


def test_a_rejection_takes_its_reason_along_and_gives_no_link(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.script[ROUTE].append(decided("rejected", review_reasons=["six fingers"]))
    outcome = image_review(plugin, credentials, verdict="reject", reason="six fingers")
    outcome.raise_on_error()
    assert outcome.texts[0].startswith(f"Image {IMAGE} is rejected.")
    assert (outcome.variables["verdict"], outcome.variables["image_url"]) == ("rejected", "")
    assert scripted.calls[0].json() == {"state": "rejected", "reasons": ["six fingers"], **PERSON}


@pytest.mark.parametrize(
    ("status", "code", "said", "type_"),
    [
        (403, "scope_missing", "This API key lacks the scope review.", "InvokeAuthorizationError"),
        (409, "already_reviewed", "Image i was approved already, by ann.", "InvokeBadRequestError"),
        (409, "not_held", "Image i waits for no verdict.", "InvokeBadRequestError"),
    ],
)
def test_a_verdict_that_does_not_count_is_told_in_the_servers_words(
    plugin: Daemon,
    scripted: ScriptedStudio,
    credentials: dict[str, object],
    status: int,
    code: str,
    said: str,
    type_: str,
) -> None:
    scripted.script[ROUTE].append(error(status, said, code=code))
    outcome = image_review(plugin, credentials)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == (type_, said)


def test_an_unknown_picture_is_said_so(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.script[ROUTE].append(error(404, "There is no image of yours.", code="not_found"))
    outcome = image_review(plugin, credentials)
    assert outcome.error is not None
    assert outcome.error.message.startswith(f"The server has no image {IMAGE} that this API key may review; ")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image_id": ""}, "image_id is missing"),
        ({"image_id": "https://a.example/x.png"}, "image_id: takes the id of one image"),
        ({"image_id": f"{IMAGE} img_fedcba9876543210fedcba98"}, "image_id: takes the id of one image"),
        ({"verdict": "perhaps"}, "verdict: "),
        ({"verdict": ""}, "verdict is missing"),
        ({"reason": "x" * 201}, "reason: "),
    ],
)
def test_bad_parameters_are_refused_before_the_server_is_asked(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], given: dict[str, Any], said: str
) -> None:
    outcome = image_review(plugin, credentials, **given)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.kinds) == ("InvokeBadRequestError", [])
    assert outcome.error.message.startswith(said)
    assert scripted.calls == []


def test_a_verdict_with_a_chinese_reason_is_answered_in_chinese(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.script[ROUTE].append(decided("rejected"))
    outcome = image_review(plugin, credentials, verdict="rejected", reason="六根手指")
    outcome.raise_on_error()
    assert outcome.texts[0].startswith(f"图片 {IMAGE} 未通过审核。")
