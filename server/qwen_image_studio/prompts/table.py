"""The table of a batch: read from JSON, CSV or Markdown, and filled into the texts of the batch's job row by row."""

import csv
import io
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.fields import Cell
from qwen_image_studio.contract.words import MAX_PROMPT_CHARS, MAX_ROWS
from qwen_image_studio.prompts.written import json_of_python, markdown_table, without_fences

Row = dict[str, Cell]
"""Values of one row by column."""
MAX_DEPTH = 20
"""Levels to which lists and objects of a job may be nested; no operation needs more than four."""
# One run of characters up to a brace, so that the search takes linear time. Names are stripped afterwards.
_COLUMN = re.compile(r"\{\{([^{}]*)\}\}")
_SINGLE = re.compile(r"(?<!\{)\{([^{}]{1,100})\}(?!\})")
MAX_FILLED_CHARS = 2 * MAX_PROMPT_CHARS
"""Longest text in characters once it is filled in: more than any parameter takes."""
_LEFT_OUT = object()
_SUCH_AS = 'a JSON list such as [{"name": "red apple"}], or CSV whose first line names the columns'


@contextmanager
def of_row(number: int) -> Iterator[None]:
    """Name the row in the errors raised inside: `number` counts from 0, as `param` does, and the message from 1."""
    try:
        yield
    except StudioError as error:
        message = f"row {number + 1} of the table: {error.message}"
        raise StudioError(error.code, message, param=f"rows[{number}]") from error


# -- reading -------------------------------------------------------------------------------------------------------


def decode(data: bytes) -> str:
    """Return the text of a file as spreadsheets write it: UTF-8 or UTF-16 with a BOM, UTF-8 without, else GB 18030.

    Raises StudioError ``invalid_value`` for any other file.
    """
    for encoding in ("utf-16",) if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise _refusal("the file is neither CSV nor JSON; in a spreadsheet program save it as 'CSV UTF-8'")


def read_rows(text: str) -> list[Row]:
    """Return the rows of a JSON list of objects, a CSV table whose first line names the columns, or a Markdown table.

    Values of a line of CSV are separated by commas; by tabs, semicolons or Chinese commas where the first line has no
    comma. As language models answer, a table may stand in a code block, with words around it; as workflow tools write
    it, a list may be in Python's notation. A single object is one row. Raises StudioError ``invalid_value``.
    """
    text = text.removeprefix("\ufeff")
    if not _is_list(text):
        text = without_fences(text)
    if _is_list(text):
        return check_rows(_read_list(text))
    cells = markdown_table(text)
    return check_rows(_read_table(text) if cells is None else _read_cells(cells))


def _is_list(text: str) -> bool:
    return text.lstrip()[:1] in {"[", "{"}


def check_rows(rows: Sequence[Mapping[str, Cell]]) -> list[Row]:
    """Return the rows with stripped column names. Raises StudioError ``invalid_value`` for rows that cannot be used."""
    if not rows:
        raise _refusal(f"there is no row; send at least one, as {_SUCH_AS}")
    _check_count(rows)
    return [_checked(number, list(row.items())) for number, row in enumerate(rows)]


def _check_count(rows: Sequence[object]) -> None:
    """Raise StudioError ``invalid_value`` for too many rows; called before each of them is looked at."""
    if len(rows) > MAX_ROWS:
        raise _refusal(f"there are {len(rows)} rows; at most {MAX_ROWS} are taken, send them as several batches")


def _checked(number: int, pairs: Sequence[tuple[str, Any]]) -> Row:
    """Return one row, made of columns and values. Raises StudioError ``invalid_value`` that names the row."""
    row: Row = {}
    with of_row(number):
        for name, value in pairs:
            name = name.strip()
            if not name:
                raise _refusal("a column has no name; give it one", param="")
            if name in row:
                raise _refusal(f"the column '{name[:60]}' is there twice; rename one", param="")
            if not isinstance(value, str | int | float | None):  # bool is an int
                raise _refusal(f"'{name[:60]}' holds a list or an object; send a text or a number", param="")
            _check_text(name, "")
            if isinstance(value, str):
                _check_text(value, "")
            if isinstance(value, float) and not math.isfinite(value):
                raise _refusal(f"'{name[:60]}' is no number; send a text or a number", param="")
            row[name] = value
    return row


class _Object(list[tuple[str, Any]]):
    """A JSON object as it was written: a column that is there twice is kept twice."""


def _read_list(text: str) -> list[Row]:
    found = _parsed(text)
    if isinstance(found, _Object):
        found = [found]
    _check_count(found)
    for number, row in enumerate(found):
        if not isinstance(row, _Object):
            with of_row(number):
                raise _refusal('is no object; send a list of objects such as [{"name": "cup"}]', param="")
    return [_checked(number, row) for number, row in enumerate(found)]


def _parsed(text: str) -> Any:
    """Return the value that a text holds in JSON or in Python's notation. Raises StudioError ``invalid_value``."""
    try:
        return json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        with suppress(ValueError, RecursionError):
            return json.loads(json_of_python(text), object_pairs_hook=_Object)
        raise _refusal(f"the JSON cannot be read ({str(error)[:100]}); correct it, or send {_SUCH_AS}") from error


def _read_cells(cells: Sequence[Sequence[str]]) -> list[Row]:
    """Return the rows of a Markdown table, the names of its columns first. Raises StudioError that names the row."""
    names, *rows = cells
    _check_count(rows)
    for number, row in enumerate(rows):
        if len(row) != len(names):
            with of_row(number):
                raise _refusal(f"it has {len(row)} cells, and the table {len(names)} columns", param="")
    return [_checked(number, list(zip(names, row, strict=True))) for number, row in enumerate(rows)]


