"""Which adapter of the port a server has."""

from qwen_image_studio.database.connection import open_database
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.jobs.sql import SqlJobStore
from qwen_image_studio.settings import Settings


def open_store(settings: Settings) -> JobStore:
    """Return the job store of the settings, its tables brought up to date."""
    return SqlJobStore(open_database(settings), settings)
