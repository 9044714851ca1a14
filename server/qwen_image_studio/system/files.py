"""Paths as people write them, and files that survive a power cut."""

import os
from pathlib import Path


def at_home(path: str | Path) -> Path:
    """Return the path with the home folder in place of ``~``; that of a user who is not on this machine stays as it is,
    so that it is told as a folder that is not there.
    """
    return Path(os.path.expanduser(path))


def worker_file(data_dir: Path, device: str, suffix: str) -> Path:
    """Return the file of the worker of a device in DATA_DIR for one purpose: ``worker-cuda-0.lock``."""
    return data_dir / f"worker-{device.replace(':', '-')}{suffix}"


def write_durably(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a new file with these permissions, so that its content is on the disk. Raises FileExistsError.

    Its name is not before `sync_folder`.
    """
    path.touch(mode, exist_ok=False)
    with path.open("r+b") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a new name in ``folder`` durable: fsync of a file does not store its name (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
