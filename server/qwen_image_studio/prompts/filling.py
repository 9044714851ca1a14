"""A batch's job, filled in with the values of a row: {{column}} stands for the row's value in all its texts."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from qwen_image_studio.contract.fields import Cell
from qwen_image_studio.contract.words import MAX_PROMPT_CHARS
from qwen_image_studio.prompts.table import Row, check_text, table_refusal

MAX_DEPTH = 20
"""Levels to which lists and objects of a job may be nested; no operation needs more than four."""
MAX_VALUES = 500
"""Largest number of values in a job, nested ones counted; they are looked at again for each row."""
MAX_PLACES = 100
"""Largest number of times that the texts of a job name a column."""
MAX_FILLED_CHARS = 2 * MAX_PROMPT_CHARS
"""Longest text in characters once it is filled in: more than any parameter takes."""
MAX_JOB_CHARS = 50_000
"""Largest number of characters in all texts of a job."""
# One run of characters up to a brace, so that the search takes linear time. Names are stripped afterwards.
_COLUMN = re.compile(r"\{\{([^{}]*)\}\}")
_SINGLE = re.compile(r"(?<!\{)\{([^{}]{1,100})\}(?!\})")
_LEFT_OUT = object()


def check_job(job: Mapping[str, Any], rows: Sequence[Row] | None = None) -> None:
    """Raise StudioError ``invalid_value`` for a job that is nested too deeply or names a column wrongly.

    With `rows`, a column is wrong that no row has, or that stands in single braces, which would be painted with it.
    """
    columns = None if rows is None else {name for row in rows for name in row}
    left, places = MAX_JOB_CHARS, MAX_PLACES
    for text in _texts(job, _Values()):
        left -= len(text)
        if left < 0:
            raise table_refusal(f"its texts have more than {MAX_JOB_CHARS} characters; shorten them", "job")
        places -= len(_COLUMN.findall(text))
        if places < 0:
            raise table_refusal(f"its texts name columns more than {MAX_PLACES} times; name fewer", "job")
        check_text(text, "job")
        if columns is not None:
            _check_columns(text, columns)


def _check_columns(text: str, columns: Collection[str]) -> None:
    for name in (found.strip() for found in _COLUMN.findall(text)):
        if name not in columns:
            shown = ", ".join(sorted(columns)[:20])
            raise table_refusal(f"{{{{{name[:60]}}}}}: no row has that column; there are: {shown}", param="job")
    for name in (found.strip() for found in _SINGLE.findall(text)):
        if name in columns:
            raise table_refusal(f"write the column {name[:60]} in double braces, {{{{{name[:60]}}}}}", param="job")


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
            raise table_refusal(f"there is no column '{name[:60]}' for the text '{text[:60]}'", param="")
        if _is_empty(row[name]):
            raise table_refusal(f"'{name[:60]}' is empty, and stands in the text '{text[:60]}'; fill it in", param="")
        value = _as_text(row[name])
        left -= len(value)
        if left < 0:
            message = f"'{text[:60]}' has more than {MAX_FILLED_CHARS} characters once it is filled in; shorten it"
            raise table_refusal(message, param="")
        return value

    return _COLUMN.sub(value_of, text)


def _is_empty(value: Cell) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _as_text(value: Cell) -> str:
    """Return a value as it is written within a text: numbers as people write them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and abs(value) < 1e15 and value.is_integer() else str(value)


class _Values:
    """Counts the values of a job while they are looked through."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def count(self, depth: int) -> None:
        """Count one more value. Raises StudioError ``invalid_value`` for too many, or for one nested too deeply."""
        self._left -= 1
        if self._left < 0:
            raise table_refusal(f"has more than {MAX_VALUES} values; no operation takes that", param="job")
        if depth > MAX_DEPTH:
            raise table_refusal(f"is nested more than {MAX_DEPTH} deep; no operation takes that", param="job")


def _texts(value: Any, values: _Values, depth: int = 0) -> Iterator[str]:
    values.count(depth)
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        if isinstance(value, dict):
            yield from value
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part, values, depth + 1)
