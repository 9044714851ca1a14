"""Databases with all tables and no rows, copied from one that is made once: migrations take longer than most tests."""

import functools
import tempfile
from pathlib import Path

from sqlalchemy import make_url

from qwen_image_studio.database.connection import open_database
from qwen_image_studio.settings import Settings


@functools.cache
def _migrated() -> bytes:
    """The file of a database that was migrated from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, data_dir=Path(folder))
        open_database(settings).close()  # the last connection's end writes everything into the one file
        return _file(settings).read_bytes()


def _file(settings: Settings) -> Path:
    return Path(make_url(settings.database).database or "")


def with_tables(settings: Settings) -> Settings:
    """Give the settings' data folder such a database, which their server then need not migrate; the same settings."""
    file = _file(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_migrated())
    return settings
