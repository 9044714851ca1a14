"""Moving a server: every row and file arrives as it was, whenever the move is cut off, or it is refused."""

import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Connection, create_engine, func, make_url, select, text, update
from sqlalchemy.pool import NullPool

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.contract.words import WorkerState
from qwen_image_studio.database.tables import REVISION, images, installation, jobs
from qwen_image_studio.gallery import Gallery, open_gallery
from qwen_image_studio.gallery.local import LocalStore
from qwen_image_studio.gallery.names import INSTALLATION_KEY
from qwen_image_studio.host.backup import back_up
from qwen_image_studio.host.move import Moved, move
from qwen_image_studio.host.restore import restore
from qwen_image_studio.imaging.received import stored_form
from qwen_image_studio.jobs import StoredImage, WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.processes import lock
from tests.support.database import with_tables, without_tables
from tests.support.rows import JSONS, contents, fill

OWNER = "tests"
TOLD: list[tuple[str, int, int]] = []


def tell(*told: Any) -> None:
    """Note what a move tells."""
    TOLD.append(told)


def on_sqlite(folder: Path, **more: Any) -> Settings:
    """Settings of a server with SQLite and files in its data folder, wherever the tests run."""
    url = f"sqlite:///{folder / 'studio.sqlite'}"
    return Settings(_env_file=None, **{"data_dir": folder, "database_url": url, **more})


@dataclass
class Kept:
    """A server's data, without its processes."""

    settings: Settings
    images: list[StoredImage]

    @contextmanager
    def galleries(self, target: Settings) -> Iterator[tuple[Gallery, Gallery]]:
        """Open its gallery, and that of the settings to which it was moved."""
        with open_store(self.settings) as old, open_store(target) as new:
            yield open_gallery(self.settings, old), open_gallery(target, new)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Rows in every table, and three uploads with their files; all other rows' files are gone, but for one."""
    settings = with_tables(on_sqlite(tmp_path / "old"))
    execute(settings, update(installation).values(id=token_hex(16)))
    with open_store(settings) as store:
        gallery = open_gallery(settings, store)
        made = [gallery.add(stored_form(Image.new("RGB", (32, 24), each)), OWNER) for each in ("red", "green", "blue")]
        gallery.link(made[0].key)  # makes the secret key
        with store.database.writing() as connection:
            fill(connection)
            connection.execute(images.update().where(images.c.job_id.is_not(None)).values(deleted_at=1.0))
    return Kept(settings, made)


@pytest.fixture
def target(tmp_path: Path) -> Settings:
    """Settings of where a server is moved to: PostgreSQL where the tests run on it, with tables and no rows."""
    return with_tables(Settings(_env_file=None, data_dir=tmp_path / "new"))


def is_postgresql(settings: Settings) -> bool:
    return make_url(settings.database).get_backend_name() == "postgresql"


@contextmanager
def connected(settings: Settings) -> Iterator[Connection]:
    """Open a transaction in a database, and commit it."""
    with create_engine(settings.database, poolclass=NullPool).begin() as connection:
        yield connection


def execute(settings: Settings, statement: Any, **values: Any) -> Any:
    """Execute a statement in a database; the first value of its answer, where it has one."""
    with connected(settings) as connection:
        answer = connection.execute(text(statement) if isinstance(statement, str) else statement, values)
        return answer.scalar() if answer.returns_rows else None


def assert_moved(kept: Kept, target: Settings, moved: Moved) -> None:
    """Everything is there as it was, and a server opens it."""
    assert moved.is_whole
    assert contents(target.database) == contents(kept.settings.database)
    with kept.galleries(target) as (before, gallery):
        for image in kept.images:
            assert hashlib.sha256(gallery.open(image.key)).hexdigest() == image.sha256
            assert gallery.open(image.thumbnail_key) == before.open(image.thumbnail_key)
            assert gallery.linked(before.link(image.key)) == before.open(image.key), "links that were given out"


# -- what arrives ---------------------------------------------------------------------------------------------------


