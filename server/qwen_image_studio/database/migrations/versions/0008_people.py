"""People of a key with their limits, usage and turns; the call log; review of images; callbacks."""

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_WAITS = "state = 'queued' AND rows IS NULL"
_WAITING = ["lane", "owner", "party", "variant", "seq", "state", "rows"]
_LISTED = ["owner", "created_at", "id", "review", "job_id", "deleted_at", "is_mask"]
_TEXT: dict[str, int] = {"lane": 16, "owner": 64, "person": 64, "party": 64, "variant": 255}
_MARKS = ("**", "***")
"""Parties under which is kept when any job of a person, and of an owner, was served."""
_TURNS = {"turns": (["lane", "owner", "party"], "served_at"), "paintings": (["owner", "party", "variant"], "painted_at")}
_PERSON_OF_PARTY = "COALESCE((SELECT jobs.person FROM jobs WHERE jobs.id = old.party), '')"


def _new_columns() -> dict[str, list[sa.Column[Any]]]:
    return {
        "jobs": [
            sa.Column("key", sa.String(64)),
            sa.Column("person", sa.String(64), nullable=False, server_default=""),
            sa.Column("peer", sa.String(64)),
            sa.Column("request_id", sa.String(64)),
            sa.Column("request", sa.JSON()),
            sa.Column("prompt", sa.Text()),
            sa.Column("hold", sa.Boolean(), nullable=False, server_default=sa.false()),
            sa.Column("safety", sa.String(16), nullable=False, server_default=""),
            sa.Column("webhook_url", sa.Text()),
            sa.Column("retried_for", sa.String(64)),
            sa.Column("not_before", sa.Float()),
            sa.Column("measured", sa.JSON()),
        ],
        "images": [
            sa.Column("review", sa.String(16), nullable=False, server_default="none"),
            sa.Column("held_for", sa.String(16)),
            sa.Column("scores", sa.JSON(), nullable=False, server_default="{}"),
            sa.Column("review_reasons", sa.JSON(), nullable=False, server_default="[]"),
            sa.Column("review_note", sa.Text()),
            sa.Column("review_by", sa.String(255)),
            sa.Column("review_at", sa.Float()),
            sa.Column("expires_at", sa.Float()),
            sa.Column("idempotency_key", sa.String(255)),
            sa.Column("is_mask", sa.Boolean(), nullable=False, server_default=sa.false()),
        ],
        "workers": [sa.Column("memory_used", sa.BigInteger()), sa.Column("memory_total", sa.BigInteger())],
        "api_keys": [
            sa.Column("scopes", sa.JSON(), nullable=False, server_default='["generate", "edit"]'),
            sa.Column("limits", sa.JSON(), nullable=False, server_default="{}"),
            sa.Column("policy", sa.String(16)),
            sa.Column("webhook_url", sa.Text()),
            sa.Column("old_hash", sa.String(64)),
            sa.Column("old_until", sa.Float()),
        ],
    }


_USED = ["submitted_at", "images", "parent_id"]
_INDEXES: list[tuple[str, str, list[str], str | None, bool]] = [
    ("images_by_owner", "images", _LISTED, "deleted_at IS NULL AND NOT is_mask", False),
    ("images_deleted", "images", ["owner", "deleted_at"], "deleted_at IS NOT NULL", False),
    ("images_reviewed", "images", ["owner", "review_at"], "review_at IS NOT NULL", False),
    ("images_by_idempotency_key", "images", ["owner", "idempotency_key"], None, True),
    ("images_held", "images", ["owner", "created_at"], "review = 'held'", False),
    ("api_keys_by_old_hash", "api_keys", ["old_hash"], None, True),
    ("usage_by_key", "usage", ["key", *_USED], "parent_id IS NULL", False),
    ("usage_by_person", "usage", ["key", "person", *_USED], "parent_id IS NULL", False),
    ("usage_open", "usage", ["key", "person", "parent_id", "ended_at"], "ended_at IS NULL AND parent_id IS NULL", False),
    ("usage_by_time", "usage", ["submitted_at"], None, False),
    ("calls_by_time", "calls", ["at"], None, False),
    ("calls_by_owner", "calls", ["owner", "seq"], None, False),
    ("calls_by_job", "calls", ["job_id"], None, False),
    (
        "calls_measured",
        "calls",
        ["model", "tier", "operation", "seq"],
        "outcome = 'succeeded' AND phases IS NOT NULL",
        False,
    ),
    ("deliveries_due", "deliveries", ["key", "host", "next_at"], "next_at IS NOT NULL", False),
    ("deliveries_dead", "deliveries", ["dead_at"], "dead_at IS NOT NULL", False),
    ("deliveries_by_time", "deliveries", ["created_at", "id"], None, False),
    ("webhook_secrets_by_key", "webhook_secrets", ["key"], None, False),
]


def upgrade() -> None:
    """Add what is new; a person is known of jobs that named a user, and masks are the last inputs of inpaints."""
    for table, added in _new_columns().items():
        for column in added:
            op.add_column(table, column)
    _fill_persons()
    _mark_masks()
    _make_tables()
    for name, table, columns, condition, unique in _INDEXES:
        _index(name, table, columns, condition, unique=unique)
    op.drop_index("jobs_waiting", "jobs")
    _index("jobs_waiting", "jobs", [*_WAITING[:2], "person", *_WAITING[2:], "not_before"], _WAITS)
    for name, (keys, time) in _TURNS.items():
        _remake(name, [*keys[: keys.index("party")], "person", *keys[keys.index("party") :]], time, keys)
    for mark in _MARKS:  # until now an owner was one person
        op.execute(
            "INSERT INTO turns (lane, owner, person, party, served_at)"
            f" SELECT lane, owner, '', '{mark}', MAX(served_at)"
            " FROM turns WHERE party IN ('', '*') GROUP BY lane, owner"
        )


