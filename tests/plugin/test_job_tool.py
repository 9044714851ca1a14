"""Jobs that are started now and fetched later, on both SDKs, against a studio that plays a script."""

import time
from typing import Any

import pytest

from tests.plugin.test_batch_tool import ARCHIVE, CSV, counted
from tests.plugin.test_tools import BATCH_VARIABLES, GENERATION_VARIABLES, JOB_VARIABLES, PERSON, VARIABLES
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER
from tests.support.scripted import PNG, QUEUED, RUNNING, SUCCEEDED, ScriptedStudio, error

EMPTY: dict[str, Any] = {
    **dict.fromkeys(("image_url", "image_id", "comparison_url", "archive_url", "cache", "tier"), ""),
    **dict.fromkeys(("studio_url", "texts", "style_words"), ""),
    **dict.fromkeys(("seed", "width", "height", "seconds", "compute_saved", "count", "held"), 0),
    **dict.fromkeys(("succeeded", "failed"), 0),
    **{name: [] for name in ("image_urls", "image_ids", "loras", "failures", "warnings", "palette")},
    **{name: [] for name in ("job_ids", "states", "layer_urls", "layer_ids")},
    **dict.fromkeys(("change_inside", "change_outside"), -1),
}
STARTING: dict[str, dict[str, Any]] = {
    "image_generation": {"prompt": "x"},
    "image_edit": {"prompt": "x", "image_id": "i"},
    "image_outpaint": {"image_id": "i", "left": 64},
    "image_batch": {"prompt": "a {{thing}}", "rows": CSV},
}
EMITTED = dict(zip(STARTING, (GENERATION_VARIABLES, VARIABLES, VARIABLES, BATCH_VARIABLES), strict=True))


def image_job(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    return plugin.invoke(PROVIDER, "image_job", parameters, credentials)


def assert_empty(outcome: Outcome, **known: object) -> None:
    """Every variable that is not known here says nothing."""
    told = {name: value for name, value in outcome.variables.items() if name not in {*known, "progress", "prompt"}}
    assert told == {name: value for name, value in EMPTY.items() if name in told}
    assert {name: outcome.variables[name] for name in known} == known


@pytest.mark.parametrize("tool", list(STARTING))
@pytest.mark.parametrize("wait", [False, "false"])
def test_without_waiting_a_tool_only_starts_its_job(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], tool: str, wait: object
) -> None:
    scripted.operation = "batch" if tool == "image_batch" else "generate"
    outcome = plugin.invoke(PROVIDER, tool, {**STARTING[tool], "wait": wait}, credentials)
    outcome.raise_on_error()
    assert outcome.texts == ["Job job0 is queued at place 2; fetch it with image_job.\n"]
    assert outcome.blobs == []
    assert set(outcome.variables) == EMITTED[tool]
    model = {} if tool == "image_batch" else {"model": "qwen-image", "tier": "quality"}
    assert_empty(outcome, job_id="job0", state="queued", **model)
    assert outcome.variables["progress"] == ""
    assert (outcome.jsons[0]["job_id"], outcome.jsons[0]["state"]) == ("job0", "queued")
    assert scripted.routes() == ["POST /v1/jobs"]
    [call] = scripted.called("POST /v1/jobs")
    assert "wait" not in (call.form()[0] if tool == "image_batch" else call.json())


def test_a_look_without_waiting_gives_the_images_once_there_are_some(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    outcome = image_job(plugin, credentials, job_id="job0", wait=False)
    assert outcome.texts == ["Job job0 is running; fetch it with image_job.\n"]
    assert set(outcome.variables) == JOB_VARIABLES
    assert_empty(outcome, job_id="job0", state="running", model="qwen-image", tier="quality")
    assert scripted.routes() == ["GET /v1/jobs/job0"]
    outcome = image_job(plugin, credentials, job_id="job0", wait=False)
    assert [blob.content for blob in outcome.blobs] == [PNG]
    assert outcome.variables["state"] == "succeeded"


@pytest.mark.parametrize("job_id", ["job0", " “job0”. ", "job_id: job0", "Job job0"])
def test_the_result_is_what_the_tool_would_have_given(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], job_id: str
) -> None:
    waited = plugin.invoke(PROVIDER, "image_edit", STARTING["image_edit"], credentials)
    scripted.states = [QUEUED, RUNNING, SUCCEEDED]
    scripted.look_afresh()
    fetched = image_job(plugin, credentials, job_id=job_id)
    fetched.raise_on_error()
    assert fetched.blobs == waited.blobs
    assert fetched.texts == waited.texts
    assert fetched.jsons == waited.jsons
    assert set(fetched.variables) == JOB_VARIABLES
    assert {name: fetched.variables[name] for name in VARIABLES - {"progress"}} == {
        name: value for name, value in waited.variables.items() if name != "progress"
    }
    assert fetched.variables["job_ids"] == fetched.variables["failures"] == []
    assert fetched.variables["progress"] == ""


