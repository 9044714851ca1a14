"""``make bench-queue``: what the job table costs when many jobs wait in it and very many have ended.

The same calls are timed in turns on a small table and on a large one. Figures are CPU milliseconds of this process, in
which SQLite does its work, so other processes do not show in them.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, create_engine, func, insert, literal, select, text

from benchmarks import Row, show
from qwen_image_studio.contract.words import Lane, State, Tier
from qwen_image_studio.database.tables import jobs
from qwen_image_studio.jobs import JobStore, NewJob
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.planning.plan import Variant
from qwen_image_studio.settings import Settings

MOST_MS, MOST_TIMES = 20.0, 3.0
"""Bounds of a call on the large table: CPU milliseconds, and how many times those on the small table."""
MOST_MS_OF_TAGS = 60.0
"""Bound of reading the tags of all waiting callers: places are counted in the index of what waits, and grow with it."""
WATCHED = 64
"""Number of jobs whose tags are read at once, as when so many callers wait."""
OWNERS, PERSONS, ROWS = 40, 5, 20
"""Number of owners, of persons of each, and of rows in a batch: as many as may be open at once."""
OF_BATCHES, LIGHT = 0.2, 0.1
"""Shares of the jobs that are rows of batches, and that need no model."""
NO_LIMIT = 10**9
WORKER = "benchmark/cpu"
MODEL = MODELS["miniature"]
LOADED = Variant(MODEL.name, Tier.QUALITY, MODEL.precision()[0])
PLAN = {"kind": "paint", "model": MODEL.name, "prompt": "a red apple on a blue background", "steps": 20, "seeds": [7]}

Call = Callable[[], float]
"""Makes one call, and returns the CPU seconds that it took."""


@dataclass(frozen=True)
class Size:
    """The number of jobs in a table."""

    waiting: int
    past: int

    def __str__(self) -> str:
        return f"{self.waiting:,} waiting, {self.past:,} past"


def main() -> int:
    """Make both tables, time every call on them in turns, and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--waiting", type=int, default=20_000, help="jobs that wait in the large table")
    arguments.add_argument("--past", type=int, default=1_000_000, help="jobs that have ended in the large table")
    arguments.add_argument("--turns", type=int, default=50, help="calls of each kind on each table, at most")
    arguments.add_argument("--seconds", type=float, default=15, help="CPU seconds for one kind of call, at most")
    options = arguments.parse_args()
    small, large = Size(20, 100), Size(options.waiting, options.past)
    with tempfile.TemporaryDirectory() as folder:
        few, many = (calls(filled(Path(folder) / str(size.past), size)) for size in (small, large))
        rows = [compared(name, few[name], many[name], options.turns, options.seconds) for name in few]
    print(f"\nCPU milliseconds, median: {small} -> {large}")
    show(rows)
    return 0 if all(good for *_, good in rows) else 1


def compared(name: str, few: Call, many: Call, turns: int, seconds: float) -> Row:
    """Make one kind of call in turns on both tables; its row."""
    few(), many()  # the first call builds statements and reads pages
    taken: list[tuple[float, float]] = []
    while len(taken) < turns and sum(map(sum, taken)) < seconds:
        taken.append((few(), many()))
    before, after = (statistics.median(side) * 1000 for side in zip(*taken, strict=True))
    if name.startswith("tags"):
        good, limit = after <= MOST_MS_OF_TAGS, f"<= {MOST_MS_OF_TAGS:g} ms"
    else:
        good = after <= MOST_MS and after <= MOST_TIMES * before
        limit = f"<= {MOST_MS:g} ms, <= {MOST_TIMES:g} times"
    return name, f"{before:.2f} -> {after:.2f} ms, {after / before:.2f} times", limit, good


# -- the calls -----------------------------------------------------------------------------------------------------


def calls(store: JobStore) -> Mapping[str, Call]:
    """Return what is timed on a table, by name."""
    watched = watched_jobs(store)
    return {
        "claim, nothing loaded": lambda: claimed(store, Lane.PAINT, None),
        "claim, a variant loaded": lambda: claimed(store, Lane.PAINT, LOADED),
        "claim of the light worker": lambda: claimed(store, Lane.LIGHT, None),
        f"tags of {WATCHED} jobs that wait": lambda: timed(lambda: store.jobs.tags(watched)),
        "submit": lambda: timed(lambda: store.jobs.submit(new_job("newcomer"), queue_limit=NO_LIMIT)),
        "counts, as health tells them": lambda: timed(store.jobs.counts),
    }


