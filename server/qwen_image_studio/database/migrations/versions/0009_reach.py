"""Answers that need no painting: keys of pictures, submits that share a job; and art directions by name."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _new_columns() -> dict[str, list[sa.Column[Any]]]:
    return {
        "jobs": [
            sa.Column("cache_key", sa.String(64)),
            sa.Column("similar_key", sa.String(64)),
            sa.Column("seed", sa.BigInteger()),
            sa.Column("cache", sa.String(16)),
            sa.Column("similar_prompt", sa.Text()),
            sa.Column("lookup", sa.JSON()),
            sa.Column("warned", sa.Integer()),
            sa.Column("share_key", sa.String(64)),
            sa.Column("shared", sa.Integer(), nullable=False, server_default="1"),
            sa.Column("withdrawn", sa.Boolean(), nullable=False, server_default=sa.false()),
        ],
        "images": [sa.Column("pixels", sa.String(64))],
    }


_INDEXES: list[tuple[str, str, list[str], str | None, bool]] = [
    (
        "jobs_shared",
        "jobs",
        ["owner", "share_key"],
        "share_key IS NOT NULL AND state IN ('queued', 'running', 'review') AND NOT cancel_requested",
        True,
    ),
    ("jobs_cached", "jobs", ["owner", "cache_key", "seed", "seq"], "state = 'succeeded' AND cache_key IS NOT NULL", False),
    (
        "jobs_similar",
        "jobs",
        ["owner", "similar_key", "seed", "seq"],
        "state = 'succeeded' AND similar_key IS NOT NULL",
        False,
    ),
    ("ix_styles_reference", "styles", ["reference"], None, False),
    ("ix_shares_job_id", "shares", ["job_id"], None, False),
    ("shares_by_key", "shares", ["owner", "idempotency_key"], None, True),
    ("shares_counted", "shares", ["key", "created_at", "person"], None, False),
]


def upgrade() -> None:
    """Add what is new; pictures of before have no keys, and are painted anew."""
    for table, columns in _new_columns().items():
        for column in columns:
            op.add_column(table, column)
    op.create_table(
        "shares",
        sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("person", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("withdrawn_at", sa.Float()),
    )
    op.create_table(
        "styles",
        *(sa.Column(name, sa.String(64), primary_key=True) for name in ("owner", "name")),
        sa.Column("direction", sa.JSON(), nullable=False),
        sa.Column("reference", sa.String(64)),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("created_at", "changed_at")),
    )
    for name, table, indexed, condition, unique in _INDEXES:
        where = None if condition is None else sa.text(condition)
        op.create_index(name, table, indexed, unique=unique, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Take it away."""
    for name, table, *_ in reversed(_INDEXES):
        op.drop_index(name, table)
    for table in ("styles", "shares"):
        op.drop_table(table)
    for table, columns in _new_columns().items():
        for column in reversed(columns):
            op.drop_column(table, column.name)
