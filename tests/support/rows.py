"""Rows for every table of a database, with values of all kinds that its columns can hold."""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    Table,
    create_engine,
    select,
)
from sqlalchemy.pool import NullPool

from qwen_image_studio.database.tables import installation, metadata, workers
from qwen_image_studio.database.verbatim import Verbatim

JSONS = (
    '{"a": 1.0, "b": [true, null, "\\ud800 \\u0000"], "text": "\u4e2d\\n"}',
    "[]",
    "null",
    '{"b": 1, "a": 1e-07}',
    None,
)
"""As SQLite has them: `null` is no NULL, a number keeps its form, and so do halves of characters and NUL."""
TABLES = [table for table in metadata.sorted_tables if table not in (workers, installation)]


def fill(connection: Connection, rows: int = 8, first: int = 1) -> None:
    """Add rows to every table, numbered from `first` on."""
    for table in TABLES:
        made = [{each.name: _value(table, each, number) for each in table.c} for number in range(first, first + rows)]
        connection.execute(Verbatim(table).adding, made)


def _value(table: Table, column: Column[Any], number: int) -> Any:
    name, kind = column.name, column.type
    if name == "job_id" or (table.name, name) == ("jobs", "id"):
        return f"job_{number:024x}"
    if column.nullable and number % 3 == 0:
        return None
    if isinstance(kind, JSON):
        return JSONS[number % (5 if column.nullable else 4)]
    if isinstance(kind, Boolean):
        return number % 2 == 0
    if isinstance(kind, Float):
        return 1_767_225_600.123_456_7 + number / 7
    if isinstance(kind, BigInteger):
        return (1 << 53) + number
    if isinstance(kind, Integer):
        return number
    return f"{number}-{name} \u4e2d\U0001f3a8"[: getattr(kind, "length", None)]


def contents(url: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables of a database but for workers, in an order that does not depend on its kind."""
    found, engine = MetaData(), create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        found.reflect(connection)
        return {
            name: sorted((dict(row) for row in connection.execute(select(found.tables[name])).mappings()), key=repr)
            for name in (each.name for each in [*TABLES, installation])
        }
