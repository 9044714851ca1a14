"""Tiers over HTTP: what /v1/models tells of them, and which one a job is told to have."""

from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import Precision, Tier
from qwen_image_studio.models.tiers import Recipe, TierLora
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.refusals import assert_refused

LORA = TierLora("lightx2v/of-this-test", "four.safetensors", licence="Apache-2.0")
TIERS = {
    Tier.QUALITY: Recipe(20, 3.0),
    Tier.BALANCED: Recipe(20, 3.0, precision=Precision.FP8),
    Tier.DRAFT: Recipe(4, 1.0, lora=LORA, max_pixels=96 * 96),
}


@pytest.fixture(autouse=True)
def miniature(parts: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer the miniature with these tiers."""
    models: Any = parts.models
    monkeypatch.setitem(models, "miniature", replace(models["miniature"], tiers=TIERS))


def submitted(client: FlaskClient, **asked: Any) -> Any:
    body = {"operation": "generate", "prompt": "a red apple", "seed": 1, **asked}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return answer.get_json()


def test_models_tell_what_each_tier_is(client: FlaskClient) -> None:
    [model] = client.get("/v1/models").get_json()["data"]
    quality, balanced, draft = model["tiers"]
    assert quality == {
        "tier": "quality",
        "steps": 20,
        "guidance_scale": 3.0,
        "distilled": False,
        "skips_steps": False,
        "precision": "bf16",
        "max_pixels": 160 * 128,
        "licence": None,
        "lora_here": None,
        "seconds": None,
    }
    assert balanced == {**quality, "tier": "balanced", "precision": "fp8"}
    own = {"distilled": True, "max_pixels": 96 * 96, "licence": "Apache-2.0", "lora_here": False}
    assert draft == {**quality, "tier": "draft", "steps": 4, "guidance_scale": 1.0, **own}
    assert model["licence_id"] is None


def test_models_tell_whether_the_lora_of_a_tier_is_here(
    client: FlaskClient, parts: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "four.safetensors").write_bytes(b"")
    here = replace(TIERS[Tier.DRAFT], lora=TierLora(str(tmp_path), "four.safetensors"))
    models: Any = parts.models
    monkeypatch.setitem(models, "miniature", replace(models["miniature"], tiers={**TIERS, Tier.DRAFT: here}))
    [model] = client.get("/v1/models").get_json()["data"]
    assert [tier["lora_here"] for tier in model["tiers"]] == [None, None, True]
    assert [tier["licence"] for tier in model["tiers"]] == [None, None, "unknown"]


def test_a_job_tells_its_tier_and_with_what_it_is_painted(client: FlaskClient) -> None:
    job = submitted(client, tier="draft", width=128, height=128)
    assert (job["tier"], job["request"]["tier"], job["request"]["steps"]) == ("draft", "draft", 4)
    assert job["painted"] == {"width": 96, "height": 96, "steps": 4, "guidance_scale": 1.0, "precision": "bf16"}
    assert any("Painted at 96x96 and resized to 128x128" in warning for warning in job["warnings"])
    assert submitted(client, tier="balanced")["painted"]["precision"] == "fp8"
    assert submitted(client)["tier"] == "quality"


def test_a_job_that_needs_no_model_is_painted_with_nothing(client: FlaskClient) -> None:
    job = submitted(client, tier="balanced")
    assert client.get(f"/v1/jobs/{job['id']}").get_json()["painted"] == job["painted"]
    rows = {"operation": "batch", "job": {"operation": "generate", "prompt": "{{what}}"}, "rows": [{"what": "a cup"}]}
    assert client.post("/v1/jobs", json=rows).get_json()["painted"] is None


@pytest.mark.parametrize("asked", [{}, {"model": "miniature"}, {"width": 64, "height": 64}])
def test_a_tier_that_the_model_lacks_is_refused_with_those_it_has(client: FlaskClient, asked: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", "tier": "turbo", **asked})
    assert_refused(answer, 422, "invalid_value", "tier")
    assert "it has: quality, balanced, draft" in answer.text


@pytest.mark.parametrize(
    ("asked", "tier"), [("draft", "draft"), ("{{how}}", "quality"), (None, "quality"), ("balanced", "balanced")]
)
def test_a_batch_tells_the_tier_of_its_rows(client: FlaskClient, light: Worker, asked: str | None, tier: str) -> None:
    job = {"operation": "generate", "prompt": "{{what}}", "steps": 2} | ({"tier": asked} if asked else {})
    body = {"operation": "batch", "job": job, "rows": [{"what": "a cup", "how": "draft"}]}
    batch = client.post("/v1/jobs", json=body).get_json()
    assert batch["tier"] == tier
    light.run_next()
    [row] = client.get(f"/v1/jobs?parent_id={batch['id']}").get_json()["data"]
    assert row["tier"] == ("draft" if asked == "{{how}}" else tier)


def test_a_batch_is_refused_for_a_tier_that_the_model_lacks(client: FlaskClient) -> None:
    for operation, more in (("generate", {}), ("edit", {"model": "miniature", "image": "{{image}}"})):
        job = {"operation": operation, "prompt": "{{what}}", "tier": "turbo", **more}
        body = {"operation": "batch", "job": job, "rows": [{"what": "a cup", "image": "img_1"}]}
        answer = client.post("/v1/jobs", json=body)
        assert answer.status_code == 422
        assert "it has: quality, balanced, draft" in answer.text


def test_a_campaign_in_a_tier_is_as_large_as_that_paints(client: FlaskClient, light: Worker) -> None:
    body = {"operation": "campaign", "brief": "a poster for an apple", "tier": "draft", "channels": "post, story"}
    campaign = client.post("/v1/jobs", json=body).get_json()
    assert campaign["tier"] == "draft"
    light.run_next()
    rows = client.get(f"/v1/jobs?parent_id={campaign['id']}").get_json()["data"]
    sizes = [(row["request"]["size"], row["painted"]["width"], row["painted"]["height"]) for row in rows]
    assert sizes == [("96x96", 96, 96), ("64x112", 64, 112)]
    assert not [warning for row in rows for warning in row["warnings"] if "resized" in warning]
    body |= {"tier": "turbo"}
    assert_refused(client.post("/v1/jobs", json=body), 422, "invalid_value", "tier")
