"""Seats: which process is the worker of a device, under a name that no other process has, and who was it before.

A lock in DATA_DIR lets one process at a time be the worker of a device there. Beside it stands a note with the name
of the process that has it and, until their leases have been taken back, of those before. So whoever gets the lock knows
whom it proves dead, and takes back nothing of another container that has the same host name.
"""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from secrets import token_hex

from qwen_image_studio.contract.errors import Locked
from qwen_image_studio.system.files import worker_file
from qwen_image_studio.system.processes import is_locked, lock

_log = logging.getLogger(__name__)

_MOST_BEFORE = 20
"""Number of earlier processes that are remembered; the leases of others end by themselves."""


def worker_name(device: str, host: str = "") -> str:
    """Return the name under which this process takes leases as the worker of a device: HOST/DEVICE/RANDOM.

    `host` is the name that the settings give (STUDIO_WORKER_NAME), by default this machine's.
    """
    return f"{host_name(host)}/{device}/{_mark(os.getpid())}"


def new_name(device: str, host: str = "") -> str:
    """Return such a name for a process that is yet to be started."""
    return f"{host_name(host)}/{device}/{token_hex(4)}"


def host_name(given: str = "") -> str:
    """Return the name of this host: the `given` one, else the machine's."""
    return given or socket.gethostname()


def worker_lock(data_dir: Path, device: str) -> Path:
    """Return the file that the worker of a device keeps locked for as long as its process lives."""
    return worker_file(data_dir, device, ".lock")


def worker_note(data_dir: Path, device: str) -> Path:
    """Return the file with the names of the process that holds `worker_lock`, or held it last, and of those before."""
    return worker_file(data_dir, device, ".since")


@dataclass(frozen=True)
class Seat:
    """The place of a device's worker in one DATA_DIR."""

    data_dir: Path
    device: str
    name: str
    """Name of the process that has it, or had it last; empty where none is noted."""
    before: Sequence[str] = ()
    """Names of processes that had it before, and are dead; what they held may not have been taken back yet."""

    @property
    def taken(self) -> bool:
        """Return whether a process has it now; True as well where that cannot be told."""
        return is_locked(worker_lock(self.data_dir, self.device))

    def took_back(self) -> None:
        """Note that nothing is left to be taken back of those before."""
        _write(self.data_dir, self.device, [self.name])


@contextmanager
def holding(data_dir: Path, device: str, name: str = "") -> Iterator[Seat]:
    """Be the worker of a device, by default under this process's own name, once no other process is."""
    name, path = name or worker_name(device), worker_lock(data_dir, device)
    had_lock = path.exists()
    with ExitStack() as stack:
        try:
            stack.enter_context(lock(path, wait=False))
        except Locked:
            _log.warning("another process is the worker of %s in %s; this one waits for its end", device, data_dir)
            stack.enter_context(lock(path))
        noted = _read(data_dir, device)
        # Earlier versions noted nothing; the name of their workers was the same for each process.
        before = noted or ([f"{socket.gethostname()}/{device}"] if had_lock else [])
        before = [each for each in before if each != name][:_MOST_BEFORE]
        _write(data_dir, device, [name, *before])
        yield Seat(data_dir, device, name, before)


def seat_of(data_dir: Path, device: str) -> Seat:
    """Return who is the worker of a device in this DATA_DIR, or was it last."""
    name, *before = _read(data_dir, device) or [""]
    return Seat(data_dir, device, name, before)


def all_seats(data_dir: Path) -> Sequence[Seat]:
    """Return the seats of all devices that ever had a worker in this DATA_DIR."""
    notes = sorted(data_dir.glob("worker-*.since"))
    return [seat_of(data_dir, _device(path)) for path in notes]


def _device(note: Path) -> str:
    """Return the device of a note; of a card, whose colon no file name has, with it."""
    kind, dash, number = note.stem.removeprefix("worker-").rpartition("-")
    return f"{kind}:{number}" if dash and number.isdecimal() else note.stem.removeprefix("worker-")


def _read(data_dir: Path, device: str) -> list[str]:
    try:
        return worker_note(data_dir, device).read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError):
        return []


def _write(data_dir: Path, device: str, names: Sequence[str]) -> None:
    """Write names whole or not at all; without them leases are taken back when they end."""
    path = worker_note(data_dir, device)
    fresh = path.with_name(f".{path.name}.{token_hex(4)}")
    with suppress(OSError):  # the disk is full
        try:
            fresh.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


@cache
def _mark(_process: int) -> str:
    """Return the random part of the names of one process, which a fork does not inherit."""
    return token_hex(4)
