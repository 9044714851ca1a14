"""A server's database as it is at one moment, to be read from: while others write, or held still."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, inspect, make_url, select, text, update
from sqlalchemy.pool import NullPool

from qwen_image_studio.contract.errors import CannotServe, Locked
from qwen_image_studio.database.connection import Database, migrate
from qwen_image_studio.database.copying import source_errors
from qwen_image_studio.database.damage import known_revision, shown, unusable, usable
from qwen_image_studio.database.errors import database_errors
from qwen_image_studio.database.postgresql import lift_limits
from qwen_image_studio.database.tables import REVISION, images, installation, jobs, metadata, workers
from qwen_image_studio.jobs.workers import SILENT_S
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.processes import is_locked, lock

_LOCK_S = 3.0
_WITH_ID = "0006"
"""First revision that has an id of the installation."""
_LAST = select(workers.c.name, workers.c.seen_at).order_by(workers.c.seen_at.desc()).limit(1)
_ALL = ", ".join(table.name for table in metadata.sorted_tables)


def sqlite_file(settings: Settings) -> Path | None:
    """Return the file of the settings' database; None where it is another kind of database."""
    url = make_url(settings.database)
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


# -- one at a time -------------------------------------------------------------------------------------------------


@contextmanager
def stopped(*folders: Path) -> Iterator[None]:
    """Keep servers from starting in these data folders. Raises CannotServe where one runs."""
    with ExitStack() as held:
        for folder in {each.resolve() for each in folders}:
            try:
                held.enter_context(lock(folder / "serve.lock", wait=False))
            except Locked as error:
                raise CannotServe(f"A server uses the folder {folder}; stop it first.") from error
            if running := next(filter(is_locked, folder.glob("worker-*.lock")), None):
                raise CannotServe(f"A worker uses the folder {folder} ({running.name}); stop it first.")
        yield


def refuse_served(database: Database) -> None:
    """Raise CannotServe where workers of any host have reported to a database a moment ago."""
    with usable(database.engine.url), database.reading() as connection:
        if not inspect(connection).has_table(workers.name):
            return
        last = connection.execute(_LAST).first()
        now = database.now()
    if last is not None and last.seen_at > now - SILENT_S:
        raise CannotServe(
            f"A server works on {shown(database.engine.url)}: its worker {last.name} has reported a moment ago. Stop "
            f"all its processes, wait {SILENT_S:.0f} s, and run this again."
        )


# -- copies --------------------------------------------------------------------------------------------------------


@contextmanager
def held_still(settings: Settings, scratch: Path) -> Iterator[Connection]:
    """Read a database of the newest revision, which nobody can change until the block ends: whoever tries is told that
    it is busy.

    A SQLite file is read from a copy in the folder `scratch`, which alone is migrated where it is older. Raises
    CannotServe.
    """
    file = sqlite_file(settings)
    if file is None:
        with closing(Database(settings)) as database:
            refuse_served(database)
            with snapshot(database, holding=True) as connection:
                yield connection
        return
    if not file.is_file():
        raise CannotServe(f"There is no database at {file}; is that the data folder of a server?")
    with _writing_held(file), copy_read(settings, file, scratch) as connection:
        yield connection


@contextmanager
def copy_read(settings: Settings, file: Path, scratch: Path) -> Iterator[Connection]:
    """Read a SQLite file from a copy in the folder `scratch`, which is migrated where it is older.

    Raises CannotServe.
    """
    copy_database(file, scratch / "studio.sqlite")
    url, of_copy = make_url(f"sqlite:///{file}"), settings.model_copy(update={"database_url": "", "data_dir": scratch})
    with closing(Database(of_copy)) as database:
        with usable(url):
            with database.reading() as connection:
                revision = known_revision(connection, url)
            if revision != REVISION:
                migrate(database)
            if (revision or "") < _WITH_ID:
                _draw_id(database, settings)
        with database.engine.connect() as connection:
            yield connection


