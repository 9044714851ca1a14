"""Links to one image: through which of them a job was submitted or an image sent."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_INDEXES = {"jobs": ("jobs_by_guest", ["guest", "seq"]), "images": ("images_by_guest", ["guest"])}
_INDEXES["usage"] = ("usage_by_guest", ["guest"])


def upgrade() -> None:
    """Add the columns; what there is came through no link."""
    for table, (name, columns) in _INDEXES.items():
        op.add_column(table, sa.Column("guest", sa.String(64)))
        some = sa.text("guest IS NOT NULL")
        op.create_index(name, table, columns, sqlite_where=some, postgresql_where=some)


def downgrade() -> None:
    """Take them away."""
    for table, (name, _) in reversed(_INDEXES.items()):
        op.drop_index(name, table)
        op.drop_column(table, "guest")
