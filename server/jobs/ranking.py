"""Whose job is next: one query serves the claim and the queue positions that people see."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, case, func, literal, select

from server.jobs.tables import jobs
from server.vocabulary import LIGHT, State


def queue(
    *, models: Collection[str] | None = None, loaded: str | None = None, patience: float = 0.0, now: float = 0.0
) -> Select[tuple[str, int]]:
    """Queued jobs as (id, place), place 1 first.

    Owners take turns: everyone's first job comes before anyone's second, and of those the owner goes first who was
    served longest ago. Before that, jobs of the `loaded` model go first, since swapping 40 GB of weights costs more
    than a picture, until the others have waited for `patience` seconds. What needs no model has a queue of its own.
    """
    lane = jobs.c.model == LIGHT
    swap: ColumnElement[int] = literal(0)
    if loaded is not None:
        swap = case(((jobs.c.model == loaded) | (jobs.c.created_at < now - patience), 0), else_=1)
    served = jobs.alias("served")
    last_served = (
        select(func.max(served.c.claimed_at))
        .where(served.c.owner == jobs.c.owner, (served.c.model == LIGHT) == lane)
        .correlate(jobs)
        .scalar_subquery()
    )
    waiting = select(
        jobs.c.id,
        jobs.c.seq,
        swap.label("swap"),
        lane.label("lane"),
        func.row_number().over(partition_by=(lane, jobs.c.owner), order_by=(swap, jobs.c.seq)).label("turn"),
        func.coalesce(last_served, 0.0).label("last_served"),
    ).where(jobs.c.state == State.QUEUED)
    if models is not None:
        waiting = waiting.where(jobs.c.model.in_(models))
    ranked = waiting.subquery()
    order = (ranked.c.swap, ranked.c.turn, ranked.c.last_served, ranked.c.seq)
    place = func.row_number().over(partition_by=ranked.c.lane, order_by=order)
    return select(ranked.c.id, place.label("place")).order_by("place")