def test_everything_arrives_as_it_was(kept: Kept, target: Settings) -> None:
    before = (kept.settings.data_dir / "studio.sqlite").read_bytes()
    moved = move(target, kept.settings, tell)
    assert_moved(kept, target, moved)
    assert (kept.settings.data_dir / "studio.sqlite").read_bytes() == before, "the source stays as it was"
    assert moved.rows is not None
    assert {name: tally.rows for name, tally in moved.rows.tallies.items()} == {
        name: len(rows) for name, rows in contents(kept.settings.database).items() if name != "installation"
    }
    assert moved.files is not None
    assert (moved.files.files, moved.files.put, moved.files.missing, moved.files.changed) == (6, 6, [], [])
    assert (target.data_dir / "secret_key").read_bytes() == (kept.settings.data_dir / "secret_key").read_bytes()
    assert (target.data_dir / "secret_key").stat().st_mode & 0o077 == 0
    mark = (target.data_dir / "images" / INSTALLATION_KEY).read_text()
    assert mark == execute(target, select(installation.c.id))
    assert not list(target.data_dir.glob(".move-*"))


def test_json_arrives_to_the_letter(kept: Kept, target: Settings) -> None:
    move(target, kept.settings, tell)
    found = []
    for settings in (kept.settings, target):
        with connected(settings) as connection:
            rows = connection.execute(text("SELECT CAST(request AS TEXT), CAST(plan AS TEXT) FROM jobs ORDER BY seq"))
            found.append([tuple(row) for row in rows])
    assert found[0] == found[1]
    assert {each for row in found[1] for each in row} == set(JSONS)


def test_the_next_job_comes_after_the_last(kept: Kept, target: Settings) -> None:
    move(target, kept.settings, tell)
    with connected(target) as connection:
        last = connection.execute(select(func.max(jobs.c.seq))).scalar_one()
        row = dict(connection.execute(select(jobs).where(jobs.c.seq == last)).mappings().one())
        row |= {"id": "job_next", "idempotency_key": "next", "parent_id": None, "share_key": None, "row": None}
        del row["seq"]
        connection.execute(jobs.insert(), row)
        assert connection.execute(select(jobs.c.seq).where(jobs.c.id == "job_next")).scalar_one() == last + 1


def test_a_part_can_stay_where_it_is(kept: Kept, target: Settings, tmp_path: Path) -> None:
    to = f"sqlite:///{tmp_path}/third.sqlite"
    rows_alone = kept.settings.model_copy(update={"database_url": target.database if is_postgresql(target) else to})
    moved = move(rows_alone, kept.settings, tell)
    assert moved.files is None
    assert_moved(kept, rows_alone, moved)
    elsewhere = rows_alone.model_copy(update={"storage_url": f"file://{target.data_dir}/bucket"})
    moved = move(elsewhere, rows_alone, tell)
    assert moved.rows is None
    assert_moved(kept, elsewhere, moved)
    with pytest.raises(CannotServe, match=r"nothing to move.*STUDIO_DATABASE_URL"):
        move(elsewhere, elsewhere, tell)


def test_a_target_without_tables_gets_them(kept: Kept, target: Settings) -> None:
    bare = without_tables(target)
    if not is_postgresql(target):
        (target.data_dir / "studio.sqlite").unlink()
    with pytest.raises(CannotServe, match="nothing was moved into it yet"):
        move(bare, kept.settings, tell, check=True)
    assert_moved(kept, bare, move(bare, kept.settings, tell))


def test_there_and_back_again(kept: Kept, target: Settings, tmp_path: Path) -> None:
    move(target, kept.settings, tell)
    back = on_sqlite(tmp_path / "back")
    assert_moved(kept, back, move(back, target, tell))


