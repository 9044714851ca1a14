"""The name of an installation towards others that share its database server or its broker."""

from hashlib import sha256

from sqlalchemy import select, text

from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import installation

_SCHEMA = text("SELECT current_schema()")


def identity(database: Database) -> str:
    """Return 12 characters that all processes of the installation share, and no other: also not a copy of its tables
    in another schema. Raises StudioError where the database cannot be read.
    """
    with database.reading() as connection:
        name = str(connection.scalars(select(installation.c.id)).one())
        if connection.dialect.name == "postgresql":
            name = f"{name}/{connection.scalar(_SCHEMA)}"
    return sha256(name.encode()).hexdigest()[:12]
