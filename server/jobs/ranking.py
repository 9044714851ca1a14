"""Whose job is next: one query serves the claim and the queue positions that people see."""

from collections.abc import Collection

from sqlalchemy import CTE, ColumnElement, Select, and_, case, func, literal, select

from server.jobs.batches import has_work
from server.jobs.tables import jobs
from server.vocabulary import LIGHT, State

_ORDINARY = ""
"""In place of a batch's id, for jobs that belong to none."""


def queue(
    *, models: Collection[str] | None = None, loaded: str | None = None, patience: float = 0.0, now: float = 0.0
) -> Select[tuple[str, int]]:
    """Queued jobs as (id, place), place 1 first; batches whose rows are under way are not among them.

    Owners take turns: everyone's first job comes before anyone's second, and of those the owner goes first who was
    served longest ago. An owner's batches take turns beside the owner's other jobs, so that none of these waits for
    more than one row. Before that, jobs of the `loaded` model go first, since swapping 40 GB of weights costs more than
    a picture, until the others have waited for `patience` seconds. What needs no model has a queue of its own.
    """
    lane = jobs.c.model == LIGHT
    batch = case((jobs.c.rows.is_not(None), jobs.c.id), else_=func.coalesce(jobs.c.parent_id, _ORDINARY))
    swap: ColumnElement[int] = literal(0)
    if loaded is not None:
        swap = case(((jobs.c.model == loaded) | (jobs.c.created_at < now - patience), 0), else_=1)
    query = select(
        jobs.c.id,
        jobs.c.seq,
        jobs.c.owner,
        swap.label("swap"),
        lane.label("lane"),
        batch.label("batch"),
        func.row_number().over(partition_by=(lane, jobs.c.owner, batch), order_by=(swap, jobs.c.seq)).label("turn"),
    ).where(jobs.c.state == State.QUEUED)
    if models is not None:
        query = query.where(jobs.c.model.in_(models))
    # A name for the subquery, so that it is one and the same in both of its uses below.
    waiting = query.where(has_work()).cte("waiting")
    served = _served(waiting)
    party = and_(*(waiting.c[name] == served.c[name] for name in ("lane", "owner", "batch")))
    order = (
        waiting.c.swap,
        waiting.c.turn,
        served.c.owner_served,
        waiting.c.batch != _ORDINARY,
        served.c.batch_served,
        waiting.c.seq,
    )
    place = func.row_number().over(partition_by=waiting.c.lane, order_by=order)
    return select(waiting.c.id, place.label("place")).select_from(waiting.join(served, party)).order_by("place")


def _served(waiting: CTE) -> CTE:
    """When each party, which is an owner's ordinary jobs or one of the batches, was last served in its lane.

    Materialized, so that the past is looked up once for each party and not for each job that waits.
    """
    parties = (
        select(waiting.c.lane, waiting.c.owner, waiting.c.batch)
        .group_by(waiting.c.lane, waiting.c.owner, waiting.c.batch)
        .subquery()
    )
    past = jobs.alias("past")
    ordinary = past.c.parent_id.is_(None) & past.c.rows.is_(None)
    of_owner = (
        select(past.c.claimed_at)
        .where(past.c.owner == parties.c.owner, past.c.claimed_at.is_not(None))
        .where((past.c.model == LIGHT) == parties.c.lane, ordinary == (parties.c.batch == _ORDINARY))
        .order_by(past.c.claimed_at.desc())
        .limit(1)
        .correlate(parties)
        .scalar_subquery()
    )
    of_batch = (
        select(func.max(past.c.claimed_at))
        .where(past.c.parent_id == parties.c.batch)
        .correlate(parties)
        .scalar_subquery()
    )
    query = select(
        parties,
        func.coalesce(of_owner, 0.0).label("owner_served"),
        func.coalesce(of_batch, 0.0).label("batch_served"),
    )
    return query.cte("served").prefix_with("MATERIALIZED")
