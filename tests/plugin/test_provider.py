"""The check of the credentials as Dify's daemon asks for it, on both SDKs."""

import json
import re
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.daemon import Daemon
from tests.support.dify import CANARY
from tests.support.plugin import python_of
from tests.support.scripted import ScriptedStudio
from tools.parameters import Credentials

PROVIDER = "qwen_image"


def test_good_credentials_pass_in_no_time(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    outcome = plugin.validate(PROVIDER, credentials)
    outcome.raise_on_error()
    assert outcome.jsons == [{"result": True}]
    assert "POST /v1/jobs" not in scripted.routes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"server_url": "gpu-box"}, "http://gpu-box:8300"),
        ({"server_url": None}, "server_url is missing"),
        ({"server_url": "http://127.0.0.1:9"}, "refused the connection"),
        ({"server_url": "http://127.0.0.1:99999"}, "the host or the port cannot be right"),
        ({"server_url": "http://a..b:8300"}, "the host or the port cannot be right"),
        ({"server_url": f"http://{'x' * 64}"}, "the host or the port cannot be right"),
        ({"server_url": "http://[1:::2]:8300"}, "the host or the port cannot be right"),
        ({"server_url": "http://no-such-host.invalid"}, "DNS"),
        ({"api_key": f"{CANARY}-wrong"}, "refused the API key"),
        ({"api_key": ""}, "refused the API key"),
        ({"time_budget": "600"}, "time_budget"),
    ],
)
def test_bad_credentials_are_refused_with_a_sentence(
    plugin: Daemon, credentials: dict[str, object], changes: dict[str, object], said: str
) -> None:
    """D1: the user sees our sentence alone, which Dify shows of this class only."""
    outcome = plugin.validate(PROVIDER, {**credentials, **changes})
    assert outcome.error is not None
    assert outcome.error.type == "CredentialsValidateFailedError"
    assert said in outcome.error.message
    assert outcome.error.message.endswith(".") or "(given" in outcome.error.message
    assert CANARY not in json.dumps(outcome.error.args)


def test_a_longer_budget_is_taken_where_the_daemon_allows_it(
    scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    """E6: the daemon hands its environment on; where its limit was lowered, the budget ends before it."""
    with Daemon(python_of("newest"), ROOT, environment={"PLUGIN_MAX_EXECUTION_TIMEOUT": "1800"}) as daemon:
        daemon.validate(PROVIDER, {**credentials, "time_budget": "1790"}).raise_on_error()
        refused = daemon.validate(PROVIDER, {**credentials, "time_budget": "1800"})
    assert refused.error is not None
    assert "takes 30 to 1790 seconds; for more, first raise PLUGIN_MAX_EXECUTION_TIMEOUT" in refused.error.message


@pytest.mark.parametrize(("limit", "budget"), [("", 540), ("300", 290), ("600", 540), ("nonsense", 540), ("5", 1)])
def test_a_budget_ends_before_the_daemon_does(monkeypatch: pytest.MonkeyPatch, limit: str, budget: float) -> None:
    """E6: otherwise the person reads "killed by timeout", and no id of the job."""
    monkeypatch.setenv("PLUGIN_MAX_EXECUTION_TIMEOUT", limit)
    assert Credentials.parse({"server_url": "http://a"}).time_budget == budget


def test_a_loading_server_is_told_from_a_dead_one(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.health.update(state="starting", message="Loading qwen-image, 40 %.")
    outcome = plugin.validate(PROVIDER, credentials)
    assert outcome.error is not None
    assert "still loading" in outcome.error.message
    assert "40 %" in outcome.error.message


MAPPED = {
    "ClientError": "InvokeServerUnavailableError",
    "Refused": "InvokeBadRequestError",
    "InputNotFetched": "InvokeBadRequestError",
    "JobCancelled": "InvokeBadRequestError",
    "NotFound": "InvokeBadRequestError",
    "TooOld": "InvokeBadRequestError",
    "KeyRefused": "InvokeAuthorizationError",
    "QueueFull": "InvokeRateLimitError",
    "LimitReached": "InvokeRateLimitError",
    "Unreachable": "InvokeConnectionError",
    "WrongServer": "InvokeConnectionError",
    "Unavailable": "InvokeServerUnavailableError",
    "StillLoading": "InvokeServerUnavailableError",
    "JobFailed": "InvokeServerUnavailableError",
    "StillRunning": "InvokeServerUnavailableError",
}


def test_every_client_error_has_its_dify_error(facts: dict[str, Any]) -> None:
    errors = dict(facts["errors"])
    del errors["KeyError"]
    assert errors == {name: [kind, "a sentence", True] for name, kind in MAPPED.items()}


def test_a_fault_of_our_own_says_where_it_is_and_nothing_of_what_it_was_about(facts: dict[str, Any]) -> None:
    kind, said, cause_left_out = facts["errors"]["KeyError"]
    assert (kind, cause_left_out) == ("InvokeServerUnavailableError", True)
    assert re.match(r"The plugin failed over this call \(KeyError in line \d+ of sdk_facts\.py\)\. Run it again", said)
    assert "a sentence" not in said


def test_the_tree_in_the_docstring_is_complete() -> None:
    from tools import errors

    assert errors.__doc__ is not None
    assert [name for name in MAPPED if not re.search(rf"^[ |+-]*{name}\b", errors.__doc__, re.M)] == []


def test_each_source_shows_the_loader_one_class(facts: dict[str, Any]) -> None:
    """The SDK collects every subclass visible in a module, imported ones too (trap T2)."""
    tools = [path.stem for path in ROOT.glob("tools/*.yaml")]
    named = {f"tools.{name}": ["".join(word.title() for word in name.split("_")) + "Tool"] for name in tools}
    assert len(named) >= 6
    assert facts["classes"] == {**named, "provider.qwen_image": ["QwenImageProvider"]}


def test_the_client_does_not_import_the_sdk(facts: dict[str, Any]) -> None:
    """Importing the SDK patches the whole process with gevent (trap T4)."""
    assert facts["imported by the client"] == []