def test_texts_that_postgresql_refuses_are_changed_and_told(kept: Kept, target: Settings) -> None:
    long = "k" * 300
    execute(
        kept.settings,
        "UPDATE jobs SET \"user\" = 'a' || char(0) || 'b', idempotency_key = :long, plan = :plan WHERE seq = 1",
        long=long,
        plan='{"scale": NaN, "prompt": "NaN"}',
    )
    execute(kept.settings, "UPDATE jobs SET plan = :plan WHERE seq = 2", plan='{"prompt": "NaN and Infinity"}')
    moved = move(target, kept.settings, tell)
    assert moved.rows is not None
    if not is_postgresql(target):
        assert moved.rows.cleaned == {}
        return
    assert moved.rows.cleaned == {"jobs.user": 1, "jobs.idempotency_key": 1, "jobs.plan": 1}
    with connected(target) as connection:
        rows = connection.execute(select(jobs.c.user, jobs.c.idempotency_key, jobs.c.plan).order_by(jobs.c.seq)).all()
    assert rows[0].user == "a\ufffdb"
    assert rows[0].idempotency_key.startswith("k" * 200)
    assert len(rows[0].idempotency_key) == 255
    assert [row.plan for row in rows[:2]] == [
        {"scale": None, "prompt": "NaN"}, {"prompt": "NaN and Infinity"}
    ]  # fmt: skip
    assert move(target, kept.settings, tell, check=True).is_whole


def test_files_that_are_lost_or_damaged_before_are_told(kept: Kept, target: Settings) -> None:
    lost, damaged, _ = kept.images
    files = LocalStore(kept.settings.data_dir / "images")
    files.delete(lost.key)
    files.put(damaged.key, b"damaged", "image/png")
    moved = move(target, kept.settings, tell)
    assert moved.files is not None
    assert (moved.files.missing, moved.files.changed) == ([lost.key], [damaged.key])
    assert moved.is_whole
    with kept.galleries(target) as (_, gallery):
        assert gallery.open(damaged.key) == b"damaged"


def test_workers_of_the_old_machine_are_not_waited_for(kept: Kept, target: Settings) -> None:
    with open_store(kept.settings) as store:
        store.workers.note(WorkerReport("old/cpu", "cpu", WorkerState.READY, None, "", 1.0))
    move(target, kept.settings, tell)
    with open_store(target) as store:
        assert list(store.workers.all()) == []


# -- cut off --------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from sqlalchemy import Engine, event
from qwen_image_studio.gallery.local import LocalStore
from qwen_image_studio.host.move import move
from qwen_image_studio.settings import Settings

left = int(sys.argv[1])

def step(*_, **__):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

put = LocalStore.put
LocalStore.put = lambda *arguments: (step(), put(*arguments))[1]
event.listen(Engine, "before_cursor_execute", step)
event.listen(Engine, "commit", step)
move(*(Settings.model_validate_json(each) for each in sys.argv[2:4]), lambda *_: None)
print(int(sys.argv[1]) - left)
"""
"""A move that ends itself with kill -9 at the k-th statement, commit or file."""


def killed(steps: int, target: Settings, source: Settings) -> int | None:
    """Move, but kill it after so many steps; how many it had, where it came to its end."""
    shown = [each.model_dump_json(include={"data_dir", "database_url", "storage_url"}) for each in (target, source)]
    command = [sys.executable, "-c", KILLED, str(steps), *shown]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode in {0, -signal.SIGKILL}, ended.stderr
    return int(ended.stdout) if ended.returncode == 0 else None


def test_it_goes_on_wherever_it_was_killed(kept: Kept, target: Settings, tmp_path: Path) -> None:
    whole = killed(10**9, with_tables(Settings(_env_file=None, data_dir=tmp_path / "measured")), kept.settings)
    assert whole is not None
    points = sorted(random.sample(range(10, whole - 10), 4))
    ended = [killed(point, target, kept.settings) for point in points]
    assert ended[0] is None, (points, ended)
    assert_moved(kept, target, move(target, kept.settings, tell))
    assert move(target, kept.settings, tell, check=True).is_whole


def cut_off(target: Settings, source: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the rows, but break off before the mark is taken away."""
    with monkeypatch.context() as broken:

        def fail(_connection: Any) -> None:
            raise KeyboardInterrupt

        broken.setattr("qwen_image_studio.database.copying.set_sequences", fail)
        with pytest.raises(KeyboardInterrupt):
            move(target, source, tell)


