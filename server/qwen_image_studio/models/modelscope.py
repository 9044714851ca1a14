"""ModelScope's cache: where its tools leave the files of a repository on this machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from qwen_image_studio.system.files import at_home

_REVISION = "master"
"""The branch that ModelScope's tools bring unless they are told another."""


def modelscope_folders(repository: str) -> Iterator[Path]:
    """Yield the folders there are for a repository id, the newest layout first.

    Since 2026: ``models/OWNER--NAME/snapshots/REVISION``; since 2025: ``models/OWNER/NAME``; before: ``OWNER/NAME``;
    each below MODELSCOPE_CACHE (by default ``~/.cache/modelscope``) or its folder ``hub``. The older ones write three
    underscores for each dot of a name.
    """
    root = at_home(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope")
    yield from (folder for base in (root, root / "hub") for folder in _below(base, repository) if folder.is_dir())


def _below(base: Path, repository: str) -> Iterator[Path]:
    owner, _, name = repository.partition("/")
    snapshots = base / "models" / f"{owner}--{name}" / "snapshots"
    yield snapshots / _REVISION
    yield from sorted(snapshots.glob("*"))
    for spelled in dict.fromkeys((name.replace(".", "___"), name)):
        yield base / "models" / owner / spelled
        yield base / owner / spelled
