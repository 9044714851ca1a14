"""Jobs that are started, fetched, listed and cancelled the whole way: both SDKs, the real server, the miniature."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.plugin.test_real_server import called, opened
from tests.plugin.test_tools import JOB_VARIABLES
from tests.support.daemon import Daemon, Outcome, StandInModel
from tests.support.dify import PROVIDER
from tests.support.studio import Studio

# What the server adds does not depend on the SDK, under both of which test_real_server.py goes the whole way.
pytestmark = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")


@pytest.fixture
def credentials(studio: Studio) -> dict[str, object]:
    """Credentials for the real server."""
    return {"server_url": studio.url, "api_key": studio.api_key, "time_budget": "120"}


@pytest.fixture
def enhancing(plugin: Daemon) -> Iterator[StandInModel]:
    """A stand-in for the workspace's language model, which answers every wish with a red apple."""
    answer = json.dumps({"prompt": "a red apple", "aspect_ratio": "16:9"})
    model = plugin.hooks["llm"] = StandInModel(answer)
    yield model
    del plugin.hooks["llm"]


def image_job(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    """Call image_job, whatever comes of it."""
    outcome = plugin.invoke(PROVIDER, "image_job", parameters, credentials)
    assert outcome.error or set(outcome.variables) == JOB_VARIABLES
    return outcome


def test_a_picture_is_started_now_and_fetched_later(plugin: Daemon, credentials: dict[str, object]) -> None:
    given = {"prompt": "a red apple", "seed": 7, "size": "96x64"}
    started = called(plugin, "image_generation", credentials, **given, wait=False)
    assert (started.blobs, started.variables["image_id"]) == ([], "")
    job_id = started.variables["job_id"]
    assert started.texts[0].startswith(f"Job {job_id} is ")
    assert started.texts[0].endswith("; fetch it with image_job.\n")
    fetched = image_job(plugin, credentials, job_id=job_id)
    fetched.raise_on_error()
    waited = called(plugin, "image_generation", credentials, **given)
    assert [image.size for image in opened(fetched)] == [(96, 64)]
    assert [blob.content for blob in fetched.blobs] == [blob.content for blob in waited.blobs]
    assert (fetched.variables["seed"], fetched.variables["state"], fetched.variables["count"]) == (7, "succeeded", 1)
    again = image_job(plugin, credentials, job_id=job_id, wait=False)
    assert again.blobs == fetched.blobs
    refused = image_job(plugin, credentials, job_id=job_id, action="cancel")
    assert refused.error is not None
    assert "nothing to cancel" in refused.error.message


def test_a_batch_is_started_now_and_fetched_later(plugin: Daemon, credentials: dict[str, object]) -> None:
    given = {"prompt": "a {{color}} cup", "rows": "color\nred\nblue", "size": "64x64", "seed": 1}
    started = called(plugin, "image_batch", credentials, **given, wait=False)
    assert (started.blobs, started.variables["count"]) == ([], 0)
    fetched = image_job(plugin, credentials, job_id=started.variables["job_id"])
    fetched.raise_on_error()
    assert len(opened(fetched)) == 1
    assert (fetched.variables["succeeded"], fetched.variables["failed"], fetched.variables["count"]) == (2, 0, 2)
    assert fetched.variables["archive_url"].startswith("http")
    assert [row["state"] for row in fetched.jsons[0]["rows"]] == ["succeeded"] * 2


def test_jobs_are_listed_and_cancelled(plugin: Daemon, credentials: dict[str, object]) -> None:
    long = {"prompt": "a red apple", "size": "256x256", "n": 4, "steps": 150, "wait": False}
    ids = [called(plugin, "image_generation", credentials, **long).variables["job_id"] for _ in range(2)]
    listed = image_job(plugin, credentials, action="list", limit=2)
    assert listed.variables["job_ids"] == ids[::-1]
    assert set(listed.variables["states"]) <= {"queued", "running"}
    assert listed.texts[0].startswith(f"2 jobs, newest first:\n{ids[1]}: generate, ")
    for job_id in ids[::-1]:
        cancelled = image_job(plugin, credentials, job_id=job_id, action="cancel")
        cancelled.raise_on_error()
        assert "It leaves no image" in cancelled.texts[0]
        ended = image_job(plugin, credentials, job_id=job_id)
        assert ended.error is not None
        assert f"Job {job_id} was cancelled" in ended.error.message
    after = image_job(plugin, credentials, action="list", limit=2)
    assert after.variables["states"] == ["cancelled", "cancelled"]


def test_nobody_is_shown_another_ones_jobs(plugin: Daemon, credentials: dict[str, object]) -> None:
    ann, bob = uuid.uuid4().hex, uuid.uuid4().hex

    def of(user: str, tool: str, **given: Any) -> Outcome:
        return plugin.invoke(PROVIDER, tool, given, credentials, user_id=user)

    picture = {"prompt": "a red apple", "size": "64x64", "steps": 2}
    mine = of(ann, "image_generation", **picture).variables["job_id"]
    table = {"prompt": "a {{colour}} cup", "rows": "colour\nred", "size": "64x64", "steps": 2}
    rows = of(ann, "image_batch", **table).variables["job_id"]
    theirs = of(bob, "image_generation", **picture).variables["job_id"]
    assert of(ann, "image_job", action="list").variables["job_ids"] == [rows, mine]
    listed = of(bob, "image_job", action="list")
    assert listed.variables["job_ids"] == [theirs]
    assert mine not in str(listed.raw)


def test_an_unknown_job_is_said(plugin: Daemon, credentials: dict[str, object]) -> None:
    for action in ("result", "cancel"):
        outcome = image_job(plugin, credentials, job_id="job_none", action=action)
        assert outcome.error is not None
        assert outcome.error.type == "InvokeBadRequestError"
        assert outcome.error.message.startswith("The server has no job job_none")


def test_an_enhanced_prompt_is_painted(plugin: Daemon, credentials: dict[str, object], enhancing: StandInModel) -> None:
    given = {"prompt": "an apple, please", "enhance": "llm", "enhance_model": "p/p/p/m", "seed": 3}
    outcome = called(plugin, "image_generation", credentials, **given)
    assert outcome.variables["prompt"] == "a red apple, Ultra HD, 4K, cinematic composition."
    assert outcome.variables["width"] > outcome.variables["height"]
    assert len(enhancing.asked) == 1
    [image] = opened(outcome)
    assert image.size == (outcome.variables["width"], outcome.variables["height"])
