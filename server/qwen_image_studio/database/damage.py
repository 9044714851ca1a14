"""Databases that cannot be used: what the person at the shell is told, and how damage is found before it matters."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.database.tables import REVISION, metadata

_RESTORE = (
    "Restore a backup into an empty folder ('qwen-image-studio restore FOLDER'), or move the file away to start "
    "without its jobs and keys"
)
_DAMAGED = ("not a database", "malformed", "no such table", "no such column")
"""What SQLite says of a file that is none of its own, or not whole."""
MOVING = "moving "
"""What stands before the revision of a database while rows are copied into it."""
_REMEDIES = {
    "password authentication failed": "correct the user and the password in STUDIO_DATABASE_URL",
    "no password supplied": "write the password into STUDIO_DATABASE_URL, or set PGPASSWORD",
    "no pg_hba.conf entry": "let this host in: pg_hba.conf of PostgreSQL",
    'role "': "make the role (createuser), or correct the user in STUDIO_DATABASE_URL",
    'database "': "make the database (createdb), or correct its name in STUDIO_DATABASE_URL",
    "permission denied": "give the user of STUDIO_DATABASE_URL the rights: GRANT USAGE, CREATE ON SCHEMA, and all on "
    "the tables that are there",
    "no schema has been selected": "make the schema of the search_path (CREATE SCHEMA), or correct its name",
    "too many": "raise max_connections of PostgreSQL, or put PgBouncer before it",
}
"""What helps where PostgreSQL says this; the first that fits."""
_REACH = "see that it runs and can be reached, and that STUDIO_DATABASE_URL is right"
_REVISION = re.compile(r"[0-9]{4}", re.ASCII)
_QUICK_CHECK_BYTES = 100_000_000
"""Largest database that is read through at a start, in bytes; it takes less than a second."""


def unusable(url: URL, cause: object) -> CannotServe:
    """Return the error for a database that cannot be opened, read or written, because of `cause`."""
    if any(words in str(cause) for words in _DAMAGED):
        return damaged(url, f"{cause}")
    if url.get_backend_name() != "sqlite":
        said = " ".join(str(cause).split())
        remedy = next((remedy for words, remedy in _REMEDIES.items() if words in said), _REACH)
        return CannotServe(f"The database {shown(url)} cannot be used ({said}); {remedy}.")
    return CannotServe(
        f"The database {shown(url)} cannot be used ({cause}); free some space, see that this user may read and write "
        "it, or set STUDIO_DATA_DIR to another folder."
    )


def damaged(url: URL, sign: str) -> CannotServe:
    """Return the error for a database that shows a sign of damage."""
    return CannotServe(f"The database {shown(url)} is damaged ({sign}). {_RESTORE}.")


@contextmanager
def usable(url: URL) -> Iterator[None]:
    """Raise CannotServe where the block finds that the database cannot be used."""
    try:
        yield
    except StudioError as error:
        cause = error.__cause__
        if error.code == "database_busy" and url.get_backend_name() == "sqlite":
            raise CannotServe(
                f"The database {shown(url)} is locked by another process; end that, or try again in a moment."
            ) from error
        raise unusable(url, cause.orig if isinstance(cause, DBAPIError) else cause) from error


def check_revision(revision: str | None, where: str = "The database") -> None:
    """Raise CannotServe where this program does not know the revision of a database; one without tables has none."""
    if not revision:
        return
    if revision.startswith(MOVING):
        raise CannotServe(
            f"{where} has only a part of the rows that are being moved into it; run the command that moves them "
            "('qwen-image-studio move', or 'restore') again, until it ends."
        )
    if not _REVISION.fullmatch(revision):
        raise CannotServe(f"{where} has the revision '{revision[:40]}', which no version has made. {_RESTORE}.")
    if revision > REVISION:
        raise CannotServe(
            f"{where} was made by a newer version of this program (it has revision {revision}, and this version "
            f"knows up to {REVISION}); install that version again, or restore a backup from before the upgrade."
        )


def revision_of(connection: Connection) -> str | None:
    """Return the revision of a database; None where it has no tables yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def known_revision(connection: Connection, url: URL) -> str | None:
    """Return the revision of a database; None where it has no tables yet.

    Raises CannotServe where it is another program's, a newer version's, or lacks tables.
    """
    revision, there = revision_of(connection), set(inspect(connection).get_table_names())
    check_revision(revision, f"The database {shown(url)}")
    ours = set(metadata.tables)
    if revision is None and (taken := sorted(ours & there)):
        raise CannotServe(
            f"The database {shown(url)} is another program's, or damaged: it has a table '{taken[0]}' but no revision. "
            f"{_RESTORE}."
        )
    if revision == REVISION and (missing := sorted(ours - there)):
        raise damaged(url, f"it has no table '{missing[0]}'")
    return revision


def check_whole(connection: Connection, url: URL) -> None:
    """Read a SQLite database through, if that is quick, and raise CannotServe where it is not whole."""
    if connection.dialect.name != "sqlite":
        return
    sizes = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size")]
    if sizes[0] * sizes[1] > _QUICK_CHECK_BYTES:
        return
    verdict = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
    if verdict != "ok":
        raise damaged(url, " ".join(verdict.split())[:200])


def shown(url: URL) -> str:
    """Return what a database is called in messages, which never have a password in them."""
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    return url.set(query={}, drivername="postgresql").render_as_string(hide_password=True)
