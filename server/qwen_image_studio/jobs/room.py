"""Room in the queue: a limit for all, and within it a share for each owner and for each person of an owner.

An owner may have up to a share of what the others leave free, so that whoever fills the queue leaves room for the next;
a person whom an owner names may have up to the same share of what the owner may. Jobs that name no person count for
their owner alone. A server without keys has one owner, for whom there is no other.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from qwen_image_studio.contract.caller import LOCAL_OWNER
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.database.tables import OPEN, QUEUED, jobs
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
    is_batch = new.rows is not None
    everybodys = _of_batches() if is_batch else _of_lane(new)
    total = _number(connection, limit, *everybodys)
    if total >= limit:
        what = "batches that have not ended" if is_batch else "jobs that wait"
        raise _full(f"The queue is full ({what}: {total}). Send it again later.")
    if share >= 1:
        return
    own = _number(connection, limit, *everybodys, _is_owner(new.owner, is_batch=is_batch))
    owners = limit - (total - own) if new.owner == LOCAL_OWNER else allowed(limit, total - own, share)
    if own >= owners:
        what = "batches have not ended" if is_batch else "jobs wait"
        raise _full(
            f"Your share of the queue is full: {own} of your {what}, and the rest of the {limit} places is kept for "
            "other owners. Wait until some have ended, or cancel one; the share is STUDIO_QUEUE_SHARE."
        )
    if new.user is not None:
        _check_person(connection, limit, owners, own, share, new, everybodys)


def _check_person(
    connection: Connection,
    limit: int,
    owners: int,
    own: int,
    share: float,
    new: NewJob,
    everybodys: Sequence[ColumnElement[bool]],
) -> None:
    is_batch = new.rows is not None
    # Not the index of persons, which holds all that they ever asked for.
    is_person = func.coalesce(jobs.c.user, "") == new.user
    mine = _number(connection, limit, *everybodys, _is_owner(new.owner, is_batch=is_batch), is_person)
    if mine >= allowed(owners, own - mine, share):
        what = "batches of this person have not ended" if is_batch else "jobs of this person wait"
        raise _full(
            f"user: {mine} {what}, and the rest of the {owners} places of this API key is kept for other persons. "
            "Wait until some have ended, or cancel one; the share is STUDIO_QUEUE_SHARE.",
            param="user",
        )


def _of_lane(new: NewJob) -> Sequence[ColumnElement[bool]]:
    return QUEUED, jobs.c.rows.is_(None), jobs.c.lane == new.lane, jobs.c.party == ORDINARY


def _of_batches() -> Sequence[ColumnElement[bool]]:
    return OPEN, jobs.c.rows.is_not(None)


def _is_owner(owner: str, *, is_batch: bool) -> ColumnElement[bool]:
    # The index of what waits is sorted by owners. That of batches is not, and the owner's own holds all past jobs.
    return func.coalesce(jobs.c.owner, "") == owner if is_batch else jobs.c.owner == owner


def _number(connection: Connection, limit: int, *conditions: ColumnElement[bool]) -> int:
    """Count no further than to the limit, since the exact number of a longer queue is of no interest."""
    found: Select[Any] = select(jobs.c.seq).where(*conditions).limit(limit)
    return connection.scalar(select(func.count()).select_from(found.subquery())) or 0


def _full(message: str, param: str | None = None) -> StudioError:
    return StudioError("queue_full", message, param=param, retry_after=_RETRY_S)
