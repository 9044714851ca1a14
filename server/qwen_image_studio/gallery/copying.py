"""Copying the files that rows name from one store into another: each is read back and compared."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import islice

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.gallery.names import INSTALLATION_KEY, is_picture_key, mime_type_of
from qwen_image_studio.gallery.store import FileStore

_AT_ONCE = 16
"""Files that are copied at once. A store over a network answers each of them slowly, and many as fast as one."""
_PIECE = 256

Named = Mapping[str, str | None]
"""The keys of files, each with the SHA-256 that a row tells of it, or None."""


@dataclass
class CopiedFiles:
    """What came of copying files."""

    files: int = 0
    """Files that are the same in both stores."""
    bytes: int = 0
    """Their bytes."""
    put: int = 0
    """Those that were not there yet, or not so."""
    missing: list[str] = field(default_factory=list)
    """Keys that rows name, and under which the source has no file any more."""
    changed: list[str] = field(default_factory=list)
    """Keys whose file in the source is not the one that was made; it was copied as it is."""
    differing: list[str] = field(default_factory=list)
    """Keys whose file in the target is not there, or another one; only of `compare_files`."""


class _Outcome(Enum):
    SAME = auto()
    PUT = auto()
    MISSING = auto()
    DIFFERS = auto()


@dataclass(frozen=True)
class _File:
    key: str
    outcome: _Outcome
    size: int = 0
    is_changed: bool = False


def copy_files(
    source: FileStore, target: FileStore, named: Named, installation_id: str, tell: Callable[[int, int], None]
) -> CopiedFiles:
    """Copy all files that the target has not yet, and mark it as this installation's. Cut off, it can be called again.

    `tell` is told how many files are done, and how many there are. Raises CannotServe where the target has the files of
    another server; then it was not changed.
    """
    check_owner(target, named, installation_id)
    if not target.put_once(INSTALLATION_KEY, installation_id.encode(), "text/plain"):
        check_owner(target, named, installation_id)  # it was there before, or came in this moment
    return _together(lambda key, sha256: _copy(source, target, key, sha256), named, tell)


def compare_files(
    source: FileStore, target: FileStore, named: Named, installation_id: str, tell: Callable[[int, int], None]
) -> CopiedFiles:
    """Compare all files with those in the target; nothing is changed. Raises CannotServe as `copy_files`."""
    check_owner(target, named, installation_id)
    return _together(lambda key, sha256: _compared(source, target, key, sha256)[0], named, tell)


def check_owner(target: FileStore, named: Named, installation_id: str) -> None:
    """Raise CannotServe where a store has the files of another server than this installation."""
    marked = _read(target, INSTALLATION_KEY)
    if marked is None:
        stored = (key for key, _ in target.keys() if is_picture_key(key))
        is_others = any(key not in named for key in islice(stored, _PIECE))
    else:
        is_others = marked != installation_id.encode()
    if is_others:
        raise CannotServe(
            "The store that STUDIO_STORAGE_URL names has the images of another server, and nothing was changed; name "
            "an empty folder, or another bucket or prefix."
        )


def _together(each: Callable[[str, str | None], _File], named: Named, tell: Callable[[int, int], None]) -> CopiedFiles:
    copied, done = CopiedFiles(), 0
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for piece in _pieces(named):
            for file in threads.map(lambda key: each(key, named[key]), piece):
                _note(copied, file)
            done += len(piece)
            tell(done, len(named))
    return copied


def _note(copied: CopiedFiles, file: _File) -> None:
    if file.outcome is _Outcome.MISSING:
        copied.missing.append(file.key)
        return
    if file.is_changed:
        copied.changed.append(file.key)
    if file.outcome is _Outcome.DIFFERS:
        copied.differing.append(file.key)
        return
    copied.files, copied.bytes = copied.files + 1, copied.bytes + file.size
    copied.put += file.outcome is _Outcome.PUT


def _copy(source: FileStore, target: FileStore, key: str, sha256: str | None) -> _File:
    file, data = _compared(source, target, key, sha256)
    if data is None or file.outcome is _Outcome.SAME:
        return file
    target.put(key, data, mime_type_of(key))
    if _read(target, key, len(data)) != data:
        raise StudioError("storage_failed", f"The image store gave back another file than was put as {key}.")
    return replace(file, outcome=_Outcome.PUT)


def _compared(source: FileStore, target: FileStore, key: str, sha256: str | None) -> tuple[_File, bytes | None]:
    """Return how a file compares with the one in the target, and the source's bytes."""
    data = _read(source, key)
    if data is None:
        return _File(key, _Outcome.MISSING), None
    is_changed = sha256 is not None and hashlib.sha256(data).hexdigest() != sha256
    outcome = _Outcome.SAME if _read(target, key, len(data)) == data else _Outcome.DIFFERS
    return _File(key, outcome, len(data), is_changed), data


def _read(store: FileStore, key: str, size: int | None = None) -> bytes | None:
    """Return a file; None where there is none, or, with `size`, none of so many bytes."""
    try:
        found = store.open(key)
    except StudioError as error:
        if error.code != "not_found":
            raise
        return None
    with found.stream as stream:
        return stream.read() if size in {None, found.size} else None


def _pieces(keys: Iterable[str]) -> Iterator[list[str]]:
    left = iter(keys)
    while piece := list(islice(left, _PIECE)):
        yield piece
