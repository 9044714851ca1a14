"""Submits that share a job: equal ones that name a seed, while it has not ended.

The first submit is the job's own row, each later one a row of `shares`. A job is cancelled once all have been taken
back, and deleted together with them.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

from sqlalchemy import BindParameter, ColumnElement, Connection, bindparam, literal_column, select, update

from qwen_image_studio.contract.caller import person_of
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.database.tables import OPEN, jobs, shares
from qwen_image_studio.jobs.events import Change
from qwen_image_studio.jobs.prompts import PromptPolicy
from qwen_image_studio.jobs.records import JOBS, as_job, get_job
from qwen_image_studio.jobs.states import Job, NewJob

_SHAREABLE = JOBS.where(
    jobs.c.owner == bindparam("owner"),
    jobs.c.share_key == bindparam("key"),
    OPEN,
    literal_column("NOT jobs.cancel_requested"),  # in the words of the index
)
_SENT = (
    select(jobs.c.id, jobs.c.fingerprint)
    .where(jobs.c.owner == bindparam("owner"), jobs.c.idempotency_key == bindparam("key"))
    .union_all(
        select(shares.c.job_id, shares.c.fingerprint).where(
            shares.c.owner == bindparam("owner"), shares.c.idempotency_key == bindparam("key")
        )
    )
)
_SHARES = select(shares).where(shares.c.job_id == bindparam("job_id")).order_by(shares.c.seq)


def share_key(new: NewJob, prompts: PromptPolicy) -> str | None:
    """Return a hash of all in which submits have to be equal to share a job: of the pictures with their seed, and of
    what the job says to those who look at it. None where the request names no seed, or is to be painted anyway.
    """
    if new.cache_key is None or new.lookup is None or new.lookup.seed is None:
        return None
    of_caller = [new.key, new.user, new.conversation, new.webhook_url, new.prompt, list(new.warnings)]
    of_guest = [] if new.guest is None else [new.guest.id]
    equal = [new.cache_key, asdict(new.lookup), *of_caller, *of_guest]
    return prompts.fingerprint(hashlib.sha256(json.dumps(equal).encode()).hexdigest())


# -- submitting ----------------------------------------------------------------------------------------------------


def replayed(connection: Connection, owner: str, key: str | None, fingerprint: str) -> Job | None:
    """Return the job of an earlier submit with this owner and idempotency key, be it that one's own or shared; None
    where there is none. Raises StudioError ``idempotency_key_reused`` where it had another fingerprint.
    """
    if key is None:
        return None
    row = connection.execute(_SENT, {"owner": owner, "key": key}).first()
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise StudioError(
            "idempotency_key_reused",
            f"This Idempotency-Key came before with another request (job {row.id}); use a new key for a new request.",
            param="Idempotency-Key",
        )
    return get_job(connection, row.id)


def shareable(connection: Connection, new: NewJob, *, to_change: bool = False) -> Job | None:
    """Return the job that has not ended and that an equal submit shares; None where there is none. One that is
    `to_change` stays so until the transaction ends.
    """
    if new.share_key is None:
        return None
    sought = _SHAREABLE.with_for_update() if to_change else _SHAREABLE
    row = connection.execute(sought, {"owner": new.owner, "key": new.share_key}).one_or_none()
    return None if row is None else as_job(row)


def is_shared_by(fingerprint: BindParameter[str]) -> ColumnElement[bool]:
    """Return the condition that a submit with this fingerprint shares a job."""
    return select(shares.c.seq).where(shares.c.job_id == jobs.c.id, shares.c.fingerprint == fingerprint).exists()


def share(change: Change, job: Job, new: NewJob, now: float) -> Job:
    """Let a submit share a job that is `shareable`; return the job."""
    sent = {"owner": new.owner, "idempotency_key": new.idempotency_key, "fingerprint": new.fingerprint}
    counted = {"key": new.key or "", "person": person_of(new.user), "created_at": now}
    change.connection.execute(shares.insert().values(job_id=job.id, **sent, **counted))
    change.update(job.id, {"shared": jobs.c.shared + 1})
    return get_job(change.connection, job.id)


# -- taking back ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Submit:
    """One of the submits that share a job."""

    seq: int | None
    """Its number among the shares; None for the first submit, which is the job's own."""
    key: str | None
    is_back: bool


def take_back(change: Change, job: Job, key: str | None, now: float) -> bool:
    """Take back one of the submits that share a job, and return whether the job is to be cancelled, since none is left.

    It is the submit with this idempotency key, for which repeating it changes nothing, and neither does a key that none
    of several has; without a key, the oldest that is left and came without one, else the oldest that is left.
    """
    submits = _submits(change.connection, job)
    named = [submit for submit in submits if key is not None and submit.key == key]
    left = [submit for submit in submits if not submit.is_back]
    if not left:
        return True
    if key is not None and not named and len(submits) > 1:
        return False
    chosen = (named or [submit for submit in left if submit.key is None] or left)[0]
    if chosen.is_back:
        return False
    if job.state.final or job.cancel_requested:
        return True  # nothing is to be taken back any more, which the cancel says
    if chosen.seq is not None:
        change.connection.execute(update(shares).where(shares.c.seq == chosen.seq).values(withdrawn_at=now))
    change.update(job.id, {"shared": len(left) - 1, "withdrawn": job.withdrawn or chosen.seq is None})
    return len(left) == 1


def _submits(connection: Connection, job: Job) -> list[_Submit]:
    """Return the submits that share a job, oldest first."""
    later = [] if job.share_key is None else connection.execute(_SHARES, {"job_id": job.id}).all()
    return [
        _Submit(None, job.idempotency_key, job.withdrawn),
        *(_Submit(row.seq, row.idempotency_key, row.withdrawn_at is not None) for row in later),
    ]
