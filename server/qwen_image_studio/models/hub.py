"""Pulling: files of a repository from the hub, or a mirror of it, into the Hugging Face cache, pinned and checked."""

import errno
import logging
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from urllib.parse import quote

import httpx2
from filelock import FileLock, Timeout
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.models.fetching import WrongSum, fetch, partial, size_of
from qwen_image_studio.models.pins import (
    COMMIT,
    MAIN,
    Listed,
    Pin,
    blob,
    commit_of,
    forget_listing,
    is_sound,
    mark,
    read_listing,
    read_pin,
    snapshot,
    storage,
    write_listing,
    write_pin,
)
from qwen_image_studio.models.progress import Logged, Progress
from qwen_image_studio.system.files import at_home

LOG = logging.getLogger(__name__)
AT_ONCE = 4
"""Files that are fetched beside each other: one connection seldom fills a fast line."""

_COPIED = 2**24
"""Size in bytes up to which a file is copied where a file system has no links."""


class NotPulled(CannotServe):
    """Files cannot be brought here; the message is one line for whoever runs the machine."""

    def __init__(self, message: str, reason: str, *, here: bool = False) -> None:
        """Keep why for callers, too: `reason` names no folder of this machine; `here` is set where the disk of this
        machine is at fault, or what came to it is damaged, and not set where the hub does not have or give the files.
        """
        super().__init__(message)
        self.reason, self.here = reason, here


@dataclass(frozen=True)
class Pulled:
    """What a pull has brought, and where it lies."""

    folder: Path
    commit: str
    size: int
    """Bytes of the files that were asked for."""
    fetched: int
    """Bytes of them that were not here before."""


def pull(
    repository: str,
    patterns: Sequence[str],
    *,
    revision: str | None = None,
    latest: bool = False,
    progress: Progress | None = None,
) -> Pulled:
    """Bring the files of a repository that match the patterns, as ``fnmatch`` has it, and pin their commit.

    The first pull takes the newest commit; later ones take the same, unless `revision` (commit, branch or tag) or
    `latest` moves the pin. Files that are here are kept, and checked once. Raises NotPulled.
    """
    try:
        with _alone(repository):
            wanted = revision or (None if latest else _pinned(repository))
            return _pull(repository, patterns, wanted, progress or Logged())
    except (httpx2.HTTPError, HFValidationError, WrongSum, OSError) as error:  # HfHubHTTPError is one of the first
        raise _not_pulled(repository, revision, error) from error


def file_of(repository: str, file: str) -> Path:
    """Return a file of a repository or of a local folder, pulled where it is not on this machine. Raises NotPulled."""
    if (folder := at_home(repository)).is_dir():
        return folder / file
    commit = commit_of(repository)
    if commit and (path := snapshot(repository, commit) / file).is_file():
        return path
    return pull(repository, [escape(file)]).folder / file


def source_in_words() -> str:
    """Return where weights are fetched from, for a person: the hub, a mirror, or nowhere."""
    if constants.HF_HUB_OFFLINE:
        return "nothing is fetched (HF_HUB_OFFLINE): weights have to be on this machine"
    if "HF_ENDPOINT" in os.environ:
        return f"weights are fetched from the mirror {constants.ENDPOINT} (HF_ENDPOINT)"
    return f"weights are fetched from {constants.ENDPOINT} (HF_ENDPOINT names a mirror)"


def _pinned(repository: str) -> str | None:
    pin = read_pin(repository)
    return pin.commit if pin else None


