"""A picture that is held, approved and fetched the whole way: the plugin, the real server, the miniature."""

import pytest

from qwen_image_studio.contract.words import Scope
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.plugin.test_real_server import opened
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER
from tests.support.studio import Studio
from tests.support.waiting import until

# What the server adds does not depend on the SDK, under both of which test_real_server.py goes the whole way.
pytestmark = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")


def test_a_held_picture_is_approved_in_one_app_and_fetched_in_another(plugin: Daemon, studio: Studio) -> None:
    def call(tool: str, api_key: str, **parameters: object) -> Outcome:
        credentials = {"server_url": studio.url, "api_key": api_key, "time_budget": "60"}
        return plugin.invoke(PROVIDER, tool, parameters, credentials)

    keys = KeyStore(open_database(Settings(data_dir=studio.folder / "data")))
    [own] = [key for key in keys.all() if key.name == "tests"]
    reviewer = keys.add("reviewer-in-dify", own.owner, [Scope.REVIEW])
    job_id = studio.submit(prompt="a red apple", steps=2, size="64x64", hold=True, seed=7)["id"]
    until(lambda: studio.job(job_id)["state"] == "review")

    waiting = call("image_job", studio.api_key, job_id=job_id)
    waiting.raise_on_error()
    assert (waiting.blobs, waiting.variables["state"], waiting.variables["held"]) == ([], "review", 1)
    headers = {"Authorization": f"Bearer {reviewer}"}
    waits = studio.request("GET", "/v1/images", params={"review": "held"}, headers=headers).json()["data"]
    [held] = [image for image in waits if image["job_id"] == job_id]  # others share this server

    refused = call("image_review", studio.api_key, image_id=held["id"], verdict="approved")
    assert refused.error is not None
    assert "review" in refused.error.message
    assert "credentials" not in refused.error.message
    approved = call("image_review", reviewer, image_id=held["id"], verdict="approved")
    approved.raise_on_error()
    assert approved.variables["job_id"] == job_id

    fetched = call("image_job", studio.api_key, job_id=job_id)
    fetched.raise_on_error()
    assert [image.size for image in opened(fetched)] == [(64, 64)]
    assert (fetched.variables["image_id"], fetched.variables["state"]) == (held["id"], "succeeded")