def _read_table(text: str) -> list[Row]:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    rows: list[list[str]] = []
    header: list[str] | None = None
    try:
        for line in lines:
            if header is None:
                header = line or None
            elif len(line) == len(header):
                rows.append(line)
            elif line:  # an empty line is skipped
                with of_row(len(rows)):
                    raise _refusal(
                        f"line {lines.line_num} has {len(line)} values and the first line {len(header)} columns; put "
                        "values that hold commas in double quotes",
                        param="",
                    )
    except csv.Error as error:
        with of_row(len(rows)):
            raise _refusal(f"line {lines.line_num} is no CSV ({error}); look at its double quotes", param="") from error
    while rows and not any(value.strip() for value in rows[-1]):  # spreadsheets add empty rows
        rows.pop()
    _check_count(rows)
    return [_checked(number, list(zip(header or (), row, strict=True))) for number, row in enumerate(rows)]


def _delimiter(text: str) -> str:
    """Return the character that separates the columns of the first line, outside double quotes."""
    first = re.sub(r'"[^"]*"?', "", text.lstrip("\r\n").partition("\n")[0])
    return "," if "," in first else next((one for one in "\t;，" if one in first), ",")


# -- filling -------------------------------------------------------------------------------------------------------


def check_job(job: Mapping[str, Any], rows: Sequence[Row] | None = None) -> None:
    """Raise StudioError ``invalid_value`` for a job that is nested too deeply or names a column wrongly.

    With `rows`, a column is wrong that no row has, or that stands in single braces, which would be painted with it.
    """
    columns = None if rows is None else {name for row in rows for name in row}
    for text in _texts(job, 0):
        _check_text(text, "job")
        if columns is not None:
            _check_columns(text, columns)


def _check_columns(text: str, columns: Collection[str]) -> None:
    for name in (found.strip() for found in _COLUMN.findall(text)):
        if name not in columns:
            shown = ", ".join(sorted(columns)[:20])
            raise _refusal(f"{{{{{name[:60]}}}}}: no row has that column; there are: {shown}", param="job")
    for name in (found.strip() for found in _SINGLE.findall(text)):
        if name in columns:
            raise _refusal(f"write the column {name[:60]} in double braces, {{{{{name[:60]}}}}}", param="job")


def is_of_row(value: object) -> bool:
    """Return whether a parameter of the job names a column."""
    return isinstance(value, str) and _COLUMN.search(value) is not None


def fill(job: Mapping[str, Any], row: Mapping[str, Cell]) -> dict[str, Any]:
    """Return the job with the row's values in place of {{column}} in all its texts.

    A text that is nothing but {{column}} becomes the value itself; it is left out where the value is empty, and so is a
    list or object that becomes empty with it. A {{column}} inside a value is not filled in. Raises StudioError
    ``invalid_value`` where a longer text names a column that is missing or empty.
    """
    filled = {name: _filled(value, row) for name, value in job.items()}
    if isinstance(slots := filled.get("slots"), dict):  # texts, also where a table holds numbers
        filled["slots"] = {
            name: _as_text(value) if isinstance(value, int | float) and is_of_row(job["slots"][name]) else value
            for name, value in slots.items()
        }
    return {name: value for name, value in filled.items() if value is not _LEFT_OUT}


def _filled(value: Any, row: Mapping[str, Cell]) -> Any:
    if isinstance(value, str):
        return _filled_text(value, row)
    if not value or not isinstance(value, dict | list):
        return value
    if isinstance(value, dict):
        parts = {name: _filled(part, row) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part is not _LEFT_OUT} or _LEFT_OUT
    return [part for part in (_filled(part, row) for part in value) if part is not _LEFT_OUT] or _LEFT_OUT


def _filled_text(text: str, row: Mapping[str, Cell]) -> Any:
    if whole := _COLUMN.fullmatch(text.strip()):
        value = row.get(whole[1].strip())
        return _LEFT_OUT if _is_empty(value) else value

    left = MAX_FILLED_CHARS

    def value_of(match: re.Match[str]) -> str:
        nonlocal left
        name = match[1].strip()
        if name not in row:
            raise _refusal(f"there is no column '{name[:60]}' for the text '{text[:60]}'", param="")
        if _is_empty(row[name]):
            raise _refusal(f"'{name[:60]}' is empty, and stands in the text '{text[:60]}'; fill it in", param="")
        value = _as_text(row[name])
        left -= len(value)
        if left < 0:
            message = f"'{text[:60]}' has more than {MAX_FILLED_CHARS} characters once it is filled in; shorten it"
            raise _refusal(message, param="")
        return value

    return _COLUMN.sub(value_of, text)


def _is_empty(value: Cell) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _as_text(value: Cell) -> str:
    """Return a value as it is written within a text: numbers as people write them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and abs(value) < 1e15 and value.is_integer() else str(value)


def _texts(value: Any, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise _refusal(f"is nested more than {MAX_DEPTH} deep; no operation takes that", param="job")
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        if isinstance(value, dict):
            yield from value
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part, depth + 1)


def _check_text(text: str, param: str) -> None:
    """Raise StudioError for half a surrogate pair, which neither files nor databases can store."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise _refusal("a text holds half a character (a lone surrogate such as \\ud800); take it out", param)


def _refusal(problem: str, param: str = "rows") -> StudioError:
    return StudioError("invalid_value", f"{param}: {problem}." if param else f"{problem}.", param=param or None)
