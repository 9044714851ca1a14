"""Jobs that are answered without painting, by pictures that are there.

Such a job is like any other: its images are rows of its own, which name the files of the pictures that answer it. It is
ended in the transaction that would have queued it, or have given it to a worker: an equal job may have been painted
while it waited. What was deleted answers nothing any more (`forgetting`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from secrets import token_hex
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, literal_column, select, update

from qwen_image_studio.contract.words import Cached, State
from qwen_image_studio.database.tables import images, jobs
from qwen_image_studio.jobs.events import Change
from qwen_image_studio.jobs.held import WITHHELD
from qwen_image_studio.jobs.records import JOBS, NOT_DELETED, as_job, get_job
from qwen_image_studio.jobs.states import Job, NewJob
from qwen_image_studio.planning.plan import pictures_of

_SIMILAR = (
    "The pictures are those of an earlier request, whose prompt (similar_prompt) differs from this one only in case, "
    "blanks, the order of its parts or words that show nothing; cache=false has them painted anew."
)
_KEYS = {Cached.EXACT: jobs.c.cache_key, Cached.SIMILAR: jobs.c.similar_key}
_GIVEN_OUT = (NOT_DELETED, ~WITHHELD)
_NUMBER = select(func.count()).where(images.c.job_id == jobs.c.id, *_GIVEN_OUT).scalar_subquery()
_IS_WHOLE = _NUMBER == bindparam("number")
_WAS_SEEN = jobs.c.safety != literal_column("'unavailable'")
"""Pictures that no classifier has seen although it was to are looked at anew."""
_OF_SOURCE = select(images).where(images.c.job_id == bindparam("job_id"), *_GIVEN_OUT).order_by(images.c.id)
_WAITS = JOBS.where(
    jobs.c.seq == bindparam("of_seq"), jobs.c.state == State.QUEUED, jobs.c.lookup.is_not(None), jobs.c.lease_token == 0
)


@dataclass(frozen=True)
class Answer:
    """The pictures that answer a job."""

    source: Job
    """The job that has them."""
    how: Cached
    pictures: Sequence[Row[Any]]
    """Their rows."""


def answer_of(connection: Connection, job: NewJob | Job, *, to_change: bool = False) -> Answer | None:
    """Return the newest pictures that answer a job: those of an equal one of the same owner, else, where these will do,
    those of one whose prompt is alike. None where there are none, or not all of them may be given out. With `to_change`
    they stay until the transaction ends.
    """
    if (lookup := job.lookup) is None:
        return None
    number = pictures_of(job.plan)
    sought = {"owner": job.owner, "seed": lookup.seed, "number": number}
    for how, key in ((Cached.EXACT, job.cache_key), (Cached.SIMILAR, job.similar_key if lookup.similar else None)):
        if key is None:
            continue
        row = connection.execute(_sought(how, seeded=lookup.seed is not None), {**sought, "key": key}).one_or_none()
        if row is None:
            continue
        query = _OF_SOURCE.with_for_update(read=True) if to_change else _OF_SOURCE
        pictures = connection.execute(query, {"job_id": row.id}).all()
        if len(pictures) == number:  # else one was deleted at this moment
            return Answer(as_job(row), how, sorted(pictures, key=lambda each: each.number))
    return None


def answer(change: Change, job: Job, by: Answer, now: float) -> Job:
    """End a job that waits with the pictures that answer it, and return it."""
    own = {"job_id": job.id, "created_at": now, "expires_at": None}
    copies = [{**row._mapping, **own, "id": f"img_{token_hex(12)}"} for row in by.pictures]
    change.connection.execute(images.insert(), copies)
    change.end(job.id, State.SUCCEEDED, now, **_answered(job, by))
    return get_job(change.connection, job.id)


def answer_queued(change: Change, seq: int, now: float) -> bool:
    """End a queued job, by its number, that no worker has had yet, if there are pictures that answer it now; return
    whether there were.
    """
    row = change.connection.execute(_WAITS.with_for_update(), {"of_seq": seq}).one_or_none()
    by = None if row is None else answer_of(change.connection, as_job(row), to_change=True)
    if row is None or by is None:
        return False
    answer(change, as_job(row), by, now)
    return True


def without_keys(new: NewJob) -> NewJob:
    """Return a job that no earlier pictures answer, and whose pictures will answer no other."""
    return replace(new, cache_key=None, similar_key=None, share_key=None, lookup=None)


def answer_no_more(connection: Connection, keys: Collection[str]) -> None:
    """Let the pictures with these files answer no job any more, whichever jobs have them."""
    having = select(images.c.job_id).where(images.c.key.in_(keys))
    connection.execute(update(jobs).where(jobs.c.id.in_(having)).values(cache_key=None, similar_key=None))


@cache
def _sought(how: Cached, *, seeded: bool) -> Select[Any]:
    """Return the query for the newest job with whole pictures by one of its keys."""
    succeeded = jobs.c.state == literal_column("'succeeded'")  # literal, as the index has it
    query = JOBS.where(jobs.c.owner == bindparam("owner"), _KEYS[how] == bindparam("key"), succeeded).limit(1)
    if seeded:
        query = query.where(jobs.c.seed == bindparam("seed")).order_by(jobs.c.seq.desc())
    else:  # with a sum, since SQLite would otherwise go through all that the owner ever had, in that order
        query = query.order_by((jobs.c.seq + 0).desc())
    return query.where(_WAS_SEEN, _IS_WHOLE)


def _answered(job: Job, by: Answer) -> Mapping[str, Any]:
    """Return the columns of a job that is answered: what its pictures are, and what was said of them."""
    source, prompt = by.source, _painted_prompt(by)
    told = [*job.warnings, _SIMILAR] if prompt else list(job.warnings)
    of_pictures = [each for each in source.warnings[source.warned or 0 :] if each not in told]
    columns: dict[str, Any] = {
        "cache": by.how,
        "similar_prompt": prompt,
        "warnings": [*told, *of_pictures],
        "warned": len(told),
        "compute_saved": source.compute_saved,
        "safety": source.safety,
        # The keys of what the pictures are, by which these copies answer others.
        "cache_key": source.cache_key,
        "similar_key": source.similar_key,
    }
    if seeds := source.plan.get("seeds"):
        columns |= {"plan": {**job.plan, "seeds": seeds}, "seed": seeds[0]}
        columns |= {} if job.request is None else {"request": {**job.request, "seed": seeds[0]}}
    return columns


def _painted_prompt(by: Answer) -> str | None:
    """Return the prompt that was painted, where that is not the job's own."""
    if by.how is Cached.EXACT:
        return None
    return by.source.similar_prompt or by.source.plan["prompt"] or None
