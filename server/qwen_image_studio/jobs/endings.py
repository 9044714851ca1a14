"""What is written about a job in the transaction that ends it: its row of the call log, the tallies, and that its
texts are gone where they are not kept.
"""

from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from qwen_image_studio.contract.words import ADJUSTED, State
from qwen_image_studio.database.tables import calls, images, jobs, usage
from qwen_image_studio.jobs import tallies
from qwen_image_studio.jobs.calls import JOB, Call, columns
from qwen_image_studio.jobs.prompts import PromptPolicy
from qwen_image_studio.settings import Settings

_ENDED = select(jobs).where(jobs.c.id == bindparam("job_id"))
_MADE = select(func.count(), func.coalesce(func.sum(images.c.bytes), 0)).where(images.c.job_id == bindparam("job_id"))
_CACHED = select(usage.c.cached).where(usage.c.job_id == bindparam("job_id"))
_LOG = insert(calls)


class Endings:
    """What the settings want to be written of each end."""

    def __init__(self, prompts: PromptPolicy, settings: Settings) -> None:
        self._prompts, self._logs = prompts, settings.calls_days > 0

    def note(self, connection: Connection, job_id: str) -> None:
        """Write all that is to be written of a job that this transaction has ended, once its images have rows."""
        row = connection.execute(_ENDED, {"job_id": job_id}).one()
        count, size = connection.execute(_MADE, {"job_id": job_id}).one()
        if self._logs:
            cached = connection.scalar(_CACHED, {"job_id": job_id})
            connection.execute(_LOG, columns(self._call(row, count, size, cached=bool(cached))))
        if row.rows is None:  # the rows of a batch are counted, and not the batch
            _tally(connection, row, count)
        if left := self._prompts.left_of(dict(row._mapping)):
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(left))

    def _call(self, row: Row[Any], count: int, size: int, *, cached: bool) -> Call:
        seeds = row.plan.get("seeds") or row.plan.get("row_seeds") or [None]
        return Call(
            at=row.finished_at,
            request_id=row.request_id or "",
            method=JOB,
            route="",
            outcome=_outcome(row),
            key=row.key,
            owner=row.owner,
            person=row.person,
            peer=row.peer,
            job_id=row.id,
            operation=row.operation,
            model=row.model or ADJUSTED,
            tier=row.tier,
            variant=row.variant,
            seed=seeds[0],
            prompt=self._prompts.logged(row.prompt),
            phases=row.measured and row.measured["phases"],
            took_ms=round((row.finished_at - row.created_at) * 1000, 1),
            attempt=row.attempt,
            safety=row.safety,
            cached=cached,
            images=count,
            bytes=size,
        )


def _outcome(row: Row[Any]) -> str:
    return f"failed:{row.error_code}" if row.state == State.FAILED else str(row.state)


def _tally(connection: Connection, row: Row[Any], count: int) -> None:
    added: list[tallies.Added] = [(tallies.ENDED, _outcome(row), 1.0), (tallies.IMAGES, "", float(count))]
    if row.measured:
        added += tallies.observed(row.measured["phases"])
        added += [(name, "", row.measured[name]) for name in (tallies.MEGAPIXEL_STEPS, tallies.DEVICE_S)]
    tallies.add(connection, row.model or ADJUSTED, added)