@contextmanager
def _alone(repository: str) -> Iterator[None]:
    """Let one process at a time pull a repository; another one waits, and then finds the files here."""
    folder = Path(constants.HF_HUB_CACHE) / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"studio-{storage(repository).name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        LOG.warning("another process is pulling %s; waiting for it", repository)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _pull(repository: str, patterns: Sequence[str], wanted: str | None, progress: Progress) -> Pulled:
    commit, listing = _listing(repository, wanted)
    folder = snapshot(repository, commit)
    files = [file for file in listing if any(fnmatchcase(file.path, pattern) for pattern in patterns)]
    if not files:
        raise NotPulled(f"{repository} has no file {' or '.join(patterns)}.", "it lacks the files of its family")
    pin = Pin(commit, wanted or MAIN, constants.ENDPOINT, datetime.now(UTC).isoformat(timespec="seconds"))
    if commit_of(repository) is None:  # so that a pull that is broken off goes on with the same commit
        write_pin(repository, pin)
    missing = _missing(repository, folder, files, progress)
    _check_space(repository, missing)
    _fetch_all(repository, folder, missing, progress)
    if _pinned(repository) != commit:
        write_pin(repository, pin)
    for stale in (storage(repository) / "blobs").glob("*.partial"):  # of another commit: nobody else pulls now
        stale.unlink()
    fetched = sum(file.size for file in _contents(missing))
    return Pulled(folder, commit, sum(file.size for file in files), fetched)


def _listing(repository: str, wanted: str | None) -> tuple[str, Sequence[Listed]]:
    """Return the commit and its files; those of a commit never change, so they are asked for once."""
    if wanted and COMMIT.fullmatch(wanted) and (known := read_listing(snapshot(repository, wanted))):
        return wanted, known
    try:
        about = HfApi(endpoint=constants.ENDPOINT).model_info(
            repository, revision=wanted, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        )
        commit = str(about.sha)
        files = [
            Listed(each.rfilename, each.lfs.size, each.lfs.sha256)
            if each.lfs
            else Listed(each.rfilename, int(each.size), each.blob_id)  # type: ignore[arg-type] # checked below
            for each in about.siblings or ()
        ]
        if not COMMIT.fullmatch(commit) or not all(map(is_sound, files)):
            raise ValueError("no commit, or a file without a name, a size or a sum")
    except HFValidationError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = "it does not answer as a hub does; check HF_ENDPOINT"
        raise NotPulled(f"{repository} from {constants.ENDPOINT}: {reason}.", reason) from error
    if not read_listing(folder := snapshot(repository, commit)):
        write_listing(folder, files)
    return commit, read_listing(folder)


def _missing(repository: str, folder: Path, files: Iterable[Listed], progress: Progress) -> list[Listed]:
    """Return the files that have to be fetched; those here that nobody has checked yet are, and damaged ones go."""
    there = {file.path for file in files if _lies_here(repository, folder, file)}
    unchecked = [file for file in files if file.path in there and not file.checked]
    progress.begin(f"{repository}: checking what is here", sum(file.size for file in unchecked))
    for file in unchecked:
        if file.sum_of(folder / file.path, progress.add) != file.digest:
            there.discard(file.path)
            (folder / file.path).unlink()
            blob(repository, file).unlink(missing_ok=True)
    mark(folder, there, checked=True)
    return [file for file in files if file.path not in there]


def _contents(files: Iterable[Listed]) -> Iterable[Listed]:
    """Return a file for each content: some small ones are the same, and have one blob."""
    return {file.digest: file for file in files}.values()


def _lies_here(repository: str, folder: Path, file: Listed) -> bool:
    """Return whether the snapshot has a file of that name and size, after taking it from this cache if it can be."""
    here, content = folder / file.path, blob(repository, file)
    if _has_size(here, file.size):
        return True
    if not _has_size(content, file.size) and not _borrow(file, content):
        return False
    _lay(content, here)
    return True


def _borrow(file: Listed, content: Path) -> bool:
    """Link the blob of another repository with the same content: models share encoders of 16 GB."""
    for other in Path(constants.HF_HUB_CACHE).glob(f"models--*/blobs/{file.digest}"):
        if other != content and _has_size(other, file.size):
            content.parent.mkdir(parents=True, exist_ok=True)
            content.unlink(missing_ok=True)
            with suppress(OSError):  # a file system without hard links
                content.hardlink_to(other.resolve())
                return True
    return False


