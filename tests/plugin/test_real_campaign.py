"""Campaigns and saved styles the whole way: the plugin, the real server, the miniature's pictures."""

import io
import zipfile
from collections.abc import Iterator

import pytest
import requests

from tests.plugin.test_real_server import called, opened
from tests.plugin.test_tools import CAMPAIGN_VARIABLES
from tests.support.daemon import Daemon
from tests.support.dify import PROVIDER
from tests.support.hooks import StandInWriter
from tests.support.studio import Studio

# What the server adds does not depend on the SDK, under both of which test_real_server.py goes the whole way.
pytestmark = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")
MODEL = "langgenius/openai/openai/some-model"


@pytest.fixture
def credentials(studio: Studio) -> dict[str, object]:
    """Credentials for the real server."""
    return {"server_url": studio.url, "api_key": studio.api_key, "time_budget": "120"}


@pytest.fixture
def model(plugin: Daemon) -> Iterator[StandInWriter]:
    """The workspace has a language model."""
    plugin.hooks["llm"] = writer = StandInWriter()
    yield writer
    plugin.hooks.pop("llm", None)


def test_a_campaign_in_chinese_by_rules_then_one_piece_again(plugin: Daemon, credentials: dict[str, object]) -> None:
    brief = {"brief": "茶馆夏季促销，“特价”，要方图和横幅", "enhance": "off", "seed": 5}
    made = called(plugin, "image_campaign", credentials, **brief)
    assert set(made.variables) == CAMPAIGN_VARIABLES
    sheet, post, banner = opened(made)
    assert sheet.width > post.width == post.height
    assert banner.width > banner.height
    assert (made.variables["succeeded"], made.variables["seed"]) == (2, 5)
    assert "| 2 | banner | zh | 特价 |  |" in made.variables["texts"]
    assert made.texts[0].startswith("2 件中已生成 2 件。1 post zh img_")
    assert len(made.variables["palette"]) >= 2
    assert {image["seed"] for piece in made.jsons[0]["pieces"] for image in piece["images"]} == {5}
    archive = requests.get(made.variables["archive_url"], timeout=60).content
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        packed = {files.read(name) for name in files.namelist()}
    assert {blob.content for blob in made.blobs[1:]} <= packed
    piece = {"campaign": made.variables["job_id"], "piece": 2, "headline": "新茶"}
    again = called(plugin, "image_campaign", credentials, **piece)
    [image] = opened(again)
    assert image.size == banner.size
    assert again.blobs[0].content not in packed
    assert again.variables["palette"] == made.variables["palette"]
    assert "| 1 | banner | zh | 新茶 |  |" in again.variables["texts"]
    fetched = plugin.invoke(PROVIDER, "image_job", {"job_id": made.variables["job_id"]}, credentials)
    assert fetched.blobs == made.blobs


def test_a_campaign_that_a_language_model_directs_saves_its_style(
    plugin: Daemon, credentials: dict[str, object], model: StandInWriter
) -> None:
    asked = {"channels": "post", "languages": "en, zh", "enhance_model": MODEL, "save_style": "hot-2027"}
    made = called(plugin, "image_campaign", credentials, brief="Hot prices in our shop", **asked)
    assert len(opened(made)) == 3
    assert (made.variables["style_words"], made.variables["palette"]) == ("bold flat design", ["yellow", "red"])
    assert "| 1 | post | en | HOT |  |" in made.variables["texts"]
    assert "Headlines: “HOT” “特价”." in made.texts[0]
    saved = plugin.invoke(PROVIDER, "image_style", {"action": "show", "style": "hot-2027"}, credentials)
    assert (saved.variables["style_words"], saved.variables["palette"]) == ("bold flat design", ["yellow", "red"])
    listed = plugin.invoke(PROVIDER, "image_style", {}, credentials)
    assert listed.variables["styles"] == ["hot-2027"]
    painted = called(plugin, "image_generation", credentials, prompt="a cup", style="hot-2027")
    painted.raise_on_error()
    gone = plugin.invoke(PROVIDER, "image_style", {"action": "delete", "style": "hot-2027"}, credentials)
    assert gone.texts == ["Style hot-2027 is deleted.\n"]
    refused = plugin.invoke(PROVIDER, "image_generation", {"prompt": "a cup", "style": "hot-2027"}, credentials)
    assert refused.error is not None
    assert "hot-2027" in refused.error.message


def test_an_equal_request_is_answered_from_the_earlier_run(plugin: Daemon, credentials: dict[str, object]) -> None:
    asked = {"prompt": "a blue cup on white", "seed": 11, "size": "96x96"}
    first = called(plugin, "image_generation", credentials, **asked)
    second = called(plugin, "image_generation", credentials, **asked)
    assert (first.variables["cache"], second.variables["cache"]) == ("", "exact")
    assert second.texts[0].rstrip().split(" Note: ")[0].endswith("Taken from an earlier run.")
    assert [blob.content for blob in second.blobs] == [blob.content for blob in first.blobs]
    anew = called(plugin, "image_generation", credentials, **asked, cache="off")
    assert anew.variables["cache"] == ""
    alike = {**asked, "prompt": "A  BLUE cup on white", "cache": "similar"}
    third = called(plugin, "image_generation", credentials, **alike)
    assert third.variables["cache"] == "similar"
    assert "Taken from an earlier run with the prompt “a blue cup on white”." in third.texts[0]
