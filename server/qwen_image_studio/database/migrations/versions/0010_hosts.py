"""Workers of several hosts: which one each runs on, and what it can paint."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("workers", sa.Column("host", sa.String(255), nullable=False, server_default=""))
    op.add_column("workers", sa.Column("offers", sa.JSON()))


def downgrade() -> None:
    """Take them away."""
    op.drop_column("workers", "offers")
    op.drop_column("workers", "host")
