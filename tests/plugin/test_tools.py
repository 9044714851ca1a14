"""The tools as Dify's daemon calls them, on both SDKs, against a studio that plays a script."""

import hashlib
import re
import threading
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import CANARY, PROVIDER, dify_file
from tests.support.scripted import PNG, RUNNING, SUCCEEDED, Answer, ScriptedStudio, error
from tests.support.waiting import until

PERSON = {"user": hashlib.sha256(b"person/user-1").hexdigest()[:40]}
PLACE = {"conversation": hashlib.sha256(b"user/app-1/user-1").hexdigest()[:40], **PERSON}
"""Where a call of the harness happens, as the server is told: no conversation, so this user of this app."""
VARIABLES = {
    *("progress", "image_url", "image_urls", "image_id", "image_ids", "seed"),
    *("width", "height", "model", "job_id", "state", "count", "held", "warnings"),
    *("tier", "loras", "seconds", "comparison_url", "change_inside", "change_outside", "compute_saved", "cache"),
    "studio_url",
}
GENERATION_VARIABLES = VARIABLES | {"prompt"}
LAYERS_VARIABLES = VARIABLES | {"layer_urls", "layer_ids", "archive_url"}
BATCH_VARIABLES = {
    *("progress", "archive_url", "image_url", "image_urls", "image_ids", "succeeded", "failed", "failures"),
    *("job_id", "state", "count", "held", "warnings", "studio_url"),
}
CAMPAIGN_VARIABLES = BATCH_VARIABLES | {"texts", "style_words", "palette", "seed"}
JOB_VARIABLES = LAYERS_VARIABLES | CAMPAIGN_VARIABLES | {"job_ids", "states"}
REVIEW_VARIABLES = {"progress", "image_id", "verdict", "image_url", "studio_url", "job_id"}
STYLE_VARIABLES = {"progress", "styles", "style_words", "palette", "negative_prompt", "seed", "image_id"}
PROMPT_VARIABLES = {"prompt", "negative_prompt", "aspect_ratio", "reason", "enhanced_by", "warnings"}


