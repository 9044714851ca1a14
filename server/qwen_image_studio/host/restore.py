"""Restoring a backup into an empty data folder: the same pictures, jobs and keys, and links that go on opening."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.copying import Copying
from qwen_image_studio.database.damage import check_revision
from qwen_image_studio.gallery.gallery import open_files
from qwen_image_studio.gallery.names import check_key, mime_type_of
from qwen_image_studio.gallery.store import FileStore
from qwen_image_studio.host.backup import (
    DATABASE,
    FORMAT,
    MANIFEST,
    PICTURES,
    SECRET_KEY,
    SUMS,
    Manifest,
    checksum,
)
from qwen_image_studio.host.source import copy_read, refuse_served, sqlite_file, stopped
from qwen_image_studio.settings import Settings


@dataclass(frozen=True)
class Restored:
    """What was restored."""

    manifest: Manifest
    damaged: list[str]
    """Pictures that were left out, by their paths in the backup."""


def restore(settings: Settings, folder: Path, *, without_damaged: bool = False) -> Restored:
    """Restore the backup `folder` to where the settings keep a server's data, which is empty; the database comes last.

    With `without_damaged`, pictures that are not as they were backed up are left out. A restore that was cut off can be
    done again. Raises CannotServe, before anything is changed, where the folder is no whole backup, where it is newer
    than this program, and where there is a server's data already.
    """
    manifest, sums = _read(folder)
    damaged = sorted(path for path, digest in sums.items() if not _is_as_backed_up(folder, path, digest))
    if damaged and (not without_damaged or {DATABASE, SECRET_KEY} & {*damaged}):
        raise CannotServe(
            f"{len(damaged)} files of the backup are damaged or missing, such as {damaged[0]}; copy the backup here "
            "again. Pictures, but not the database and the key, can be left out with --without-damaged."
        )
    with stopped(settings.data_dir), ExitStack() as opened:
        files, target = open_files(settings), sqlite_file(settings)
        copying = opened.enter_context(_copying(settings, folder)) if target is None else None
        _refuse_used(settings, target, files, folder, sums)
        if copying is not None:
            copying.begin()
        for path in sums.keys() - {DATABASE, SECRET_KEY, *damaged}:
            key, data = path.removeprefix(f"{PICTURES}/"), (folder / path).read_bytes()
            files.put(key, data, mime_type_of(key))
        if SECRET_KEY in sums:
            _place(folder / SECRET_KEY, settings.data_dir / SECRET_KEY)
        if copying is not None:
            copying.run()
        if target is not None:
            _place(folder / DATABASE, target)
        os.sync()
    return Restored(manifest, damaged)


@contextmanager
def _copying(settings: Settings, folder: Path) -> Iterator[Copying]:
    """Prepare to copy the rows of the backup into PostgreSQL."""
    with closing(Database(settings)) as target, TemporaryDirectory() as scratch:
        refuse_served(target)
        source = settings.model_copy(update={"data_dir": folder, "database_url": ""})
        with copy_read(source, folder / DATABASE, Path(scratch)) as connection:
            yield Copying(connection, target, lambda *_: None)


def _read(folder: Path) -> tuple[Manifest, Mapping[str, str]]:
    """Return the manifest and the checksums, by path. Raises CannotServe."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        if manifest.format != FORMAT:
            raise CannotServe(
                f"{folder} was made by version {manifest.version}, in a form that this version does not know; "
                "install that version to restore it."
            )
        check_revision(manifest.revision)
        if checksum(folder / SUMS) != manifest.sums_sha256:
            raise CannotServe(f"{folder / SUMS} is damaged; copy the backup here again.")
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        sums = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    except (OSError, ValueError) as error:  # ValueError: not JSON, not a manifest, not UTF-8
        raise CannotServe(
            f"{folder} is no whole backup of this server: {MANIFEST} or {SUMS} cannot be read. Name a folder that "
            "'qwen-image-studio backup' made."
        ) from error
    _check_paths(folder, sums)
    return manifest, sums


def _check_paths(folder: Path, paths: Iterable[str]) -> None:
    """Raise CannotServe where a backup has no database, or names what no server has stored."""
    try:
        for path in {*paths} - {SECRET_KEY, DATABASE}:
            check_key(path.removeprefix(f"{PICTURES}/") if path.startswith(f"{PICTURES}/") else "")
    except StudioError:
        raise CannotServe(f"{folder / SUMS} names {path}, which does not belong into a backup.") from None
    if DATABASE not in paths:
        raise CannotServe(f"{folder} has no database, so it is no backup of this server.")


def _is_as_backed_up(folder: Path, path: str, digest: str) -> bool:
    try:
        return checksum(folder / path) == digest
    except OSError:
        return False


def _refuse_used(
    settings: Settings, target: Path | None, files: FileStore, folder: Path, sums: Mapping[str, str]
) -> None:
    """Raise CannotServe where a server has been at work; what a restore of this backup has left may be there."""
    secret = settings.data_dir / SECRET_KEY
    used = next(_in_the_way(target, secret, sums.get(SECRET_KEY)), None) or next(
        (key for key, _ in files.keys() if f"{PICTURES}/{key}" not in sums), None
    )
    if used is not None:
        raise CannotServe(
            f"There is a server's data already ({used}), and nothing was changed; restore into an empty folder: set "
            "STUDIO_DATA_DIR to one."
        )


def _in_the_way(target: Path | None, secret: Path, secret_digest: str | None) -> Iterator[Path]:
    if target is not None:
        # SQLite would write what another database left in these into the restored one.
        left = (target.with_name(f"{target.name}{ending}") for ending in ("", "-wal", "-journal"))
        yield from (path for path in left if path.exists())
    if secret.exists() and checksum(secret) != secret_digest:
        yield secret


def _place(source: Path, target: Path) -> None:
    """Copy a file, readable by its owner alone, so that it is there as a whole or not at all."""
    fresh = target.with_name(f".{target.name}.restored")
    fresh.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh.touch(mode=0o600)
    shutil.copyfile(source, fresh)
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(target)
