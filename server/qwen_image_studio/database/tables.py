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
    literal_column,
    text,
)

REVISION = "0007"
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
    Index("jobs_by_key", "owner", "idempotency_key", unique=True),
    Index("jobs_by_owner", "owner", "seq"),
    Index("jobs_by_parent", "parent_id", "row", unique=True),
    Index("jobs_of_batch", "parent_id", "state", "version", "started_at"),
    Index("jobs_by_conversation", "owner", "conversation", "seq"),
    Index("jobs_by_user", "owner", "user", "seq"),
    # The last two are in its condition: with them it answers without the table.
    Index(
        "jobs_waiting",
        "lane",
        "owner",
        "party",
        "variant",
        "seq",
        "state",
        "rows",
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
    Index("images_by_key", "key"),
    Index("images_by_thumbnail_key", "thumbnail_key"),
    Index("images_by_comparison_key", "comparison_key"),
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
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
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
    Column("party", String(64), primary_key=True),
    Column("served_at", Float, nullable=False),
)
"""When each party (`jobs.ranking`) was last served; it outlives the jobs, so that deleting them earns no turn."""

paintings = Table(
    "paintings",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("party", String(64), primary_key=True),
    Column("variant", String(255), primary_key=True),
    Column("painted_at", Float, nullable=False),
)
"""When a variant last painted for a party."""
