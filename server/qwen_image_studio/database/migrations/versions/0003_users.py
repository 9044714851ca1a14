"""For whom a job was submitted, where the caller says so."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the index of lists by it."""
    op.add_column("jobs", sa.Column("user", sa.String(1000)))
    op.create_index("jobs_by_user", "jobs", ["owner", "user", "seq"])


def downgrade() -> None:
    """Take them away."""
    op.drop_index("jobs_by_user", "jobs")
    op.drop_column("jobs", "user")
