"""Backing up a server, also while it runs: its database, its pictures and its secret key, as one folder.

``manifest.json`` tells what the backup is and has the checksum of ``SHA256SUMS``, which has those of all other files,
as ``sha256sum -c`` reads them: ``studio.sqlite``, ``secret_key`` and the pictures in ``images/``, by their keys. The
folder gets its name when it is whole; until then it is hidden and ends in ``.partial``.
"""

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from secrets import token_hex
from typing import IO

from pydantic import BaseModel

from qwen_image_studio import __version__
from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.copying import Copying
from qwen_image_studio.database.damage import revision_of
from qwen_image_studio.gallery.gallery import open_files
from qwen_image_studio.gallery.names import INSTALLATION_KEY
from qwen_image_studio.gallery.store import FileStore
from qwen_image_studio.host.source import copy_database, named_files, opened_file, snapshot, sqlite_file
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.secret_key import check_secret_key

FORMAT = 1
"""Number of this form of backups."""
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
DATABASE, SECRET_KEY, PICTURES = "studio.sqlite", "secret_key", "images"
_PIECE_BYTES = 1 << 20


class Manifest(BaseModel):
    """What a backup is."""

    format: int
    version: str
    """Version of the program that made it."""
    revision: str
    """Revision of its database."""
    made_at: float
    """Unix seconds of the newest that is in it."""
    files: int
    bytes: int
    sums_sha256: str
    missing: list[str]
    """Keys of pictures that the database names, and that were not there any more."""


def back_up(settings: Settings, folder: Path) -> Manifest:
    """Write a backup as `folder`, whether or not the server runs.

    Raises CannotServe where the folder exists, and where there is nothing to back up or it is damaged; OSError where
    the disk is full. Then there is no folder.
    """
    _check_source(settings)
    if folder.exists():
        raise CannotServe(f"{folder} exists already; name a folder that does not.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{token_hex(4)}.partial")
    try:
        partial.mkdir(mode=0o700)  # it holds the secret key
        manifest = _Writing(settings, partial).run()
        os.sync()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _check_source(settings: Settings) -> None:
    """Raise CannotServe where there is nothing to back up, or not as it has to be."""
    file = sqlite_file(settings)
    if file is not None and not file.is_file():
        raise CannotServe(f"There is no database at {file}, so nothing to back up; is STUDIO_DATA_DIR right?")
    check_secret_key(settings)


class _Writing:
    """One backup that is being written."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._files: FileStore = open_files(settings)
        self._sums: dict[str, str] = {}
        """Checksums of what was copied, by the path in the backup."""
        self._gone: set[str] = set()

    def run(self) -> Manifest:
        """Copy everything; the manifest comes last."""
        made_at, missing = self._copy_together()
        self._copy_picture(INSTALLATION_KEY)
        secret = self._settings.data_dir / SECRET_KEY
        if secret.is_file():
            (self._folder / SECRET_KEY).touch(mode=0o600)  # also for copies of the folder, which may be open to others
            shutil.copyfile(secret, self._folder / SECRET_KEY)
        for name in (DATABASE, SECRET_KEY):
            if (self._folder / name).is_file():
                self._sums[name] = checksum(self._folder / name)
        sums = self._folder / SUMS
        sums.write_text("".join(f"{digest}  {path}\n" for path, digest in sorted(self._sums.items())), encoding="utf-8")
        manifest = Manifest(
            format=FORMAT,
            version=__version__,
            revision=_revision(self._folder / DATABASE),
            made_at=made_at,
            files=len(self._sums),
            bytes=sum((self._folder / path).stat().st_size for path in self._sums),
            sums_sha256=checksum(sums),
            missing=sorted(missing),
        )
        (self._folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return manifest

    def _copy_together(self) -> tuple[float, set[str]]:
        """Copy the database, and all pictures that this copy names; return when, and the keys that have no file.

        A file is there before its row and is never changed, so whatever the copy names can be copied after it, unless
        it was deleted meanwhile. Then the database is copied anew: if it does not name the file any more, all is well.
        """
        while True:
            made_at = time.time()
            self._copy_rows()
            named = _named(self._folder / DATABASE)
            missing = named & self._gone
            self._gone |= {key for key in named - self._gone if not self._copy_picture(key)}
            if named & self._gone == missing:
                break
        self._drop_all_but(named)
        return made_at, missing

    def _copy_rows(self) -> None:
        """Copy the database as it is at one moment, from PostgreSQL into a SQLite file."""
        source, target = sqlite_file(self._settings), self._folder / DATABASE
        if source is not None:
            copy_database(source, target)
            return
        target.unlink(missing_ok=True)
        into = self._settings.model_copy(update={"data_dir": self._folder, "database_url": ""})
        with closing(Database(self._settings)) as live, closing(Database(into)) as copy:
            with snapshot(live) as connection:
                copying = Copying(connection, copy, lambda *_: None)
                copying.begin()
                copying.run()
        with closing(sqlite3.connect(target)) as database:
            database.execute("PRAGMA journal_mode = DELETE")  # one file, without others beside it

    def _copy_picture(self, key: str) -> bool:
        """Copy a file of the gallery, unless that was done; return whether there is one."""
        path = f"{PICTURES}/{key}"
        if path in self._sums:
            return True
        try:
            found = self._files.open(key)
        except StudioError as error:
            if error.code != "not_found":
                raise
            return False
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with found.stream, target.open("xb") as copy:
            for piece in _pieces(found.stream):
                digest.update(piece)
                copy.write(piece)
        self._sums[path] = digest.hexdigest()
        return True

    def _drop_all_but(self, named: set[str]) -> None:
        for path in self._sums.keys() - {f"{PICTURES}/{key}" for key in named}:
            (self._folder / path).unlink()
            del self._sums[path]


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named(database: Path) -> set[str]:
    with opened_file(database).connect() as connection:
        return {*named_files(connection)}


def _revision(database: Path) -> str:
    with opened_file(database).connect() as connection:
        return revision_of(connection) or ""


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(_PIECE_BYTES):
        yield piece
