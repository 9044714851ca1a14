"""The reports of worker processes on themselves."""

from collections.abc import Collection, Sequence
from dataclasses import asdict

from sqlalchemy import select

from qwen_image_studio.contract.words import WorkerState
from qwen_image_studio.database.connection import Database, upsert
from qwen_image_studio.database.tables import workers
from qwen_image_studio.jobs.states import WorkerReport

_ALL = select(workers).order_by(workers.c.name)


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

    def forget(self, others_than: Collection[str]) -> None:
        """Delete the reports of all workers but these."""
        with self._database.writing() as connection:
            connection.execute(workers.delete().where(workers.c.name.not_in(others_than)))

    def all(self) -> Sequence[WorkerReport]:
        """Return the last report of each worker."""
        with self._database.reading() as connection:
            rows = connection.execute(_ALL).mappings()
            return [WorkerReport(**{**row, "state": WorkerState(row["state"])}) for row in rows]
