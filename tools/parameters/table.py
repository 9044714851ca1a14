"""Tables for a batch: rows as people, models and other nodes of Dify write them, and files of them."""

import math
import re
from itertools import takewhile
from typing import Any

from tools.parameters.tolerant import read_value

MAX_ROWS = 500
MAX_TABLE_BYTES = 900_000
"""As text; the server takes 1 MB of JSON with everything around it."""

Rows = list[dict[str, Any]] | str

_WRITE = 'write rows as a JSON list such as [{"name": "red apple"}], or as CSV whose first line names the columns'


def read_rows(value: object) -> Rows:
    """Rows as a list of objects, or CSV as the text that it is, for the server to read.

    Takes JSON, CSV and Markdown, also with words around them as language models answer, and lists as Dify writes them
    into a text, which is Python's way.
    Raises ValueError.
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
    """What stands in a text: a JSON or Python value, or CSV as text."""
    if len(text.encode(errors="replace")) > MAX_TABLE_BYTES:
        raise ValueError(f"has more than {MAX_TABLE_BYTES // 1000} kB; split the table into several batches")
    plain = text.strip("\ufeff \t\r\n")
    if len(parts := plain.split("```")) == 3:
        plain = re.sub(r"^[a-zA-Z]*[^\S\n]*\n", "", parts[1]).strip()
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


def _markdown(lines: list[str]) -> list[dict[str, str]] | None:
    """The rows of the first table in Markdown, whose second line is made of strokes; None where there is none."""
    cells = [_cells(line) if "|" in line else [] for line in lines]
    first = next((n for n, line in enumerate(cells) if line and all(re.fullmatch(":?-+:?", each) for each in line)), 0)
    if not first or len(cells[first - 1]) != len(cells[first]):
        return None
    rows = list(takewhile(bool, cells[first + 1 :]))
    for number, row in enumerate(rows, start=1):
        if len(row) != len(cells[first]):
            raise ValueError(f"row {number} has {len(row)} cells, and the table {len(cells[first])} columns")
    return [dict(zip(cells[first - 1], row, strict=True)) for row in rows]


def _cells(line: str) -> list[str]:
    """What stands between the strokes of a line; a stroke within a cell has a backslash before it."""
    inner = line.strip().removeprefix("|")
    inner = inner.removesuffix("|") if not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def column_names(table: Rows) -> set[str]:
    """The columns of a table; of CSV as far as its first line tells them without reading it properly."""
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
    """The text of a file of rows: UTF-8, UTF-16 with its mark, or else GB 18030, as Excel saves it in China.

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
