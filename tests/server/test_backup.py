"""Backups: together whatever happens meanwhile, whole or not there, and restored only where nothing is in the way."""

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import update

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.contract.words import LIGHT_DEVICE, WorkerState
from qwen_image_studio.database.tables import images
from qwen_image_studio.gallery import Gallery, open_gallery
from qwen_image_studio.gallery.local import LocalStore
from qwen_image_studio.gallery.names import INSTALLATION_KEY
from qwen_image_studio.gallery.store import StoredFile
from qwen_image_studio.host.backup import back_up, checksum
from qwen_image_studio.host.doctor import examine
from qwen_image_studio.host.restore import restore
from qwen_image_studio.imaging.received import stored_form
from qwen_image_studio.jobs import JobStore, StoredImage, WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.processes import lock
from tests.support.authority import authority

OWNER = "tests"


@dataclass
class Kept:
    """One server's data, without its processes."""

    settings: Settings
    store: JobStore
    gallery: Gallery

    def add(self, colour: str) -> StoredImage:
        """Upload a picture."""
        return self.gallery.add(stored_form(Image.new("RGB", (32, 24), colour)), OWNER)

    def opens(self, image: StoredImage) -> bool:
        """Whether picture and thumbnail are there, the picture to the bit."""
        return len(self.gallery.open(image.key)) == image.bytes and bool(self.gallery.open(image.thumbnail_key))


def kept_in(folder: Path, **more: Any) -> Kept:
    """Open the data in a folder, which is made where there is none."""
    settings = Settings(_env_file=None, data_dir=folder, **more)
    store = open_store(settings)
    return Kept(settings, store, open_gallery(settings, store))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Data with three pictures."""
    kept = kept_in(tmp_path / "data")
    for colour in ("red", "green", "blue"):
        kept.add(colour)
    return kept


@pytest.fixture
def folder(kept: Kept, tmp_path: Path) -> Path:
    """A backup of that data."""
    back_up(kept.settings, tmp_path / "backup")
    return tmp_path / "backup"


@pytest.fixture
def empty(tmp_path: Path) -> Settings:
    """Settings with a data folder that is not there yet."""
    return Settings(_env_file=None, data_dir=tmp_path / "new" / "data")


def pictures(folder: Path) -> set[str]:
    """The keys of all files of pictures below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_restored_is_what_was_there(kept: Kept, tmp_path: Path, empty: Settings) -> None:
    picture = kept.add("white")
    link = kept.gallery.link(picture.key)
    made = back_up(kept.settings, tmp_path / "deep" / "backup")
    assert (made.files, made.missing) == (2 * 4 + 2, [])
    restored = restore(empty, tmp_path / "deep" / "backup")
    assert (restored.manifest, restored.damaged) == (made, [])
    again = kept_in(empty.data_dir)
    assert again.opens(picture)
    assert again.gallery.open(picture.key) == kept.gallery.open(picture.key)
    assert again.gallery.linked(link) == kept.gallery.open(picture.key), "links go on opening"
    assert again.store.forgetting.installation() == kept.store.forgetting.installation()
    assert (empty.data_dir / "secret_key").stat().st_mode & 0o077 == 0


def test_of_signed_pictures_both_hashes_come_along_and_the_key_does_not(
    kept: Kept, tmp_path: Path, empty: Settings
) -> None:
    keys = authority().issue().files(kept.settings.data_dir)  # where a backup takes some files from
    signs = kept_in(kept.settings.data_dir, **keys)
    picture = signs.add("white")
    with signs.store.database.writing() as connection:
        of_picture = update(images).where(images.c.id == picture.id)
        connection.execute(of_picture.values(unsigned_sha256="ab" * 32))
    back_up(signs.settings, tmp_path / "backup")
    restore(empty, tmp_path / "backup")
    again = kept_in(empty.data_dir).store.images.get(picture.id)
    assert (again.sha256, again.unsigned_sha256) == (picture.sha256, "ab" * 32)
    files = [path for path in (tmp_path / "backup").rglob("*") if path.is_file()]
    assert not [path for path in files if b"PRIVATE KEY" in path.read_bytes()]


