"""Copying all rows of one database into another, of whichever kind each of them is.

Tables come in the order in which they name each other, and rows in pieces, each a transaction. Meanwhile the target
has a mark in the place of its revision, so that no server opens half a copy; a copy that was cut off goes on with the
rows that are not there yet. Workers' reports are left out: those of another machine would be waited for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Connection, Table, func, select, text, update
from sqlalchemy.exc import IntegrityError

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.database.connection import Database, migrate
from qwen_image_studio.database.damage import MOVING, check_revision, revision_of, shown, usable
from qwen_image_studio.database.errors import database_errors
from qwen_image_studio.database.postgresql import lift_limits
from qwen_image_studio.database.tables import REVISION, installation, metadata, workers
from qwen_image_studio.database.verbatim import Cleaning, Tally, Values, Verbatim

Tell = Callable[[str, int, int], None]
"""Told how far a copy is: of what, how many, and how many there are in all."""
TABLES = [table for table in metadata.sorted_tables if table not in (workers, installation)]
_MARK = f"{MOVING}{REVISION}"


@dataclass(frozen=True)
class Copied:
    """What a copy came to."""

    tallies: Mapping[str, Tally]
    """Number and sum of the source's rows, by table."""
    cleaned: Mapping[str, int]
    """Numbers of values that the target does not take as they were, by table and column."""
    differing: Sequence[str] = ()
    """Tables that are not the same in the target; only of `Copying.compare`."""


class _Differ(Exception):
    """The target has a row that the source has not, or not so."""


