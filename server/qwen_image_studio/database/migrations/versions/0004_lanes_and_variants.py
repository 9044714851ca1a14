"""The lane of a job, what has to be loaded for it, and the kind of its plan."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NEW = {"lane": 16, "variant": 255, "weights": 160}
_AT_ONCE = 500


def upgrade() -> None:
    """Add the columns and fill them in; plans say their kind, and `through` is called `way`."""
    for name, length in _NEW.items():
        op.add_column("jobs", sa.Column(name, sa.String(length), nullable=False, server_default=""))
    op.create_index("jobs_by_lane", "jobs", ["state", "lane", "seq"])
    plain: list[sa.ColumnClause[Any]] = [sa.column(name) for name in ("seq", "operation", "model", "tier", "rows", *_NEW)]
    jobs = sa.table("jobs", *plain, sa.column("plan", sa.JSON))
    connection, last = op.get_bind(), 0
    while rows := connection.execute(sa.select(jobs).where(jobs.c.seq > last).order_by(jobs.c.seq).limit(_AT_ONCE)).all():
        for row in rows:
            connection.execute(sa.update(jobs).where(jobs.c.seq == row.seq).values(_values(row)))
        last = rows[-1].seq


def _values(row: sa.Row[Any]) -> dict[str, Any]:
    needs_no_model = row.model == "cv"
    plan = dict(row.plan)
    if plan:  # the row of a batch of which no job could be made has none
        plan["kind"] = "batch" if row.rows is not None else "adjust" if needs_no_model else "paint"
        if plan["kind"] == "paint":
            way = plan.pop("through", plan.get("operation", row.operation))
            plan["way"] = way if way in {"generate", "edit"} else "generate"
    return {
        "lane": "light" if needs_no_model else "paint",
        "model": "" if needs_no_model else row.model,
        # In which precision they were painted is not known, so nothing that is loaded counts as theirs.
        "weights": "" if needs_no_model else row.model,
        "variant": "" if needs_no_model else f"{row.model}/{row.tier}",
        "plan": plan,
    }


def downgrade() -> None:
    """Take the columns away; the model of jobs that need none is called cv again."""
    op.execute("UPDATE jobs SET model = 'cv' WHERE lane = 'light'")
    op.drop_index("jobs_by_lane", "jobs")
    for name in _NEW:
        op.drop_column("jobs", name)
