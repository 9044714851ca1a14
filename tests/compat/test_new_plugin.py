"""The plugin of this tree against the server of 0.1.0, as that was recorded: every tool gives what it gave.

What a newer plugin needs and an older server lacks has to end in a sentence that names the version needed. Nothing is
lacking yet. A test of it makes a call with ``OldStudio``, which refuses what it does not know as the old server would,
and looks at ``outcome.error`` and at ``unknown``.
"""

from typing import Any

import pytest
import requests

from tests.compat.calls import Caller, DifyFiles, told
from tests.compat.replay import API_KEY, OldStudio, Recording
from tests.plugin.daemon import Daemon

RECORDING = Recording.load("0.1.0")
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
    assert (now["error"] or {}).get("type") == (before["error"] or {}).get("type"), now["error"]
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