def _lay(content: Path, here: Path) -> None:
    """Put a blob into the snapshot as the hub's client does: by a relative link, or itself where there are no links.

    There a small one is copied instead, since several names may have the same content.
    """
    here.parent.mkdir(parents=True, exist_ok=True)
    here.unlink(missing_ok=True)
    try:
        here.symlink_to(os.path.relpath(content, here.parent))
    except OSError:
        if content.stat().st_size > _COPIED:
            content.replace(here)
        else:
            shutil.copyfile(content, here)


def _check_space(repository: str, missing: Iterable[Listed]) -> None:
    """Raise NotPulled where the disk has no room for what is still to come."""
    needed = sum(max(0, file.size - size_of(partial(blob(repository, file)))) for file in _contents(missing))
    place = Path(constants.HF_HUB_CACHE)
    if needed > (free := shutil.disk_usage(place).free):
        message = (
            f"{repository} needs {needed / 1e9:.1f} GB more in {place}, which has {free / 1e9:.1f} GB free: "
            f"{(needed - free) / 1e9:.1f} GB are missing. Make room there, or set HF_HOME to a folder with more."
        )
        raise NotPulled(message, f"{(needed - free) / 1e9:.1f} GB of disk are missing to fetch it", here=True)


def _fetch_all(repository: str, folder: Path, missing: Sequence[Listed], progress: Progress) -> None:
    """Fetch files beside each other; the first that is given up ends the others, which keep what they have."""
    contents = _contents(missing)
    progress.begin(f"{repository}: fetching", sum(file.size for file in contents))
    progress.add(sum(size_of(partial(blob(repository, file))) for file in contents))
    stop, pool = threading.Event(), ThreadPoolExecutor(AT_ONCE)
    address = f"{constants.ENDPOINT}/{repository}/resolve/{folder.name}"

    def bring(file: Listed) -> list[str]:
        content = blob(repository, file)
        fetch(f"{address}/{quote(file.path)}", file, content, progress.add, stop)
        same = [other.path for other in missing if other.digest == file.digest]
        for path in same:
            _lay(content, folder / path)
        return same

    try:
        for done in as_completed([pool.submit(bring, file) for file in contents]):
            mark(folder, done.result(), checked=True)
    except (WrongSum, EntryNotFoundError):
        forget_listing(folder)  # it may be what is wrong: the next pull asks again
        raise
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _not_pulled(repository: str, revision: str | None, error: Exception) -> NotPulled:
    """Return the error as a sentence with its remedy."""
    match error:
        case GatedRepoError():
            reason = "its terms have to be accepted on the Hub first; then set HF_TOKEN"
        case RepositoryNotFoundError() | HFValidationError():
            reason = "no such repository or folder; check the name, or set HF_TOKEN if it is private"
        case RevisionNotFoundError():
            reason = f"it has no revision {revision}; name a commit, a branch or a tag of it"
        case EntryNotFoundError():
            reason = "a file that is listed is not there; try again later, or another mirror (HF_ENDPOINT)"
        case OfflineModeIsEnabled():
            reason = "it is not, or not all, on this machine, and HF_HUB_OFFLINE is set; unset it, or name a folder"
        case HfHubHTTPError():
            status = error.response.status_code
            reason = f"the hub answered {status}; try again later, or another mirror (HF_ENDPOINT)"
        case WrongSum():
            reason = (
                f"{error.file.path} came twice with another content than is listed (sum {error.found[:12]}, not "
                f"{error.file.digest[:12]}), and was removed; try again later, or another mirror (HF_ENDPOINT)"
            )
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            message = f"{repository}: the disk is full. Make room in {constants.HF_HUB_CACHE} and pull again."
            return NotPulled(message, "the disk is full", here=True)
        case httpx2.HTTPError():
            reason = "it is not on this machine and cannot be fetched; check the network or name a folder"
        case _:
            return NotPulled(f"{repository}: {error}", "it cannot be written to this machine's disk", here=True)
    return NotPulled(f"{repository} from {constants.ENDPOINT}: {reason}.", reason, here=isinstance(error, WrongSum))
