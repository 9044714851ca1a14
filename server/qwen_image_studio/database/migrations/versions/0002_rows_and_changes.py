"""Batches and their rows, conversations, what was saved, and how much an edit changed."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Added one by one: in SQLite Alembic's batch mode would copy the tables, which the images' foreign key forbids.
_JOBS: dict[str, Any] = {
    "compute_saved": sa.Float(),
    "parent_id": sa.String(64),
    "row": sa.Integer(),
    "rows": sa.Integer(),
    "conversation": sa.String(128),
}
_IMAGES: dict[str, Any] = {
    "change_inside": sa.Float(),
    "change_outside": sa.Float(),
    "comparison_key": sa.String(255),
}


def upgrade() -> None:
    """Add the columns."""
    for table, columns in (("jobs", _JOBS), ("images", _IMAGES)):
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind))
    op.create_index("jobs_by_parent", "jobs", ["parent_id", "row"], unique=True)
    op.create_index("jobs_by_conversation", "jobs", ["owner", "conversation", "seq"])


def downgrade() -> None:
    """Take them away."""
    op.drop_index("jobs_by_conversation", "jobs")
    op.drop_index("jobs_by_parent", "jobs")
    for table, columns in (("jobs", _JOBS), ("images", _IMAGES)):
        for name in columns:
            op.drop_column(table, name)
