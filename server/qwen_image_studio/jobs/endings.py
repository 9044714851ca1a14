"""What is written about a job in the transaction that ends it: its row of the call log, the tallies, and that its
texts are gone where they are not kept.
"""

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

    def note(self, connection: Connection, row: Row[Any], *, cached: bool) -> None:
        """Write all that is to be written of a job that this transaction has ended (a row of `usage.PAINTED`)."""
        if self._logs:
            connection.execute(_LOG, columns(self._call(row, cached=cached)))
        if row.rows is None:  # the rows of a batch are counted, and not the batch
            _tally(connection, row)
        if left := self._prompts.left_of(dict(row._mapping)):
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(left))

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


def _tally(connection: Connection, row: Row[Any]) -> None:
    added: list[tallies.Added] = [(tallies.ENDED, _outcome(row), 1.0), (tallies.IMAGES, "", float(row.made))]
    if row.measured:
        added += tallies.observed(row.measured["phases"])
        added += [(name, "", row.measured[name]) for name in (tallies.MEGAPIXEL_STEPS, tallies.DEVICE_S)]
    tallies.add(connection, row.model or ADJUSTED, added)
