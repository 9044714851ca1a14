"""Devices of this machine, found without torch so that the web process stays small."""

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from qwen_image_studio.settings import Settings

_QUERY = ("--query-gpu=index,uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Device:
    """One device, with its memory in GiB."""

    id: str
    name: str
    memory_gib: float
    free_gib: float

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
    """Return the NVIDIA cards that the driver's own tool lists; none where there is no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        answer = subprocess.run([tool, *_QUERY], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[field.strip() for field in line.split(",")] for line in answer.stdout.splitlines() if line.count(",") == 4]
    return tuple(
        Device(f"cuda:{number}", name, int(total) / 1024, int(free) / 1024)
        for number, (_, _, name, total, free) in enumerate(_visible(rows))
        if total.isdigit() and free.isdigit()
    )


def _visible(rows: list[list[str]]) -> list[list[str]]:
    """Return the cards that CUDA_VISIBLE_DEVICES lets CUDA see, in its order; CUDA numbers them from 0."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return rows
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    return [row for name in names for row in rows if name in row[:2]]


def worker_name(device: str) -> str:
    """Return the name under which the worker of a device takes leases; each of its processes has the same."""
    return f"{socket.gethostname()}/{device}"


def worker_lock(data_dir: Path, device: str) -> Path:
    """Return the file that the worker of a device keeps locked for as long as its process lives."""
    return data_dir / f"worker-{device.replace(':', '-')}.lock"


def largest_card_gib(settings: Settings) -> float:
    """Return the memory in GiB of the largest graphics card in use; 0 where there is none."""
    return max((device.memory_gib for device in devices(settings) if device.gpu), default=0.0)


def processor() -> Device:
    """Return the processor, with the machine's memory."""
    page, total = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    free = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else total
    return Device("cpu", f"{os.cpu_count()} processor cores", page * total / 2**30, page * free / 2**30)