def test_a_backup_is_for_its_owner_and_sha256sum(folder: Path) -> None:
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "secret_key").stat().st_mode & 0o077 == 0, "also in a copy of the folder"
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "SHA256SUMS", "studio.sqlite", "secret_key", "images",
    }, "and no files that SQLite left"  # fmt: skip
    if tool := shutil.which("sha256sum"):
        subprocess.run([tool, "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_the_mark_of_the_pictures_comes_along(kept: Kept, tmp_path: Path, empty: Settings) -> None:
    kept.gallery.files.put(INSTALLATION_KEY, kept.store.forgetting.installation().encode(), "text/plain")
    back_up(kept.settings, tmp_path / "backup")
    restore(empty, tmp_path / "backup")
    assert kept_in(empty.data_dir).gallery.open(INSTALLATION_KEY) == kept.store.forgetting.installation().encode()


def test_workers_of_the_old_machine_are_not_waited_for(kept: Kept, tmp_path: Path, empty: Settings) -> None:
    kept.store.workers.note(
        WorkerReport(f"elsewhere/{LIGHT_DEVICE}", LIGHT_DEVICE, WorkerState.READY, None, "", 1_700_000_000.0)
    )
    back_up(kept.settings, tmp_path / "backup")
    assert len(list(kept.store.workers.all())) == 1
    restore(empty, tmp_path / "backup")
    assert list(kept_in(empty.data_dir).store.workers.all()) == []


def test_database_and_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    def elsewhere(name: str) -> dict[str, Any]:
        return {
            "database_url": f"sqlite:///{tmp_path / name}.sqlite",
            "storage_url": f"file://{tmp_path / name}-pictures",
        }

    kept = kept_in(tmp_path / "data", **elsewhere("old"))
    picture = kept.add("red")
    back_up(kept.settings, tmp_path / "backup")
    restore(Settings(_env_file=None, data_dir=tmp_path / "new", **elsewhere("new")), tmp_path / "backup")
    assert kept_in(tmp_path / "new", **elsewhere("new")).opens(picture)
    assert pictures(tmp_path / "new-pictures") == pictures(tmp_path / "old-pictures")


# -- while others write --------------------------------------------------------------------------------------------


def test_what_is_deleted_during_the_backup_is_not_half_there(
    kept: Kept, tmp_path: Path, empty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = [kept.add("black") for _ in range(3)]
    really_open = LocalStore.open

    def open_after_deleting(self: LocalStore, key: str) -> StoredFile:
        if doomed:
            kept.gallery.forget_image(doomed.pop().id, OWNER)
        return really_open(self, key)

    monkeypatch.setattr(LocalStore, "open", open_after_deleting)
    made = back_up(kept.settings, tmp_path / "backup")
    monkeypatch.undo()
    assert made.missing == []
    restore(empty, tmp_path / "backup")
    again = kept_in(empty.data_dir)
    left = pictures(empty.data_dir / "images")
    assert len(left) == 2 * 3
    assert again.store.forgetting.named_keys(sorted(left)) == left


def test_a_file_that_was_lost_before_is_told_and_the_rest_is_backed_up(
    kept: Kept, tmp_path: Path, empty: Settings
) -> None:
    lost, good = kept.add("black"), kept.add("white")
    kept.gallery.files.delete(lost.thumbnail_key)
    made = back_up(kept.settings, tmp_path / "backup")
    assert made.missing == [lost.thumbnail_key]
    restore(empty, tmp_path / "backup")
    again = kept_in(empty.data_dir)
    assert again.opens(good)
    with pytest.raises(StudioError) as caught:
        again.opens(lost)
    assert caught.value.code == "not_found"


def test_whatever_a_busy_server_has_stored_is_together(kept: Kept, tmp_path: Path, empty: Settings) -> None:
    busy, stop = threading.Event(), threading.Event()

    def add_and_delete() -> None:
        while not stop.is_set():
            kept.gallery.forget_image(kept.add("black").id, OWNER)
            kept.add("white")
            busy.set()

    thread = threading.Thread(target=add_and_delete)
    thread.start()
    try:
        assert busy.wait(60)
        made = back_up(kept.settings, tmp_path / "backup")
    finally:
        stop.set()
        thread.join()
    assert made.missing == []
    restore(empty, tmp_path / "backup")
    again, found = kept_in(empty.data_dir), pictures(empty.data_dir / "images")
    assert again.store.forgetting.named_keys(sorted(found)) == found
    with closing(sqlite3.connect(empty.data_dir / "studio.sqlite")) as database:
        rows = database.execute("SELECT key, thumbnail_key FROM images WHERE deleted_at IS NULL").fetchall()
    assert {key for row in rows for key in row} == found


# -- whole, or not there -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails_at", range(1, 10))
def test_a_full_disk_leaves_nothing(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    written: list[Path] = []
    really_open = Path.open

    def open_until_full(self: Path, mode: str = "r", **more: Any) -> Any:
        if set(mode) & {"x", "w"}:
            written.append(self)
            if len(written) == fails_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_open(self, mode, **more)

    monkeypatch.setattr(Path, "open", open_until_full)
    before = {path.name for path in tmp_path.iterdir()}
    if fails_at <= 2 * 3 + 2:  # three pictures with their thumbnails, the checksums, the manifest
        with pytest.raises(OSError, match="No space left"):
            back_up(kept.settings, tmp_path / "backup")
        assert {path.name for path in tmp_path.iterdir()} == before
    else:
        back_up(kept.settings, tmp_path / "backup")
        assert {path.name for path in tmp_path.iterdir()} == before | {"backup"}


def test_a_killed_backup_does_not_look_like_one(kept: Kept, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from qwen_image_studio.host.backup import back_up\n"
        "from qwen_image_studio.settings import Settings\n"
        "os.sync = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"  # the last thing before the name
        "back_up(Settings(_env_file=None, data_dir=Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", program, str(kept.settings.data_dir), str(tmp_path / "backup")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "backup").exists()
    assert [path.name.startswith(".backup.") for path in tmp_path.glob(".*.partial")] == [True]
    back_up(kept.settings, tmp_path / "backup")


def test_nothing_is_overwritten(kept: Kept, folder: Path) -> None:
    with pytest.raises(CannotServe, match="exists already"):
        back_up(kept.settings, folder)


def test_where_there_is_nothing_it_is_said(empty: Settings, tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match="nothing to back up; is STUDIO_DATA_DIR right"):
        back_up(empty, tmp_path / "backup")


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""], ids=["junk", "empty"])
def test_what_is_no_database_of_ours_is_not_backed_up(empty: Settings, tmp_path: Path, content: bytes) -> None:
    empty.data_dir.mkdir(parents=True)
    (empty.data_dir / "studio.sqlite").write_bytes(content)
    with pytest.raises(CannotServe, match="is damaged"):
        back_up(empty, tmp_path / "backup")
    assert list(tmp_path.glob(".*.partial")) == []


# -- restoring -----------------------------------------------------------------------------------------------------


def test_a_folder_with_a_servers_data_is_left_alone(kept: Kept, folder: Path) -> None:
    before = (kept.settings.data_dir / "studio.sqlite").read_bytes(), pictures(kept.settings.data_dir / "images")
    with pytest.raises(CannotServe, match=r"a server's data already.*set STUDIO_DATA_DIR"):
        restore(kept.settings, folder)
    after = (kept.settings.data_dir / "studio.sqlite").read_bytes(), pictures(kept.settings.data_dir / "images")
    assert before == after


@pytest.mark.parametrize(
    "name", ["secret_key", "images/2026/11/28/img_0123.png", "studio.sqlite-wal", "studio.sqlite-journal"]
)
def test_whatever_a_server_has_left_is_in_the_way(empty: Settings, folder: Path, name: str) -> None:
    there = empty.data_dir / name
    there.parent.mkdir(parents=True)
    there.write_text("another server's")
    with pytest.raises(CannotServe, match="a server's data already"):
        restore(empty, folder)
    assert not (empty.data_dir / "studio.sqlite").exists()
    assert there.read_text() == "another server's"


def test_a_running_server_is_not_restored_over(empty: Settings, folder: Path) -> None:
    with lock(empty.data_dir / "serve.lock"), pytest.raises(CannotServe, match="stop it first"):
        restore_in_a_thread(empty, folder)


def restore_in_a_thread(settings: Settings, folder: Path) -> None:
    """Restore as another process would: a lock knows that its own thread holds it."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            restore(settings, folder)
        except CannotServe as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for error in failed:
        raise error


def test_a_restore_that_was_cut_off_is_done_again(
    kept: Kept, folder: Path, empty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts: list[str] = []
    really_put = LocalStore.put

    def put(self: LocalStore, key: str, data: bytes, mime_type: str) -> None:
        puts.append(key)
        if len(puts) == 4:
            raise StudioError("storage_failed", "Planted.")
        really_put(self, key, data, mime_type)

    monkeypatch.setattr(LocalStore, "put", put)
    with pytest.raises(StudioError, match="Planted"):
        restore(empty, folder)
    assert not (empty.data_dir / "studio.sqlite").exists(), "the database comes last"
    restore(empty, folder)
    assert pictures(empty.data_dir / "images") == pictures(kept.settings.data_dir / "images")


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b"x"), Path.unlink], ids=["changed", "gone"])
def test_a_damaged_picture_stops_the_restore_or_is_left_out(
    folder: Path, empty: Settings, harm: Callable[[Path], object]
) -> None:
    path = next((folder / "images").rglob("*.png"))
    harm(path)
    with pytest.raises(CannotServe, match=rf"1 files .* such as images/.*{path.name}.*--without-damaged"):
        restore(empty, folder)
    assert not empty.data_dir.exists(), "nothing was changed"
    restored = restore(empty, folder, without_damaged=True)
    assert restored.damaged == [str(path.relative_to(folder))]
    assert len(pictures(empty.data_dir / "images")) == 5


@pytest.mark.parametrize("name", ["studio.sqlite", "SHA256SUMS", "manifest.json"])
@pytest.mark.parametrize("without_damaged", [True, False])
def test_nothing_else_is_left_out(folder: Path, empty: Settings, name: str, without_damaged: bool) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-10])
    with pytest.raises(CannotServe, match=r"copy the backup here again|cannot be read"):
        restore(empty, folder, without_damaged=without_damaged)
    (folder / name).unlink()
    with pytest.raises(CannotServe, match=r"copy the backup here again|cannot be read"):
        restore(empty, folder, without_damaged=without_damaged)
    assert not empty.data_dir.exists()


def test_checksums_that_are_no_text_are_refused(folder: Path, empty: Settings) -> None:
    (folder / "SHA256SUMS").write_bytes(b"\xff\xfe")
    manifest = json.loads((folder / "manifest.json").read_text()) | {"sums_sha256": checksum(folder / "SHA256SUMS")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CannotServe, match="is no whole backup of this server"):
        restore(empty, folder)


@pytest.mark.parametrize("path", ["../outside", "images/../../outside", "/etc/passwd", "images/", "else"])
def test_a_forged_path_is_refused(folder: Path, empty: Settings, path: str) -> None:
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  {path}\n")
    manifest = json.loads((folder / "manifest.json").read_text()) | {"sums_sha256": checksum(folder / "SHA256SUMS")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CannotServe, match="does not belong into a backup"):
        restore(empty, folder, without_damaged=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2, "version": "9.0"}, r"made by version 9\.0.*install that version"),
        ({"revision": "9999"}, r"made by a newer version.*9999.*install that version again, or restore a backup"),
    ],
)
def test_a_backup_of_a_newer_version_is_refused(
    folder: Path, empty: Settings, changes: dict[str, object], said: str
) -> None:
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CannotServe, match=said):
        restore(empty, folder)
    assert not empty.data_dir.exists()


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(kept: Kept) -> None:
    path = kept.settings.data_dir / "studio.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CannotServe, match=r"newer version.*revision 9999.*install that version again, or restore"):
        open_store(kept.settings)
    lines, healthy = examine(kept.settings)
    assert not healthy
    assert any("install that version again" in line for line in lines)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
