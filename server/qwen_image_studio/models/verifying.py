"""Verifying: the files of a model compared with the sums that the hub listed for them, without the hub."""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from qwen_image_studio.models.folders import Place, file_of, head_of, lacking, patterns_of
from qwen_image_studio.models.pins import commit_of, listed_by_blobs, mark, read_listing, snapshot
from qwen_image_studio.models.table import Model


@dataclass(frozen=True)
class Verified:
    """What was found out about some files."""

    summed: int
    """Number of files whose sum was compared."""
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Return whether nothing is missing or damaged."""
        return not self.missing and not self.damaged


def verify(model: Model, place: Place, seen: Callable[[int], None]) -> Verified:
    """Verify a model where it lies; `seen` is told of each number of bytes that was read.

    Of a folder whose sums nobody knows, it is found out whether weight files are there and not cut off.
    """
    found = verify_files(place.folder, patterns_of(model, model.part_names), seen)
    missing = dict.fromkeys((*lacking(model, place.folder, model.part_names), *found.missing))
    cut = () if found.summed else cut_off(place.folder.rglob("*.safetensors"), place.folder)
    single = file_of(model)
    if model.file and not single.is_file():
        missing[single.name] = None
    own = cut_off([single], single.parent) if model.file and single.is_file() else ()
    return Verified(found.summed, tuple(missing), (*found.damaged, *cut, *own))


def verify_files(folder: Path, patterns: Collection[str], seen: Callable[[int], None]) -> Verified:
    """Compare a snapshot's files that match the patterns with their sums, where those are known.

    A damaged file is noted in the snapshot, so that the next pull fetches it again.
    """
    files = [
        file
        for file in read_listing(folder) or listed_by_blobs(folder)
        if any(fnmatchcase(file.path, pattern) for pattern in patterns)
    ]
    missing = tuple(file.path for file in files if not (folder / file.path).is_file())
    there = [file for file in files if file.path not in missing]
    damaged = tuple(file.path for file in there if file.sum_of(folder / file.path, seen) != file.digest)
    if damaged and read_listing(folder):
        with suppress(OSError):  # a copy that is mounted read-only
            mark(folder, damaged, checked=False)
    return Verified(len(there), missing, damaged)


def verify_lora(repository: str, files: Collection[str], seen: Callable[[int], None]) -> Verified:
    """Verify files of a repository in the Hugging Face cache, such as a tier's LoRAs."""
    commit = commit_of(repository)
    folder = snapshot(repository, commit) if commit else None
    absent = tuple(file for file in files if folder is None or not (folder / file).is_file())
    found = verify_files(folder, [file for file in files if file not in absent], seen) if folder else Verified(0)
    return Verified(found.summed, absent, found.damaged)


def cut_off(files: Iterable[Path], folder: Path) -> tuple[str, ...]:
    """Return which safetensors files are not as long as their heads say, or have none; by their paths in the folder."""
    return tuple(
        path.relative_to(folder).as_posix()
        for path in files
        if path.suffix.casefold() == ".safetensors" and not _is_as_long_as_it_says(path)
    )


def _is_as_long_as_it_says(path: Path) -> bool:
    """Return whether a file is eight bytes of length, a head of that length, and the tensors that the head lists."""
    try:
        tensors, begin = head_of(path)
        end = max((about["data_offsets"][1] for about in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return False
    return bool(begin + end == path.stat().st_size)
