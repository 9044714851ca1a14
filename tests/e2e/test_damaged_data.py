"""B9: what a command says of a database or secret key that cannot be used: one line, with what to do."""

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect, make_url, text

from qwen_image_studio.database.tables import REVISION, metadata
from qwen_image_studio.gallery.links import open_links
from qwen_image_studio.settings import Settings
from tests.e2e.test_command_line import assert_one_line, run_here
from tests.support.database import changing, looking, runs_on_postgresql, sqlite_alone, with_tables

Spoil = Callable[[Path], object]


def with_sql(*statements: str) -> Spoil:
    """Change the database of a data folder behind the program's back."""

    def spoil(folder: Path) -> None:
        with changing(folder) as connection:
            for statement in statements:
                connection.execute(text(statement))

    return spoil


def with_bytes(change: Callable[[bytes], bytes]) -> Spoil:
    """Change the file of a database."""
    return lambda folder: database_of(folder).write_bytes(change(database_of(folder).read_bytes()))


def another_programs(folder: Path) -> None:
    with changing(folder) as connection:
        metadata.drop_all(connection)
    with_sql("DROP TABLE alembic_version", "CREATE TABLE jobs (x INTEGER)")(folder)


DAMAGED_FILES: dict[str, tuple[Spoil, str]] = {
    "garbage": (with_bytes(lambda data: os.urandom(len(data))), "restore"),
    "text": (with_bytes(lambda _: b"this is no database\n" * 500), "restore"),
    "truncated": (with_bytes(lambda data: data[:20_000]), "restore"),
    "only its header": (with_bytes(lambda data: data[:100]), "restore"),
    "zeros after a page": (with_bytes(lambda data: data[:4096] + bytes(len(data) - 4096)), "restore"),
}
CHANGED: dict[str, tuple[Spoil, str]] = {
    "made by a newer version": (with_sql("UPDATE alembic_version SET version_num = '0999'"), "newer version"),
    "of a revision that never was": (with_sql("UPDATE alembic_version SET version_num = '0003x'"), "0003x"),
    "without a table": (with_sql("DROP TABLE job_inputs"), "job_inputs"),
    "another program's": (another_programs, "another program"),
}
COMMANDS = {
    "serve": ("serve",),
    "keys": ("keys", "list"),
    "prune": ("prune", "--older-than", "1d"),
    "web": ("web",),
    "light": ("light",),
}


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that cannot be listened on, so that a `serve` that finds nothing wrong ends as well."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield str(listening.getsockname()[1])


def database_of(folder: Path) -> Path:
    """The file of a data folder's database."""
    return folder / "studio.sqlite"


def database_in(folder: Path) -> Path:
    """The file of the database that a data folder in this folder has from now on."""
    with_tables(Settings(_env_file=None, data_dir=folder / "data"))
    return database_of(folder / "data")


def told_of(folder: Path, port: str, *words: str) -> None:
    """Every command says in one line what is wrong with the database of a data folder in this folder."""
    for command in COMMANDS.values():
        assert_one_line(run_here(folder, *command, port=port), *words)
    doctor, where = run_here(folder, "doctor"), f"in {folder / 'data'}"
    if runs_on_postgresql():
        where = "that STUDIO_DATABASE_URL names"
    assert doctor.returncode == 1
    assert f"BAD   the database {where} cannot be used" in doctor.stdout
    assert words[-1] in doctor.stdout


@sqlite_alone("its file")
@pytest.mark.parametrize(("spoil", "words"), DAMAGED_FILES.values(), ids=DAMAGED_FILES)
def test_a_file_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, taken: str, spoil: Spoil, words: str) -> None:
    path = database_in(tmp_path)
    spoil(tmp_path / "data")
    before = path.read_bytes()
    told_of(tmp_path, taken, str(path), words)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("spoil", "words"), CHANGED.values(), ids=CHANGED)
def test_a_database_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, taken: str, spoil: Spoil, words: str
) -> None:
    path = database_in(tmp_path)
    spoil(tmp_path / "data")
    before = contents(tmp_path / "data")
    told_of(tmp_path, taken, str(path) if path.exists() else address_of(tmp_path / "data"), words)
    assert contents(tmp_path / "data") == before


def address_of(folder: Path) -> str:
    """Where the database of a data folder is, as a person at a shell would write it."""
    url = make_url(Settings(_env_file=None, data_dir=folder).database)
    return f"{url.get_backend_name()}://{url.username}@{url.host}:{url.port}/{url.database}"


