"""The tables, for SQLAlchemy. A change here needs a migration beside this package and a new REVISION."""

from qwen_image_studio.database.tables.base import metadata
from qwen_image_studio.database.tables.images import images, installation
from qwen_image_studio.database.tables.jobs import OPEN, QUEUED, RUNNING, job_inputs, jobs, paintings, shares, turns
from qwen_image_studio.database.tables.keys import api_keys, styles, usage, webhook_secrets
from qwen_image_studio.database.tables.records import calls, deliveries, tallies, workers

REVISION = "0013"
"""Number of the newest migration; a test compares it with Alembic's head."""

__all__ = [
    "OPEN",
    "QUEUED",
    "REVISION",
    "RUNNING",
    "api_keys",
    "calls",
    "deliveries",
    "images",
    "installation",
    "job_inputs",
    "jobs",
    "metadata",
    "paintings",
    "shares",
    "styles",
    "tallies",
    "turns",
    "usage",
    "webhook_secrets",
    "workers",
]
