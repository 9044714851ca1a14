"""What belongs to API keys and their owners."""

from sqlalchemy import JSON, Boolean, Column, Float, Index, Integer, String, Table, Text, false

from qwen_image_studio.database.tables.base import metadata, where

api_keys = Table(
    "api_keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
    Column("scopes", JSON, nullable=False, server_default='["generate", "edit"]'),
    Column("limits", JSON, nullable=False, server_default="{}"),
    Column("policy", String(16)),
    Column("webhook_url", Text),
    Column("old_hash", String(64)),
    Column("old_until", Float),
    Index("api_keys_by_old_hash", "old_hash", unique=True),
)

usage = Table(
    "usage",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("parent_id", String(64)),
    Column("key", String(64), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("person", String(64), nullable=False),
    Column("operation", String(32), nullable=False),
    Column("model", String(128), nullable=False),
    Column("tier", String(32), nullable=False),
    Column("images", Integer, nullable=False),
    Column("pictures", Integer, nullable=False, server_default="0"),
    Column("megapixel_steps", Float, nullable=False, server_default="0"),
    Column("device_s", Float, nullable=False, server_default="0"),
    Column("cached", Boolean, nullable=False, server_default=false()),
    Column("submitted_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("guest", String(64)),
    # With `parent_id`, which is in their condition, they answer without the table.
    Index("usage_by_key", "key", "submitted_at", "images", "parent_id", **where("parent_id IS NULL")),
    Index("usage_by_person", "key", "person", "submitted_at", "images", "parent_id", **where("parent_id IS NULL")),
    Index("usage_open", "key", "person", "parent_id", "ended_at", **where("ended_at IS NULL AND parent_id IS NULL")),
    Index("usage_by_time", "submitted_at"),
    Index("usage_by_guest", "guest", **where("guest IS NOT NULL")),
)
"""What each job uses: `images` count against limits until the end settles them; it outlives the job. The row of a batch
counts for all its rows, which have rows of their own here for what they cost. `key` is empty without keys; `guest` is
the link through which a job was submitted, whose jobs are counted."""

webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", String(64), nullable=False),
    Column("secret", String(128), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Index("webhook_secrets_by_key", "key"),
)
"""The secrets that sign the callbacks of an API key, newest last; more than one while an old one is phased out."""

styles = Table(
    "styles",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("direction", JSON, nullable=False),
    Column("reference", String(64), index=True),
    Column("created_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
)
"""The art directions that an owner has saved by name; `reference` is the image that one names, which stays for it."""
