"""Licences that forbid some uses: what is under one is offered only where the operator has accepted it."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from qwen_image_studio.__main__ import serve
from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.contract.words import Tier
from qwen_image_studio.host.doctor import examine
from qwen_image_studio.local.generator import QwenImageGenerator
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.models.table import MODELS, Model, find_model
from qwen_image_studio.models.tiers import TierLora
from qwen_image_studio.settings import Settings

RESEARCH = "Qwen-Image-2.1"
BOTH = ("Qwen-Image", RESEARCH)
REMEDY = "STUDIO_LICENCES=qwen-research"


def offered(models: tuple[str, ...], *licences: str) -> dict[str, Model]:
    """The models that are offered where these are named, and those licences accepted."""
    return dict(configured_models(Settings(_env_file=None, models=models, licences=licences), card_gib=80))


def test_only_the_research_model_asks_for_it() -> None:
    assert [model.name for model in MODELS.values() if model.licence_id] == [RESEARCH]
    assert "no commercial use" in MODELS[RESEARCH].licence


def test_a_model_is_left_out_until_its_licence_is_accepted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert list(offered(BOTH)) == ["Qwen-Image"]
        assert list(offered(BOTH, "some-other")) == ["Qwen-Image"]
    assert RESEARCH in caplog.text
    assert REMEDY in caplog.text
    caplog.clear()
    assert list(offered(BOTH, "Qwen-Research")) == list(BOTH)
    assert caplog.text == ""


def test_nobody_is_offered_it_by_default() -> None:
    assert RESEARCH not in offered(())


def test_a_server_of_nothing_else_does_not_start_and_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(CannotServe, match=REMEDY):
        offered((RESEARCH,))
    monkeypatch.setenv("STUDIO_MODELS", RESEARCH)
    monkeypatch.setenv("STUDIO_DATA_DIR", str(tmp_path / "data"))
    ran = CliRunner().invoke(serve)
    assert isinstance(ran.exception, CannotServe)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", [RESEARCH, "Qwen/Qwen-Image-2.1"])
def test_whoever_asks_for_it_hears_why_it_is_not_there(name: str) -> None:
    with pytest.raises(StudioError, match=REMEDY) as caught:
        find_model(name, offered(BOTH))
    assert (caught.value.code, caught.value.param) == ("unknown_model", "model")
    assert find_model(name, offered(BOTH, "qwen-research")).name == RESEARCH
    with pytest.raises(StudioError) as other:
        find_model("dall-e", offered(BOTH))
    assert "STUDIO_LICENCES" not in other.value.message


def test_no_stand_in_answers_for_a_model_that_was_left_out() -> None:
    with pytest.raises(StudioError, match=REMEDY):
        find_model(RESEARCH, offered((RESEARCH, "miniature")))
    assert find_model(RESEARCH, offered(("miniature",))).name == "miniature"


def test_a_notebook_asks_for_it_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudioError, match=REMEDY):
        QwenImageGenerator(RESEARCH, device="cpu")
    monkeypatch.setenv("STUDIO_LICENCES", "qwen-research")
    assert QwenImageGenerator(RESEARCH, device="cpu").model.name == RESEARCH


def test_a_tier_whose_lora_has_such_a_licence_is_left_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    row = MODELS["Qwen-Image"]
    lora = TierLora("somewhere", "four.safetensors", licence="Non-Commercial", licence_id="lab-only")
    tiers = {**row.tiers, Tier.DRAFT: replace(row.tiers[Tier.DRAFT], lora=lora)}
    monkeypatch.setitem(MODELS, row.name, replace(row, tiers=tiers))
    model = offered(("Qwen-Image",))["Qwen-Image"]
    assert list(model.tiers) == [Tier.QUALITY, Tier.BALANCED, Tier.TURBO]
    with pytest.raises(StudioError, match=r"it has: quality, balanced, turbo; .*Non-Commercial.*=lab-only"):
        model.recipe(Tier.DRAFT)
    assert list(offered(("Qwen-Image",), "lab-only")["Qwen-Image"].tiers) == list(Tier)
    assert Tier.DRAFT not in QwenImageGenerator("Qwen-Image", device="cpu").model.tiers, "in a notebook neither"


def test_doctor_says_what_to_set(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, models=(RESEARCH, "miniature"), data_dir=tmp_path)
    lines, healthy = examine(settings)
    assert not healthy
    [bad] = [line for line in lines if line.startswith("  BAD   Qwen-Image-2.1")]
    assert REMEDY in bad
    lines, _ = examine(settings.model_copy(update={"licences": ("qwen-research", "qwen-reserch")}))
    assert not any(REMEDY in line for line in lines)
    assert any("'qwen-reserch' is asked for by no model; those are: qwen-research" in line for line in lines)
