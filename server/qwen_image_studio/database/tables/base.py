"""What all tables share."""

from typing import Any

from sqlalchemy import MetaData, text

metadata = MetaData()


def where(condition: str) -> dict[str, Any]:
    """Return the options of an index that holds only some rows, and so stays small however long the past is."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
