"""What is reported, logged, counted and told."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, String, Table, Text

from qwen_image_studio.database.tables.base import metadata, where

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
    Column("host", String(255), nullable=False, server_default=""),
    Column("offers", JSON(none_as_null=True)),
)
"""The last report of each worker. `host` is the one it runs on, and `offers` says what it can paint."""

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
        "calls_measured", "model", "tier", "operation", "seq", **where("outcome = 'succeeded' AND phases IS NOT NULL")
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
    Index("deliveries_due", "key", "host", "next_at", **where("next_at IS NOT NULL")),
    Index("deliveries_dead", "dead_at", **where("dead_at IS NOT NULL")),
    Index("deliveries_by_time", "created_at", "id"),
)
"""The outbox of callbacks: a row is written by the transaction that ends its job. `next_at` is when to try next; empty
once it was delivered or is dead. `host` is that of the URL, with its port; `key` is empty without keys."""
