"""The first sheet of an Excel file as CSV, so that everything else about a table is done once.

The file is unpacked by Python within a bound and looked through cell by cell, before the reader gets it: a small ZIP
can hold gigabytes, and one cell in the last corner of a sheet makes a reader ask for the memory of all the others.
"""

import csv
import io
import re
import zipfile
import zlib
from datetime import date, datetime, time
from typing import Any
from xml.parsers import expat

from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.words import MAX_COLUMNS, MAX_ROWS

MAX_UNPACKED_BYTES = 5_000_000
"""Largest content of the parts that are read, in bytes."""
MAX_PARTS = 200
MAX_LINES, MAX_CELLS_OF_LINE = 2 * MAX_ROWS, 2 * MAX_COLUMNS
"""Largest number of rows and columns of a sheet, empty ones counted; a table may have half as many."""
MAX_ELEMENTS = 300_000
"""Largest number of XML elements of a part: twice as many as all cells of the largest table need."""
_BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, RuntimeError, OSError, EOFError, ValueError)
"""What Python raises for a ZIP that is damaged, encrypted or packed in a way that it does not know."""
_PART = re.compile(r"\[Content_Types\]\.xml|_rels/\.rels|xl/[^/]+\.xml|xl/_rels/[^/]+|xl/worksheets/[^/]+\.xml")
_CELL = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")


def is_spreadsheet(data: bytes) -> bool:
    """Return whether the bytes begin as those of an Excel file (.xlsx) do."""
    return data.startswith(b"PK\x03\x04")


def csv_of(data: bytes) -> str:
    """Return the first visible sheet of an Excel file (.xlsx) as CSV.

    A formula gives the value that it was saved with, a date YYYY-MM-DD, and a number its digits without the cell's
    number format, so that 25% is 0.25. Raises StudioError ``invalid_value`` for a file that cannot be read, or is too
    large.
    """
    parts = _unpacked(data)
    for name, content in parts.items():
        if name.startswith("xl/") and name.endswith(".xml"):
            _check_cells(content)
    try:
        with CalamineWorkbook.from_filelike(io.BytesIO(_packed(parts))) as book:
            visible = [
                sheet.name
                for sheet in book.sheets_metadata
                if sheet.typ is SheetTypeEnum.WorkSheet and sheet.visible is SheetVisibleEnum.Visible
            ]
            lines = book.get_sheet_by_name(visible[0]).to_python(skip_empty_area=False) if visible else []
    except (CalamineError, ValueError) as error:
        raise _unreadable() from error
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_shown(value) for value in line] for line in lines)
    return text.getvalue()


def _unpacked(data: bytes) -> dict[str, bytes]:
    """Return the parts of the file that are needed to read its cells. Raises StudioError."""
    parts: dict[str, bytes] = {}
    left = MAX_UNPACKED_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if len(packed.infolist()) > MAX_PARTS:
                raise refusal("rows", f"the Excel file has more than {MAX_PARTS} parts; save the table alone")
            for part in packed.infolist():
                if not _PART.fullmatch(part.filename):  # pictures, charts, macros
                    continue
                with packed.open(part) as file:
                    parts[part.filename] = file.read(left + 1)
                left -= len(parts[part.filename])
                if left < 0:
                    message = f"the Excel file has more than {MAX_UNPACKED_BYTES // 10**6} MB of cells once unpacked"
                    raise refusal("rows", f"{message}; save the table in a file of its own")
    except _BROKEN as error:
        raise _unreadable() from error
    return parts


def _packed(parts: dict[str, bytes]) -> bytes:
    """Return a ZIP of the parts, which holds exactly the bytes that were counted."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    return buffer.getvalue()


class _Places:
    """Looks where the filled cells of a sheet lie, while its XML is read."""

    def __init__(self) -> None:
        self._row = self._column = self._seen = 0

    def look(self, element: str, attributes: dict[str, str]) -> None:
        """Note a row or a cell, and its content. Raises StudioError for content that lies too far out."""
        self._seen += 1
        if self._seen > MAX_ELEMENTS:
            raise _too_large()
        match element.rpartition(":")[2]:
            case "row":
                self._row, self._column = _number(attributes.get("r", ""), self._row + 1), 0
            case "c":
                self._column += 1
                if place := _CELL.fullmatch(attributes.get("r", "")):
                    self._column, self._row = _column(place[1]), int(place[2])
            case "v" | "is" | "f" if self._row > MAX_LINES or self._column > MAX_CELLS_OF_LINE:
                raise _too_large()


def _number(text: str, otherwise: int) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else otherwise


def _column(letters: str) -> int:
    column = 0
    for letter in letters:
        column = 26 * column + ord(letter) - ord("A") + 1
    return column


def _check_cells(part: bytes) -> None:
    """Raise StudioError where a filled cell lies too far out, or the part is no XML without definitions."""

    def no_definitions(*_: Any) -> None:
        raise _unreadable()

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = _Places().look
    parser.StartDoctypeDeclHandler = no_definitions
    try:
        parser.Parse(part, True)
    except expat.ExpatError as error:
        raise _unreadable() from error


def _shown(value: Any) -> str:
    """Return a cell's value as text."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat(" ", "minutes") if value.time() != time() else value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)


def _too_large() -> StudioError:
    return refusal(
        "rows",
        f"the sheet reaches beyond row {MAX_LINES} or column {MAX_CELLS_OF_LINE}; save the table in a file of its own, "
        "without anything beside or below it",
    )


def _unreadable() -> StudioError:
    return refusal(
        "rows", "the file begins like an Excel file and cannot be read; save it as .xlsx again, or as CSV UTF-8"
    )
