"""Jobs, what they name, and whose turn it is."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    false,
    literal_column,
)

from qwen_image_studio.database.tables.base import metadata, where

_SHARED = "share_key IS NOT NULL AND state IN ('queued', 'running', 'review') AND NOT cancel_requested"

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
    Column("cache_key", String(64)),
    Column("similar_key", String(64)),
    Column("seed", BigInteger),
    Column("cache", String(16)),
    Column("similar_prompt", Text),
    Column("lookup", JSON(none_as_null=True)),
    Column("warned", Integer),
    Column("share_key", String(64)),
    Column("shared", Integer, nullable=False, server_default="1"),
    Column("withdrawn", Boolean, nullable=False, server_default=false()),
    Column("guest", String(64)),
    Index("jobs_by_key", "owner", "idempotency_key", unique=True),
    Index("jobs_by_owner", "owner", "seq"),
    Index("jobs_by_parent", "parent_id", "row", unique=True),
    Index("jobs_of_batch", "parent_id", "state", "version", "started_at"),
    Index("jobs_by_conversation", "owner", "conversation", "seq"),
    Index("jobs_by_user", "owner", "user", "seq"),
    Index("jobs_by_guest", "guest", "seq", **where("guest IS NOT NULL")),
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
        **where("state = 'queued' AND rows IS NULL"),
    ),
    Index("batches", "state", "lane", "seq", **where("rows IS NOT NULL")),
    Index("jobs_running", "leased_by", **where("state = 'running'")),
    Index("jobs_open", "owner", "fingerprint", **where("state IN ('queued', 'running', 'review')")),
    Index("jobs_shared", "owner", "share_key", unique=True, **where(_SHARED)),
    Index("jobs_cached", "owner", "cache_key", "seed", "seq", **where("state = 'succeeded' AND cache_key IS NOT NULL")),
    Index(
        "jobs_similar",
        "owner",
        "similar_key",
        "seed",
        "seq",
        **where("state = 'succeeded' AND similar_key IS NOT NULL"),
    ),
    # All but rows of batches. With `parent_id IS NULL` SQLite would take the index of that column, which holds all.
    Index("jobs_ended", "finished_at", **where("finished_at IS NOT NULL AND (party = '' OR rows IS NOT NULL)")),
)

"""`cache_key` is a hash of all that decides the pictures but their seeds, of which `seed` is the first; `similar_key`
is it with the prompt in its normal form. `lookup` says which pictures may answer the job while it waits, and `warned`
how many of its warnings are about the request, and not about the pictures. `cache` says in which of the two ways a job
was answered without painting, and `similar_prompt` with whose pictures. `share_key` is a hash of all in which submits
are equal that share a job, `shared` is the number of these that have not been taken back, and `withdrawn` says that the
first one was. `guest` is the link through which it was submitted, if it was."""

QUEUED = jobs.c.state == literal_column("'queued'")
RUNNING = jobs.c.state == literal_column("'running'")
OPEN = jobs.c.state.in_([literal_column("'queued'"), literal_column("'running'"), literal_column("'review'")])
"""Conditions on the state of a job. They are literal, since a database cannot tell of a parameter whether the rows that
it asks for are those of a partial index."""

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

shares = Table(
    "shares",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("owner", String(64), nullable=False),
    Column("idempotency_key", String(255)),
    Column("fingerprint", String(64), nullable=False),
    Column("job_id", String(64), ForeignKey("jobs.id"), nullable=False, index=True),
    Column("key", String(64), nullable=False),
    Column("person", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("withdrawn_at", Float),
    Index("shares_by_key", "owner", "idempotency_key", unique=True),
    Index("shares_counted", "key", "created_at", "person"),
)
"""The submits after the first one that share a job, and whether each was taken back. API key and person are as in
`usage`."""
