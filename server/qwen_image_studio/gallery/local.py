"""A file store in one folder of this machine."""

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery.names import check_key, mime_type_of, no_such_image
from qwen_image_studio.gallery.store import StoredFile
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.files import sync_folder, write_durably

_INCOMING = ".incoming"  # no key begins with a dot, so a file that is still being written has no URL
_ABANDONED_S = 3600


class LocalStore:
    """The files under `root`."""

    def __init__(self, root: Path) -> None:
        """Make the folder where needed. Raises StudioError ``storage_failed`` where that fails."""
        self._root = Path(os.path.realpath(root))
        with _as_storage_failed():
            (self._root / _INCOMING).mkdir(parents=True, exist_ok=True)
            self._remove_abandoned(time.time())

    def put(self, key: str, data: bytes, mime_type: str) -> None:
        """Store ``data`` under ``key``, so that it survives a power cut; an earlier file is replaced as a whole."""
        del mime_type  # files have none; `open` derives it from the name
        self._put(key, data, _rename)

    def put_once(self, key: str, data: bytes, mime_type: str) -> bool:
        """Store ``data`` as `put` does, unless there is a file of that key; return whether it was stored."""
        del mime_type
        return self._put(key, data, _name)

    def open(self, key: str) -> StoredFile:
        """Open the file that was put under ``key``."""
        path = self._path(key)
        with _as_storage_failed():
            try:
                stream = path.open("rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise no_such_image() from None
            about = os.fstat(stream.fileno())
        tag = f"{about.st_ino:x}-{about.st_mtime_ns:x}-{about.st_size:x}"  # every put makes a new file
        return StoredFile(stream, about.st_size, tag, mime_type_of(key))

    def delete(self, key: str) -> None:
        """Delete the file; a missing one is no error."""
        path = self._path(key)
        with _as_storage_failed():
            with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                path.unlink()

    def keys(self) -> Iterator[tuple[str, float]]:
        """Yield the key of every file, and when it was stored, in Unix seconds."""
        with _as_storage_failed():
            for folder, below, names in os.walk(self._root):
                below[:] = sorted(name for name in below if not name.startswith("."))
                for name in names:
                    path = Path(folder, name)
                    with suppress(FileNotFoundError):  # deleted a moment ago
                        yield str(path.relative_to(self._root)), path.lstat().st_mtime

    def _put(self, key: str, data: bytes, place: Callable[[Path, Path], bool]) -> bool:
        """Write a file beside the others, have `place` give it its name, and return whether it has got it."""
        path = self._path(key)
        fresh = self._root / _INCOMING / secrets.token_hex(16)
        with _as_storage_failed():
            try:
                write_durably(fresh, data)
                path.parent.mkdir(parents=True, exist_ok=True)
                placed = place(fresh, path)
                # Every folder up to the root: another put may just have made one whose name is not on the disk yet.
                for folder in path.relative_to(self._root).parents:
                    sync_folder(self._root / folder)
                return placed
            finally:
                fresh.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = self._root / check_key(key)
        # A planted symbolic link could lead out of the root; no file or folder of the store is one.
        below_root = [path, *(self._root / folder for folder in Path(key).parents)][:-1]
        if any(each.is_symlink() for each in below_root):
            raise no_such_image()
        return path

    def _remove_abandoned(self, now: float) -> None:
        """Delete the unfinished files of processes that were killed during a put."""
        for path in (self._root / _INCOMING).iterdir():
            with suppress(FileNotFoundError):  # its put has just ended
                if path.stat().st_mtime < now - _ABANDONED_S:
                    path.unlink()


def open_local(settings: Settings) -> LocalStore:
    """Open the folder that STUDIO_STORAGE_URL names, such as ``file:///srv/images``; else DATA_DIR/images."""
    named = unquote(urlsplit(settings.storage_url).path)
    return LocalStore(Path(named) if named else settings.data_dir / "images")


def _rename(fresh: Path, path: Path) -> bool:
    """Give a file its name, which another one may have had."""
    fresh.replace(path)
    return True


def _name(fresh: Path, path: Path) -> bool:
    """Give a file its name, unless another one has it; return whether it has got it."""
    try:
        os.link(fresh, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:  # disks that know no second name of a file
            raise
        return not path.exists() and _rename(fresh, path)
    return True


@contextmanager
def _as_storage_failed() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # strerror only: the full text of the error names a path of the host
        reason = error.strerror or type(error).__name__
        raise StudioError("storage_failed", f"The image store failed ({reason}). Try again later.") from error
