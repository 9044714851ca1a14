"""Tables as CSV, for people who open them in a spreadsheet."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

CSV = "text/csv"
"""Media type of such a table."""
_RISKY = re.compile(r"[\t\r\n]|[\s\0\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""Pattern of the beginnings that make a spreadsheet run a cell as a formula, full-width signs included (OWASP, CSV
Injection)."""


def harmless(cell: str) -> str:
    """Return a cell, marked as text where a spreadsheet would run it as a formula; spreadsheets skip leading blanks."""
    return f"'{cell}" if _RISKY.match(cell) else cell


def as_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV; texts in it are made harmless, numbers stay as they are, and None is an empty cell."""
    text = io.StringIO(newline="")
    written = csv.writer(text)
    written.writerow(header)
    written.writerows([harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()
