"""The ranking of jobs: one query serves both the claim and the queue positions that people see."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import CTE, ColumnElement, FromClause, Select, and_, case, func, literal, select

from qwen_image_studio.contract.words import Lane, State
from qwen_image_studio.database.tables import forgotten_turns, jobs
from qwen_image_studio.jobs import FEW_ROWS
from qwen_image_studio.planning.plan import Variant

ACTIVE = (State.QUEUED, State.RUNNING, State.REVIEW)
"""States of jobs that have not ended."""
_ORDINARY = ""
"""Value of the column ``batch`` for jobs that belong to no batch."""
_PARTY = ("lane", "owner", "batch")
"""Columns that identify a party, and parties take turns: the ordinary jobs of one owner, or one batch, in one lane."""


def ranked_jobs(
    *,
    lane: Lane | None = None,
    models: Collection[str] = (),
    loaded: Variant | None = None,
    patience: float = 0.0,
    longest: float = 0.0,
    now: float = 0.0,
) -> Select[tuple[str, int]]:
    """Return the query for the queued jobs as (id, place), place 1 first; a batch that only waits for its rows has no
    place.

    Owners take turns: the first job of every owner comes before the second of any, and among the first ones the owner
    goes first who was served longest ago. An owner's batches take turns with the owner's other jobs, so that no
    ordinary job waits for more than one row of a batch.

    The `loaded` variant goes before all this: its jobs come first and after them those with the same weights, since
    swapping 40 GB costs more than a picture, until the others have waited for `patience` seconds since their variant
    last painted for them. No attempt takes more than `longest` seconds. Each lane has a queue of its own.
    """
    waiting = _waiting(lane, models)
    served = _served(waiting)
    swap: ColumnElement[int] = literal(0)
    ranked: FromClause = waiting.join(served, _same(waiting, served, *_PARTY))
    if loaded is not None:
        due = _due(waiting, now - patience, longest)
        ranked = ranked.join(due, _same(waiting, due, *_PARTY, "variant"))
        is_loaded, has_weights = waiting.c.variant == str(loaded), waiting.c.weights == loaded.weights
        swap = case((is_loaded | due.c.due, 0), (has_weights, 1), else_=2)
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


def _waiting(lane: Lane | None, models: Collection[str]) -> CTE:
    """Return the queued jobs that a worker could go on with now, each with its party: its lane, owner and batch."""
    batch = case((jobs.c.rows.is_not(None), jobs.c.id), else_=func.coalesce(jobs.c.parent_id, _ORDINARY))
    query = select(
        jobs.c.id,
        jobs.c.seq,
        jobs.c.owner,
        jobs.c.variant,
        jobs.c.weights,
        jobs.c.created_at,
        jobs.c.lane,
        batch.label("batch"),
    ).where(jobs.c.state == State.QUEUED)
    if lane is not None:
        query = query.where(jobs.c.lane == lane)
    if lane is Lane.PAINT:
        query = query.where(jobs.c.model.in_(models))
    return query.where(has_work()).cte("waiting").prefix_with("MATERIALIZED")


def _same(one: FromClause, other: FromClause, *names: str) -> ColumnElement[bool]:
    return and_(*(one.c[name] == other.c[name] for name in names))


def _served(waiting: CTE) -> CTE:
    """Return when each party was last served in its lane, in Unix seconds; 0 for never.

    The result is materialized, so that the past is looked up once for each party and not for each job that waits.
    """
    keys = [waiting.c[name] for name in _PARTY]
    parties = select(*keys).group_by(*keys).subquery()
    past = jobs.alias("past")
    same_lane = past.c.lane == parties.c.lane
    ordinary = past.c.parent_id.is_(None) & past.c.rows.is_(None)
    claimed = select(past.c.claimed_at).where(past.c.claimed_at.is_not(None), same_lane).limit(1).correlate(parties)
    of_owner = claimed.where(past.c.owner == parties.c.owner, ordinary == (parties.c.batch == _ORDINARY))
    # Rows are claimed in order, so the last one that was claimed has the latest claim. A claim of the batch itself, to
    # make more rows, counts as serving it too.
    of_rows = claimed.where(past.c.parent_id == parties.c.batch).order_by(past.c.row.desc())
    of_itself = claimed.where(past.c.id == parties.c.batch)
    deleted = forgotten_turns.c
    of_deleted = (
        select(deleted.claimed_at)
        .where(deleted.owner == parties.c.owner, deleted.lane == parties.c.lane)
        .where(deleted.of_batches != (parties.c.batch == _ORDINARY))
        .correlate(parties)
    )
    query = select(
        parties,
        func.coalesce(of_owner.order_by(past.c.claimed_at.desc()).scalar_subquery(), 0.0).label("kept_served"),
        func.coalesce(of_deleted.scalar_subquery(), 0.0).label("deleted_served"),
        func.coalesce(of_rows.scalar_subquery(), 0.0).label("rows_served"),
        func.coalesce(of_itself.scalar_subquery(), 0.0).label("itself_served"),
    )
    found = query.cte("found").prefix_with("MATERIALIZED")
    by_owner = later(found.c.kept_served, found.c.deleted_served).label("owner_served")
    by_batch = later(found.c.rows_served, found.c.itself_served).label("batch_served")
    return select(found, by_owner, by_batch).cte("served").prefix_with("MATERIALIZED")


def later(one: ColumnElement[float], other: ColumnElement[float]) -> ColumnElement[float]:
    """Return the later of two times."""
    return case((one > other, one), else_=other)


def _due(waiting: CTE, since: float, longest: float) -> CTE:
    """Return whether each party has waited for a variant since then: its oldest job for the variant was submitted
    before `since`, and no job of the party was painted by it after that.
    """
    keys = [waiting.c[name] for name in (*_PARTY, "variant")]
    parties = select(*keys, func.min(waiting.c.created_at).label("oldest")).group_by(*keys).subquery()
    past = jobs.alias("past")
    of_batch = case((past.c.rows.is_not(None), past.c.id), else_=func.coalesce(past.c.parent_id, _ORDINARY))
    painted = (
        select(past.c.id)
        .where(past.c.owner == parties.c.owner, past.c.claimed_at >= since - longest)
        .where(past.c.variant == parties.c.variant, of_batch == parties.c.batch)
        .where(func.coalesce(past.c.finished_at, past.c.claimed_at) >= since)
        .correlate(parties)
        .exists()
    )
    due = (parties.c.oldest < since) & ~painted
    return select(parties, due.label("due")).cte("due").prefix_with("MATERIALIZED")


def shown_state() -> ColumnElement[Any]:
    """Return an expression for the state that people see; `jobs.states.state_shown` is the same in Python."""
    child = jobs.alias()
    started = select(child.c.id).where(child.c.parent_id == jobs.c.id, child.c.state != State.QUEUED).exists()
    is_open = jobs.c.rows.is_not(None) & jobs.c.state.in_(ACTIVE)
    return case((is_open & started, State.RUNNING), (is_open, State.QUEUED), else_=jobs.c.state)


def has_work() -> ColumnElement[bool]:
    """Return the condition that a worker could go on with a queued job; a batch with enough rows under way waits."""
    child = jobs.alias()
    # Rows are made in order, so the number of the last one tells how many there are without counting them.
    made = select(func.coalesce(func.max(child.c.row), -1) + 1).where(child.c.parent_id == jobs.c.id).scalar_subquery()
    is_open = child.c.parent_id.is_not(None) & child.c.state.in_(ACTIVE)
    crowded = select(child.c.parent_id).where(is_open).group_by(child.c.parent_id).having(func.count() >= FEW_ROWS)
    some = select(child.c.parent_id).where(is_open)
    wants_rows = (made < jobs.c.rows) & jobs.c.id.not_in(crowded)
    return jobs.c.rows.is_(None) | wants_rows | jobs.c.id.not_in(some)
