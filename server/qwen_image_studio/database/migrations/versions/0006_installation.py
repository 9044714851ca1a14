"""An id that marks the file store of this database, and the turns of deleted jobs."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and draw the id."""
    installation = op.create_table("installation", sa.Column("id", sa.String(64), primary_key=True))
    op.bulk_insert(installation, [{"id": secrets.token_hex(16)}])
    op.create_table(
        "forgotten_turns",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("lane", sa.String(16), primary_key=True),
        sa.Column("of_batches", sa.Boolean(), primary_key=True),
        sa.Column("claimed_at", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_table("forgotten_turns")
    op.drop_table("installation")
