"""The reports of worker processes on themselves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import bindparam, select

from qwen_image_studio.contract.words import LIGHT_DEVICE, SAFETY_DEVICE, WorkerState
from qwen_image_studio.database.connection import Database, upsert
from qwen_image_studio.database.tables import workers
from qwen_image_studio.planning.offers import read_offer

_SEEN = select(workers).where(workers.c.seen_at >= bindparam("then")).order_by(workers.c.name)
_NEWEST_LIGHT = (
    select(workers.c.name).where(workers.c.device == LIGHT_DEVICE).order_by(workers.c.seen_at.desc()).limit(1)
)

SILENT_S = 15.0
"""Age of a report, in seconds, from which its worker counts as lost; others come every few seconds."""


@dataclass(frozen=True)
class WorkerReport:
    """The last report of a worker process about itself."""

    name: str
    device: str
    state: WorkerState
    model: str | None
    message: str
    seen_at: float
    memory_used: int | None = None
    memory_total: int | None = None
    """Bytes of the device's memory."""
    host: str = ""
    """The host that it runs on."""
    offers: Mapping[str, Any] | None = None
    """What it can paint; None where it has not said so."""

    def offers_model(self, model: str) -> bool:
        """Return whether it paints a model; True as well for one that paints and has not said what."""
        if self.device in {LIGHT_DEVICE, SAFETY_DEVICE}:
            return False
        return self.offers is None or model in read_offer(self.offers).models


class Workers:
    """The last report of each worker. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, worker: WorkerReport) -> None:
        """Record a worker's report of its own state."""
        with self._database.writing() as connection:
            statement = upsert(connection, workers).values(asdict(worker))
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=asdict(worker)))

    def vouch(self, report: WorkerReport, now: float) -> None:
        """Renew a report, unless the worker has made another one since: its process lives, whoever says so."""
        newest = (workers.c.name == report.name) & (workers.c.seen_at == report.seen_at)
        with self._database.writing() as connection:
            connection.execute(workers.update().where(newest).values(seen_at=now))

    def forget(self, names: Collection[str]) -> None:
        """Delete the reports of these workers, which are known to be dead."""
        with self._database.writing() as connection:
            connection.execute(workers.delete().where(workers.c.name.in_(names)))

    def forget_of_earlier_version(self, host: str) -> None:
        """Delete the reports of this host that a version before 0.5 has left, whose names were HOST/DEVICE."""
        named = workers.c.name.startswith(f"{host}/", autoescape=True) & (workers.c.host == "")
        with self._database.writing() as connection:
            connection.execute(workers.delete().where(named))

    def forget_silent(self, before: float) -> None:
        """Delete the reports from before that time (Unix seconds), but for the last one of a light worker: without one
        no adjustment is made, which health goes on telling.
        """
        with self._database.writing() as connection:
            newest = connection.scalar(_NEWEST_LIGHT)
            silent = (workers.c.seen_at < before) & (workers.c.name != (newest or ""))
            connection.execute(workers.delete().where(silent))

    def all(self) -> Sequence[WorkerReport]:
        """Return the last report of each worker."""
        return self.seen_since(0.0)

    def seen_within(self, seconds: float) -> Sequence[WorkerReport]:
        """Return the last report of each worker that has reported within so many seconds."""
        return self.seen_since(self._database.now() - seconds)

    def seen_since(self, then: float) -> Sequence[WorkerReport]:
        """Return the last report of each worker that has reported since then (Unix seconds)."""
        with self._database.reading() as connection:
            rows = connection.execute(_SEEN, {"then": then}).mappings()
            return [WorkerReport(**{**row, "state": WorkerState(row["state"])}) for row in rows]