def _draw_id(database: Database, settings: Settings) -> None:
    """Give a copy the same id whenever it is made: migrating draws a new one each time."""
    kept = settings.data_dir / "secret_key"
    secret = kept.read_bytes() if kept.is_file() else settings.secret_key.get_secret_value().encode()
    with database.writing() as connection:
        connection.execute(update(installation).values(id=hashlib.sha256(b"installation " + secret).hexdigest()[:32]))


@contextmanager
def snapshot(database: Database, *, holding: bool = False) -> Iterator[Connection]:
    """Read PostgreSQL as it is at one moment; with `holding`, nobody can write until the block ends. Raises CannotServe
    where it is not of this revision.
    """
    url = database.engine.url
    with usable(url), database.reading() as connection:
        revision = known_revision(connection, url)
    if revision != REVISION:
        raise CannotServe(
            f"The database {shown(url)} has the revision {revision}, and this version works with {REVISION}; run "
            "'qwen-image-studio migrate' first."
        )
    with ExitStack() as opened:
        with usable(url), database_errors():
            engine = database.engine.execution_options(isolation_level="REPEATABLE READ")
            connection = opened.enter_context(engine.connect())
            lift_limits(connection)
            if holding:
                connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_S * 1000:.0f}"))
                connection.execute(text(f"LOCK TABLE {_ALL} IN SHARE MODE"))
        yield connection


@contextmanager
def _writing_held(file: Path) -> Iterator[None]:
    """Be the one writer of a SQLite file, without writing."""
    with as_cannot_serve(file), closing(sqlite3.connect(file, timeout=_LOCK_S, isolation_level=None)) as holder:
        try:
            holder.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise CannotServe(f"Another process writes to {file}; stop it first.") from error
        yield


def copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite database as it is at one moment, while others read and write it. Raises CannotServe.

    The copy knows no workers: those that are shown as lost on another machine would never come back.
    """
    with as_cannot_serve(source):
        target.unlink(missing_ok=True)
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without others beside it
            [[verdict]] = copy.execute("PRAGMA quick_check(1)").fetchall()
            if verdict != "ok":
                raise CannotServe(f"The database {source} is damaged ({verdict}); restore an earlier backup.")
            with copy:
                copy.execute("DELETE FROM workers")


@contextmanager
def as_cannot_serve(database: Path) -> Iterator[None]:
    """Raise CannotServe where SQLite cannot use a file."""
    try:
        yield
    except sqlite3.Error as error:
        raise unusable(URL.create("sqlite", database=str(database)), error) from error


def opened_file(file: Path) -> Engine:
    """Return an engine for a SQLite file that is read by itself."""
    return create_engine(URL.create("sqlite", database=str(file)), poolclass=NullPool)


# -- what is in it -------------------------------------------------------------------------------------------------


def named_files(connection: Connection) -> dict[str, str | None]:
    """Return the keys of all images' files that a database names, whichever version made it; with the SHA-256 of those
    that rows tell.
    """
    with source_errors(connection):
        return _named_files(connection)


def _named_files(connection: Connection) -> dict[str, str | None]:
    there = {column["name"] for column in inspect(connection).get_columns(images.name)}
    others = [each for each in (images.c.thumbnail_key, images.c.comparison_key) if each.name in there]
    rows = select(images.c.key, images.c.sha256, *others)
    if images.c.deleted_at.name in there:
        rows = rows.where(images.c.deleted_at.is_(None))
    named: dict[str, str | None] = {}
    for key, sha256, *more in connection.execute(rows.execution_options(yield_per=1000)):
        named |= {each: None for each in more if each}
        if key:
            named[key] = sha256 or None
    return named


def named_previews(connection: Connection) -> dict[str, str | None]:
    """Return the keys of the previews of jobs that run."""
    rows = select(jobs.c.preview_key).where(jobs.c.state == "running", jobs.c.preview_key.is_not(None))
    with source_errors(connection):
        return dict.fromkeys(connection.scalars(rows))
