"""Tables for a batch: rows as people, models and other nodes of Dify write them, and files of them."""

import math
import re
from typing import Any

from tools.parameters.tolerant import read_value

MAX_ROWS = 500
MAX_TABLE_BYTES = 900_000
"""As text; the server takes 1 MB of JSON with everything around it."""

Rows = list[dict[str, Any]] | str

_WRITE = 'write rows as a JSON list such as [{"name": "red apple"}], or as CSV whose first line names the columns'


def read_rows(value: object) -> Rows:
    """Rows as a list of objects, or CSV as the text that it is, for the server to read.

    Takes JSON, CSV, either in a code fence, and lists as Dify writes them into a text, which is Python's way.
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
    if (opening := re.match(r"```[a-zA-Z]*[^\S\n]*\n", plain)) and plain.endswith("```"):
        plain = plain[opening.end() : -3].strip()
    if plain[:1] not in {"[", "{"}:
        if len(plain.splitlines()) < 2:
            raise ValueError(_WRITE)
        return plain
    try:
        return read_value(plain)
    except ValueError:
        raise ValueError(_WRITE) from None


def column_names(table: Rows) -> set[str]:
    """The columns of a table; of CSV as far as its first line tells them without reading it properly."""
    if isinstance(table, str):
        return {name.strip(' "') for name in re.split(r"[,;\t]", table.splitlines()[0])}
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
