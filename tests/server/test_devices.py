"""What the driver (NVML) tells of the cards, and what CUDA_VISIBLE_DEVICES leaves of them."""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import devices, graphics_cards, largest_card_gib, memory_of


class Driver:
    """Stands in for NVIDIA's driver, with the answers of its library: a handle is a UUID."""

    CARDS = ("GPU-aaaa", "GPU-abbb", "GPU-cccc")
    """A small card, a large one, and one that is cut into two parts."""
    PARTS = ("MIG-1111", "MIG-2222")
    GIB: Mapping[str, int] = {"GPU-aaaa": 8, "GPU-abbb": 80, "GPU-cccc": 40, "MIG-1111": 10, "MIG-2222": 20}

    def __init__(self) -> None:
        self.open = False
        self.dumb: set[str] = set()
        """Cards that do not tell their memory."""

    def nvmlInit(self) -> None:
        self.open = True

    def nvmlShutdown(self) -> None:
        self.open = False

    def nvmlDeviceGetCount(self) -> int:
        return len(self.CARDS)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return self.CARDS[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid not in self.GIB:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return uuid

    def nvmlDeviceGetUUID(self, card: str) -> str:
        return card

    def nvmlDeviceGetName(self, card: str) -> str:
        return f"Card {card}"

    def nvmlDeviceGetMemoryInfo(self, card: str) -> SimpleNamespace:
        if card in self.dumb:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(total=self.GIB[card] * 2**30, free=2**30, used=(self.GIB[card] - 1) * 2**30)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: str, index: int) -> str:
        if card != "GPU-cccc":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self.PARTS[index]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """A machine with three cards; the library is closed again whenever it was opened."""
    driver = Driver()
    for name in (name for name in dir(driver) if name.startswith("nvml")):
        monkeypatch.setattr(pynvml, name, getattr(driver, name))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield driver
    assert not driver.open


def test_every_card_is_a_device_and_a_cut_one_is_its_first_part(driver: Driver) -> None:
    found = devices(Settings())
    assert [(device.id, device.name, device.memory_gib) for device in found] == [
        ("cuda:0", "Card GPU-aaaa", 8), ("cuda:1", "Card GPU-abbb", 80), ("cuda:2", "Card MIG-1111", 10),
    ]  # fmt: skip
    assert (found[0].free_gib, largest_card_gib(Settings())) == (1, 80)


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("1", ["GPU-abbb"]),
        ("1,0", ["GPU-abbb", "GPU-aaaa"]),
        (" 1 , 0 ", ["GPU-abbb", "GPU-aaaa"]),
        ("GPU-cccc,GPU-aaaa", ["MIG-1111", "GPU-aaaa"]),
        ("GPU-ab", ["GPU-abbb"]),
        ("GPU-a", []),
        ("MIG-2222", ["MIG-2222"]),
        ("MIG-3333", []),
        ("2", ["MIG-1111"]),
        ("0,7,1", ["GPU-aaaa"]),
        ("0,-1,1", ["GPU-aaaa"]),
        ("0,0", []),
        ("7", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("", []),
    ],
)
def test_cuda_counts_the_visible_ones_from_zero(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str, seen: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = [device for device in devices(Settings()) if device.gpu]
    assert [device.name for device in found] == [f"Card {name}" for name in seen]
    assert [device.id for device in found] == [f"cuda:{number}" for number in range(len(seen))]


def test_a_card_that_does_not_tell_its_memory_is_left_out_and_keeps_its_number(driver: Driver) -> None:
    driver.dumb = {"GPU-aaaa"}
    assert [device.id for device in graphics_cards()] == ["cuda:1", "cuda:2"]


def test_the_settings_choose(driver: Driver) -> None:
    assert [device.id for device in devices(Settings(devices=("cpu",)))] == ["cpu"]
    assert largest_card_gib(Settings(devices=("cpu",))) == 0


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_without_a_driver_the_processor(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def fail() -> None:
        raise pynvml.NVMLError(error)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    [found] = devices(Settings())
    assert found.id == "cpu"
    assert found.memory_gib == psutil.virtual_memory().total / 2**30
    assert 0 < found.free_gib <= found.memory_gib


def test_a_driver_that_fails_leaves_the_processor(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", fail)
    assert [device.id for device in devices(Settings())] == ["cpu"]


def test_the_memory_of_a_card_is_what_the_driver_tells_of_the_one_that_cuda_means(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert memory_of("cuda:0") == (79 * 2**30, 80 * 2**30)
    assert memory_of("cuda:1") == (7 * 2**30, 8 * 2**30)
    assert memory_of("cuda:7") == (None, None)
    driver.dumb.add("GPU-aaaa")
    assert memory_of("cuda:1") == (None, None)
    assert not driver.open


@pytest.mark.parametrize("device", ["cpu", "light"])
def test_the_memory_of_a_processor_is_what_the_process_uses_of_the_machines(device: str) -> None:
    used, total = memory_of(device)
    assert used is not None
    assert total == psutil.virtual_memory().total
    assert 0 < used < total
