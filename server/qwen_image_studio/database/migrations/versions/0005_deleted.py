"""Images that were deleted, and rows found by the files that they name."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_INDEXES = {
    "images_by_key": "key",
    "images_by_thumbnail_key": "thumbnail_key",
    "images_by_comparison_key": "comparison_key",
}


def upgrade() -> None:
    """Add the column and the indexes."""
    op.add_column("images", sa.Column("deleted_at", sa.Float()))
    for name, column in _INDEXES.items():
        op.create_index(name, "images", [column])


def downgrade() -> None:
    """Take them away."""
    for name in _INDEXES:
        op.drop_index(name, "images")
    op.drop_column("images", "deleted_at")
