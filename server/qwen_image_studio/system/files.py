"""Files that survive a power cut."""

import os
from pathlib import Path


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
