"""The table of a batch: read from JSON, CSV, Markdown or an Excel file."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.fields import Cell
from qwen_image_studio.contract.words import MAX_CELL_CHARS, MAX_COLUMN_CHARS, MAX_COLUMNS, MAX_ROWS
from qwen_image_studio.prompts.cleaning import without_leading_thoughts
from qwen_image_studio.prompts.encoding import TableFile, decoded
from qwen_image_studio.prompts.spreadsheet import csv_of, is_spreadsheet
from qwen_image_studio.prompts.written import (
    delimiter_of,
    json_of_python,
    list_within,
    markdown_table,
    without_fences,
)

Row = dict[str, Cell]
"""Values of one row by column."""
_HALF = re.compile("[\ud800-\udfff]")
MAX_LINES = 50_000
"""Largest number of lines; a cell may hold some."""
_THOUGHTS_CUT = "The thoughts of a language model (<think> ... </think>) were cut off before the table."
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


class Table(NamedTuple):
    """The rows of a batch, and the warnings about how they were read."""

    rows: list[Row]
    warnings: tuple[str, ...] = ()


def read_file(data: bytes) -> TableFile:
    """Return the table in a file as text: that of an Excel file (.xlsx) as CSV, that of any other as it was written.

    Raises StudioError ``invalid_value`` for a file that cannot be read.
    """
    return TableFile(csv_of(data)) if is_spreadsheet(data) else decoded(data)


def read_table(text: str) -> Table:
    """Return the rows of a JSON list of objects, a CSV table whose first line names the columns, or a Markdown table.

    Values of a line of CSV are separated by commas, tabs, semicolons or Chinese commas: by the one that Excel's
    ``sep=`` names, else by the one that divides all lines evenly. Columns without name and values are dropped, and rows
    without values. As language models answer, a table may stand in a code block or a list in a sentence, with words and
    thoughts around it; as workflow tools write it, a list may be in Python's notation. A single object is one row.
    Raises StudioError ``invalid_value``.
    """
    text = text.removeprefix("\ufeff")
    if text.count("\n") + text.count("\r") > MAX_LINES:
        raise table_refusal(f"the table has more than {MAX_LINES} lines; send it as several batches")
    answer = without_leading_thoughts(text)
    thoughts = () if answer == text else (_THOUGHTS_CUT,)
    if not _is_list(answer):
        answer = without_fences(answer)
    if not _is_list(answer):
        answer = list_within(answer) or answer
    if _is_list(answer):
        read = Table(_read_list(answer))
    else:
        cells = markdown_table(answer)
        read = _read_csv(answer) if cells is None else _rows_of(_numbered(cells))
    if not read.rows:
        raise _no_row()
    return Table(read.rows, thoughts + read.warnings)


def _is_list(text: str) -> bool:
    return text.lstrip()[:1] in {"[", "{"}


def check_rows(rows: Sequence[Mapping[str, Cell]]) -> list[Row]:
    """Return the rows with stripped column names. Raises StudioError ``invalid_value`` for rows that cannot be used."""
    if not rows:
        raise _no_row()
    _check_count(rows)
    return [_checked(number, list(row.items())) for number, row in enumerate(rows)]


def _no_row() -> StudioError:
    return table_refusal(f"there is no row; send at least one, as {_SUCH_AS}")


def _check_count(rows: Sequence[object]) -> None:
    """Raise StudioError ``invalid_value`` for too many rows; called before each of them is looked at."""
    if len(rows) > MAX_ROWS:
        raise table_refusal(f"there are {len(rows)} rows; at most {MAX_ROWS} are taken, send them as several batches")


def _checked(number: int, pairs: Sequence[tuple[str, Any]]) -> Row:
    """Return one row, made of columns and values. Raises StudioError ``invalid_value`` that names the row."""
    row: Row = {}
    with of_row(number):
        if len(pairs) > MAX_COLUMNS:
            raise table_refusal(f"it has {len(pairs)} columns; at most {MAX_COLUMNS} are taken", param="")
        for name, value in pairs:
            name = name.strip()
            if not name:
                raise table_refusal("a column has no name; give it one", param="")
            if name in row:
                raise table_refusal(f"the column '{name[:60]}' is there twice; rename one", param="")
            if not isinstance(value, str | int | float | None):  # bool is an int
                raise table_refusal(f"'{name[:60]}' holds a list or an object; send a text or a number", param="")
            check_text(name, "")
            if len(name) > MAX_COLUMN_CHARS:
                raise table_refusal(f"the name of a column has more than {MAX_COLUMN_CHARS} characters", param="")
            if isinstance(value, str):
                check_text(value, "")
                if len(value) > MAX_CELL_CHARS:
                    raise table_refusal(f"'{name[:60]}' has more than {MAX_CELL_CHARS} characters", param="")
            if isinstance(value, float) and not math.isfinite(value):
                raise table_refusal(f"'{name[:60]}' is no number; send a text or a number", param="")
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
                raise table_refusal('is no object; send a list of objects such as [{"name": "cup"}]', param="")
    return [_checked(number, row) for number, row in enumerate(found)]


def _parsed(text: str) -> Any:
    """Return the value that a text holds in JSON or in Python's notation. Raises StudioError ``invalid_value``."""
    try:
        return json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        with suppress(ValueError, RecursionError):
            return json.loads(json_of_python(text), object_pairs_hook=_Object)
        raise table_refusal(f"the JSON cannot be read ({str(error)[:100]}); correct it, or send {_SUCH_AS}") from error


