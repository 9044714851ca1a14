"""What the driver's tool says, and what CUDA_VISIBLE_DEVICES leaves of it."""

import os
from pathlib import Path

import pytest

from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import devices, largest_card_gib

TOOL = """#!/bin/sh
echo "0, GPU-aaaa, Small Card, 8192, 8000"
echo "1, GPU-bbbb, Large Card, 81920, 81000"
echo "garbage"
"""


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two cards, as nvidia-smi would list them."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(TOOL)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_every_card_is_a_device(cards: None) -> None:
    found = devices(Settings())
    assert [(device.id, device.name) for device in found] == [("cuda:0", "Small Card"), ("cuda:1", "Large Card")]
    assert largest_card_gib(Settings()) == 80


@pytest.mark.parametrize(
    ("visible", "names"),
    [("1", ["Large Card"]), ("GPU-bbbb,GPU-aaaa", ["Large Card", "Small Card"]), ("7", []), ("", [])],
)
def test_cuda_counts_the_visible_ones_from_zero(
    cards: None, monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = [device for device in devices(Settings()) if device.gpu]
    assert [device.name for device in found] == names
    assert [device.id for device in found] == [f"cuda:{number}" for number in range(len(names))]


def test_the_settings_choose(cards: None) -> None:
    assert [device.id for device in devices(Settings(devices=("cpu",)))] == ["cpu"]
    assert largest_card_gib(Settings(devices=("cpu",))) == 0


def test_without_cards_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = devices(Settings())
    assert [device.id for device in found] == ["cpu"]
    assert found[0].memory_gib > 0.5
