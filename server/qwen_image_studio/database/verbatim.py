"""Rows as they stand in a database: JSON as the text that was written, all else as Python has it on every database."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Insert,
    Select,
    String,
    Table,
    Text,
    cast,
    column,
    insert,
    select,
    tuple_,
)
from sqlalchemy import table as plain_table
from sqlalchemy.types import NullType

Values = tuple[Any, ...]
"""The values of a row, in the order of the table's columns."""
AT_ONCE = 500
"""Rows that are read and written together."""
_ENDING_CHARS = 17


class Tally:
    """The number of a table's rows and a sum over them, which does not depend on their order."""

    def __init__(self) -> None:
        self.rows, self._digest = 0, 0

    def add(self, values: Values) -> None:
        """Count one row."""
        self.rows += 1
        whole = hashlib.sha256(repr(values).encode("utf-8", "surrogatepass")).digest()
        self._digest = (self._digest + int.from_bytes(whole[:16])) % (1 << 128)

    @property
    def sum(self) -> str:
        """Return the sum in hex."""
        return f"{self._digest:032x}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tally) and (self.rows, self._digest) == (other.rows, other._digest)

    __hash__ = None  # type: ignore[assignment] # it changes


class Verbatim:
    """How the rows of one table are read and written as they are."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.names = tuple(each.name for each in table.c)
        self._keys = list(table.primary_key)
        self._places = [self.names.index(key.name) for key in self._keys]
        self._all: Select[Any] = select(*map(_as_read, table.c))

    @property
    def adding(self) -> Insert:
        """Return the statement that adds rows; JSON is not encoded again by it."""
        columns = (column(each.name, NullType() if isinstance(each.type, JSON) else each.type) for each in self.table.c)
        return insert(plain_table(self.table.name, *columns))

    def key(self, values: Values) -> Values:
        """Return the primary key of a row."""
        return tuple(values[place] for place in self._places)

    def pieces(self, connection: Connection) -> Iterator[Sequence[Values]]:
        """Yield all rows, by primary key, some at a time; the connection holds a transaction meanwhile."""
        query = self._all.order_by(*self._keys).execution_options(yield_per=AT_ONCE)
        for piece in connection.execute(query).partitions():
            yield [tuple(row) for row in piece]

    def those_of(self, connection: Connection, rows: Sequence[Values]) -> dict[Values, Values]:
        """Return the rows with the primary keys of these ones that the connection's database has, by primary key."""
        sought = [self.key(row) for row in rows]
        if len(self._keys) == 1:
            query = self._all.where(self._keys[0].in_([key[0] for key in sought]))
        else:
            query = self._all.where(tuple_(*self._keys).in_(sought))
        found = [tuple(row) for row in connection.execute(query)]
        return {self.key(row): row for row in found}

    def tally(self, connection: Connection) -> Tally:
        """Return number and sum of all rows."""
        tally = Tally()
        for piece in self.pieces(connection):
            for row in piece:
                tally.add(row)
        return tally


def _as_read(each: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(each, Text).label(each.key) if isinstance(each.type, JSON) else each


# -- texts that not every database takes ---------------------------------------------------------------------------


class Cleaning:
    """What has to be changed in rows before PostgreSQL takes them, which is stricter than SQLite: no NUL, no text that
    is longer than its column, no NaN in JSON.
    """

    def __init__(self) -> None:
        self.changed: Counter[str] = Counter()
        """Numbers of values that were changed, by table and column."""

    def of(self, table: Table) -> Callable[[Values], Values]:
        """Return what cleans the rows of a table."""
        cleaners = [
            (place, f"{table.name}.{each.name}", _json if isinstance(each.type, JSON) else _text(each.type.length))
            for place, each in enumerate(table.c)
            if isinstance(each.type, String | JSON)
        ]

        def clean(values: Values) -> Values:
            cleaned = None
            for place, name, cleaner in cleaners:
                value = values[place]
                if value is None or (better := cleaner(value)) is value:
                    continue
                cleaned = list(values) if cleaned is None else cleaned
                cleaned[place] = better
                self.changed[name] += 1
            return values if cleaned is None else tuple(cleaned)

        return clean


def _text(limit: int | None) -> Callable[[str], str]:
    """Return what makes a text fit; one that is cut ends in a hash, so that texts that differ still do."""

    def clean(value: str) -> str:
        if "\0" in value:
            value = value.replace("\0", "\ufffd")
        if limit is not None and len(value) > limit:
            ending = hashlib.sha256(value.encode()).hexdigest()[: _ENDING_CHARS - 1]
            value = f"{value[: max(0, limit - _ENDING_CHARS)]}~{ending}"[-limit:]
        return value

    return clean


def _json(value: str) -> str:
    if "NaN" not in value and "Infinity" not in value:
        return value
    odd: list[str] = []
    better = json.dumps(json.loads(value, parse_constant=odd.append))  # `append` returns the None that it becomes
    return better if odd else value
