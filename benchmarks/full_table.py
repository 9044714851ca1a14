"""Databases for measurements that hold very many jobs: those that wait and those that have ended, of many owners."""

import sys
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    FromClause,
    Integer,
    String,
    cast,
    column,
    create_engine,
    func,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.sql.elements import ColumnElement

from qwen_image_studio.contract.words import Lane, State, Tier
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.database.tables import jobs
from qwen_image_studio.jobs import JobStore, NewJob
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.planning.plan import Variant
from qwen_image_studio.settings import Settings

OWNERS, PERSONS, ROWS = 40, 5, 20
"""Number of owners, of persons of each, and of rows in a batch: as many as may be open at once."""
OF_BATCHES, LIGHT = 0.2, 0.1
"""Shares of the jobs that are rows of batches, and that need no model."""
NO_LIMIT = 10**9
MODEL = MODELS["miniature"]
LOADED = Variant(MODEL.name, Tier.QUALITY, MODEL.precision()[0])
PLAN = {"kind": "paint", "model": MODEL.name, "prompt": "a red apple on a blue background", "steps": 20, "seeds": [7]}


@dataclass(frozen=True)
class Size:
    """The number of jobs in a table."""

    waiting: int
    past: int

    def __str__(self) -> str:
        return f"{self.waiting:,} waiting, {self.past:,} past"


def filled(settings: Settings, size: Size) -> JobStore:
    """Return the job store of a new database that holds so many jobs.

    One job of each kind is submitted as any other; all the rest are copies of their rows, made by the database itself.
    """
    open_database(settings, "migrate").close()
    with open_store(settings) as store:
        kinds = [new_job("first"), new_job("first", lane=Lane.LIGHT), new_job("first", rows=ROWS)]
        paint, light, batch = (store.jobs.submit(kind, queue_limit=NO_LIMIT)[0].id for kind in kinds)
    started = time.monotonic()
    engine = create_engine(settings.database)
    with engine.connect() as connection:
        indexes = without_indexes(connection)
        for name, number, state in (("past", size.past, State.SUCCEEDED), ("waiting", size.waiting, State.QUEUED)):
            batches = int(number * OF_BATCHES / ROWS)
            copy(connection, batch, f"{name}-batch", batches, state, is_batch=True)
            copy(connection, paint, f"{name}-row", batches * ROWS, state, of_batches=f"{name}-batch")
            copy(connection, light, f"{name}-light", int(number * LIGHT), state)
            copy(connection, paint, name, number - batches * (ROWS + 1) - int(number * LIGHT), state)
        connection.execute(jobs.delete().where(jobs.c.id.in_([paint, light, batch])))
        for index in indexes:
            connection.exec_driver_sql(index)
        connection.commit()
        made = connection.scalar(select(func.count()).select_from(jobs))
    settle(engine)
    engine.dispose()
    print(f"{size}: {made:,} rows made in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return open_store(settings)


def without_indexes(connection: Connection) -> list[str]:
    """Drop the indexes of the jobs, which would only slow the filling; what makes each of them again."""
    if connection.dialect.name == "sqlite":
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        named = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'jobs' AND sql IS NOT NULL"
    else:
        named = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'jobs' AND schemaname = current_schema()"
            " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
        )
    made = connection.execute(text(named)).all()
    for name, _ in made:
        connection.exec_driver_sql(f'DROP INDEX "{name}"')
    return [sql for _, sql in made]


def settle(engine: Engine) -> None:
    """Have PostgreSQL do at once what its autovacuum does within a minute of many changes."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def new_job(owner: str, *, lane: Lane = Lane.PAINT, rows: int | None = None) -> NewJob:
    """A job as intake submits it."""
    if lane is Lane.LIGHT or rows is not None:
        return NewJob(owner, "batch" if rows else "adjust", Lane.LIGHT, "", "", PLAN, rows=rows)
    return NewJob(owner, "generate", lane, MODEL.name, Tier.QUALITY, PLAN, str(LOADED), LOADED.weights)


def copy(
    connection: Connection,
    job_id: str,
    name: str,
    number: int,
    state: State,
    *,
    is_batch: bool = False,
    of_batches: str | None = None,
) -> None:
    """Insert copies of a job in that state, named `name`-0 and so on; with `of_batches`, as rows of those batches."""
    if not number:
        return
    count = counted(connection, number)
    index: ColumnElement[int] = count.c.value
    values = values_of(index, number, name, state)
    if is_batch:
        values |= {"party": values["id"]}
    if of_batches is not None:
        batch = numbered(of_batches, index // ROWS)
        values |= {"parent_id": batch, "party": batch, "row": index % ROWS, **whose(index // ROWS)}  # the batch's own
    columns = [each for each in jobs.c if each.name != "seq"]
    source = [values.get(each.name, each) for each in columns]
    query = select(*source).select_from(jobs.join(count, literal(value=True))).where(jobs.c.id == job_id)
    connection.execute(insert(jobs).from_select([each.name for each in columns], query))


def counted(connection: Connection, number: int) -> FromClause:
    """The numbers from 0 to `number` - 1, as a table with the column ``value``."""
    if connection.dialect.name == "postgresql":
        return func.generate_series(0, number - 1).table_valued(column("value", Integer)).render_derived()
    count = select(literal(0).label("value")).cte("count", recursive=True)
    return count.union_all(select(count.c.value + 1).where(count.c.value < number - 1))


def values_of(index: ColumnElement[int], number: int, name: str, state: State) -> dict[str, Any]:
    """What differs from copy to copy: one job was submitted each second, and past ones were painted at once."""
    created = literal(time.time() - number) + index
    values: dict[str, Any] = {
        "id": numbered(name, index),
        **whose(index),
        "created_at": created,
        "state": literal(state.value),
    }
    if state.final:
        values |= {"claimed_at": created, "started_at": created, "finished_at": created + 1.0}
        values |= {"attempt": literal(1), "lease_token": literal(1)}
    return values


def whose(index: ColumnElement[int]) -> dict[str, Any]:
    """Owner and person of a copy: they follow one another."""
    person = numbered("person", index // OWNERS % PERSONS)
    return {"owner": numbered("owner", index % OWNERS), "person": person, "user": person}


def numbered(name: str, index: ColumnElement[int]) -> ColumnElement[str]:
    """A name with a number."""
    return literal(f"{name}-") + cast(index, String)
