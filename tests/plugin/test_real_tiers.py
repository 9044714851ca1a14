"""Tiers and LoRAs the whole way: the plugin, the real server, the miniature's pictures."""

import pytest

from qwen_image_studio.contract.words import Tier
from qwen_image_studio.models.table import MODELS
from tests.plugin.test_real_server import called, opened
from tests.support.daemon import Daemon
from tests.support.dify import PROVIDER
from tests.support.studio import Studio

# What the server adds does not depend on the SDK, under both of which test_real_server.py goes the whole way.
pytestmark = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")
DRAFT = MODELS["miniature"].recipe(Tier.DRAFT)


@pytest.fixture
def credentials(studio: Studio) -> dict[str, object]:
    """Credentials for the real server."""
    return {"server_url": studio.url, "api_key": studio.api_key, "time_budget": "120"}


def test_a_draft_then_the_picture_from_it(plugin: Daemon, credentials: dict[str, object]) -> None:
    asked = {"prompt": "a red apple on a blue background", "steps": ""}
    draft = called(plugin, "image_generation", credentials, **asked, tier="sketch")
    assert "with miniature (draft): image_id" in draft.texts[0]
    assert draft.variables["tier"] == "draft"
    assert draft.variables["seconds"] > 0
    [small] = opened(draft)
    assert small.width * small.height <= (DRAFT.max_pixels or 0)
    started = {"image_id": draft.variables["image_id"], "size": "128x128", "strength": 0.5, "wait": False}
    job = called(plugin, "image_generation", credentials, **asked, **started, tier="turbo")
    assert (job.variables["tier"], job.variables["seconds"]) == ("turbo", 0)
    fetched = plugin.invoke(PROVIDER, "image_job", {"job_id": job.variables["job_id"]}, credentials)
    fetched.raise_on_error()
    assert "with miniature (turbo)" in fetched.texts[0]
    assert fetched.variables["tier"] == "turbo"
    assert [image.size for image in opened(fetched)] == [(128, 128)]


def test_a_piece_that_is_painted_again_keeps_the_campaigns_tier(plugin: Daemon, credentials: dict[str, object]) -> None:
    brief = {"brief": "茶馆夏季促销，“特价”，要方图", "enhance": "off", "tier": "草图"}
    made = called(plugin, "image_campaign", credentials, **brief)
    again = called(plugin, "image_campaign", credentials, campaign=made.variables["job_id"], piece=1)
    other = called(plugin, "image_campaign", credentials, campaign=made.variables["job_id"], piece=1, tier="quality")
    assert [each.jsons[0]["pieces"][0]["tier"] for each in (made, again, other)] == ["draft", "draft", "quality"]
    sizes = [image.size for each in (made, again, other) for image in opened(each)[-1:]]
    assert sizes[0] == sizes[1] < sizes[2]


def test_rows_are_painted_at_the_tier_of_their_batch(plugin: Daemon, credentials: dict[str, object]) -> None:
    table = {"prompt": "a {{thing}}", "rows": "thing\ncup\napple"}
    made = called(plugin, "image_batch", credentials, **table, tier="draft")
    rows = made.jsons[0]["rows"]
    assert [row["tier"] for row in rows] == ["draft", "draft"]
    for image in (image for row in rows for image in row["images"]):
        assert image["width"] * image["height"] <= (DRAFT.max_pixels or 0)


@pytest.mark.parametrize(
    ("tool", "asked", "said"),
    [
        ("image_generation", {"prompt": "a cup", "loras": "fog"}, "loras: there is no 'fog'; miniature has: "),
        ("image_generation", {"prompt": "一个杯子", "loras": "fog:0.5"}, "没有名为“fog”的 LoRA"),
        ("image_batch", {"prompt": "a {{x}}", "rows": "x\ncup", "loras": "fog"}, "there is no 'fog'"),
    ],
)
def test_a_lora_that_the_operator_does_not_offer_is_refused(
    plugin: Daemon, credentials: dict[str, object], tool: str, asked: dict[str, object], said: str
) -> None:
    outcome = plugin.invoke(PROVIDER, tool, asked, credentials)
    assert outcome.error is not None
    assert outcome.error.type == "InvokeBadRequestError"
    assert said in outcome.error.message
