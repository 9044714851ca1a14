"""The plugin of this tree against the server of 0.1.0, as that was recorded: every tool gives what it gave.

What a newer plugin needs and an older server lacks is told in one sentence that names the version needed: layers,
transparency, roles and more images, campaigns, saved styles and the choice of earlier pictures. Other tests of it ask
for what no version knows, or have the old server know less than it did.
"""

from dataclasses import replace
from typing import Any

import pytest
import requests

from tests.compat.calls import Caller, DifyFiles, told
from tests.compat.replay import API_KEY, OldStudio, Recording
from tests.support.daemon import Daemon
from tests.support.dify import PROVIDER
from tools.client import StudioClient
from tools.errors import ClientError, NotFound, Refused
from tools.versions import VERSION

RECORDING = Recording.load("0.1.0")
RENAMED = {"ToolProviderCredentialValidationError": "CredentialsValidateFailedError"}
"""Classes of errors that are another one now; of the old one Dify showed a traceback."""
IN_OTHER_WORDS = {401, 404}
"""Refusals that the plugin tells in words of its own."""


@pytest.mark.parametrize("name", RECORDING.calls)
def test_a_call_gives_at_an_old_server_what_it_gave(plugin: Daemon, name: str) -> None:
    call = RECORDING.calls[name]
    with OldStudio(RECORDING, name) as old, DifyFiles(RECORDING.files) as files:
        caller = Caller(plugin, old.credentials, files)
        caller.known = {name: each["outcome"]["variables"] for name, each in RECORDING.calls.items()}
        now = told(caller.make(name, call))
    assert (old.unknown, old.missing) == ([], [])
    before = call["outcome"]
    type_ = str((before["error"] or {}).get("type", ""))
    assert (now["error"] or {}).get("type", "") == RENAMED.get(type_, type_), now["error"]
    for exchange in call["exchanges"]:
        if exchange["status"] >= 400 and exchange["status"] not in IN_OTHER_WORDS:
            assert exchange["json"]["error"]["message"] in now["error"]["message"]
    assert {name: now["variables"].get(name) for name in before["variables"]} == before["variables"]
    assert now["blobs"] == before["blobs"]


def asked(old: OldStudio, method: str, path: str, **options: Any) -> requests.Response:
    """One request with the key."""
    return requests.request(
        method, f"{old.url}{path}", headers={"Authorization": f"Bearer {API_KEY}"}, timeout=10, **options
    )


def test_an_old_server_tells_its_version() -> None:
    with OldStudio(RECORDING, "generate") as old:
        assert asked(old, "GET", "/v1/health").json()["version"] == "0.1.0"
        assert asked(old, "GET", "/v1/models").json()["data"][0]["id"] == "miniature"
        assert (old.unknown, old.missing) == ([], [])


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "said"),
    [
        ("GET", "/v1/galleries", {}, 404, "There is nothing at this address"),
        ("POST", "/v1/models", {}, 405, "does not take this method"),
        ("GET", "/v1/jobs?colour=red", {}, 422, "'colour' is not a parameter of this request"),
        ("GET", "/v1/jobs/job_1?colour=red", {}, 422, "'colour' is not a parameter of this request"),
        ("POST", "/v1/jobs", {"json": {"operation": "upscale"}}, 422, "operation: must be one of generate, edit"),
        ("POST", "/v1/jobs", {"json": {"operation": "edit", "colour": 1}}, 422, "not a parameter of this edit request"),
        (
            "POST",
            "/v1/jobs",
            {"json": {"operation": "batch", "job": {"operation": "generate", "colour": 1}, "rows": []}},
            422,
            "'colour' is not a parameter of this generate request",
        ),
        (
            "POST",
            "/v1/jobs",
            {"data": {"params": '{"operation": "edit"}'}, "files": {"sketch": b"x"}},
            422,
            "'sketch' is not a field of the form",
        ),
    ],
)
def test_an_old_server_refuses_what_it_does_not_know_in_its_own_words(
    method: str, path: str, sent: dict[str, Any], status: int, said: str
) -> None:
    with OldStudio(RECORDING, "generate") as old:
        answer = asked(old, method, path, **sent)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]
    assert len(old.unknown) == 1


# -- what only a newer server knows --------------------------------------------------------------------------------


def too_old(what: str, server: str = "0.1.0") -> str:
    """The sentence for a person whose server is too old for something."""
    return (
        f"This server is version {server}; 0.3.0 or later is needed for {what}: ask its operator to upgrade it, as "
        "docs/operations.md tells."
    )


def at_version(version: str) -> Recording:
    """The recorded server, as if it were of another version."""
    [health] = [each for each in RECORDING.always if each["route"] == "GET /v1/health"]
    others = [each for each in RECORDING.always if each is not health]
    return replace(RECORDING, always=[{**health, "json": {**health["json"], "version": version}}, *others])


