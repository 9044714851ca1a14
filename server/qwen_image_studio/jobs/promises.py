"""Jobs whose caller could wait no longer, and whose picture is promised to whoever sends their request again.

A promise is the job's idempotency key, where it has none of its caller's. So it holds for every web process; it lasts
until an hour after the job's end. It is made to the API key that the job was sent with: another one of the owner's may
have other scopes, or another policy.
"""

import hashlib
from collections.abc import Sequence

from sqlalchemy import bindparam, or_, update
from sqlalchemy.exc import IntegrityError

from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import jobs
from qwen_image_studio.jobs.records import JOBS, as_job
from qwen_image_studio.jobs.states import Job

KEPT_S = 3600.0
"""Seconds for which a promise is kept after the end of its job: who asks later wants another picture."""
MOST = 10
"""Number of promises for equal requests of one API key at a time; further ones are not made."""
_PROMISED = (
    JOBS.where(jobs.c.owner == bindparam("owner"), jobs.c.idempotency_key.in_(bindparam("keys", expanding=True)))
    .where(or_(jobs.c.finished_at.is_(None), jobs.c.finished_at > bindparam("since")))
    .order_by(jobs.c.seq + 0)  # else SQLite goes through all that the owner ever had, in that order
    .limit(1)
)
_TAKEN = _PROMISED.with_for_update(skip_locked=True)  # two who ask at the same moment get a job each
_KEY_OF = update(jobs).where(jobs.c.id == bindparam("job_id"))


class Promises:
    """The promises of one job store. Every method is one transaction, unless several web processes make equal ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def make(self, job: Job) -> None:
        """Promise the job's picture to whoever sends its request again. A job with an idempotency key keeps that one,
        by which it is found as well.
        """
        for key in _keys(job.fingerprint, job.key):
            try:
                with self._database.writing() as connection:
                    connection.execute(
                        _KEY_OF.where(jobs.c.idempotency_key.is_(None)).values(idempotency_key=key), {"job_id": job.id}
                    )
            except IntegrityError:  # that one is promised to another caller with the same request
                continue
            return

    def take(self, owner: str, key: str | None, fingerprint: str, now: float | None = None) -> Job | None:
        """Return the oldest job that was promised to this request of an API key, by its owner and name, and is promised
        no longer; None without one.

        Whoever cannot hand its picture out either makes the promise again.
        """
        sought = {"owner": owner, "keys": _keys(fingerprint, key), "since": self._database.now(now) - KEPT_S}
        with self._database.reading() as connection:
            if connection.execute(_PROMISED, sought).one_or_none() is None:
                return None
        with self._database.writing() as connection:
            if (row := connection.execute(_TAKEN, sought).one_or_none()) is None:
                return None
            connection.execute(_KEY_OF.values(idempotency_key=None), {"job_id": row.id})
            return as_job(row)


def _keys(fingerprint: str, key: str | None) -> Sequence[str]:
    """Return the idempotency keys of promises for a request of an API key."""
    told = hashlib.sha256(f"{fingerprint} {key or ''}".encode()).hexdigest()
    return [f"again:{told}:{number}" for number in range(MOST)]
