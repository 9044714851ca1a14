"""Pictures that are taken apart: which layer an image is."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what there is are whole pictures."""
    op.add_column("images", sa.Column("layer", sa.Integer()))


def downgrade() -> None:
    """Take it away; layers stay as pictures."""
    op.drop_column("images", "layer")