class Copying:
    """One copy into `target`; the connection `source` reads a database of this revision that nobody changes meanwhile.

    `tell` is told the table, how many of its rows are done, and how many there are.
    """

    def __init__(self, source: Connection, target: Database, tell: Tell) -> None:
        self._source, self._target, self._tell = source, target, tell
        self._url, self._name = target.engine.url, shown(target.engine.url)
        self._id = installation_of(source)

    def begin(self) -> None:
        """Mark the target as one that has not all rows yet; where it has, or has the mark, nothing happens. One without
        tables gets them.

        Raises CannotServe where it is not for this copy, and then nothing was changed.
        """
        with usable(self._url):
            with self._target.reading() as connection:
                revision = revision_of(connection)
            if revision is None:
                migrate(self._target)
                revision = REVISION
            has_rows = self._check(revision)
            if revision == REVISION and not has_rows:
                self._mark()

    def run(self) -> Copied:
        """Copy what is missing, read everything back, and take the mark away: from then on a server may open the
        target. Cut off, it can be done again, and goes on.

        Raises CannotServe where a server has used the target since an earlier copy, and where it does not take a row.
        """
        with usable(self._url):
            with self._target.reading() as connection:
                is_marked = revision_of(connection) == _MARK
            if not is_marked:
                return self._unchanged()
            copied = self._copy_twice()
            with self._target.writing() as connection:
                set_sequences(connection)
                connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": REVISION})
            return copied

    def compare(self) -> Copied:
        """Compare everything; nothing is changed. Raises CannotServe where the target is not for this copy."""
        with usable(self._url):
            with self._target.reading() as connection:
                revision = revision_of(connection)
            if revision is None:
                raise CannotServe(f"The database {self._name} is empty: nothing was moved into it yet.")
            self._check(revision)
            theirs = self._theirs()
        cleaning = Cleaning()
        ours = {each.name: self._each(Verbatim(each), cleaning, lambda _: None) for each in TABLES}
        return Copied(ours, cleaning.changed, [name for name in ours if ours[name] != theirs[name]])

    # -- the mark --------------------------------------------------------------------------------------------------

    def _check(self, revision: str) -> bool:
        """Return whether the target has rows. Raises CannotServe where it is not for this copy."""
        if not revision.startswith(MOVING):
            check_revision(revision, f"The database {self._name}")
        if revision not in {REVISION, _MARK}:
            raise CannotServe(
                f"The database {self._name} has the revision '{revision}', and this version works with {REVISION}. "
                "Where a move of another version has begun there, empty it; else migrate it first."
            )
        with self._target.reading() as connection:
            has_rows = any(connection.execute(select(1).select_from(each).limit(1)).first() for each in TABLES)
            is_ours = installation_of(connection) == self._id
        if (has_rows or revision == _MARK) and not is_ours:
            raise CannotServe(
                f"The database {self._name} has the data of another server, and nothing was changed; name an empty one "
                "in STUDIO_DATABASE_URL."
            )
        return has_rows

    def _mark(self) -> None:
        with self._target.writing() as connection:
            marked = text("UPDATE alembic_version SET version_num = :mark WHERE version_num = :revision")
            if connection.execute(marked, {"mark": _MARK, "revision": REVISION}).rowcount != 1:
                raise CannotServe(f"Another move into the database {self._name} has just begun.")
            connection.execute(workers.delete())
            connection.execute(update(installation).values(id=self._id))

    def _unchanged(self) -> Copied:
        """Return what an earlier copy came to. Raises CannotServe where the target is not as it left it."""
        compared = self.compare()
        if compared.differing:
            raise CannotServe(
                f"The database {self._name} has this server's data already and was used since (its table "
                f"'{compared.differing[0]}' differs), so nothing was changed. To copy anew, empty it first."
            )
        return compared

    # -- the rows --------------------------------------------------------------------------------------------------

    def _copy_twice(self) -> Copied:
        """Copy what is missing, or everything anew where the source went on after a copy that was cut off."""
        with suppress(_Differ):
            return self._copy()
        self._empty()
        try:
            return self._copy()
        except _Differ as error:
            raise CannotServe(f"Somebody else writes into the database {self._name}; end that first.") from error

    def _copy(self) -> Copied:
        """Copy what is missing. Raises _Differ where the target has something else."""
        cleaning = Cleaning()
        ours = {each.name: self._copy_table(Verbatim(each), cleaning) for each in TABLES}
        if self._theirs() != ours:
            raise _Differ
        return Copied(ours, cleaning.changed)

    def _copy_table(self, rows: Verbatim, cleaning: Cleaning) -> Tally:
        with self._target.reading() as connection:
            is_empty = _count(connection, rows.table) == 0

        def bring(wanted: Sequence[Values]) -> None:
            if missing := wanted if is_empty else self._missing(rows, wanted):
                self._add(rows, missing)

        return self._each(rows, cleaning, bring)

    def _each(self, rows: Verbatim, cleaning: Cleaning, bring: Callable[[Sequence[Values]], None]) -> Tally:
        """Bring the source's rows, as the target takes them, piece by piece; return number and sum of them."""
        with source_errors(self._source):
            tally, in_all = Tally(), _count(self._source, rows.table)
        clean = cleaning.of(rows.table) if self._target.is_postgresql else None
        for piece in self._pieces(rows):
            taken = piece if clean is None else list(map(clean, piece))
            bring(taken)
            for values in taken:
                tally.add(values)
            self._tell(rows.table.name, tally.rows, in_all)
        return tally

    def _pieces(self, rows: Verbatim) -> Iterator[Sequence[Values]]:
        with source_errors(self._source):
            yield from rows.pieces(self._source)

    def _missing(self, rows: Verbatim, wanted: Sequence[Values]) -> Sequence[Values]:
        with self._target.reading() as connection:
            there = rows.those_of(connection, wanted)
        if any(there.get(rows.key(values), values) != values for values in wanted):
            raise _Differ
        return [values for values in wanted if rows.key(values) not in there]

    def _add(self, rows: Verbatim, missing: Sequence[Values]) -> None:
        try:
            with self._target.writing() as connection:
                connection.execute(rows.adding, [dict(zip(rows.names, values, strict=True)) for values in missing])
        except (IntegrityError, StudioError) as error:
            if isinstance(error, StudioError) and error.code != "invalid_value":
                raise
            cause = " ".join(str(error.orig if isinstance(error, IntegrityError) else error).split())[:300]
            raise CannotServe(
                f"The database {self._name} does not take rows of '{rows.table.name}' ({cause}). Nothing was changed "
                "where they come from; correct that, and run the same command again."
            ) from error

    def _theirs(self) -> Mapping[str, Tally]:
        """Return number and sum of the target's rows, by table."""
        with self._target.reading() as connection:
            lift_limits(connection)
            return {each.name: Verbatim(each).tally(connection) for each in TABLES}

    def _empty(self) -> None:
        with self._target.writing() as connection:
            lift_limits(connection)
            for table in reversed(TABLES):
                connection.execute(table.delete())


@contextmanager
def source_errors(connection: Connection) -> Iterator[None]:
    """Raise CannotServe where the block cannot read a connection's database."""
    with usable(connection.engine.url), database_errors():
        yield


def installation_of(connection: Connection) -> str:
    """Return the id of the installation that a database belongs to."""
    return str(connection.execute(select(installation.c.id)).scalar_one())


def set_sequences(connection: Connection) -> None:
    """Have PostgreSQL number new rows after those that were copied; SQLite does by itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in TABLES:
        numbered = table.autoincrement_column
        if numbered is None:
            continue
        last = select(func.max(numbered)).scalar_subquery()
        sequence = func.pg_get_serial_sequence(table.name, numbered.name)
        connection.execute(select(func.setval(sequence, func.coalesce(last + 1, 1), False)))


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