def test_the_result_of_a_batch_has_its_sheet_and_rows(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.operation = "batch"
    scripted.rows = [scripted.row_view(0), scripted.row_view(1, "failed", "No.")]
    scripted.states = [
        {"state": "running", "rows": counted(2, 1)},
        {"state": "succeeded", "rows": counted(2, 1, 1), "archive_url": ARCHIVE},
    ]
    waited = plugin.invoke(PROVIDER, "image_batch", STARTING["image_batch"], credentials)
    scripted.look_afresh()
    early = image_job(plugin, credentials, job_id="job0", wait="no")
    assert (early.variables["succeeded"], early.variables["count"], early.blobs) == (1, 0, [])
    assert early.texts == ["Job job0 is running, 1 of 2 rows done; fetch it with image_job.\n"]
    fetched = image_job(plugin, credentials, job_id="job0")
    assert (fetched.blobs, fetched.texts, fetched.jsons) == (waited.blobs, waited.texts, waited.jsons)
    assert [blob.content for blob in fetched.blobs] == [PNG]
    assert set(fetched.variables) == JOB_VARIABLES
    for name in BATCH_VARIABLES - {"progress"}:
        assert fetched.variables[name] == waited.variables[name]
    assert (fetched.variables["image_id"], fetched.variables["width"]) == ("", 0)


@pytest.mark.parametrize(
    ("state", "type_", "said"),
    [
        (
            {"state": "failed", "error": {"code": "out_of_memory", "message": "Ask for 64x64 or smaller."}},
            "InvokeServerUnavailableError",
            "Job job0 failed: Ask for 64x64 or smaller.",
        ),
        (
            {"state": "cancelled"},
            "InvokeBadRequestError",
            "Job job0 was cancelled at the server. Run it again if the image is still wanted.",
        ),
        (
            {"state": "cancelled", "rows": counted(3, 2), "archive_url": ARCHIVE},
            "InvokeBadRequestError",
            "Job job0 was cancelled at the server. Run it again if the image is still wanted. What 2 of its rows "
            f"painted is kept: {ARCHIVE}",
        ),
    ],
)
def test_a_job_that_ended_badly_says_so(
    plugin: Daemon,
    scripted: ScriptedStudio,
    credentials: dict[str, object],
    state: dict[str, Any],
    type_: str,
    said: str,
) -> None:
    scripted.states = [state]
    outcome = image_job(plugin, credentials, job_id="job0")
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == (type_, said)


@pytest.mark.parametrize(
    ("action", "route"), [("result", "GET /v1/jobs/job_x"), ("cancel", "POST /v1/jobs/job_x/cancel")]
)
def test_an_unknown_job_is_said_with_the_way_to_the_known_ones(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], action: str, route: str
) -> None:
    scripted.script[route].append(error(404, "There is no job 'job_x' of yours.", code="not_found"))
    outcome = image_job(plugin, credentials, job_id="job_x", action=action)
    assert outcome.error is not None
    assert outcome.error.type == "InvokeBadRequestError"
    assert outcome.error.message.startswith("The server has no job job_x of this API key's owner.")
    assert "action list" in outcome.error.message