def refusal_of(params: dict[str, Any], recording: Recording = RECORDING) -> ClientError:
    """What the client raises for a job that the server does not know."""
    with OldStudio(recording, "generate") as old, StudioClient(old.url, API_KEY, time_budget_s=20) as client:
        with pytest.raises(Refused) as caught:
            list(client.paint(params))
        assert len(old.unknown) == 1
    return caught.value


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"operation": "upscale"}, "image_upscale"),
        ({"operation": "edit", "prompt": "make it blue", "colour": 1}, "colour"),
        (
            {"operation": "batch", "job": {"operation": "upscale"}, "rows": [{"a": 1}]},
            "image_batch with operation upscale",
        ),
    ],
)
def test_what_an_old_server_does_not_know_is_told_with_the_version_needed(params: dict[str, Any], what: str) -> None:
    assert str(refusal_of(params)) == too_old(what)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/galleries"), ("POST", "/v1/models")])
def test_an_address_that_an_old_server_lacks_is_told_with_the_version_needed(method: str, path: str) -> None:
    with OldStudio(RECORDING, "generate") as old, StudioClient(old.url, API_KEY, time_budget_s=20) as client:
        with pytest.raises(Refused) as caught:
            client.exchange.accepted(client.exchange.send(method, path))
        assert len(old.unknown) == 1
    assert str(caught.value) == too_old("this call")


def test_a_person_reads_the_version_needed(plugin: Daemon) -> None:
    takes = {name: [each for each in taken if each != "steps"] for name, taken in RECORDING.takes.items()}
    older = replace(RECORDING, takes=takes)
    with OldStudio(older, "generate") as old, DifyFiles(RECORDING.files) as files:
        outcome = Caller(plugin, old.credentials, files).make("generate", RECORDING.calls["generate"])
        assert old.unknown == ["parameter steps"]
    assert outcome.error is not None
    assert outcome.error.message == too_old("steps")


EDITED = {"prompt": "x", "image_id": "img_1"}


@pytest.mark.parametrize(
    ("tool", "parameters", "what"),
    [
        ("image_campaign", {"brief": "春茶上新"}, "image_campaign"),
        ("image_generation", {"prompt": "一只猫", "style": "spring"}, "style"),
        ("image_edit", {**EDITED, "cache": "off"}, "cache"),
        ("image_style", {}, "image_style"),
        ("image_style", {"action": "save", "style": "a", "seed": 1}, "image_style"),
        ("image_review", {"image_id": "img_1", "verdict": "approved"}, "image_review"),
        ("image_batch", {"prompt": "a {{x}}", "rows": "x\n1", "cache": "similar"}, "cache"),
        ("image_edit", {**EDITED, "loras": "ink-wash"}, "loras"),
        ("image_layers", {"image_id": "img_1"}, "image_layers"),
        (
            "image_batch",
            {"operation": "layers", "rows": "image\nimg_1"},
            "image_batch with operation layers",
        ),
        ("image_generation", {"prompt": "x", "background": "transparent"}, "background"),
        ("image_edit", {**EDITED, "background": "opaque"}, "background"),
        ("image_outpaint", {"image_id": "img_1", "left": 64, "background": "transparent"}, "background"),
        ("image_batch", {"prompt": "a {{x}}", "rows": "x\n1", "background": "{{x}}"}, "background"),
        ("image_edit", {**EDITED, "roles": "subject"}, "roles"),
    ],
)
@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_a_person_reads_what_is_new_and_what_to_upgrade(
    plugin: Daemon, version: str, tool: str, parameters: dict[str, Any], what: str
) -> None:
    with OldStudio(at_version(version), "generate") as old:
        outcome = plugin.invoke(PROVIDER, tool, parameters, {**old.credentials, "language": "en"})
        assert len(old.unknown) == 1
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("InvokeBadRequestError", too_old(what, version))


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", too_old("more than 3 images")),
        (
            "zh",
            "该服务器的版本是 0.1.0；使用 3 张以上的图片需要 0.3.0 或更高版本："
            "请联系其管理员按 docs/operations.md 升级。",
        ),
    ],
)
@pytest.mark.parametrize("form", ["ids", "files"])
def test_more_images_than_an_old_server_takes_are_told_with_the_version_needed(
    plugin: Daemon, form: str, language: str, said: str
) -> None:
    refused = refusing("image", "image: takes 1 to 3 images (you sent 4).")
    with OldStudio(refused, "batch") as old, DifyFiles(RECORDING.files) as files:
        named = {"image_id": "img_1, img_2, img_3, img_4"}
        sent = {"images": [files.named(next(iter(RECORDING.files)))] * 4}
        given = {"prompt": "x", **(named if form == "ids" else sent)}
        outcome = plugin.invoke(PROVIDER, "image_edit", given, {**old.credentials, "language": language})
    assert outcome.error is not None
    assert outcome.error.message == said


