"""Content credentials: what the file of an image was before it was signed."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what there is has not been signed."""
    op.add_column("images", sa.Column("unsigned_sha256", sa.String(64)))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("images", "unsigned_sha256")
