"""The tables, for SQLAlchemy. A change here needs a migration beside this module and a new REVISION."""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    literal_column,
    text,
)

REVISION = "0008"
"""Number of the newest migration; a test compares it with Alembic's head."""

metadata = MetaData()


def _where(condition: str) -> dict[str, Any]:
    """Return the options of an index that holds only some rows, and so stays small however long the past is."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


jobs = Table(
    "jobs",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("owner", String(64), nullable=False),
    Column("operation", String(32), nullable=False),
    Column("model", String(128), nullable=False),
    Column("tier", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("plan", JSON, nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("idempotency_key", String(255)),
    Column("fingerprint", String(64), nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("lease_token", Integer, nullable=False, default=0),
    Column("leased_by", String(255)),
    Column("leased_until", Float),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("phase", String(32), nullable=False, default=""),
    Column("step", Integer, nullable=False, default=0),
    Column("steps", Integer, nullable=False, default=0),
    Column("preview_key", String(255)),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("created_at", Float, nullable=False),
    Column("claimed_at", Float),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("version", Integer, nullable=False, default=1),
    Column("compute_saved", Float),
    Column("parent_id", String(64)),
    Column("party", String(64), nullable=False, server_default=""),
    Column("row", Integer),
    Column("rows", Integer),
    Column("conversation", String(128)),
    Column("user", String(1000)),
    Column("lane", String(16), nullable=False, server_default=""),
    Column("variant", String(255), nullable=False, server_default=""),
    Column("weights", String(160), nullable=False, server_default=""),
    Column("key", String(64)),
    Column("person", String(64), nullable=False, server_default=""),
    Column("peer", String(64)),
    Column("request_id", String(64)),
    Column("request", JSON),
    Column("prompt", Text),
    Column("hold", Boolean, nullable=False, server_default=false()),
    Column("safety", String(16), nullable=False, server_default=""),
    Column("webhook_url", Text),
    Column("retried_for", String(64)),
    Column("not_before", Float),
    Column("measured", JSON),
    Index("jobs_by_key", "owner", "idempotency_key", unique=True),
    Index("jobs_by_owner", "owner", "seq"),
    Index("jobs_by_parent", "parent_id", "row", unique=True),
    Index("jobs_of_batch", "parent_id", "state", "version", "started_at"),
    Index("jobs_by_conversation", "owner", "conversation", "seq"),
    Index("jobs_by_user", "owner", "user", "seq"),
    # The last three are in conditions: with them it answers without the table.
    Index(
        "jobs_waiting",
        "lane",
        "owner",
        "person",
        "party",
        "variant",
        "seq",
        "state",
        "rows",
        "not_before",
        **_where("state = 'queued' AND rows IS NULL"),
    ),
    Index("batches", "state", "lane", "seq", **_where("rows IS NOT NULL")),
    Index("jobs_running", "leased_by", **_where("state = 'running'")),
    Index("jobs_open", "owner", "fingerprint", **_where("state IN ('queued', 'running', 'review')")),
    # All but rows of batches. With `parent_id IS NULL` SQLite would take the index of that column, which holds all.
    Index("jobs_ended", "finished_at", **_where("finished_at IS NOT NULL AND (party = '' OR rows IS NOT NULL)")),
)

QUEUED = jobs.c.state == literal_column("'queued'")
RUNNING = jobs.c.state == literal_column("'running'")
OPEN = jobs.c.state.in_([literal_column("'queued'"), literal_column("'running'"), literal_column("'review'")])
"""Conditions on the state of a job. They are literal, since a database cannot tell of a parameter whether the rows that
it asks for are those of a partial index."""

images = Table(
    "images",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("job_id", String(64), ForeignKey("jobs.id"), index=True),
    Column("number", Integer, nullable=False),
    Column("key", String(255), nullable=False),
    Column("thumbnail_key", String(255), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("mime_type", String(32), nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("seed", BigInteger),
    Column("created_at", Float, nullable=False),
    Column("change_inside", Float),
    Column("change_outside", Float),
    Column("comparison_key", String(255)),
    Column("deleted_at", Float),
    Column("review", String(16), nullable=False, server_default="none"),
    Column("held_for", String(16)),
    Column("scores", JSON, nullable=False, server_default="{}"),
    Column("review_reasons", JSON, nullable=False, server_default="[]"),
    Column("review_note", Text),
    Column("review_by", String(255)),
    Column("review_at", Float),
    Column("expires_at", Float),
    Column("idempotency_key", String(255)),
    Column("is_mask", Boolean, nullable=False, server_default=false()),
    Index("images_by_key", "key"),
    Index("images_by_thumbnail_key", "thumbnail_key"),
    Index("images_by_comparison_key", "comparison_key"),
    # What a list shows; the last four are for counting it without the table.
    Index(
        "images_by_owner",
        "owner",
        "created_at",
        "id",
        "review",
        "job_id",
        "deleted_at",
        "is_mask",
        **_where("deleted_at IS NULL AND NOT is_mask"),
    ),
    Index("images_deleted", "owner", "deleted_at", **_where("deleted_at IS NOT NULL")),
    Index("images_reviewed", "owner", "review_at", **_where("review_at IS NOT NULL")),
    Index("images_by_idempotency_key", "owner", "idempotency_key", unique=True),
    Index("images_held", "owner", "created_at", **_where("review = 'held'")),
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("device", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("model", String(128)),
    Column("message", Text, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("memory_used", BigInteger),
    Column("memory_total", BigInteger),
)

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

installation = Table(
    "installation",
    metadata,
    Column("id", String(64), primary_key=True),
)
"""One row, made with the database: its id marks the file store whose pictures the rows are about."""

job_inputs = Table(
    "job_inputs",
    metadata,
    Column("image_id", String(64), primary_key=True),
    Column("job_id", String(64), ForeignKey("jobs.id"), primary_key=True, index=True),
)
"""Which jobs name which image: as an input, or, for a batch, in one of its rows."""

turns = Table(
    "turns",
    metadata,
    Column("lane", String(16), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("person", String(64), primary_key=True),
    Column("party", String(64), primary_key=True),
    Column("served_at", Float, nullable=False),
)
"""When each party (`jobs.ranking`) was last served; it outlives the jobs, so that deleting them earns no turn."""

paintings = Table(
    "paintings",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("person", String(64), primary_key=True),
    Column("party", String(64), primary_key=True),
    Column("variant", String(255), primary_key=True),
    Column("painted_at", Float, nullable=False),
)
"""When a variant last painted for a party."""

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
    # With `parent_id`, which is in their condition, they answer without the table.
    Index("usage_by_key", "key", "submitted_at", "images", "parent_id", **_where("parent_id IS NULL")),
    Index("usage_by_person", "key", "person", "submitted_at", "images", "parent_id", **_where("parent_id IS NULL")),
    Index("usage_open", "key", "person", "parent_id", "ended_at", **_where("ended_at IS NULL AND parent_id IS NULL")),
    Index("usage_by_time", "submitted_at"),
)
"""What each job uses: `images` count against limits until the end settles them; it outlives the job. The row of a batch
counts for all its rows, which have rows of their own here for what they cost. `key` is empty without keys."""

calls = Table(
    "calls",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("key", String(64)),
    Column("owner", String(64)),
    Column("person", String(64)),
    Column("peer", String(64)),
    Column("method", String(16), nullable=False),
    Column("route", String(200), nullable=False),
    Column("status", Integer),
    Column("job_id", String(64)),
    Column("operation", String(32)),
    Column("model", String(128)),
    Column("tier", String(32)),
    Column("variant", String(255)),
    Column("seed", BigInteger),
    Column("prompt", Text),
    Column("phases", JSON(none_as_null=True)),
    Column("took_ms", Float),
    Column("outcome", String(64), nullable=False),
    Column("attempt", Integer),
    Column("safety", String(16)),
    Column("cached", Boolean),
    Column("images", Integer),
    Column("bytes", BigInteger),
    Index("calls_by_time", "at"),
    Index("calls_by_owner", "owner", "seq"),
    Index("calls_by_job", "job_id"),
    Index(
        "calls_measured", "model", "tier", "operation", "seq", **_where("outcome = 'succeeded' AND phases IS NOT NULL")
    ),
)
"""The call log: a row per job, when it has ended, and per request that was refused or changed something."""

tallies = Table(
    "tallies",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("model", String(128), primary_key=True),
    Column("label", String(64), primary_key=True),
    Column("value", Float, nullable=False),
)
"""Numbers for /metrics, which only grow: what ended is counted in the transaction that ends it, and counted still once
its rows are gone."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("job_id", String(64), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("key", String(64), nullable=False, server_default=""),
    Column("host", String(270), nullable=False),
    Column("url", Text, nullable=False),
    Column("event", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_at", Float),
    Column("delivered_at", Float),
    Column("dead_at", Float),
    Column("status", Integer),
    Column("error", Text),
    Index("deliveries_due", "key", "host", "next_at", **_where("next_at IS NOT NULL")),
    Index("deliveries_dead", "dead_at", **_where("dead_at IS NOT NULL")),
    Index("deliveries_by_time", "created_at", "id"),
)
"""The outbox of callbacks: a row is written by the transaction that ends its job. `next_at` is when to try next; empty
once it was delivered or is dead. `host` is that of the URL, with its port; `key` is empty without keys."""

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
