"""The call log: a row per job, written by the transaction that ends it (`endings`), and a row per request that was
refused or changed something, written by the web process once the request is answered.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, literal_column, select

from qwen_image_studio.contract.operators import CallView
from qwen_image_studio.contract.sheets import as_csv
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import calls
from qwen_image_studio.jobs.prompts import Words
from qwen_image_studio.jobs.states import BEFORE_WORK

_COLUMNS = list(CallView.model_fields)
JOB = "job"
"""What a job's row has in place of an HTTP method."""
SUCCEEDED = "succeeded"
_LAST = 50
"""Number of jobs of which a median is taken."""
_RECENT = 5000
"""Number of the newest rows among which the last failures are looked for."""
_MEASURED = (
    select(calls.c.phases, calls.c.images)
    .where(calls.c.model == bindparam("model"), calls.c.tier == bindparam("tier"))
    .where(calls.c.operation == bindparam("operation"))
    # Literal, as the index has them.
    .where(calls.c.outcome == literal_column(f"'{SUCCEEDED}'"), calls.c.phases.is_not(None))
    .order_by(calls.c.seq.desc())
    .limit(_LAST)
)


@dataclass(frozen=True)
class Call:
    """One row of the log, of a job or of a request."""

    at: float
    """When it ended, in Unix seconds."""
    request_id: str
    method: str
    """HTTP method; `JOB` for a job."""
    route: str
    """Address with its variables, such as ``/v1/jobs/<job_id>``; empty for a job."""
    outcome: str
    """``succeeded``, ``cancelled``, ``failed:CODE``, and for requests ``refused:CODE``."""
    key: str | None = None
    owner: str | None = None
    person: str | None = None
    peer: str | None = None
    status: int | None = None
    """HTTP status; None for a job."""
    job_id: str | None = None
    operation: str | None = None
    model: str | None = None
    tier: str | None = None
    variant: str | None = None
    seed: int | None = None
    """Seed of the first image."""
    prompt: str | None = None
    """The prompt, or its hash, or None, as the operator's setting says."""
    phases: Mapping[str, float] | None = None
    """Milliseconds of each phase."""
    took_ms: float | None = None
    """Time of a request until its answer, of a job from submission to end, in milliseconds."""
    attempt: int | None = None
    safety: str | None = None
    cached: bool | None = None
    images: int | None = None
    bytes: int | None = None
    """Size of all images in bytes."""
    seq: int | None = None
    """Number by which the log is paged; None for a row that is not written yet."""


@dataclass(frozen=True)
class Sought:
    """What rows are asked for; times in Unix seconds, None for all."""

    since: float | None = None
    until: float | None = None
    key: str | None = None
    owner: str | None = None
    person: str | None = None
    operation: str | None = None
    model: str | None = None
    outcome: str | None = None
    """``failed`` and ``refused`` stand for all their codes."""
    job_id: str | None = None
    words: Words | None = None
    """What the prompt must have in it."""

    def conditions(self) -> Iterable[ColumnElement[bool]]:
        """Yield what must hold of a row."""
        if self.since is not None:
            yield calls.c.at >= self.since
        if self.until is not None:
            yield calls.c.at < self.until
        if self.outcome is not None:
            begins = calls.c.outcome.startswith(f"{self.outcome}:", autoescape=True)
            yield (calls.c.outcome == self.outcome) | begins
        if self.words is not None:
            whole, text = self.words
            yield calls.c.prompt == text if whole else calls.c.prompt.icontains(text, autoescape=True)
        for name in ("key", "owner", "person", "operation", "model", "job_id"):
            if (value := getattr(self, name)) is not None:
                yield calls.c[name] == value


class Calls:
    """The call log of a server. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, rows: Sequence[Call]) -> None:
        """Add rows."""
        with self._database.writing() as connection:
            connection.execute(insert(calls), [columns(row) for row in rows])

    def page(self, sought: Sought, limit: int, after: int | None = None) -> tuple[list[Call], bool]:
        """Return one page of the rows, newest first, and whether more follow; `after` is the `seq` of the last row of
        the page before.
        """
        query = select(calls).where(*sought.conditions()).order_by(calls.c.seq.desc()).limit(limit + 1)
        if after is not None:
            query = query.where(calls.c.seq < after)
        with self._database.reading() as connection:
            found = [Call(**row) for row in connection.execute(query).mappings()]
        return found[:limit], len(found) > limit

    def since(self, sought: Sought, after: int, limit: int) -> list[Call]:
        """Return the rows that came after the row with that `seq`, oldest first."""
        query = select(calls).where(calls.c.seq > after, *sought.conditions()).order_by(calls.c.seq).limit(limit)
        with self._database.reading() as connection:
            return [Call(**row) for row in connection.execute(query).mappings()]

    def failures(self, limit: int) -> list[Call]:
        """Return the newest rows of jobs that failed, newest first, where there are any among the latest rows."""
        recent = select(func.coalesce(func.max(calls.c.seq), 0) - _RECENT).scalar_subquery()
        failed = calls.c.outcome.startswith("failed:")
        query = select(calls).where(calls.c.seq > recent, failed).order_by(calls.c.seq.desc()).limit(limit)
        with self._database.reading() as connection:
            return [Call(**row) for row in connection.execute(query).mappings()]

    def seconds(self, kinds: Iterable[tuple[str, str, str]]) -> Mapping[tuple[str, str, str], float]:
        """Return the median seconds of work that a picture took, for each model, tier and operation of `kinds` of
        which any was measured.
        """
        found = {}
        with self._database.reading() as connection:
            for model, tier, operation in kinds:
                kind = {"model": model, "tier": tier, "operation": operation}
                worked = [
                    _worked_s(row.phases) / max(1, row.images or 1) for row in connection.execute(_MEASURED, kind)
                ]
                if worked:
                    found[model, tier, operation] = round(median(worked), 3)
        return found

    def prune(self, before: float, most: int = 500) -> int:
        """Delete at most so many rows that are older than that (Unix seconds), oldest first; return their number."""
        old = select(calls.c.seq).where(calls.c.at < before).order_by(calls.c.at).limit(most)
        with self._database.writing() as connection:
            return connection.execute(delete(calls).where(calls.c.seq.in_(old))).rowcount


def view_of(row: Call) -> CallView:
    """Return a row as people see it."""
    is_job = row.method == JOB
    values: dict[str, Any] = {**asdict(row), "kind": "job" if is_job else "request"}
    return CallView(**(values | {"method": None, "route": None} if is_job else values))


def as_sheet(rows: Iterable[Call]) -> str:
    """Return rows as CSV, the phases of jobs as one text."""
    views = [view_of(row).model_dump() for row in rows]
    return as_csv(_COLUMNS, [[_cell(view[name]) for name in _COLUMNS] for view in views])


def _cell(value: Any) -> Any:
    return " ".join(f"{phase}={ms:g}" for phase, ms in value.items()) if isinstance(value, dict) else value


def columns(row: Call) -> dict[str, Any]:
    """Return a row to insert."""
    values = asdict(row)
    del values["seq"]
    return values


def _worked_s(phases: Mapping[str, float]) -> float:
    return sum(ms for phase, ms in phases.items() if phase not in BEFORE_WORK) / 1000
