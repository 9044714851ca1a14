"""The queries by which KEDA scales workers, on a PostgreSQL with tables, as the role that README.md makes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from sqlalchemy import make_url

from qwen_image_studio.contract.words import Lane, Operation
from qwen_image_studio.database.tables import jobs
from qwen_image_studio.jobs import JobStore, NewJob, open_store
from qwen_image_studio.settings import Settings
from tests.support import ROOT
from tests.support.database import with_tables
from tests.support.servers.postgresql import PostgreSQL

DEPLOY = ROOT / "deploy"
LIMIT, PAST = 50, 5000
Connection = psycopg.Connection[tuple[Any, ...]]


def queries() -> dict[str, str]:
    """The scalers' queries, by model."""
    text = (DEPLOY / "kubernetes/overlays/autoscaled/scaler.yaml").read_text(encoding="utf-8")
    scalers = [each for each in yaml.safe_load_all(text) if each["kind"] == "ScaledObject"]
    found = [trigger["metadata"]["query"] for each in scalers for trigger in each["spec"]["triggers"]]
    return {re.findall(r"model = '([^']*)'", query)[0]: query for query in found}


QUERIES = queries()
MODEL = "Qwen-Image"


@dataclass
class Scaler:
    """A database with its job store, as KEDA reads it."""

    store: JobStore
    connection: Connection

    def number(self, model: str) -> int:
        """What the query of a model's workers answers."""
        row = self.connection.execute(QUERIES[model].encode()).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def scaler(postgresql: PostgreSQL, tmp_path: Path) -> Iterator[Scaler]:
    """A store with tables, and a connection of the role that may only count."""
    settings = with_tables(Settings(data_dir=tmp_path))
    schema = str(make_url(settings.database).query["options"]).rpartition("=")[2]
    [grants] = re.findall(r"```sql\n(.*?)```", (DEPLOY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    with postgresql.connect() as admin:
        admin.execute(f"SET search_path = {schema}".encode())
        admin.execute(grants.replace("SCHEMA public", f"SCHEMA {schema}").encode())
        address = postgresql.address.replace("studio@", "studio_scaler@")
        store = open_store(settings)
        try:
            with psycopg.connect(
                f"postgresql://{address}", autocommit=True, options=f"-csearch_path={schema}"
            ) as connection:
                yield Scaler(store, connection)
        finally:
            store.database.close()
            admin.execute("DROP OWNED BY studio_scaler; DROP ROLE studio_scaler")


def submit(store: JobStore, model: str = MODEL, **changes: Any) -> str:
    """A job that waits for a model; its id."""
    lane = changes.pop("lane", Lane.PAINT if model else Lane.LIGHT)
    asked = NewJob("ann", Operation.GENERATE, lane, model, "quality", {}, variant=model, **changes)
    return store.jobs.submit(asked, queue_limit=LIMIT)[0].id


def test_it_counts_what_waits_and_runs_for_the_model(scaler: Scaler) -> None:
    assert {model: scaler.number(model) for model in QUERIES} == dict.fromkeys(QUERIES, 0)
    store, other = scaler.store, next(model for model in QUERIES if model != MODEL)
    ended = submit(store)
    store.jobs.cancel(ended, "ann")
    for _ in range(3):
        submit(store)
    submit(store, other)
    submit(store, "miniature")
    submit(store, "")
    submit(store, MODEL, rows=3, lane=Lane.LIGHT)  # a batch, whose rows are jobs of their own
    assert store.leases.claim("w1", Lane.PAINT, [MODEL], None) is not None
    found = store.queue.by_model()
    assert (found[MODEL].waiting, found[MODEL].running) == (2, 1)
    assert {model: scaler.number(model) for model in QUERIES} == {MODEL: 3, other: 1}


def test_the_role_may_do_nothing_but_count(scaler: Scaler) -> None:
    for statement in ("SELECT prompt FROM jobs", "SELECT count(*) FROM api_keys", "DELETE FROM jobs"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            scaler.connection.execute(statement)


def test_it_does_not_read_what_has_ended(scaler: Scaler) -> None:
    store = scaler.store
    submit(store)
    with store.database.writing() as connection:
        row = dict(connection.execute(jobs.select()).mappings().one())
        past = [{**row, "seq": 10 + n, "id": f"job_{n}", "state": "succeeded"} for n in range(PAST)]
        connection.execute(jobs.insert(), past)
    with store.database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE jobs")
        connection.commit()
    [plan] = scaler.connection.execute(f"EXPLAIN (FORMAT JSON) {QUERIES[MODEL]}".encode()).fetchone() or [None]
    assert "Index" in str(plan)
    assert "Seq Scan" not in str(plan), plan
    assert scaler.number(MODEL) == 1