def _fill_persons() -> None:
    """Fill in the persons of the jobs that named a user; a long name is kept as its hash."""
    op.execute(f'UPDATE jobs SET person = "user" WHERE length("user") <= {_TEXT["person"]}')  # noqa: S608 - a number
    jobs = sa.table("jobs", sa.column("seq"), sa.column("user"), sa.column("person"))
    connection = op.get_bind()
    long = sa.select(jobs.c.seq, jobs.c.user).where(sa.func.length(jobs.c.user) > _TEXT["person"])
    hashed = [
        {"job": seq, "hashed": hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()}
        for seq, user in connection.execute(long).all()
    ]
    if hashed:  # by their numbers: no index has the users of all owners
        statement = sa.update(jobs).where(jobs.c.seq == sa.bindparam("job"))
        connection.execute(statement.values(person=sa.bindparam("hashed")), hashed)


def _mark_masks() -> None:
    connection = op.get_bind()
    jobs = sa.table("jobs", sa.column("operation"), sa.column("inputs", sa.JSON))
    images = sa.table("images", sa.column("id"), sa.column("is_mask"))
    inpaints = sa.select(jobs.c.inputs).where(jobs.c.operation == "inpaint")
    masks = [{"mask": inputs[-1]} for inputs in connection.scalars(inpaints).all() if inputs]
    if masks:
        connection.execute(sa.update(images).where(images.c.id == sa.bindparam("mask")).values(is_mask=True), masks)


def _index(name: str, table: str, columns: list[str], condition: str | None, *, unique: bool = False) -> None:
    where = None if condition is None else sa.text(condition)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _remake(name: str, keys: list[str], time: str, kept: list[str]) -> None:
    """Make a table of turns anew with another primary key, with the rows that there are."""
    op.rename_table(name, "old")
    columns = [sa.Column(key, sa.String(_TEXT[key]), primary_key=True) for key in keys]
    op.create_table(name, *columns, sa.Column(time, sa.Float(), nullable=False))
    both = [key for key in kept if key in keys]
    read = ", ".join(key if key in kept else _PERSON_OF_PARTY for key in keys)
    op.execute(
        f"INSERT INTO {name} ({', '.join(keys)}, {time}) SELECT {read}, MAX({time}) FROM old GROUP BY {', '.join(both)}"  # noqa: S608 - our own names
    )
    op.drop_table("old")


def _make_tables() -> None:
    op.create_table(
        "usage",
        sa.Column("job_id", sa.String(64), primary_key=True),
        sa.Column("parent_id", sa.String(64)),
        *(sa.Column(name, sa.String(64), nullable=False) for name in ("key", "owner", "person")),
        sa.Column("operation", sa.String(32), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("tier", sa.String(32), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("pictures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("megapixel_steps", sa.Float(), nullable=False, server_default="0"),
        sa.Column("device_s", sa.Float(), nullable=False, server_default="0"),
        sa.Column("cached", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("submitted_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float()),
    )
    op.create_table(
        "calls",
        sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        *(sa.Column(name, sa.String(64)) for name in ("key", "owner", "person", "peer")),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("route", sa.String(200), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("job_id", sa.String(64)),
        sa.Column("operation", sa.String(32)),
        sa.Column("model", sa.String(128)),
        sa.Column("tier", sa.String(32)),
        sa.Column("variant", sa.String(255)),
        sa.Column("seed", sa.BigInteger()),
        sa.Column("prompt", sa.Text()),
        sa.Column("phases", sa.JSON()),
        sa.Column("took_ms", sa.Float()),
        sa.Column("outcome", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer()),
        sa.Column("safety", sa.String(16)),
        sa.Column("cached", sa.Boolean()),
        sa.Column("images", sa.Integer()),
        sa.Column("bytes", sa.BigInteger()),
    )
    op.create_table(
        "tallies",
        *(sa.Column(name, sa.String(size), primary_key=True) for name, size in (("name", 64), ("model", 128), ("label", 64))),
        sa.Column("value", sa.Float(), nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False, server_default=""),
        sa.Column("host", sa.String(270), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False, server_default="0"),
        *(sa.Column(name, sa.Float()) for name in ("next_at", "delivered_at", "dead_at")),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.Text()),
    )
    op.create_table(
        "webhook_secrets",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("secret", sa.String(128), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float()),
    )


def downgrade() -> None:
    """Take it away; of several people's turns the last one stays for their owner."""
    op.execute("DELETE FROM turns WHERE party IN ('**', '***')")
    for name, (keys, time) in _TURNS.items():
        _remake(name, keys, time, keys)
    op.drop_index("jobs_waiting", "jobs")
    for name, table, *_ in reversed(_INDEXES):
        op.drop_index(name, table)
    for table in ("webhook_secrets", "deliveries", "tallies", "calls", "usage"):
        op.drop_table(table)
    for table, columns in _new_columns().items():
        for column in reversed(columns):
            op.drop_column(table, column.name)
    _index("jobs_waiting", "jobs", _WAITING, _WAITS)