def test_the_list_is_readable_and_complete(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    now = time.time()
    scripted.listed = [
        {**scripted.view("job5", QUEUED), "created_at": now - 2},
        {**scripted.view("job4", RUNNING), "created_at": now - 200, "operation": "edit"},
        {**scripted.view("job3", SUCCEEDED), "created_at": now - 2 * 3600},
        {
            **scripted.view("job1", {"state": "failed", "error": {"code": "worker_lost", "message": "It died."}}),
            "created_at": now - 5 * 3600,
        },
        {
            **scripted.view("job2", {"state": "running", "operation": "batch", "rows": counted(9, 3, 1)}),
            **{"created_at": now - 3 * 86400 - 60, "archive_url": ARCHIVE},
        },
        {
            **scripted.view("job6", {"state": "cancelled", "operation": "batch", "rows": counted(9, 3, 1)}),
            **{"created_at": now - 4 * 86400, "archive_url": ARCHIVE},
        },
    ]
    outcome = image_job(plugin, credentials, action="list", limit=6)
    outcome.raise_on_error()
    assert outcome.texts[0].splitlines() == [
        "6 jobs, newest first:",
        "job5: generate, queued, place 2, just now",
        "job4: edit, running, 3 min ago",
        "job3: generate, succeeded, img0, 2 h ago",
        "job1: generate, failed, 5 h ago",
        "job2: batch, running, 4 of 9 rows done, 3 d ago",
        "job6: batch, cancelled, 3 of 9 rows succeeded, 1 failed, 4 d ago",
    ]
    assert set(outcome.variables) == JOB_VARIABLES
    ids = ["job5", "job4", "job3", "job1", "job2", "job6"]
    states = ["queued", "running", "succeeded", "failed", "running", "cancelled"]
    assert_empty(outcome, job_ids=ids, states=states, job_id="", state="", model="")
    [view] = outcome.jsons
    assert [job["job_id"] for job in view["jobs"]] == outcome.variables["job_ids"]
    assert (view["jobs"][2]["images"][0]["id"], view["jobs"][4]["archive_url"]) == ("img0", ARCHIVE)
    assert view["jobs"][3]["error"]["message"] == "It died."
    assert scripted.called("GET /v1/jobs")[0].query == f"user={PERSON['user']}&limit=6"


def test_without_a_person_there_is_no_list(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    outcome = plugin.invoke(PROVIDER, "image_job", {"action": "list"}, credentials, user_id="")
    assert outcome.error is not None
    assert "does not say who asks" in outcome.error.message
    assert scripted.routes() == []


def test_the_list_may_be_shorter_or_empty(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    assert image_job(plugin, credentials, action="list").texts == ["There are no jobs yet.\n"]
    scripted.listed = [scripted.view(f"job{number}", SUCCEEDED) for number in range(5)]
    outcome = image_job(plugin, credentials, action="List", limit="1", job_id="")
    assert outcome.variables["job_ids"] == ["job0"]
    assert outcome.texts[0].startswith("1 job:\njob0: generate, succeeded")


@pytest.mark.parametrize(
    ("cancelled", "said", "known"),
    [
        (
            {"state": "cancelled"},
            "Job job7 is cancelled. It leaves no image; all others stay.",
            {"state": "cancelled", "model": "qwen-image"},
        ),
        (
            RUNNING,
            "Job job7 stops at its next step. It leaves no image; all others stay.",
            {"state": "running", "model": "qwen-image"},
        ),
        (
            {"state": "running", "operation": "batch", "rows": counted(9, 3, 1), "archive_url": ARCHIVE},
            f"Job job7 stops at its next step. What 3 of its rows painted is kept: {ARCHIVE}",
            {"state": "running", "archive_url": ARCHIVE, "succeeded": 3, "model": ""},
        ),
        (
            {**RUNNING, "shared": 1},
            "Job job7 goes on for others that share it; cancel it again for each.",
            {"state": "running", "model": "qwen-image"},
        ),
    ],
)
def test_cancelling_says_what_is_kept(
    plugin: Daemon,
    scripted: ScriptedStudio,
    credentials: dict[str, object],
    cancelled: dict[str, Any],
    said: str,
    known: dict[str, object],
) -> None:
    scripted.cancelled = cancelled
    outcome = image_job(plugin, credentials, job_id="job7", action="cancel")
    outcome.raise_on_error()
    assert outcome.texts == [f"{said}\n"]
    assert set(outcome.variables) == JOB_VARIABLES
    assert_empty(outcome, job_id="job7", **known)
    assert outcome.variables["progress"] == ""
    assert scripted.routes() == ["POST /v1/jobs/job7/cancel"]


def test_a_job_that_has_ended_cannot_be_cancelled(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.script["POST /v1/jobs/job7/cancel"].append(error(409, "Job job7 has succeeded already."))
    outcome = image_job(plugin, credentials, job_id="job7", action="cancel")
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("InvokeBadRequestError", "Job job7 has succeeded already.")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "job_id is missing. Take it from"),
        ({"action": "cancel", "job_id": " "}, "job_id is missing. Take it from"),
        ({"job_id": "../images"}, "job_id: takes one id"),
        ({"job_id": "job1, job2"}, "job_id: takes one id"),
        ({"action": "stop", "job_id": "j"}, "action: "),
        ({"action": "list", "limit": 0}, "limit: "),
        ({"job_id": "j", "wait": "perhaps"}, "wait: "),
    ],
)
def test_bad_parameters_are_refused_before_the_server_is_asked(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], given: dict[str, Any], said: str
) -> None:
    outcome = image_job(plugin, credentials, **given)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.kinds) == ("InvokeBadRequestError", [])
    assert outcome.error.message.startswith(said)
    assert scripted.calls == []
