"""The plugin as it was published, on both SDKs, against the real server of this tree: every tool gives what it gave."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.compat.calls import HERE, Caller, DifyFiles, told
from tests.compat.replay import Recording
from tests.support.daemon import Daemon, Outcome
from tests.support.studio import Studio

# What a server answers does not depend on the SDK; tests/plugin/test_real_server.py goes the whole way under both.
pytestmark = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")

RECORDING = Recording.load("0.1.0")
STEADY = ("seed", "width", "height", "model", "count", "succeeded", "failed")
"""Variables that the same call has again, whoever paints and however fast."""


@pytest.fixture(scope="module")
def old_plugin(sdk_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The package of 0.1.0, unpacked as Dify does it, and running."""
    folder = tmp_path_factory.mktemp("plugin")
    with zipfile.ZipFile(HERE / "plugin-0.1.0.difypkg") as package:
        package.extractall(folder)
    with Daemon(sdk_python, folder, environment={"NO_PROXY": "*", "no_proxy": "*"}) as daemon:
        yield daemon
        assert daemon.alive
        assert (daemon.noise, daemon.faults) == ([], [])
        assert daemon.longest_line < 1_000_000


@pytest.fixture(scope="module")
def made(old_plugin: Daemon, studio: Studio) -> Iterator[Callable[[str], Outcome]]:
    """Makes the recorded calls again up to the one of a name, in their order, for a person who has no jobs yet."""
    credentials = {"server_url": studio.url, "api_key": studio.api_key, "time_budget": "120"}
    outcomes: dict[str, Outcome] = {}
    with DifyFiles(RECORDING.files) as files:
        caller = Caller(old_plugin, credentials, files, user_id=uuid4().hex)

        def make(name: str) -> Outcome:
            for each in list(RECORDING.calls)[len(outcomes) :]:
                if name not in outcomes:
                    outcomes[each] = caller.make(each, RECORDING.calls[each])
            return outcomes[name]

        yield make


@pytest.mark.parametrize("name", RECORDING.calls)
def test_a_call_of_the_old_plugin_gives_what_it_gave(made: Callable[[str], Outcome], name: str) -> None:
    before: Mapping[str, Any] = RECORDING.calls[name]["outcome"]
    outcome = made(name)
    now = told(outcome)
    assert (now["error"] or {}).get("type") == (before["error"] or {}).get("type"), now["error"]
    assert kinds(now["variables"]) == kinds(before["variables"])
    for variable in STEADY:
        assert now["variables"].get(variable) == before["variables"].get(variable), variable
    if (state := before["variables"].get("state")) not in {"queued", "running"}:
        assert now["variables"].get("state") == state
    assert [blob["mime_type"] for blob in now["blobs"]] == [blob["mime_type"] for blob in before["blobs"]]
    if before["variables"]:
        assert outcome.texts
        assert outcome.variables["progress"].endswith("\n")


def kinds(variables: Mapping[str, Any]) -> dict[str, type]:
    """What each variable is: a number, a text, a list."""
    return {name: float if isinstance(value, int) else type(value) for name, value in variables.items()}


def test_the_old_plugin_is_told_its_own_jobs(made: Callable[[str], Outcome]) -> None:
    started = [made(name).variables["job_id"] for name in ("start_a_long_job", "start_a_batch", "start")]
    assert made("list").variables["job_ids"] == started
    assert [made(name).variables["job_id"] for name in ("fetch_the_batch", "fetch")] == started[1:]
    assert made("cancel").variables["job_id"] == started[0]
