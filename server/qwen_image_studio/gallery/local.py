"""Images as files under one folder, read by people through signed links (`qwen_image_studio.gallery.links`)."""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery import links
from qwen_image_studio.gallery.names import check_key, no_such_image

_INCOMING = ".incoming"  # no key begins with a dot, so a file that is still being written has no URL
_ABANDONED_S = 3600


class LocalStorage:
    """The files of ``root``; ``address`` is what links begin with, ``keys`` are what they are signed with."""

    def __init__(self, root: Path, *, address: str, link_ttl_s: int, keys: Sequence[bytes]) -> None:
        self._root = Path(os.path.realpath(root))
        self._address = address
        self._link_ttl_s = link_ttl_s
        self._keys = tuple(keys)
        with _as_storage_failed():
            (self._root / _INCOMING).mkdir(parents=True, exist_ok=True)
            self._remove_abandoned(time.time())

    def put(self, key: str, data: bytes, mime_type: str) -> None:
        """Keep ``data`` under ``key``; after the call it outlives a power cut. An earlier image is replaced whole."""
        del mime_type  # a file has none; the job store knows it
        path = self._path(key)
        fresh = self._root / _INCOMING / secrets.token_hex(16)
        with _as_storage_failed():
            try:
                _write_durably(fresh, data)
                path.parent.mkdir(parents=True, exist_ok=True)
                fresh.replace(path)
                # Up to the root: another put may have made a folder just now whose name is not on the disk yet.
                for folder in path.relative_to(self._root).parents:
                    _sync_folder(self._root / folder)
            finally:
                fresh.unlink(missing_ok=True)

    def open(self, key: str) -> bytes:
        """The bytes that were put under ``key``."""
        path = self._path(key)
        with _as_storage_failed():
            try:
                return path.read_bytes()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise no_such_image() from None

    def url(self, key: str, now: float | None = None) -> str:
        """A link that works for at least the set time; the same within one hour."""
        return links.link(key, address=self._address, ttl_s=self._link_ttl_s, keys=self._keys, now=now)

    def delete(self, key: str) -> None:
        """Forget the image; one that is not there is no error."""
        path = self._path(key)
        with _as_storage_failed():
            with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                path.unlink()

    def _path(self, key: str) -> Path:
        path = self._root / check_key(key)
        # A symbolic link planted among the files could lead out of the root; no file or folder of ours is one.
        below_root = [path, *(self._root / folder for folder in Path(key).parents)][:-1]
        if any(each.is_symlink() for each in below_root):
            raise no_such_image()
        return path

    def _remove_abandoned(self, now: float) -> None:
        """Delete what processes that were killed in the middle of a put have left."""
        for path in (self._root / _INCOMING).iterdir():
            with suppress(FileNotFoundError):  # its put has just ended
                if path.stat().st_mtime < now - _ABANDONED_S:
                    path.unlink()


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a new name in ``folder`` durable: fsync of a file alone does not keep its name (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_storage_failed() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # strerror only: the full text of the error names a path of the host
        reason = error.strerror or type(error).__name__
        raise StudioError("storage_failed", f"The image store failed ({reason}). Try again later.") from error
