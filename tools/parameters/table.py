"""The table of a batch, as the file that the server reads: nothing of it is decoded here."""

import json
from typing import Annotated

from pydantic import BeforeValidator

MAX_TABLE_BYTES = 900_000
"""Largest table as text, in bytes; the server takes 1 MB."""

_WRITE = 'write rows as a JSON list such as [{"name": "red apple"}], or as CSV whose first line names the columns'


def as_file(value: object) -> bytes:
    """Return rows as the content of a file: a text as it is, a list of objects as JSON. Raises ValueError."""
    if isinstance(value, dict):
        return as_file([value])
    try:
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else value
        content = text.encode() if isinstance(text, str) else b""
    except UnicodeEncodeError:
        raise ValueError("holds half a character (a lone surrogate); take it out") from None
    except (TypeError, ValueError, RecursionError):
        raise ValueError(_WRITE) from None
    if len(content) > MAX_TABLE_BYTES:
        raise ValueError(f"has more than {MAX_TABLE_BYTES // 1000} kB; split the table into several batches")
    if content.startswith(b"PK\x03\x04"):
        raise ValueError("is an Excel file; give it as a file in rows_file")
    return checked(content)


def checked(content: bytes) -> bytes:
    """Return the content of a file of rows; the server reads CSV, JSON and .xlsx. Raises ValueError for any other."""
    if not content.strip():
        raise ValueError(_WRITE)
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise ValueError("is an Excel file of the old kind (.xls); save the table as .xlsx or CSV")
    return content


Table = Annotated[bytes | None, BeforeValidator(as_file)]
"""Rows, as the content of the file that is sent to the server."""
