"""What a worker offers of its models: what its files and the memory plan of its device allow."""

from dataclasses import replace
from pathlib import Path

import pytest

from qwen_image_studio.contract.words import Language, Precision, Tier
from qwen_image_studio.loading.memory import Machine, plan_memory
from qwen_image_studio.loading.offering import FRESH_S, Offering, precisions
from qwen_image_studio.models.loras import Lora
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.settings import Settings

LARGE = MODELS["Qwen-Image"]
ALL = {precision.value for precision in Precision}


@pytest.mark.parametrize(
    ("card_gib", "ram_gib", "expected"),
    [
        (180, 200, {"bf16", "fp8", "fp16", "fp32"}),
        (80, 200, {"bf16", "fp8", "fp16"}),
        (24, 100, {"fp8"}),
    ],
)
def test_a_device_offers_the_precisions_that_it_paints_as_they_are_asked_for(
    card_gib: float, ram_gib: float, expected: set[str]
) -> None:
    plan = plan_memory({LARGE.name: LARGE}, Machine(card_gib, ram_gib, capability=(9, 0)))
    assert plan is not None
    assert precisions(LARGE, plan) == expected


def test_a_processor_offers_all_of_them() -> None:
    assert precisions(LARGE, None) == ALL


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a processor with the miniature."""
    return Settings(_env_file=None, data_dir=tmp_path, models="miniature", devices="cpu")


def lora(file: Path) -> Lora:
    about = dict.fromkeys(Language, "…")
    return Lora(name="ink", models=("miniature",), file=str(file), licence="MIT", about=about)


def test_tiers_and_loras_are_offered_while_their_files_are_here(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen_image_studio.loading.offering.FRESH_S", -1.0)
    file = tmp_path / "ink.safetensors"
    [model] = configured_models(settings, card_gib=0).values()
    turbo = model.tiers[Tier.TURBO]
    assert turbo.lora is not None
    gone = replace(turbo, lora=replace(turbo.lora, file="gone.safetensors"))
    changed: Model = replace(model, loras={"ink": lora(file)}, tiers={**model.tiers, Tier.DRAFT: gone})
    offering = Offering({model.name: changed}, "cpu", settings)
    offer = offering.now().models["miniature"]
    assert sorted(offer.tiers) == ["balanced", "quality", "turbo"]
    assert not offer.loras
    assert offer.revision is not None
    file.write_bytes(b"weights")
    offer = offering.now().models["miniature"]
    assert offer.loras == {"ink"}
    assert set(offer.marks) == {"ink", "tier:turbo"}


def test_files_are_looked_for_now_and_then(settings: Settings) -> None:
    offering = Offering(configured_models(settings, card_gib=0), "cpu", settings)
    assert FRESH_S > 0
    assert offering.now() is offering.now()
