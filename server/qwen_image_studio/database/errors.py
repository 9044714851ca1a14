"""Errors of the database, as callers are told of them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnection

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.database.writers import TurnNeverCame

_PASSES = frozenset(
    (
        *("40P01", "40001"),  # a deadlock, or what others wrote at the same moment
        *("55P03", "57014"),  # a lock or a statement took too long
        *("57P01", "57P02", "57P03", "57P05", "25P03"),  # the server stops or starts, or has closed the connection
        "25006",  # it only reads, as a replica does until the rest of a failover
        "53300",  # it has no connection left
    )
)
"""PostgreSQL's codes (SQLSTATE) of what is over in a moment."""
_NOT_OURS = frozenset(
    (
        "42501",  # the role has not the right
        "3F000",  # there is no schema to make tables in
    )
)
"""Codes of what psycopg calls the program's fault, and is the operator's."""
_STOPS_OR_STARTS, _NO_CONNECTION = "57P", "08"
"""How the codes of a server that stops or starts begin, and those of a broken connection."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise StudioError where the block cannot use the database: ``database_busy`` for what is over in a moment,
    ``storage_failed`` for what is not, and ``invalid_value`` for a value that no column takes.
    """
    try:
        yield
    except (NoConnection, TurnNeverCame) as error:  # all connections are in use, or the writers before are slow
        raise _busy() from error
    except (DataError, UnicodeEncodeError, OverflowError) as error:
        raise _unfit(error) from error
    except (IntegrityError, ProgrammingError) as error:
        if _sqlstate(error) in _NOT_OURS or _is_of_the_url(error):
            raise _told(error) from error
        raise  # the program is at fault, not the database
    except DBAPIError as error:
        raise _told(error) from error
    except StatementError as error:  # of `as_json`, as SQLAlchemy wraps it with some drivers
        raise error.orig if isinstance(error.orig, StudioError) else error from error


def as_json(value: Any) -> str:
    """Return a value as JSON. Raises StudioError ``invalid_value`` for numbers that JSON does not have."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise _unfit(error) from error


def is_out_of_reach(error: BaseException | None) -> bool:
    """Return whether the error is that PostgreSQL does not answer, stops or starts; not that a lock took long."""
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlstate", None)
    return code is None or code.startswith((_NO_CONNECTION, _STOPS_OR_STARTS))


def _told(error: DBAPIError) -> StudioError:
    code = _sqlstate(error)
    if code is None:  # SQLite; or psycopg, which found no server or has lost it
        passes = _is_of_sqlite(error, "locked", "busy") or not _is_of_sqlite(error)
    else:
        passes = code in _PASSES or code.startswith(_NO_CONNECTION)
    if passes:
        return _busy()
    message = f"The job store cannot be used ({error.orig}); nothing was changed. Is its disk full or read-only?"
    return StudioError("storage_failed", message, retry_after=30)


def _sqlstate(error: DBAPIError) -> str | None:
    code: str | None = getattr(error.orig, "sqlstate", None)
    return code


def _is_of_the_url(error: DBAPIError) -> bool:
    """Return whether psycopg refused what STUDIO_DATABASE_URL has behind the question mark."""
    return error.statement is None and _sqlstate(error) is None and not _is_of_sqlite(error)


def _is_of_sqlite(error: DBAPIError, *words: str) -> bool:
    """Return whether SQLite raised an error, with one of these words if any are given."""
    of_sqlite = type(error.orig).__module__.startswith("sqlite3")
    return of_sqlite and (not words or any(word in str(error.orig) for word in words))


def _busy() -> StudioError:
    message = "The job store is busy; nothing was changed. Send the same request again."
    return StudioError("database_busy", message, retry_after=2)


def _unfit(error: Exception) -> StudioError:
    orig = getattr(error, "orig", None) or error
    said = " ".join(str(orig).split("\n")[0].split())[:200]
    return StudioError(
        "invalid_value",
        f"A value of the request cannot be stored ({said}). Shorten that text or number, or take out the characters "
        "that no text has (NUL, halves of characters).",
    )
