"""Tables for a batch: rows in the forms that people, models and other nodes of Dify write, and files of rows."""

import math
import re
from itertools import takewhile
from typing import Any

from tools.parameters.tolerant import read_value

MAX_ROWS = 500
MAX_TABLE_BYTES = 900_000
"""Largest table as text, in bytes; the server takes 1 MB of JSON, including everything around it."""

Rows = list[dict[str, Any]] | str

_WRITE = 'write rows as a JSON list such as [{"name": "red apple"}], or as CSV whose first line names the columns'


def read_rows(value: object) -> Rows:
    """Return rows as a list of objects; CSV is returned as text, for the server to read.

    The value may be JSON, CSV or Markdown, also with words around it as language models answer, or a list in Python's
    notation, as Dify writes it into a text. Raises ValueError for anything else.
    """
    read = _read(value) if isinstance(value, str) else value
    if isinstance(read, str):
        return read
    listed = [read] if isinstance(read, dict) else read
    if not isinstance(listed, list | tuple):
        raise ValueError(_WRITE)
    if odd := next((number for number, row in enumerate(listed, start=1) if not isinstance(row, dict)), None):
        raise ValueError(f"row {odd} is no object with columns; {_WRITE}")
    if not 1 <= len(listed) <= MAX_ROWS:
        raise ValueError(f"takes 1 to {MAX_ROWS} rows; there are {len(listed)}")
    return [_row(number, row) for number, row in enumerate(listed, start=1)]


def _read(text: str) -> Any:
    """Return the content of a text: a JSON or Python value, or CSV as text."""
    if len(text.encode(errors="replace")) > MAX_TABLE_BYTES:
        raise ValueError(f"has more than {MAX_TABLE_BYTES // 1000} kB; split the table into several batches")
    plain = text.strip("\ufeff \t\r\n")
    if plain[:1] not in {"[", "{"}:
        plain = _unfenced(plain.splitlines()) or plain
    if plain[:1] not in {"[", "{"}:
        if (table := _markdown(plain.splitlines())) is not None:
            return table
        if len(plain.splitlines()) < 2:
            raise ValueError(_WRITE)
        return plain
    try:
        return read_value(plain)
    except ValueError:
        raise ValueError(_WRITE) from None


def _unfenced(lines: list[str]) -> str | None:
    """Return the content of an answer's only code block; None where there is none."""
    fences = [number for number, line in enumerate(lines) if re.fullmatch(r"```[a-zA-Z]*\s*", line)]
    if len(fences) < 2:
        return None
    if len(fences) > 2:
        raise ValueError("has more than one code block; send one table")
    return "\n".join(lines[fences[0] + 1 : fences[1]]).strip()


def _markdown(lines: list[str]) -> list[dict[str, str]] | None:
    """Return the rows of the only Markdown table, whose lines begin with ``|``; None where there is none."""
    cells = [_cells(line) if line.lstrip().startswith("|") else [] for line in lines]
    is_under = [line != [] and all(re.fullmatch(":?-+:?", cell) for cell in line) for line in cells]
    first = is_under.index(True) if any(is_under) else 0
    if not first or len(cells[first - 1]) != len(cells[first]):
        return None
    names, rows = cells[first - 1], list(takewhile(bool, cells[first + 1 :]))
    if any(cells[first + 1 + len(rows) :]):
        raise ValueError("has a second table, or an empty line within the one; send one table")
    if len(set(names)) != len(names):
        raise ValueError("has a column twice; rename one")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise ValueError(f"row {number} has {len(row)} cells, and the table {len(names)} columns")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _cells(line: str) -> list[str]:
    """Return the cells of a line, which are separated by ``|``; a ``|`` within a cell has a backslash before it."""
    inner = line.strip().removeprefix("|")
    inner = inner.removesuffix("|") if not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def column_names(table: Rows) -> set[str]:
    """Return the names of a table's columns; for CSV only roughly, by splitting its first line."""
    if isinstance(table, str):
        return {name.strip(' "') for name in re.split(r"[,;\t，]", table.splitlines()[0])}
    return {name for row in table for name in row}


def _row(number: int, row: dict[Any, Any]) -> dict[str, Any]:
    for name, value in row.items():
        if not (value is None or isinstance(value, str | int | float | bool)):
            raise ValueError(
                f"row {number} has a list or an object in the column {str(name)[:40]}; write texts or numbers"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"row {number} has no number in the column {str(name)[:40]}")
    return {str(name): value for name, value in row.items()}


def decoded(content: bytes) -> str:
    """Return the text of a file of rows: UTF-8, UTF-16 with its mark, or else GB 18030, which Excel writes in China.

    Raises ValueError for a file that is no text.
    """
    if content.startswith(b"PK\x03\x04"):
        raise ValueError("is an Excel or ZIP file; save the table as CSV")
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    for name in (encoding, "gb18030"):
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise ValueError("is no text; save the table as CSV (UTF-8) or JSON")
