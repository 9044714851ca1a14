"""OpenAI's quality is a tier: of the model that will paint, and only where that has all it needs for it."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import Tier
from qwen_image_studio.models.tiers import Recipe, TierLora
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png
from tests.support.worker import working

QUALITY, BALANCED, TURBO = Recipe(20, 3.0), Recipe(20, 3.0), Recipe(8, 3.0)
DRAFT = Recipe(4, 1.0, max_pixels=96 * 96)
FAR = TierLora("lightx2v/of-this-test", "four.safetensors")
ALL = {Tier.QUALITY: QUALITY, Tier.BALANCED: BALANCED, Tier.TURBO: TURBO, Tier.DRAFT: DRAFT}
OF_QUALITY = {
    "low": Tier.DRAFT, "medium": Tier.BALANCED, "standard": Tier.BALANCED, "high": Tier.QUALITY, "hd": Tier.QUALITY,
    "auto": Tier.QUALITY, "max": Tier.QUALITY, None: Tier.QUALITY,
}  # fmt: skip
TOLD = {Tier.QUALITY: "high", Tier.BALANCED: "medium", Tier.TURBO: "low", Tier.DRAFT: "low"}


@pytest.fixture(autouse=True)
def background(worker: Worker) -> Iterator[None]:
    """A worker takes the jobs."""
    with working(worker):
        yield


@pytest.fixture
def offer(parts: Services, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the miniature offered with other tiers."""

    def change(tiers: Mapping[Tier, Recipe]) -> None:
        models: Any = parts.models
        monkeypatch.setitem(models, "miniature", replace(models["miniature"], tiers=tiers))

    change(ALL)
    return change


def painted(client: FlaskClient, route: str = "generations", **params: Any) -> tuple[str, str, list[str]]:
    """The quality that an answer tells, the tier of its job, and the warnings about quality."""
    answer = client.post(f"/v1/images/{route}", json={"prompt": "a red apple", "steps": 2, **params})
    assert answer.status_code == 200, answer.text
    body = answer.get_json()
    job = client.get(f"/v1/jobs/{body['job_id']}").get_json()
    return body["quality"], job["tier"], [each for each in body["warnings"] if "quality" in each]


@pytest.mark.parametrize("quality", OF_QUALITY)
def test_each_quality_is_a_tier_and_the_answer_tells_it(client: FlaskClient, offer: Any, quality: str | None) -> None:
    tier = OF_QUALITY[quality]
    params = {} if quality is None else {"quality": quality}
    assert painted(client, **params) == (TOLD[tier], tier, [])


@pytest.mark.parametrize("prompt_kind", [None, "description"])
def test_edits_and_parts_likewise(client: FlaskClient, offer: Any, prompt_kind: str | None) -> None:
    url = "data:image/png;base64," + base64.b64encode(png(64, 64)).decode()
    images, part = [{"image_url": url}], {"x": 0, "y": 0, "width": 20, "height": 20}
    how = {"prompt_kind": prompt_kind} if prompt_kind else {}
    assert painted(client, "edits", images=images, quality="low") == ("low", "draft", [])
    assert painted(client, "edits", images=images, quality="medium", region=part, **how) == ("medium", "balanced", [])


def test_a_tier_that_is_named_goes_before(client: FlaskClient, offer: Any) -> None:
    assert painted(client, quality="low", tier="quality") == ("high", "quality", [])
    assert painted(client, quality="hd", tier="turbo") == ("low", "turbo", [])


def test_the_next_best_is_taken_where_the_model_lacks_the_best(client: FlaskClient, offer: Any) -> None:
    offer({Tier.QUALITY: QUALITY, Tier.TURBO: TURBO})
    assert painted(client, quality="low") == ("low", "turbo", [])
    assert painted(client, quality="medium") == ("low", "turbo", [])
    quality, tier, [warning] = painted(client, quality="standard")
    assert (quality, tier) == ("high", "quality")
    assert warning == "quality standard was painted as high, since miniature has no tier balanced on this server."


def test_a_tier_whose_lora_would_have_to_be_fetched_is_not_taken(
    client: FlaskClient, offer: Any, tmp_path: Path
) -> None:
    offer({Tier.QUALITY: QUALITY, Tier.TURBO: replace(TURBO, lora=FAR), Tier.DRAFT: replace(DRAFT, lora=FAR)})
    quality, tier, [warning] = painted(client, quality="low")
    assert (quality, tier) == ("high", "quality")
    assert "no tier draft or turbo on this server" in warning
    (tmp_path / "four.safetensors").write_bytes(b"")
    here = replace(TURBO, lora=TierLora(str(tmp_path), "four.safetensors"))
    offer({Tier.QUALITY: QUALITY, Tier.TURBO: here, Tier.DRAFT: replace(DRAFT, lora=FAR)})
    assert painted(client, quality="low") == ("low", "turbo", [])


@pytest.mark.parametrize("model", ["dall-e-3", "gpt-image-1", "miniature", "Qwen/Qwen-Image"])
def test_it_is_the_tier_of_the_model_that_paints_whatever_name_was_sent(
    client: FlaskClient, offer: Any, model: str
) -> None:
    assert painted(client, model=model, quality="low")[:2] == ("low", "draft")


def test_a_model_that_is_not_there_is_refused_as_ever(client: FlaskClient, offer: Any) -> None:
    answer = client.post("/v1/images/generations", json={"prompt": "a cup", "model": "midjourney", "quality": "low"})
    assert answer.get_json()["error"]["code"] == "unknown_model"
