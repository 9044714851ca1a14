"""Devices of this machine, found without torch so that the web process stays small."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from qwen_image_studio.settings import Settings


@dataclass(frozen=True)
class Device:
    """One device, with its memory in GiB."""

    id: str
    name: str
    memory_gib: float
    free_gib: float
    capability: tuple[int, int] | None = None
    """CUDA's compute capability, such as (8, 9); None for a processor, and where the driver does not tell it."""

    @property
    def gpu(self) -> bool:
        """Return whether it is a graphics card."""
        return self.id != "cpu"


def devices(settings: Settings) -> tuple[Device, ...]:
    """Return the devices to use: those of the settings, else every NVIDIA card, else the processor."""
    found = {device.id: device for device in (*graphics_cards(), processor())}
    if settings.devices:
        return tuple(found.get(name, Device(name, name, 0.0, 0.0)) for name in settings.devices)
    cards = tuple(device for device in found.values() if device.gpu)
    return cards or (found["cpu"],)


def graphics_cards() -> tuple[Device, ...]:
    """Return the NVIDIA cards that CUDA sees, numbered as CUDA does; none where there is no driver."""
    import pynvml  # 2 MiB, and needed once

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_measured(_visible(_all_cards())))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _all_cards() -> list[Any]:
    """Return the driver's handle of every card, in the order of the PCI bus."""
    import pynvml

    return [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]


def _measured(cards: Sequence[Any]) -> Iterator[Device]:
    """Yield each card with its memory; one that does not tell its memory is left out, but keeps its number."""
    import pynvml

    for number, card in enumerate(cards):
        with suppress(pynvml.NVMLError):
            memory = pynvml.nvmlDeviceGetMemoryInfo(card)
            name = pynvml.nvmlDeviceGetName(card)
            capability = _capability(card)
            yield Device(f"cuda:{number}", name, memory.total / 2**30, memory.free / 2**30, capability)


def _capability(card: Any) -> tuple[int, int] | None:
    import pynvml

    with suppress(pynvml.NVMLError):
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(card)
        return int(major), int(minor)
    return None


def _visible(cards: Sequence[Any]) -> list[Any]:
    """Return what CUDA_VISIBLE_DEVICES lets CUDA see, in its order.

    As in CUDA, the list ends before the first entry that names no card, and one that names a card twice is empty.
    """
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return [_first_part(card) for card in cards]
    names = [name.strip() for name in wanted.split(",")]
    found: dict[str, Any] = {}
    for name in names:
        card = _named(name, cards)
        if card is None:
            break
        found[name] = card
    return [] if len(set(names)) < len(names) else list(found.values())


def _named(name: str, cards: Sequence[Any]) -> Any | None:
    """Return the card with this number, or the one whose UUID begins so, or the part of a card (MIG) with this UUID."""
    import pynvml

    if name.isdecimal():
        return _first_part(cards[int(name)]) if int(name) < len(cards) else None
    if name.startswith("MIG-"):
        with suppress(pynvml.NVMLError):
            return pynvml.nvmlDeviceGetHandleByUUID(name)
        return None
    of_name = [card for card in cards if name and pynvml.nvmlDeviceGetUUID(card).startswith(name)]
    return _first_part(of_name[0]) if len(of_name) == 1 else None


def _first_part(card: Any) -> Any:
    """Return the first part of a card that is cut into parts (MIG), which is what CUDA uses of it; else the card."""
    import pynvml

    with suppress(pynvml.NVMLError):
        return pynvml.nvmlDeviceGetMigDeviceHandleByIndex(card, 0)
    return card


def largest_card_gib(settings: Settings) -> float:
    """Return the memory in GiB of the largest graphics card in use; 0 where there is none."""
    return max((device.memory_gib for device in devices(settings) if device.gpu), default=0.0)


def processor() -> Device:
    """Return the processor, with the machine's memory."""
    memory = psutil.virtual_memory()
    return Device("cpu", f"{os.cpu_count()} processor cores", memory.total / 2**30, memory.available / 2**30)


def memory_of(device: str) -> tuple[int | None, int | None]:
    """Return used and total bytes of a device's memory; for a processor, what this process uses of the machine's. None
    each where they cannot be read.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return psutil.Process().memory_info().rss, psutil.virtual_memory().total
    import pynvml

    with suppress(pynvml.NVMLError, IndexError, ValueError):
        pynvml.nvmlInit()
        try:
            memory = pynvml.nvmlDeviceGetMemoryInfo(_visible(_all_cards())[int(number or 0)])
            return int(memory.used), int(memory.total)
        finally:
            pynvml.nvmlShutdown()
    return None, None