def claimed(store: JobStore, lane: Lane, loaded: Variant | None) -> float:
    """Claim a job and put it back; the CPU seconds of the claim."""
    started = time.process_time()
    lease = store.leases.claim(WORKER, lane, [MODEL.name], loaded)
    taken = time.process_time() - started
    assert lease is not None, "there was nothing to claim"
    store.leases.release(lease)
    return taken


def timed(act: Callable[[], object]) -> float:
    """CPU seconds that a call takes."""
    started = time.process_time()
    act()
    return time.process_time() - started


def watched_jobs(store: JobStore) -> Sequence[str]:
    """Ids of jobs: those that wait, and past ones where too few wait."""
    waiting_first = select(jobs.c.id).order_by(jobs.c.state != State.QUEUED, jobs.c.seq.desc()).limit(WATCHED)
    with store.database.reading() as connection:
        return list(connection.scalars(waiting_first))


# -- the tables ----------------------------------------------------------------------------------------------------


def filled(folder: Path, size: Size) -> JobStore:
    """Return the job store of a new database that holds so many jobs.

    One job of each kind is submitted as any other; all the rest are copies of their rows, made by SQLite itself.
    """
    settings = Settings(data_dir=folder, database_url="")
    store = open_store(settings)
    kinds = [new_job("first"), new_job("first", lane=Lane.LIGHT), new_job("first", rows=ROWS)]
    paint, light, batch = (store.jobs.submit(kind, queue_limit=NO_LIMIT)[0].id for kind in kinds)
    store.close()
    started = time.monotonic()
    with create_engine(settings.database).connect() as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        indexes = connection.execute(
            text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'jobs' AND sql IS NOT NULL")
        ).all()
        for index in indexes:
            connection.exec_driver_sql(f'DROP INDEX "{index.name}"')
        for name, number, state in (("past", size.past, State.SUCCEEDED), ("waiting", size.waiting, State.QUEUED)):
            batches = int(number * OF_BATCHES / ROWS)
            copy(connection, batch, f"{name}-batch", batches, state, is_batch=True)
            copy(connection, paint, f"{name}-row", batches * ROWS, state, of_batches=f"{name}-batch")
            copy(connection, light, f"{name}-light", int(number * LIGHT), state)
            copy(connection, paint, name, number - batches * (ROWS + 1) - int(number * LIGHT), state)
        connection.execute(jobs.delete().where(jobs.c.id.in_([paint, light, batch])))
        for index in indexes:
            connection.exec_driver_sql(index.sql)
        connection.commit()
        made = connection.scalar(select(func.count()).select_from(jobs))
    print(f"{size}: {made:,} rows made in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return open_store(settings)


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
    count = counted(number)
    values = values_of(count.c.value, number, name, state)
    if is_batch:
        values |= {"party": values["id"]}
    if of_batches is not None:
        first, batch = count.c.value % ROWS, func.printf(f"{of_batches}-%d", count.c.value // ROWS)
        values |= {"parent_id": batch, "party": batch, "row": first, **whose(count.c.value // ROWS)}  # the batch's own
    columns = [column for column in jobs.c if column.name != "seq"]
    source = [values.get(column.name, column) for column in columns]
    query = select(*source).select_from(jobs.join(count, literal(value=True))).where(jobs.c.id == job_id)
    connection.execute(insert(jobs).from_select([column.name for column in columns], query))


def counted(number: int) -> CTE:
    """The numbers from 0 to `number` - 1, as a table with the column ``value``."""
    count = select(literal(0).label("value")).cte("count", recursive=True)
    return count.union_all(select(count.c.value + 1).where(count.c.value < number - 1))


def values_of(index: ColumnElement[int], number: int, name: str, state: State) -> dict[str, Any]:
    """What differs from copy to copy: one job was submitted each second, and past ones were painted at once."""
    created = literal(time.time() - number) + index
    values: dict[str, Any] = {
        "id": func.printf(f"{name}-%d", index),
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
    person = func.printf("person-%d", index // OWNERS % PERSONS)
    return {"owner": func.printf("owner-%d", index % OWNERS), "person": person, "user": person}


if __name__ == "__main__":
    sys.exit(main())