def test_no_server_opens_half_of_it(kept: Kept, target: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(target, kept.settings, monkeypatch)
    with pytest.raises(CannotServe, match="only a part of the rows"):
        open_store(target)
    assert_moved(kept, target, move(target, kept.settings, tell))


def test_a_source_that_went_on_is_copied_anew(kept: Kept, target: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(target, kept.settings, monkeypatch)
    execute(kept.settings, "UPDATE jobs SET state = 'succeeded', version = 99 WHERE seq = 3")
    execute(kept.settings, "DELETE FROM usage WHERE submitted_at = (SELECT min(submitted_at) FROM usage)")
    assert_moved(kept, target, move(target, kept.settings, tell))


def test_only_what_is_missing_is_put_again(kept: Kept, target: Settings) -> None:
    move(target, kept.settings, tell)
    files = LocalStore(target.data_dir / "images")
    files.delete(kept.images[0].thumbnail_key)
    files.put(kept.images[1].key, b"damaged", "image/png")
    checked = move(target, kept.settings, tell, check=True)
    assert not checked.is_whole
    assert checked.files is not None
    assert sorted(checked.files.differing) == sorted([kept.images[0].thumbnail_key, kept.images[1].key])
    moved = move(target, kept.settings, tell)
    assert moved.files is not None
    assert moved.files.put == 2
    assert_moved(kept, target, moved)


def test_a_check_finds_a_row_that_differs(kept: Kept, target: Settings) -> None:
    move(target, kept.settings, tell)
    execute(target, "UPDATE jobs SET model = 'another' WHERE seq = 2")
    checked = move(target, kept.settings, tell, check=True)
    assert checked.rows is not None
    assert (checked.is_whole, list(checked.rows.differing)) == (False, ["jobs"])


# -- refused, and nothing changed -----------------------------------------------------------------------------------


def test_a_target_that_was_used_since_is_left_alone(kept: Kept, target: Settings) -> None:
    move(target, kept.settings, tell)
    execute(target, "UPDATE jobs SET model = 'another' WHERE seq = 2")
    before = contents(target.database)
    with pytest.raises(CannotServe, match=r"was used since .*'jobs' differs.*nothing was changed"):
        move(target, kept.settings, tell)
    assert contents(target.database) == before


@pytest.mark.parametrize("has", ["rows", "files"])
def test_another_servers_data_is_left_alone(kept: Kept, target: Settings, has: str) -> None:
    if has == "rows":
        with open_store(target) as store, store.database.writing() as connection:
            fill(connection, rows=2)
    else:
        LocalStore(target.data_dir / "images").put(INSTALLATION_KEY, b"another", "text/plain")
    before = contents(target.database)
    with pytest.raises(CannotServe, match="of another server, and nothing was changed"):
        move(target, kept.settings, tell)
    assert contents(target.database) == before


def test_files_without_a_mark_that_no_row_names_are_anothers(kept: Kept, target: Settings) -> None:
    LocalStore(target.data_dir / "images").put("2026/11/21/img_0123456789abcdef01234567.png", b"x", "image/png")
    with pytest.raises(CannotServe, match="images of another server"):
        move(target, kept.settings, tell)


def test_two_moves_do_not_mix(kept: Kept, target: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(target, kept.settings, monkeypatch)
    other = with_tables(on_sqlite(tmp_path / "other"))
    with pytest.raises(CannotServe, match="the data of another server"):
        move(target.model_copy(update={"storage_url": f"file://{tmp_path}/elsewhere"}), other, tell)


def in_a_thread(call: Callable[[], object]) -> BaseException | None:
    """Call as another process would, since a lock knows that its own thread holds it; what was raised."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except CannotServe as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return failed[0] if failed else None


@pytest.mark.parametrize("name", ["serve.lock", "worker-cpu.lock"])
@pytest.mark.parametrize("of_target", [False, True])
def test_a_server_that_runs_is_not_moved(kept: Kept, tmp_path: Path, name: str, of_target: bool) -> None:
    target = on_sqlite(tmp_path / "new")
    with lock((target if of_target else kept.settings).data_dir / name):
        assert "stop it first" in str(in_a_thread(lambda: move(target, kept.settings, tell)))
    assert not (target.data_dir / "studio.sqlite").exists()


def test_nothing_is_accepted_while_it_moves(kept: Kept, target: Settings) -> None:
    tried: list[str] = []

    def write(*_: Any) -> None:
        with closing(sqlite3.connect(kept.settings.data_dir / "studio.sqlite", timeout=0)) as database:
            try:
                database.execute("UPDATE jobs SET version = version + 1")
            except sqlite3.OperationalError as error:
                tried.append(str(error))

    assert_moved(kept, target, move(target, kept.settings, write))
    assert set(tried) == {"database is locked"}


def test_a_database_whose_workers_report_is_served(kept: Kept, target: Settings) -> None:
    with open_store(target) as store:
        store.workers.note(WorkerReport("other/cpu", "cpu", WorkerState.READY, None, "", store.database.now()))
    with pytest.raises(CannotServe, match=r"A server works on .*other/cpu.*Stop all its processes"):
        move(target, kept.settings, tell)


def test_a_database_of_a_newer_version_is_refused(kept: Kept, target: Settings) -> None:
    execute(target, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CannotServe, match="newer version"):
        move(target, kept.settings, tell)
    execute(kept.settings, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CannotServe, match=r"newer version.*install that version again"):
        move(on_sqlite(target.data_dir / "third"), kept.settings, tell)


def test_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CannotServe, match=r"There is no database at .*data folder of a server"):
        move(on_sqlite(tmp_path / "new"), on_sqlite(tmp_path / "empty"), tell)


# -- the key that signs links ---------------------------------------------------------------------------------------


def test_a_key_in_the_settings_that_signed_nothing_is_told(kept: Kept, tmp_path: Path) -> None:
    new = on_sqlite(tmp_path / "new", secret_key="another")
    assert "set STUDIO_SECRET_KEY_FALLBACKS" in move(new, kept.settings, tell).advice
    old = (kept.settings.data_dir / "secret_key").read_text()
    newer = on_sqlite(tmp_path / "newer", secret_key="another", secret_key_fallbacks=old)
    moved = move(newer, kept.settings, tell)
    assert moved.advice == ""
    assert_moved(kept, newer, moved)
    assert old not in "".join(map(str, TOLD)), "no key is told"


def test_a_source_without_a_key_is_told(kept: Kept, tmp_path: Path) -> None:
    (kept.settings.data_dir / "secret_key").unlink()
    assert "Set STUDIO_SECRET_KEY" in move(on_sqlite(tmp_path / "new"), kept.settings, tell).advice
    assert move(on_sqlite(tmp_path / "newer", secret_key="its own"), kept.settings, tell).advice == ""


def test_another_key_in_the_way_stops_it(kept: Kept, tmp_path: Path) -> None:
    new = on_sqlite(tmp_path / "new")
    new.data_dir.mkdir()
    (new.data_dir / "secret_key").write_text("another")
    with pytest.raises(CannotServe, match=r"is another key than .*STUDIO_SECRET_KEY_FALLBACKS"):
        move(new, kept.settings, tell)
    (new.data_dir / "secret_key").unlink()
    assert_moved(kept, new, move(new, kept.settings, tell))


# -- backups --------------------------------------------------------------------------------------------------------


def test_a_backup_of_either_is_restored_into_either(kept: Kept, target: Settings, tmp_path: Path) -> None:
    move(target, kept.settings, tell)
    made = back_up(target, tmp_path / "backup")
    assert (made.missing, made.revision, made.files) == ([], REVISION, 6 + 3)
    assert {each.name for each in (tmp_path / "backup").iterdir()} == {
        "manifest.json", "SHA256SUMS", "studio.sqlite", "secret_key", "images",
    }  # fmt: skip
    back = on_sqlite(tmp_path / "back")
    restore(back, tmp_path / "backup")
    assert contents(back.database) == contents(kept.settings.database)
    execute(target, "UPDATE jobs SET model = 'another' WHERE seq = 2")
    with pytest.raises(CannotServe, match=r"a server's data already|was used since"):
        restore(target, tmp_path / "backup")


def test_a_backup_is_restored_where_the_settings_say(kept: Kept, target: Settings, tmp_path: Path) -> None:
    back_up(kept.settings, tmp_path / "backup")
    if not is_postgresql(target):
        (target.data_dir / "studio.sqlite").unlink()
    restored = restore(target, tmp_path / "backup")
    assert restored.damaged == []
    assert contents(target.database) == contents(kept.settings.database)
    with kept.galleries(target) as (before, gallery):
        for image in kept.images:
            assert gallery.linked(before.link(image.key)) == before.open(image.key)
