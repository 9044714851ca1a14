"""Whose job is next: one query serves the claim and the queue positions that people see."""

from collections.abc import Collection

from sqlalchemy import CTE, ColumnElement, FromClause, Select, and_, case, func, literal, select

from qwen_image_studio.contract.words import LIGHT, State
from qwen_image_studio.database.tables import jobs
from qwen_image_studio.jobs.batches import has_work

_ORDINARY = ""
"""In place of a batch's id, for jobs that belong to none."""
_PARTY = ("lane", "owner", "batch")
"""Whose turn it is: an owner's ordinary jobs, or one of the batches, in one lane."""


def queue(
    *,
    models: Collection[str] | None = None,
    loaded: str | None = None,
    patience: float = 0.0,
    longest: float = 0.0,
    now: float = 0.0,
) -> Select[tuple[str, int]]:
    """Queued jobs as (id, place), place 1 first; batches whose rows are under way are not among them.

    Owners take turns: everyone's first job comes before anyone's second, and of those the owner goes first who was
    served longest ago. An owner's batches take turns beside the owner's other jobs, so that none of these waits for
    more than one row. Before that, jobs of the `loaded` model go first, since swapping 40 GB of weights costs more than
    a picture, until the others have waited for `patience` seconds since their model last painted for them. No attempt
    takes more than `longest` seconds. What needs no model has a queue of its own.
    """
    waiting = _waiting(models)
    served = _served(waiting)
    swap: ColumnElement[int] = literal(0)
    ranked: FromClause = waiting.join(served, _same(waiting, served, *_PARTY))
    if loaded is not None:
        due = _due(waiting, now - patience, longest)
        ranked = ranked.join(due, _same(waiting, due, *_PARTY, "model"))
        swap = case(((waiting.c.model == loaded) | due.c.due, 0), else_=1)
    party = [waiting.c[name] for name in _PARTY]
    turn = func.row_number().over(partition_by=party, order_by=(swap, waiting.c.seq))
    columns = (waiting.c.id, waiting.c.seq, waiting.c.lane, waiting.c.batch, swap.label("swap"), turn.label("turn"))
    turns = select(*columns, served.c.owner_served, served.c.batch_served).select_from(ranked).cte("turns")
    order = (
        turns.c.swap,
        turns.c.turn,
        turns.c.owner_served,
        turns.c.batch != _ORDINARY,
        turns.c.batch_served,
        turns.c.seq,
    )
    place = func.row_number().over(partition_by=turns.c.lane, order_by=order)
    return select(turns.c.id, place.label("place")).order_by("place")


def _waiting(models: Collection[str] | None) -> CTE:
    """The queued jobs that somebody could do something for, each with its party: its lane, owner and batch."""
    batch = case((jobs.c.rows.is_not(None), jobs.c.id), else_=func.coalesce(jobs.c.parent_id, _ORDINARY))
    query = select(
        jobs.c.id,
        jobs.c.seq,
        jobs.c.owner,
        jobs.c.model,
        jobs.c.created_at,
        (jobs.c.model == LIGHT).label("lane"),
        batch.label("batch"),
    ).where(jobs.c.state == State.QUEUED)
    if models is not None:
        query = query.where(jobs.c.model.in_(models))
    return query.where(has_work()).cte("waiting").prefix_with("MATERIALIZED")


def _same(one: FromClause, other: FromClause, *names: str) -> ColumnElement[bool]:
    return and_(*(one.c[name] == other.c[name] for name in names))


def _served(waiting: CTE) -> CTE:
    """When each party, which is an owner's ordinary jobs or one of the batches, was last served in its lane.

    Materialized, so that the past is looked up once for each party and not for each job that waits.
    """
    keys = [waiting.c[name] for name in _PARTY]
    parties = select(*keys).group_by(*keys).subquery()
    past = jobs.alias("past")
    light = (past.c.model == LIGHT) == parties.c.lane
    ordinary = past.c.parent_id.is_(None) & past.c.rows.is_(None)
    claimed = select(past.c.claimed_at).where(past.c.claimed_at.is_not(None), light).limit(1).correlate(parties)
    of_owner = claimed.where(past.c.owner == parties.c.owner, ordinary == (parties.c.batch == _ORDINARY))
    # Rows go in order, so the last one that was claimed stands for the latest claim; making rows serves a batch too.
    of_rows = claimed.where(past.c.parent_id == parties.c.batch).order_by(past.c.row.desc())
    of_itself = claimed.where(past.c.id == parties.c.batch)
    query = select(
        parties,
        func.coalesce(of_owner.order_by(past.c.claimed_at.desc()).scalar_subquery(), 0.0).label("owner_served"),
        func.coalesce(of_rows.scalar_subquery(), 0.0).label("rows_served"),
        func.coalesce(of_itself.scalar_subquery(), 0.0).label("itself_served"),
    )
    found = query.cte("found").prefix_with("MATERIALIZED")
    later = case((found.c.rows_served > found.c.itself_served, found.c.rows_served), else_=found.c.itself_served)
    return select(found, later.label("batch_served")).cte("served").prefix_with("MATERIALIZED")


def _due(waiting: CTE, since: float, longest: float) -> CTE:
    """Whether each party has waited for a model since then: its first job for it is older, and none was painted."""
    keys = [waiting.c[name] for name in (*_PARTY, "model")]
    parties = select(*keys, func.min(waiting.c.created_at).label("oldest")).group_by(*keys).subquery()
    past = jobs.alias("past")
    of_batch = case((past.c.rows.is_not(None), past.c.id), else_=func.coalesce(past.c.parent_id, _ORDINARY))
    painted = (
        select(past.c.id)
        .where(past.c.owner == parties.c.owner, past.c.claimed_at >= since - longest)
        .where(past.c.model == parties.c.model, of_batch == parties.c.batch)
        .where(func.coalesce(past.c.finished_at, past.c.claimed_at) >= since)
        .correlate(parties)
        .exists()
    )
    due = (parties.c.oldest < since) & ~painted
    return select(parties, due.label("due")).cte("due").prefix_with("MATERIALIZED")