def test_what_else_an_old_server_says_of_an_image_is_left_as_it_is(plugin: Daemon) -> None:
    said = "image: img_1 is not there, or not yours."
    with OldStudio(refusing("image", said), "batch") as old:
        outcome = plugin.invoke(PROVIDER, "image_edit", EDITED, old.credentials)
    assert outcome.error is not None
    assert outcome.error.message == said


def test_the_version_needed_is_told_in_chinese(plugin: Daemon) -> None:
    with OldStudio(RECORDING, "generate") as old:
        outcome = plugin.invoke(PROVIDER, "image_generation", {"prompt": "一只猫", "loras": "水墨"}, old.credentials)
    assert outcome.error is not None
    assert outcome.error.message == (
        "该服务器的版本是 0.1.0；loras 需要 0.3.0 或更高版本：请联系其管理员按 docs/operations.md 升级。"
    )


TIERS = {
    "en": "which knows no other; leave the tier at auto, or use 0.3.0.",
    "zh": "请把速度档位设为“自动”，或使用 0.3.0。",
}


@pytest.mark.parametrize("language", TIERS)
def test_a_tier_that_an_old_server_does_not_know_ends_in_the_way_on(plugin: Daemon, language: str) -> None:
    """It knows the parameter and not the word, so that no parameter is at fault."""
    said = "tier: input should be 'quality' (you sent 'turbo')."
    with OldStudio(refusing("tier", said), "batch") as old:
        credentials = {**old.credentials, "language": language}
        outcome = plugin.invoke(PROVIDER, "image_generation", {"prompt": "x", "tier": "turbo"}, credentials)
    assert outcome.error is not None
    assert TIERS[language] in outcome.error.message
    assert "quality" in outcome.error.message


def test_what_is_not_chosen_is_not_sent_to_an_old_server(plugin: Daemon) -> None:
    with OldStudio(RECORDING, "generate") as old, DifyFiles(RECORDING.files) as files:
        call = RECORDING.calls["generate"]
        left = {"tier": "auto", "loras": "", "background": "auto"}
        chosen = {**call, "parameters": {**call["parameters"], **left}}
        outcome = Caller(plugin, old.credentials, files).make("generate", chosen)
    assert (outcome.error, old.unknown) == (None, [])


@pytest.mark.parametrize("version", [VERSION, "0.3.7", "0.10.0", "1.0.0", "", "unknown"])
def test_a_server_that_is_not_older_is_not_blamed(version: str) -> None:
    message = str(refusal_of({"operation": "upscale"}, at_version(version)))
    assert message.startswith("operation: must be one of")
    assert "version" not in message


def test_what_is_merely_missing_at_an_old_server_is_not_blamed_on_its_version() -> None:
    name = "fetch_an_unknown_job"
    with OldStudio(RECORDING, name) as old, StudioClient(old.url, API_KEY, time_budget_s=20) as client:
        with pytest.raises(NotFound) as caught:
            list(client.fetch("job_none"))
        assert old.unknown == []
    assert "version" not in str(caught.value)


def refusing(param: str, message: str) -> Recording:
    """The recorded server, as if it refused a job so."""
    error = {"code": "invalid_value", "message": message, "param": param, "type": "", "request_id": "r1"}
    refusal = {"route": "POST /v1/jobs", "status": 422, "json": {"error": error}}
    call = {**RECORDING.calls["batch"], "exchanges": [refusal]}
    return replace(RECORDING, calls={**RECORDING.calls, "batch": call})


@pytest.mark.parametrize(
    ("param", "said"),
    [
        ("rows", "rows: there is no row; send at least one."),
        ("rows[1]", "row 2 of the table: line 3 has 2 values and the first line 1 columns."),
        ("job", "job: {{color}}: no row has that column; there are: | color |."),
    ],
)
def test_rows_that_an_old_server_cannot_read_end_in_what_it_reads(plugin: Daemon, param: str, said: str) -> None:
    """The plugin hands a table on as it is; the old server reads fewer forms than the old plugin did."""
    with OldStudio(refusing(param, said), "batch") as old, DifyFiles(RECORDING.files) as files:
        outcome = Caller(plugin, old.credentials, files).make("batch", RECORDING.calls["batch"])
    assert outcome.error is not None
    assert outcome.error.message == (
        f"{said.removeprefix('job: ')} This server is version 0.1.0, which reads rows only as CSV or as a JSON list; "
        "0.3.0 reads more forms. Ask the server's operator for an update."
    )