Line = tuple[int, list[str]]
"""The number of a line of the text, from 1, and its values."""


def _numbered(cells: Sequence[list[str]]) -> list[Line]:
    return [(0, line) for line in cells]


def _read_csv(text: str) -> Table:
    delimiter, text = delimiter_of(text)
    return _rows_of(_csv_lines(text, delimiter))


def _csv_lines(text: str, delimiter: str) -> list[Line]:
    """Return the lines of a CSV table but the empty ones. Raises StudioError that names the row."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: list[Line] = []
    try:
        for line in lines:
            if line:
                found.append((lines.line_num, line))
    except csv.Error as error:
        with of_row(max(0, len(found) - 1)):
            raise table_refusal(
                f"line {lines.line_num} is no CSV ({error}); look at its double quotes", param=""
            ) from error
    return found


def _rows_of(found: Sequence[Line]) -> Table:
    """Return the rows of a table whose first line names the columns. Raises StudioError that names the row."""
    header, values = (found[0][1], found[1:]) if found else ([], [])
    filled = [line for line in values if not _is_blank(line[1])]
    _check_count(filled)
    width = _width(header, filled)
    lines = [_even(number, line, width) for number, line in enumerate(filled)]
    used = [index for index in range(width) if header[index].strip() or any(line[index].strip() for line in lines)]
    rows = [_checked(number, [(header[index], line[index]) for index in used]) for number, line in enumerate(lines)]
    return Table(rows, _skipped(values))


def _width(header: Sequence[str], filled: Sequence[Line]) -> int:
    """Return the number of columns without those at the end that have neither a name nor a value."""
    used = max(map(_last_value, [header, *(line for _, line in filled)]))
    width = min(len(header), used)
    if width > 2 * MAX_COLUMNS:
        raise table_refusal(f"there are {width} columns; at most {MAX_COLUMNS} are taken")
    return width


def _last_value(values: Sequence[str]) -> int:
    """Return the number of values up to the last one that is not empty."""
    return next((index for index in range(len(values), 0, -1) if values[index - 1].strip()), 0)


def _even(number: int, line: Line, width: int) -> list[str]:
    """Return the values of a line, as many as there are columns. Raises StudioError that names the row."""
    values = line[1]
    if len(values) > width and _is_blank(values[width:]):
        values = values[:width]
    if len(values) != width:
        with of_row(number):
            if not line[0]:
                raise table_refusal(f"it has {len(values)} cells, and the table {width} columns", param="")
            raise table_refusal(
                f"line {line[0]} has {len(values)} values and the first line {width} columns; put values that hold "
                "commas in double quotes",
                param="",
            )
    return values


def _is_blank(values: Iterable[str]) -> bool:
    return not any(value.strip() for value in values)


def _skipped(lines: Sequence[Line]) -> tuple[str, ...]:
    """Return a warning that counts the rows without any value; those at the end are the spreadsheet's own."""
    last = max((index for index, line in enumerate(lines) if not _is_blank(line[1])), default=0)
    blank = [line[0] for line in lines[:last] if _is_blank(line[1])]
    if not blank:
        return ()
    where = f" (line {', '.join(map(str, blank[:5]))}{' ...' if len(blank) > 5 else ''})" if blank[0] else ""
    return (f"{len(blank)} {'row' if len(blank) == 1 else 'rows'} without any value{where} left out.",)


def check_text(text: str, param: str) -> None:
    """Raise StudioError for half a surrogate pair, which neither files nor databases can store."""
    if _HALF.search(text):
        raise table_refusal("a text holds half a character (a lone surrogate such as \\ud800); take it out", param)


def table_refusal(problem: str, param: str = "rows") -> StudioError:
    """Return the error for a table that cannot be used; without `param` the row is named by :func:`of_row`."""
    return StudioError("invalid_value", f"{param}: {problem}." if param else f"{problem}.", param=param or None)
