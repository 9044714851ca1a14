"""Room in the queue: a limit for all, and within it a share for each owner and for each person of an owner.

An owner may have up to a share of what the others leave free, so that whoever fills the queue leaves room for the next;
a person of an owner may have up to the same share of what the owner may. All jobs of an owner that name nobody are one
person's, like any other's, so that a script leaves room for the people who share its key. A server without keys has one
owner, for whom there is no other, and who is no other person where nobody is named.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, or_, select

from qwen_image_studio.contract.caller import LOCAL_OWNER, NOBODY, person_of
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.database.tables import QUEUED, RUNNING, jobs
from qwen_image_studio.jobs.states import ORDINARY, NewJob

_RETRY_S = 5


def allowed(limit: int, of_others: int, share: float) -> int:
    """Return how many jobs somebody may have where `of_others` of the `limit` are taken by others: a share of what is
    free, yet at least the first one.
    """
    free = max(0, limit - of_others)
    if share >= 1:
        return free
    most = int(share * free + 1e-9)  # 0.29 * 100 is 28.999...
    return min(free, max(1, min(most, free - 1)))


def check_room(connection: Connection, limit: int, share: float, new: NewJob) -> None:
    """Raise StudioError ``queue_full`` where there is no room for the job.

    What waits in one lane is counted, without rows of batches; batches are counted by themselves, since they spend most
    of their time waiting for their rows.
    """
    person = person_of(new.user)
    counts, is_batch = (_JOBS, False) if new.rows is None else (_BATCHES, True)

    def number(of: Select[Any]) -> int:
        return connection.scalar(of, {"limit": limit, "lane": new.lane, "owner": new.owner, "person": person}) or 0

    total = number(counts.everybodys)
    if total >= limit:
        what = "batches that have not ended" if is_batch else "jobs that wait"
        raise _full(f"The queue is full ({what}: {total}). Send it again later.")
    if share >= 1:
        return
    own = number(counts.owners)
    owners = limit - (total - own) if new.owner == LOCAL_OWNER else allowed(limit, total - own, share)
    if own >= owners:
        what = "batches have not ended" if is_batch else "jobs wait"
        raise _full(
            f"Your share of the queue is full: {own} of your {what}, and the rest of the {limit} places is kept for "
            "other owners. Wait until some have ended, or cancel one; the share is STUDIO_QUEUE_SHARE."
        )
    if new.owner == LOCAL_OWNER and person == NOBODY:
        return
    mine = number(counts.persons)
    if mine >= allowed(owners, own - mine, share):
        whose = "that name no user" if person == NOBODY else "of this person"
        what = f"batches {whose} have not ended" if is_batch else f"jobs {whose} wait"
        raise _full(
            f"user: {mine} {what}, and the rest of the {owners} places of this API key is kept for other persons. "
            "Wait until some have ended, or cancel one; the share is STUDIO_QUEUE_SHARE.",
            param="user",
        )


def _counted(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return a query that counts no further than to the limit: the exact number of a longer queue is of no interest."""
    return select(func.count()).select_from(select(jobs.c.seq).where(*conditions).limit(bindparam("limit")).subquery())


_OF_LANE = (QUEUED, jobs.c.rows.is_(None), jobs.c.lane == bindparam("lane"), jobs.c.party == ORDINARY)
_OF_BATCHES = (or_(QUEUED, RUNNING), jobs.c.rows.is_not(None))
"""Those that wait for reviewers take no place."""
_OF_OWNER = jobs.c.owner == bindparam("owner")
_BATCHES_OF_OWNER = func.coalesce(jobs.c.owner, "") == bindparam("owner")
"""Not by the index of owners, which holds all their past jobs; that of what waits is sorted by them."""
_OF_PERSON = jobs.c.person == bindparam("person")


@dataclass(frozen=True)
class _Counts:
    """Queries that count what takes room: everybody's, an owner's, a person's."""

    everybodys: Select[Any]
    owners: Select[Any]
    persons: Select[Any]


_JOBS = _Counts(_counted(*_OF_LANE), _counted(*_OF_LANE, _OF_OWNER), _counted(*_OF_LANE, _OF_OWNER, _OF_PERSON))
_BATCHES = _Counts(
    _counted(*_OF_BATCHES),
    _counted(*_OF_BATCHES, _BATCHES_OF_OWNER),
    _counted(*_OF_BATCHES, _BATCHES_OF_OWNER, _OF_PERSON),
)


def _full(message: str, param: str | None = None) -> StudioError:
    return StudioError("queue_full", message, param=param, retry_after=_RETRY_S)
