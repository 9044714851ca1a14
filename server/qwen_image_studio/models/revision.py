"""Revisions: what tells the weights of a model on this machine from any others that go by its name."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from qwen_image_studio.models.folders import Kind, Place, file_of, place_of, whole_place
from qwen_image_studio.models.table import Model

MOST_READ = 64 * 10**6
"""Size in bytes up to which a file is told by its content; a larger one by its size and when it was last written."""

_known: dict[tuple[Path, str], str] = {}
"""Revisions by folder and file, computed once in a process: whole weights change only between two starts."""


def revision_of(model: Model) -> str | None:
    """Return what identifies the model's weights on this machine; None where they are not, or not all, here yet.

    From the hub it is the commit in the Hugging Face cache, else a SHA-256 over the files of the folder; where the
    transformer has a file of its own, one over both. Nothing is fetched. The first call for a folder reads its files;
    later ones cost a look at the cache.
    """
    place = place_of(model)
    if place is None:
        return None
    known = (place.folder, model.file)
    if known not in _known and whole_place(model) == place:
        _known[known] = _revision(place, model)
    return _known.get(known)


def _revision(place: Place, model: Model) -> str:
    folder = place.folder.name if place.kind is Kind.HUB else _digest(place.folder)
    return hashlib.sha256(f"{folder}\0{mark(file_of(model))}".encode()).hexdigest() if model.file else folder


def _digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(_files(folder)):
        total.update(f"{path.relative_to(folder).as_posix()}\0{mark(path)}\0".encode())
    return total.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Yield the folder's files but the hidden ones, which are a downloader's or git's own."""
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def mark(path: Path) -> str:
    """Return what tells a file's content from any other: its SHA-256, or for a large one its size and time."""
    about = path.stat()
    if about.st_size > MOST_READ:
        return f"{about.st_size} {about.st_mtime_ns}"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
