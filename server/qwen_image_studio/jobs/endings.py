"""What is written about a job in the transaction that ends it: its row of the call log, the tallies, and that its
texts are gone where they are not kept.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, Row, insert, update

from qwen_image_studio.contract.words import ADJUSTED, State
from qwen_image_studio.database.tables import calls, jobs
from qwen_image_studio.jobs import tallies
from qwen_image_studio.jobs.calls import JOB, Call, columns
from qwen_image_studio.jobs.prompts import PromptPolicy
from qwen_image_studio.settings import Settings

_LOG = insert(calls)


class Endings:
    """What the settings want to be written of each end."""

    def __init__(self, prompts: PromptPolicy, settings: Settings) -> None:
        self._prompts, self._logs = prompts, settings.calls_days > 0

    def note(self, connection: Connection, row: Row[Any], *, cached: bool) -> Iterable[tallies.Added]:
        """Write what is to be written of a job that this transaction has ended (a row of `usage.PAINTED`); return what
        is to be added to tallies, at the end of the transaction.
        """
        if self._logs:
            connection.execute(_LOG, columns(self._call(row, cached=cached)))
        if left := self._prompts.left_of(dict(row._mapping)):
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(left))
        # The rows of a batch are counted, and not the batch.
        return _tallied(row, made=0 if cached else row.made) if row.rows is None else ()

    def _call(self, row: Row[Any], *, cached: bool) -> Call:
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
            images=row.made,
            bytes=row.made_bytes,
        )


def _outcome(row: Row[Any]) -> str:
    return f"failed:{row.error_code}" if row.state == State.FAILED else str(row.state)


def _tallied(row: Row[Any], made: int) -> Iterator[tallies.Added]:
    """Yield what a job adds to the tallies of its model."""
    model = row.model or ADJUSTED
    yield tallies.ENDED, model, _outcome(row), 1.0
    yield tallies.IMAGES, model, "", float(made)
    if row.model and row.measured:  # a model worked at it
        yield tallies.TIER_IMAGES, model, row.tier, float(made)
        yield tallies.TIER_DEVICE_S, model, row.tier, row.measured[tallies.DEVICE_S]
    if row.cache is not None:
        yield tallies.CACHED, model, row.cache, 1.0
    if row.measured:
        yield from tallies.observed(model, row.measured["phases"])
        for name in (tallies.MEGAPIXEL_STEPS, tallies.DEVICE_S):
            yield name, model, "", row.measured[name]
