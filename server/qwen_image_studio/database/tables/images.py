"""Images: what was sent, and what jobs have made."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, Text, false

from qwen_image_studio.database.tables.base import metadata, where

images = Table(
    "images",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("job_id", String(64), ForeignKey("jobs.id"), index=True),
    Column("number", Integer, nullable=False),
    Column("layer", Integer),
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
    Column("pixels", String(64)),
    Column("guest", String(64)),
    Column("unsigned_sha256", String(64)),
    Index("images_by_key", "key"),
    Index("images_by_guest", "guest", **where("guest IS NOT NULL")),
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
        **where("deleted_at IS NULL AND NOT is_mask"),
    ),
    Index("images_deleted", "owner", "deleted_at", **where("deleted_at IS NOT NULL")),
    Index("images_reviewed", "owner", "review_at", **where("review_at IS NOT NULL")),
    Index("images_by_idempotency_key", "owner", "idempotency_key", unique=True),
    Index("images_held", "owner", "created_at", **where("review = 'held'")),
)

"""`guest` is the link through which an image was sent, if it was; for what is made, its job has it."""

installation = Table(
    "installation",
    metadata,
    Column("id", String(64), primary_key=True),
)
"""One row, made with the database: its id marks the file store whose pictures the rows are about."""
