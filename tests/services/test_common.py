"""Hosts that start at once on a new store find that it is one place, also where the store knows no conditional puts."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.gallery.common import SETTLES_S, Common, common_of
from qwen_image_studio.gallery.local import LocalStore
from qwen_image_studio.gallery.store import StoredFile
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.support.servers.postgresql import PostgreSQL


class Unconditional:
    """A store as one host sees it that replaces whatever another has just put; its puts come late."""

    def __init__(self, store: LocalStore, after: threading.Event | None = None) -> None:
        self._store, self._after, self.has_read = store, after, threading.Event()

    def put_once(self, key: str, data: bytes, mime_type: str) -> bool:
        """Put it when the other host has read, or after a part of the time within which puts settle."""
        if self._after is not None:
            self._after.wait(SETTLES_S / 2)
        self._store.put(key, data, mime_type)
        return True

    def put(self, key: str, data: bytes, mime_type: str) -> None:
        """As the store."""
        self._store.put(key, data, mime_type)

    def open(self, key: str) -> StoredFile:
        """As the store."""
        found = self._store.open(key)
        self.has_read.set()
        return found

    def delete(self, key: str) -> None:
        """As the store."""
        self._store.delete(key)

    def keys(self) -> Iterator[tuple[str, float]]:
        """As the store."""
        return self._store.keys()


def test_those_who_draw_an_id_at_once_have_one_place(postgresql: PostgreSQL, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)
    first = Unconditional(LocalStore(tmp_path / "images"))
    second = Unconditional(LocalStore(tmp_path / "images"), first.has_read)
    with open_store(settings) as store:

        def start(files: Unconditional) -> Common | None:
            gallery = open_gallery(settings, store)
            gallery.files = files
            return common_of(settings, store, gallery, signs=False)

        with ThreadPoolExecutor(2) as hosts:
            found = list(hosts.map(start, [first, second]))
    assert found[0] is not None
    assert found[0] == found[1]
