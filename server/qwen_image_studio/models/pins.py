"""Pins: the commit of a repository that this machine paints with, and what the hub says of each file of a commit.

Both lie in the Hugging Face cache and not in the data folder. The pin lies in the repository's folder: all servers and
shells of the machine share it, it goes along where the cache is copied, and goes with weights that are deleted. The
listing lies inside the commit's snapshot, so that a copy of that folder alone can be verified anywhere, offline.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from uuid import uuid4

from huggingface_hub import constants

PIN, LISTING = "studio-pin.json", ".studio-listing.json"
COMMIT = re.compile(r"[0-9a-f]{40}")
MAIN = "main"
_CHUNK = 2**22
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DIGESTS: dict[int, Literal["sha256", "git-sha1"]] = {64: "sha256", 40: "git-sha1"}
"""Which sum a digest is, by its number of hexadecimal digits."""


@dataclass(frozen=True)
class Pin:
    """The commit that loads take and pulls bring, until a pull moves it."""

    commit: str
    revision: str
    """Name of which that was the commit: a branch, a tag, or the commit itself."""
    endpoint: str
    """Address of the hub or mirror that said so."""
    pinned_at: str
    """Time in UTC, as ISO 8601 has it."""


@dataclass(frozen=True)
class Listed:
    """What the hub says of one file."""

    path: str
    size: int
    digest: str
    """SHA-256 of a large file, SHA-1 of the git object of a small one; in hexadecimal. It names the file's blob."""
    checked: bool = False
    """Whether the file here was found to have that sum."""

    def sum_of(self, file: Path, seen: Callable[[int], None] = lambda count: None) -> str:
        """Return that sum of a file's content; `seen` is told of each number of bytes that was read."""
        total = hashlib.sha256() if _DIGESTS[len(self.digest)] == "sha256" else hashlib.sha1(usedforsecurity=False)
        if total.name == "sha1":
            total.update(f"blob {file.stat().st_size}\0".encode())
        with file.open("rb") as content:
            while piece := content.read(_CHUNK):
                total.update(piece)
                seen(len(piece))
        return total.hexdigest()


def is_sound(file: Listed) -> bool:
    """Return whether name and sum of a file are such that they may become names of files here, and its size is one.

    Raises ValueError for a name that no file can have, and TypeError or AttributeError for one that is no text.
    """
    file.path.encode()
    name, is_size = PurePosixPath(file.path), isinstance(file.size, int) and file.size >= 0
    is_inside = not name.is_absolute() and ".." not in name.parts and "\0" not in file.path
    return is_inside and is_size and bool(_DIGEST.fullmatch(str(file.digest)))


def storage(repository: str) -> Path:
    """Return the folder of the Hugging Face cache that a repository has, whether it is there or not."""
    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def snapshot(repository: str, commit: str) -> Path:
    """Return the folder of a commit's files, whether it is there or not."""
    return storage(repository) / "snapshots" / commit


def blob(repository: str, file: Listed) -> Path:
    """Return where the content of a file lies, once it is here."""
    return storage(repository) / "blobs" / file.digest


def read_pin(repository: str) -> Pin | None:
    """Return the repository's pin; None where there is none, or none that can be read."""
    content = _read(storage(repository) / PIN)
    try:
        pin = Pin(**content)
    except TypeError:
        return None
    return pin if COMMIT.fullmatch(str(pin.commit)) else None


def write_pin(repository: str, pin: Pin) -> None:
    """Pin the repository, and point the cache's own name of the revision to the same commit."""
    _write(storage(repository) / PIN, asdict(pin))
    if not COMMIT.fullmatch(pin.revision):
        name = storage(repository) / "refs" / pin.revision
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_text(pin.commit, encoding="utf-8")


def commit_of(repository: str) -> str | None:
    """Return the commit that loads take: the pinned one, else the cache's of ``main``; None where there is neither."""
    if pin := read_pin(repository):
        return pin.commit
    try:
        commit = (storage(repository) / "refs" / MAIN).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if COMMIT.fullmatch(commit) else None


def read_listing(folder: Path) -> tuple[Listed, ...]:
    """Return the files of the commit of which `folder` is the snapshot, or a copy; empty where that is not known, or
    the listing is damaged.
    """
    try:
        files = tuple(Listed(path, **about) for path, about in _read(folder / LISTING)["files"].items())
        return files if all(map(is_sound, files)) else ()
    except (TypeError, KeyError, AttributeError, ValueError):
        return ()


def write_listing(folder: Path, files: Iterable[Listed]) -> None:
    """Keep what the hub says of a commit's files, and which of them were found right."""
    about = {file.path: {"size": file.size, "digest": file.digest, "checked": file.checked} for file in files}
    _write(folder / LISTING, {"files": about})


def forget_listing(folder: Path) -> None:
    """Have the hub asked anew for the files of this snapshot's commit."""
    (folder / LISTING).unlink(missing_ok=True)


def mark(folder: Path, paths: Iterable[str], *, checked: bool) -> None:
    """Note in a snapshot's listing that these files were found right, or were not."""
    found = set(paths)
    write_listing(
        folder, [replace(file, checked=checked) if file.path in found else file for file in read_listing(folder)]
    )


def listed_by_blobs(folder: Path) -> tuple[Listed, ...]:
    """Return the files of a snapshot as far as the names of their blobs tell their sums, which another tool brought."""
    return tuple(
        Listed(path.relative_to(folder).as_posix(), path.stat().st_size, path.resolve().name)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.resolve().parent.name == "blobs" and len(path.resolve().name) in _DIGESTS
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write the file in one step: whoever reads it meanwhile finds the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        new.write_text(json.dumps(content, indent=1), encoding="utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