def generate(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    return plugin.invoke(PROVIDER, "image_generation", {"prompt": "a red apple", **parameters}, credentials)


def edit(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    return plugin.invoke(PROVIDER, "image_edit", {"prompt": "make it blue", **parameters}, credentials)


def test_success_gives_blob_text_json_and_every_variable(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.count, scripted.warnings = 2, ["Painted small,\nthen enlarged."]
    outcome = generate(plugin, credentials, n=2)
    outcome.raise_on_error()
    assert [blob.content for blob in outcome.blobs] == [PNG, PNG]
    assert [blob.meta for blob in outcome.blobs] == [
        {"mime_type": "image/png", "filename": f"img{position}.png"} for position in (0, 1)
    ]
    [text] = outcome.texts
    assert text.count("\n") == 1
    assert text.endswith("\n")
    for part in ("2 images, 640x480", "image_id img0, img1", "call image_edit with its image_id", "then enlarged."):
        assert part in text
    [view] = outcome.jsons
    assert view["job_id"] == "job0"
    assert [image["seed"] for image in view["images"]] == [7, 8]
    assert set(outcome.variables) == GENERATION_VARIABLES
    told = {
        name: outcome.variables[name] for name in ("seed", "width", "height", "count", "image_id", "model", "state")
    }
    first = {"seed": 7, "width": 640, "height": 480, "image_id": "img0"}
    assert told == {**first, "count": 2, "model": "qwen-image", "state": "succeeded"}
    assert outcome.variables["prompt"] == view["prompt"] == "a red apple"
    assert outcome.variables["image_ids"] == ["img0", "img1"]
    assert outcome.variables["warnings"] == scripted.warnings


def test_progress_of_a_call_that_takes_longer_is_streamed_as_one_line(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    """D7: it begins after three seconds, or with a pause that goes beyond them; test_progress.py has the rest."""
    scripted.script["POST /v1/jobs"].append(error(429, "200 jobs wait.", retry_after=3))
    seen: list[str] = []
    parameters = {"prompt": "x"}
    outcome = plugin.invoke(PROVIDER, "image_generation", parameters, credentials, on_progress=seen.append)
    assert outcome.streamed["progress"] == seen
    assert seen[:2] == ["Waiting, the queue is full", " · waiting, place 2 in the queue (job job0)"]
    assert seen[2] == " · painting 3/20"
    assert re.fullmatch(r" · done, \d+ s\n", seen[3])
    assert len(scripted.called("POST /v1/jobs")) == 2
    assert outcome.kinds.index("variable") < outcome.kinds.index("blob") < outcome.kinds.index("text")


def test_a_short_call_has_an_empty_progress(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    """D7: a later node that names it must find it all the same."""
    outcome = generate(plugin, credentials)
    assert (outcome.variables["progress"], outcome.streamed.get("progress")) == ("", None)


@pytest.mark.parametrize("mime_type", ["image/jpeg", "image/webp"])
def test_blob_has_the_true_type(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], mime_type: str
) -> None:
    scripted.mime_type = mime_type
    [blob] = generate(plugin, credentials).blobs
    suffix = {"image/jpeg": "jpg", "image/webp": "webp"}[mime_type]
    assert blob.meta == {"mime_type": mime_type, "filename": f"img0.{suffix}"}


def test_defaults_are_the_codes_own(plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]) -> None:
    blanks: dict[str, object] = {"seed": None, "n": "", "size": " ", "aspect_ratio": None, "steps": [None], "model": ""}
    generate(plugin, credentials, **blanks).raise_on_error()
    [call] = scripted.called("POST /v1/jobs")
    usual = {"operation": "generate", "prompt": "a red apple", "n": 1, "output_format": "png"}
    assert call.json() == usual | PLACE


def test_parameters_reach_the_server(plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]) -> None:
    given = {"negative_prompt": "blur", "seed": "7", "n": "2", "steps": 12.0, "guidance_scale": "3.5", "model": "m"}
    generate(plugin, credentials, **given, size="800x600", output_format="webp", aspect_ratio="16:9").raise_on_error()
    [call] = scripted.called("POST /v1/jobs")
    assert call.json() == {
        "operation": "generate",
        **PLACE,
        "prompt": "a red apple",
        "negative_prompt": "blur",
        "size": "800x600",
        "seed": 7,
        "n": 2,
        "steps": 12,
        "guidance_scale": 3.5,
        "model": "m",
        "output_format": "webp",
    }


BAD, KEY, BUSY = "InvokeBadRequestError", "InvokeAuthorizationError", "InvokeRateLimitError"
DOWN, LOST = "InvokeServerUnavailableError", "InvokeConnectionError"


@pytest.mark.parametrize(
    ("answer", "type_", "said"),
    [
        (error(400, "Send JSON."), BAD, "Send JSON."),
        (error(401, "Wrong key."), KEY, "api_key"),
        (error(403, "Not for you."), KEY, "Not for you."),
        (error(404, "No such thing."), BAD, "No such thing."),
        (error(409, "Has ended."), BAD, "Has ended."),
        (error(413, "Too large."), BAD, "Too large."),
        (error(415, "Not served."), BAD, "Not served."),
        (error(422, "model: unknown; there are a, b."), BAD, "there are a, b"),
        (error(429, "200 jobs wait.", retry_after=9999), BUSY, "200 jobs wait."),
        (error(500, "A fault of its own."), DOWN, "A fault of its own."),
        (error(503, "Storage is full.", retry_after=9999), DOWN, "Storage is full."),
        (Answer(404, b"<html>nginx</html>"), LOST, "not as a Qwen-Image Studio"),
        (Answer(202, b"<html>portal</html>"), LOST, "not as a Qwen-Image Studio"),
        (Answer(413, b"<html>nginx</html>"), BAD, "larger than"),
        (Answer(301, b"", {"Location": "https://other.example/"}), LOST, "redirects"),
        (error(422, f"You sent {CANARY}."), BAD, "You sent [api_key]."),
    ],
)
def test_errors_of_the_server_become_dify_errors(
    plugin: Daemon,
    scripted: ScriptedStudio,
    credentials: dict[str, object],
    answer: Answer,
    type_: str,
    said: str,
) -> None:
    scripted.script["POST /v1/jobs"].append(answer)
    outcome = generate(plugin, credentials)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.kinds) == (type_, [])
    assert said in outcome.error.message
    assert "Traceback" not in outcome.error.message


def test_the_servers_own_sentence_is_told_once(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    said = "128x128 does not fit into the memory of cuda:0; ask for 64x64 or smaller."
    scripted.states = [RUNNING, {"state": "failed", "error": {"code": "out_of_memory", "message": said}}]
    outcome = generate(plugin, credentials)
    assert outcome.error is not None
    assert outcome.error.message == f"Job job0 failed: {said}"


@pytest.mark.parametrize(
    ("state", "code", "type_", "said"),
    [
        ("failed", "worker_lost", DOWN, "Job job0 failed: worker_lost."),
        ("failed", "content_blocked", BAD, "Job job0 failed: content_blocked."),
        ("cancelled", "", BAD, "cancelled"),
    ],
)
def test_a_job_that_ends_badly_raises(
    plugin: Daemon,
    scripted: ScriptedStudio,
    credentials: dict[str, object],
    state: str,
    code: str,
    type_: str,
    said: str,
) -> None:
    reason = {"code": code, "message": ""} if code else None
    scripted.states = [RUNNING, {"state": state, "error": reason}]
    outcome = generate(plugin, credentials)
    assert outcome.error is not None
    assert outcome.error.type == type_
    assert said in outcome.error.message
    assert "job0" in outcome.error.message
    assert outcome.blobs == []
    assert outcome.texts == []


def test_wrong_tls_is_a_connection_error_at_once(plugin: Daemon, scripted: ScriptedStudio) -> None:
    address = scripted.url.replace("http://", "https://")
    outcome = generate(plugin, {"server_url": address, "time_budget": 60})
    assert outcome.error is not None
    assert outcome.error.type == LOST
    assert "http://" in outcome.error.message


def test_three_megabytes_come_whole_and_in_short_lines(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.image = PNG + bytes(range(256)) * (3 * 4096)
    [blob] = generate(plugin, credentials).blobs
    assert blob.content == scripted.image
    assert plugin.longest_line < 1_000_000
    assert plugin.noise == []


def test_waiting_starves_neither_heartbeats_nor_other_calls(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.states = [SUCCEEDED]
    released = scripted.hold("GET /v1/jobs/job0"), scripted.hold("GET /v1/jobs/job1")
    outcomes = list[Outcome]()
    threads = [threading.Thread(target=lambda: outcomes.append(generate(plugin, credentials))) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: {"GET /v1/jobs/job0", "GET /v1/jobs/job1"} <= set(scripted.routes()))
    before = plugin.heartbeats
    until(lambda: plugin.heartbeats >= before + 3)
    assert outcomes == []
    for held in released:
        held.set()
    for thread in threads:
        thread.join()
    assert [outcome.error for outcome in outcomes] == [None, None]


def test_each_call_is_a_job_of_its_own(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    for _ in range(2):
        generate(plugin, credentials).raise_on_error()
    assert len(scripted.jobs) == 2


def test_neither_key_nor_signature_is_ever_said(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    signature = "signature-canary-55"
    dead = dify_file(f"{scripted.url}/files/gone?sign={signature}")
    outcome = edit(plugin, credentials, images=[dead])
    assert outcome.error is not None
    assert "FILES_URL" in outcome.error.message
    broken = {**credentials, "api_key": f"{CANARY}\n{CANARY}"}
    for wrong in (broken, {**credentials, "server_url": f"http://user:{CANARY}@127.0.0.1"}):
        assert generate(plugin, wrong).error is not None
        assert plugin.validate(PROVIDER, wrong).error is not None
    said = b"\n".join(plugin.lines) + plugin.stderr().encode()
    assert CANARY.encode() not in said
    assert signature.encode() not in said


def test_every_tool_module_is_short_and_silent() -> None:
    modules = [path.with_suffix(".py") for path in ROOT.glob("tools/*.yaml")]
    assert len(modules) >= 6
    for module in modules:
        source = module.read_text()
        body = source[source.index("def _invoke") :]
        assert len(body.splitlines()) <= 25
        assert "print(" not in source
