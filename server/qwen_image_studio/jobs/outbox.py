"""The outbox of callbacks: one delivery for each job that ends and whose end somebody wants to be told of.

The transaction that ends a job writes its delivery, so none is lost and none is told of what did not happen. The
sender (`worker.sender`) claims a delivery by moving `next_at` on, past the longest try: where it dies meanwhile, the
delivery is due again after that.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, select, tuple_, update

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import State
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import api_keys, deliveries
from qwen_image_studio.jobs.prompts import storable

ERROR_CHARS = 300
"""Longest error that is kept of a try, in characters."""
_HOST_CHARS = 270
_PRUNED_AT_ONCE = 500

_OF_KEY = select(api_keys.c.webhook_url).where(api_keys.c.name == bindparam("key"), api_keys.c.revoked_at.is_(None))
_WAITS = deliveries.c.next_at.is_not(None)
_IS_DUE = _WAITS & (deliveries.c.next_at <= bindparam("now"))
_LINES = (
    select(deliveries.c.key, deliveries.c.host)
    .where(_IS_DUE)
    .group_by(deliveries.c.key, deliveries.c.host)
    .order_by(func.min(deliveries.c.next_at))
)
_FIRST = (
    select(deliveries.c.id)
    .where(deliveries.c.key == bindparam("of_key"), deliveries.c.host == bindparam("of_host"), _IS_DUE)
    .order_by(deliveries.c.next_at)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
# The second look at `next_at` is for a delivery that another sender has claimed since this statement began.
_CLAIM = (
    update(deliveries)
    .where(deliveries.c.id == _FIRST, _IS_DUE)
    .values(next_at=bindparam("until"))
    .returning(deliveries)
)
_IS_DEAD = deliveries.c.dead_at.is_not(None)
_OLD = select(deliveries.c.id).where(~_WAITS, deliveries.c.created_at < bindparam("before")).limit(_PRUNED_AT_ONCE)


@dataclass(frozen=True)
class Delivery:
    """One row of the outbox; all times are in Unix seconds."""

    id: str
    """The id of the event, which stays the same in every try."""
    job_id: str
    owner: str
    key: str
    """Name of the API key whose secrets sign it; empty while the server has no keys."""
    host: str
    url: str
    event: str
    """What is told: ``job.succeeded``, ``job.failed`` or ``job.cancelled``."""
    created_at: float
    tries: int
    """Number of tries that have ended."""
    next_at: float | None
    """When to try next, or when the sender that tries now has given up for sure; None once nothing is to be tried."""
    delivered_at: float | None
    dead_at: float | None
    """When it was given up."""
    status: int | None
    """HTTP status of the last answer."""
    error: str | None
    """Why the last try failed."""

    @property
    def state(self) -> str:
        """Return ``waiting``, ``delivered`` or ``dead``."""
        if self.delivered_at is not None:
            return "delivered"
        return "dead" if self.dead_at is not None else "waiting"


class Line(NamedTuple):
    """The deliveries of one API key to one host, of which one is sent at a time."""

    key: str
    host: str


class Counts(NamedTuple):
    """How many deliveries wait to be sent or sent again, and how many were given up."""

    waiting: int
    dead: int


def enqueue(connection: Connection, row: Row[Any], now: float) -> None:
    """Write the delivery that tells of a job's end, within the transaction that ends it. The job's own address goes
    before that of its key; rows of batches tell nothing, since their batch does.
    """
    if row.parent_id is not None or not State(row.state).final:
        return
    url = row.webhook_url
    if url is None and row.key is not None:
        url = connection.scalar(_OF_KEY, {"key": row.key})
    if url is None:
        return
    values = {
        "id": f"evt_{token_hex(12)}",
        "job_id": row.id,
        "owner": row.owner,
        "key": row.key or "",
        "host": _host_of(url),
        "url": url,
        "event": f"job.{row.state}",
        "created_at": now,
        "next_at": now,
    }
    connection.execute(deliveries.insert(), values)


def _host_of(url: str) -> str:
    """Return host and port as an accepted URL has them. It must not raise: the end of a job depends on it."""
    return re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0].lower()[:_HOST_CHARS]


def _get(connection: Connection, delivery_id: str) -> Delivery:
    row = connection.execute(select(deliveries).where(deliveries.c.id == delivery_id)).one_or_none()
    if row is None:
        raise StudioError("not_found", f"There is no callback '{delivery_id}'.")
    return Delivery(**row._mapping)


class Outbox:
    """The deliveries of a server. Every method is one transaction; `now` is in Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- for the sender --------------------------------------------------------------------------------------------

    def due(self, now: float) -> Sequence[Line]:
        """Return the lines that have a delivery to send now, the one that has waited longest first."""
        with self._database.reading() as connection:
            return [Line(row.key, row.host) for row in connection.execute(_LINES, {"now": now})]

    def claim(self, line: Line, until: float, now: float) -> Delivery | None:
        """Return the next delivery of a line, which nobody else gets before `until`; None where none is due."""
        values = {"of_key": line.key, "of_host": line.host, "until": until, "now": now}
        with self._database.writing() as connection:
            row = connection.execute(_CLAIM, values).one_or_none()
        return None if row is None else Delivery(**row._mapping)

    def delivered(self, delivery: Delivery, status: int, now: float) -> None:
        """Note that the receiver has it."""
        done = {"delivered_at": now, "dead_at": None, "next_at": None, "status": status, "error": None}
        self._end_try(deliveries.c.id == delivery.id, done)

    def failed(self, delivery: Delivery, next_at: float | None, status: int | None, error: str, now: float) -> None:
        """Note that a try failed, and when to try again; with None it is dead. Nothing changes where the claim has run
        out or the delivery was sent again meanwhile.
        """
        dead_at = now if next_at is None else None
        done = {
            "next_at": next_at,
            "dead_at": dead_at,
            "status": status,
            "error": (storable(error) or "")[:ERROR_CHARS],
        }
        self._end_try((deliveries.c.id == delivery.id) & (deliveries.c.next_at == delivery.next_at), done)

    def _end_try(self, which: ColumnElement[bool], done: dict[str, Any]) -> None:
        statement = update(deliveries).where(which).values(tries=deliveries.c.tries + 1, **done)
        with self._database.writing() as connection:
            connection.execute(statement)

    # -- for operators ---------------------------------------------------------------------------------------------

    def page(self, *, limit: int, dead: bool = False, after: str | None = None) -> tuple[Sequence[Delivery], bool]:
        """Return deliveries, the newest first, and whether more follow; `dead` keeps those that were given up, and
        `after` is the id of the last one of the page before. Raises StudioError ``not_found`` for one that is no more.
        """
        query = select(deliveries).order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc()).limit(limit + 1)
        if dead:
            query = query.where(_IS_DEAD)
        with self._database.reading() as connection:
            if after is not None:
                last = _get(connection, after)
                query = query.where(tuple_(deliveries.c.created_at, deliveries.c.id) < tuple_(last.created_at, last.id))
            found = [Delivery(**row._mapping) for row in connection.execute(query)]
        return found[:limit], len(found) > limit

    def get(self, delivery_id: str) -> Delivery:
        """Return one delivery. Raises StudioError ``not_found``."""
        with self._database.reading() as connection:
            return _get(connection, delivery_id)

    def resend(self, ids: Collection[str], now: float) -> int:
        """Send deliveries again from the first try on, whether they were given up or delivered; return how many there
        were.
        """
        return self._resend(deliveries.c.id.in_(ids), now)

    def resend_dead(self, since: float, now: float) -> int:
        """Do so with those that were given up since then (Unix seconds)."""
        return self._resend(_IS_DEAD & (deliveries.c.dead_at >= since), now)

    def _resend(self, which: ColumnElement[bool], now: float) -> int:
        again = {"next_at": now, "tries": 0, "delivered_at": None, "dead_at": None}
        with self._database.writing() as connection:
            return connection.execute(update(deliveries).where(which).values(again)).rowcount

    def counts(self) -> Counts:
        """Return how many deliveries wait and how many are dead."""
        count = select(func.count()).select_from(deliveries)
        with self._database.reading() as connection:
            return Counts(*(connection.scalar(count.where(which)) or 0 for which in (_WAITS, _IS_DEAD)))

    def prune(self, before: float) -> int:
        """Delete some of the deliveries that are from before then (Unix seconds) and wait no more; return how many."""
        with self._database.reading() as connection:
            old = list(connection.scalars(_OLD, {"before": before}))
        if old:
            with self._database.writing() as connection:
                connection.execute(deliveries.delete().where(deliveries.c.id.in_(old), deliveries.c.next_at.is_(None)))
        return len(old)
