"""What doctor says of a card: its plan, and seconds that are marked as calculated beside those that were measured."""

from pathlib import Path

import pytest

from qwen_image_studio.host import doctor
from qwen_image_studio.host.forecast import fit_of, forecast
from qwen_image_studio.loading import memory
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import Device

A10G = Device("cuda:0", "NVIDIA A10G", 22.49, 22.0, (8, 6))
H100 = Device("cuda:1", "NVIDIA H100 80GB HBM3", 79.65, 79.0, (9, 0))
STRANGE = Device("cuda:0", "NVIDIA Strange", 48.0, 47.0)


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with much memory of its own."""
    monkeypatch.setattr(memory, "processor", lambda: Device("cpu", "cores", 512.0, 500.0))


def lines(device: Device, *names: str, measured: dict[tuple[str, str, str], float] | None = None, **set: str) -> str:
    """What is said of a card for these models."""
    models = {name: MODELS[name] for name in names}
    return "\n".join(forecast(models, device, Settings(**set), measured or {}))  # type: ignore[arg-type]


def test_the_plan_is_told_with_its_peak() -> None:
    small = lines(A10G, "Qwen-Image")
    assert "capability 8.6, without fp8" in small
    assert "Qwen-Image: transformer in fp8, its modulation in tables" in small
    assert "passes through the card for a new text" in small
    large = lines(H100, "Qwen-Image", "Qwen-Image-Edit-2509")
    assert "Qwen-Image and Qwen-Image-Edit-2509 at once: transformer in bf16, its modulation in tables" in large
    assert "of 79.7 GiB (calculated)" in large
    assert "one at a time" in lines(A10G, "Qwen-Image", "Qwen-Image-Edit-2509")


def test_seconds_are_marked_as_calculated_beside_those_that_were_measured() -> None:
    said = lines(H100, "Qwen-Image", measured={("Qwen-Image", "quality", "generate"): 12.34})
    [quality] = [line for line in said.splitlines() if "quality:" in line]
    assert "11.7 s at 1024x1024 (calculated); measured here: 12.3 s for generate" in quality
    assert "1328x1328" in quality
    [draft] = [line for line in said.splitlines() if "draft:" in line]
    assert "768x768 (calculated)" in draft
    assert "measured" not in draft


def test_a_card_of_another_maker_has_a_plan_and_no_seconds() -> None:
    said = lines(STRANGE, "Qwen-Image")
    assert "expected peak" in said
    assert "no seconds can be calculated" in said


def test_an_operators_limit_is_kept() -> None:
    assert "transformer in fp8" in lines(H100, "Qwen-Image", memory="20")
    assert "no plan fits into 3.0 GiB; raise STUDIO_MEMORY" in lines(H100, "Qwen-Image", memory="3")


def test_a_card_without_room_is_told_with_the_remedy() -> None:
    tiny = Device("cuda:0", "NVIDIA Strange", 0.5, 0.5)
    for limit in ("auto", "3"):
        assert "no plan fits into 0.0 GiB; take a larger card" in lines(tiny, "Qwen-Image", memory=limit)
    assert "check STUDIO_DEVICES" in lines(Device("cuda:7", "cuda:7", 0.0, 0.0), "Qwen-Image")


def test_a_model_that_an_operators_limit_keeps_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "devices", lambda _settings: (H100,))
    monkeypatch.setattr(doctor, "weights_place", lambda _model: "a folder")
    settings = Settings(_env_file=None, models=("Qwen-Image",), memory="3", data_dir=tmp_path)
    said = "\n".join(doctor.examine(settings)[0])
    assert (
        "BAD   Qwen-Image: STUDIO_MEMORY=3 allows too little of cuda:1 for it\n        -> raise STUDIO_MEMORY" in said
    )
    assert "no device here can hold it" not in said


def test_what_a_device_holds_alone() -> None:
    model = MODELS["Qwen-Image"]
    assert fit_of(model, A10G, Settings()) == "in fp8, its modulation in tables"
    assert fit_of(model, Device("cpu", "cores", 32.0, 30.0), Settings()) is None
    assert fit_of(MODELS["miniature"], Device("cpu", "cores", 16.0, 8.0), Settings()) == "in fp32"
