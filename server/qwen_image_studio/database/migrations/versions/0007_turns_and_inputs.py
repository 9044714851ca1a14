"""Whose turn it is and which jobs name an image, as tables; indexes that hold only what waits."""

import json
import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_IMAGE = re.compile(r"\bimg_[0-9a-f]{24}\b")
_AT_ONCE = 500
_PARTIAL = {
    "jobs_waiting": (["lane", "owner", "party", "variant", "seq", "state", "rows"], "state = 'queued' AND rows IS NULL"),
    "batches": (["state", "lane", "seq"], "rows IS NOT NULL"),
    "jobs_running": (["leased_by"], "state = 'running'"),
    "jobs_ended": (["finished_at"], "finished_at IS NOT NULL AND (party = '' OR rows IS NOT NULL)"),
    "jobs_open": (["owner", "fingerprint"], "state IN ('queued', 'running', 'review')"),
}


def upgrade() -> None:
    """Make the tables and fill them from the jobs that there are."""
    op.add_column("jobs", sa.Column("party", sa.String(64), nullable=False, server_default=""))
    op.execute("UPDATE jobs SET party = COALESCE(parent_id, id) WHERE parent_id IS NOT NULL OR rows IS NOT NULL")
    for index in ("jobs_by_lane", "jobs_by_claim", "jobs_by_state"):
        op.drop_index(index, "jobs")
    op.create_index("jobs_of_batch", "jobs", ["parent_id", "state", "version", "started_at"])
    for name, (columns, condition) in _PARTIAL.items():
        op.create_index(name, "jobs", columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))
    _keep_turns()
    _keep_inputs()


def _keep_turns() -> None:
    names = [sa.Column(name, sa.String(length), primary_key=True) for name, length in _TURN.items()]
    op.create_table("turns", *names, sa.Column("served_at", sa.Float(), nullable=False))
    names = [sa.Column(name, sa.String(length), primary_key=True) for name, length in _PAINTING.items()]
    op.create_table("paintings", *names, sa.Column("painted_at", sa.Float(), nullable=False))
    op.execute(
        "INSERT INTO turns SELECT lane, owner, party, MAX(claimed_at) FROM ("
        " SELECT lane, owner, party, claimed_at FROM jobs WHERE party = '' AND claimed_at IS NOT NULL"
        " UNION ALL SELECT lane, owner, '*', claimed_at FROM jobs WHERE party <> '' AND claimed_at IS NOT NULL"
        " UNION ALL SELECT lane, owner, party, claimed_at FROM jobs WHERE claimed_at IS NOT NULL AND party IN"
        " (SELECT id FROM jobs WHERE rows IS NOT NULL AND state IN ('queued', 'running', 'review'))"
        " UNION ALL SELECT lane, owner, CASE WHEN of_batches THEN '*' ELSE '' END, claimed_at FROM forgotten_turns"
        ") AS served GROUP BY lane, owner, party"
    )
    op.drop_table("forgotten_turns")


_TURN = {"lane": 16, "owner": 64, "party": 64}
_PAINTING = {"owner": 64, "party": 64, "variant": 255}


def _keep_inputs() -> None:
    op.create_table(
        "job_inputs",
        sa.Column("image_id", sa.String(64), primary_key=True),
        sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.id"), primary_key=True),
    )
    op.create_index("ix_job_inputs_job_id", "job_inputs", ["job_id"])
    plain: list[sa.ColumnClause[Any]] = [sa.column(name) for name in ("seq", "id", "rows")]
    jobs = sa.table("jobs", *plain, sa.column("plan", sa.JSON), sa.column("inputs", sa.JSON))
    named = sa.table("job_inputs", sa.column("image_id"), sa.column("job_id"))
    connection, last = op.get_bind(), 0
    newest = sa.select(jobs).order_by(jobs.c.seq).limit(_AT_ONCE)
    while rows := connection.execute(newest.where(jobs.c.seq > last)).all():
        found = [{"image_id": image_id, "job_id": row.id} for row in rows for image_id in _images_of(row)]
        if found:
            connection.execute(sa.insert(named), found)
        last = rows[-1].seq


def _images_of(row: sa.Row[Any]) -> set[str]:
    """Return the images that a job names; a batch does so somewhere in its plan."""
    return {*row.inputs, *(_IMAGE.findall(json.dumps(row.plan)) if row.rows is not None else ())}


def downgrade() -> None:
    """Take them away; whose turn it is stays known for jobs that have not been deleted."""
    op.create_table(
        "forgotten_turns",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("lane", sa.String(16), primary_key=True),
        sa.Column("of_batches", sa.Boolean(), primary_key=True),
        sa.Column("claimed_at", sa.Float(), nullable=False),
    )
    for table in ("job_inputs", "paintings", "turns"):
        op.drop_table(table)
    for index in (*_PARTIAL, "jobs_of_batch"):
        op.drop_index(index, "jobs")
    op.create_index("jobs_by_lane", "jobs", ["state", "lane", "seq"])
    op.create_index("jobs_by_claim", "jobs", ["owner", "claimed_at"])
    op.create_index("jobs_by_state", "jobs", ["state", "seq"])
    op.drop_column("jobs", "party")
