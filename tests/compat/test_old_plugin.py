"""The plugin as it was published, on both SDKs, against the real server of this tree: every tool gives what it gave."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from qwen_image_studio.contract.words import Scope
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.compat.calls import HERE, Caller, DifyFiles, told
from tests.compat.replay import Recording
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER
from tests.support.studio import Studio
from tests.support.waiting import until

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


def test_the_old_plugin_names_a_job_that_waits_for_a_reviewer_and_fetches_what_was_approved(
    old_plugin: Daemon, studio: Studio
) -> None:
    """It waits for the verdict until its budget ends, and none of what it relies on is missing meanwhile."""

    def fetched() -> Outcome:
        credentials = {"server_url": studio.url, "api_key": studio.api_key, "time_budget": "30"}
        return old_plugin.invoke(PROVIDER, "image_job", {"job_id": job_id}, credentials)

    keys = KeyStore(open_database(Settings(data_dir=studio.folder / "data")))
    [own] = [key for key in keys.all() if key.name == "tests"]
    reviewer = {"Authorization": f"Bearer {keys.add('reviewer-of-old', own.owner, [Scope.REVIEW])}"}
    job_id = studio.submit(prompt="a red apple", steps=2, size="64x64", n=2, hold=True)["id"]
    until(lambda: studio.job(job_id)["state"] == "review")
    held = studio.request("GET", "/v1/images?review=held", headers=reviewer).json()["data"]
    [first, second] = [image for image in held if image["job_id"] == job_id]  # others share this server
    waiting = fetched()
    assert waiting.error is not None
    assert job_id in waiting.error.message
    for image, state in ((first, "approved"), (second, "rejected")):
        route = f"/v1/images/{image['id']}/review"
        assert studio.request("POST", route, json={"state": state}, headers=reviewer).status_code == 200
    approved = fetched()
    approved.raise_on_error()
    assert (len(approved.blobs), approved.variables["image_id"]) == (1, first["id"])


def test_the_old_plugin_is_told_its_own_jobs(made: Callable[[str], Outcome]) -> None:
    started = [made(name).variables["job_id"] for name in ("start_a_long_job", "start_a_batch", "start")]
    assert made("list").variables["job_ids"] == started
    assert [made(name).variables["job_id"] for name in ("fetch_the_batch", "fetch")] == started[1:]
    assert made("cancel").variables["job_id"] == started[0]