def contents(folder: Path) -> dict[str, int]:
    """The tables of a data folder's database, and how many rows each has."""
    with looking(folder) as connection:
        names = inspect(connection).get_table_names()
        return {name: connection.scalar(text(f"SELECT COUNT(*) FROM {name}")) or 0 for name in names}  # noqa: S608


@sqlite_alone("its file")
@pytest.mark.parametrize("kind", ["garbage", "truncated", "zeros after a page"])
def test_a_damaged_database_is_not_backed_up(tmp_path: Path, kind: str) -> None:
    path = database_in(tmp_path)
    DAMAGED_FILES[kind][0](tmp_path / "data")
    assert_one_line(run_here(tmp_path, "backup", "saved"), str(path), "restore")
    assert not (tmp_path / "saved").exists()


@sqlite_alone("its file")
def test_damage_that_no_first_look_meets_is_found_before_jobs_are_taken(tmp_path: Path, taken: str) -> None:
    path = database_in(tmp_path)
    with_sql(
        "INSERT INTO api_keys (name, owner, hash, created_at)"
        " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500)"
        " SELECT 'key' || i, 'ann', 'hash' || i, 0 FROM n"
    )(tmp_path / "data")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [[page]] = connection.execute("SELECT pageno FROM dbstat WHERE name = 'api_keys' AND pagetype = 'leaf' LIMIT 1")
        [[size]] = connection.execute("PRAGMA page_size")
    data = bytearray(path.read_bytes())
    data[(page - 1) * size : page * size] = b"\x7f" * size
    path.write_bytes(data)
    assert_one_line(run_here(tmp_path, "serve", port=taken), str(path), "damaged", "restore")
    assert "cannot be used" in run_here(tmp_path, "doctor").stdout


@sqlite_alone("its one lock")
def test_a_database_that_another_process_keeps_locked_is_told_in_one_line(
    tmp_path: Path, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database_in(tmp_path)
    monkeypatch.setattr("qwen_image_studio.database.sqlite.BUSY_TIMEOUT_MS", 10)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        for command in (COMMANDS["serve"], COMMANDS["keys"]):
            assert_one_line(run_here(tmp_path, *command, port=taken), str(path), "locked by another process")
        assert "locked by another process" in run_here(tmp_path, "doctor").stdout


BLANK = [b"", b"\n", b"\0" * 64, b"\xff\xfe" * 30]


@pytest.mark.parametrize("content", BLANK)
def test_a_secret_key_that_cannot_sign_is_told_before_a_job_is_taken(
    tmp_path: Path, taken: str, content: bytes
) -> None:
    database_in(tmp_path)
    path = tmp_path / "data" / "secret_key"
    path.write_bytes(content)
    for command in (COMMANDS["serve"], COMMANDS["prune"], COMMANDS["light"]):
        answer = run_here(tmp_path, *command, port=taken, models="miniature")
        assert_one_line(answer, str(path), "delete it", "backup")
    doctor = run_here(tmp_path, "doctor")
    assert doctor.returncode == 1
    assert "BAD   links to pictures cannot be signed" in doctor.stdout
    assert str(path) in doctor.stdout
    assert path.read_bytes() == content
    assert_one_line(run_here(tmp_path, "serve", port=taken, secret_key="of the environment"), f"Port {taken}")


@sqlite_alone("PostgreSQL's tools back it up")
def test_a_secret_key_that_cannot_sign_is_not_backed_up(tmp_path: Path) -> None:
    database_in(tmp_path)
    path = tmp_path / "data" / "secret_key"
    path.write_bytes(BLANK[0])
    assert_one_line(run_here(tmp_path, "backup", "saved"), str(path), "delete it", "backup")


def test_a_key_of_the_operators_own_goes_on_signing(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("short and with a line's end\n")
    settings = Settings(_env_file=None, data_dir=tmp_path)
    url = open_links(settings).link("2026/11/21/a.png")
    same = Settings(_env_file=None, data_dir=tmp_path / "other", secret_key="short and with a line's end\n")
    assert open_links(same).key_of(url) == "2026/11/21/a.png"


def test_a_new_key_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "secret_key", []

    def note(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), path.exists()))

    monkeypatch.setattr(os, "fsync", note)
    open_links(Settings(_env_file=None, data_dir=tmp_path))
    [(file, named_before), (folder, named_after)] = synced
    assert (Path(file).parent, named_before) == (tmp_path, False)
    assert (Path(folder), named_after) == (tmp_path, True)
    assert [each.name for each in tmp_path.iterdir()] == ["secret_key"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_newest_revision_is_no_damage(tmp_path: Path) -> None:
    database_in(tmp_path)
    with looking(tmp_path / "data") as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == REVISION
    assert run_here(tmp_path, "keys", "list").returncode == 0
