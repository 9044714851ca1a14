"""``make bench-queue``: what the job table costs when many jobs wait in it and very many have ended.

The same calls are timed in turns on a small table and on a large one, of SQLite and then of a PostgreSQL of this
benchmark's own. Figures are CPU milliseconds: of this process, and of those of PostgreSQL that serve it, so that other
processes do not show in them.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select

from benchmarks import Row, show
from benchmarks.cpu import Cpu, Meter
from benchmarks.full_table import LOADED, MODEL, NO_LIMIT, Size, filled, new_job, settle
from qwen_image_studio.contract.words import Lane, State
from qwen_image_studio.database.tables import jobs
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.planning.plan import Variant
from qwen_image_studio.settings import Settings
from tests.support.servers.postgresql import PostgreSQL

MOST_MS, MOST_TIMES = 20.0, 3.0
"""Bounds of a call on the large table: CPU milliseconds, and how many times those on the small table."""
MOST_MS_OF_TAGS = 60.0
"""Bound of reading the tags of all waiting callers: places are counted in the index of what waits, and grow with it."""
WATCHED = 64
"""Number of jobs whose tags are read at once, as when so many callers wait."""
WARM = 12
"""Number of calls of each kind before; psycopg prepares a statement when it has come five times."""
WORKER = "benchmark/cpu"

Call = Callable[[], Cpu]
"""Makes one call, and returns the CPU that it took."""


def main() -> int:
    """Make both tables, time every call on them in turns, and print one table for each kind of database."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", choices=DATABASES, help="one kind of database alone")
    arguments.add_argument("--waiting", type=int, default=20_000, help="jobs that wait in the large table")
    arguments.add_argument("--past", type=int, default=1_000_000, help="jobs that have ended in the large table")
    arguments.add_argument("--turns", type=int, default=50, help="calls of each kind on each table, at most")
    arguments.add_argument("--seconds", type=float, default=15, help="CPU seconds for one kind of call, at most")
    options = arguments.parse_args()
    small, large = Size(20, 100), Size(options.waiting, options.past)
    kept = True
    for name in [options.only] if options.only else DATABASES:
        with tempfile.TemporaryDirectory() as folder, DATABASES[name](Path(folder)) as settings:
            few, many = (warm(filled(settings(f"past_{size.past}"), size)) for size in (small, large))
            rows = [compared(call, few[call], many[call], options.turns, options.seconds) for call in few]
        print(f"\n{name}, CPU milliseconds, median: {small} -> {large}")
        show(rows)
        kept &= all(good for *_, good in rows)
    return 0 if kept else 1


@contextmanager
def sqlite(folder: Path) -> Iterator[Callable[[str], Settings]]:
    """Settings of a server with a SQLite of that name."""
    yield lambda name: Settings(_env_file=None, data_dir=folder / name, database_url="")


@contextmanager
def postgresql(folder: Path) -> Iterator[Callable[[str], Settings]]:
    """Settings of a server with a schema of that name in a PostgreSQL of its own."""

    def made(name: str) -> Settings:
        with server.connect() as connection:
            connection.execute(f'CREATE SCHEMA "{name}"'.encode())
        url = f"{server.url}?options=-csearch_path%3D{name}"
        return Settings(_env_file=None, data_dir=folder / name, database_url=url)

    with PostgreSQL(shared_buffers="512MB") as server:
        yield made


DATABASES = {"SQLite": sqlite, "PostgreSQL": postgresql}


def compared(name: str, few: Call, many: Call, turns: int, seconds: float) -> Row:
    """Make one kind of call in turns on both tables; its row."""
    taken: list[tuple[Cpu, Cpu]] = []
    while len(taken) < turns and sum(each.total for pair in taken for each in pair) < seconds:
        taken.append((few(), many()))
    before, after = (statistics.median(each.total for each in side) * 1000 for side in zip(*taken, strict=True))
    server = statistics.median(large.server for _, large in taken) * 1000
    if name.startswith("tags"):
        good, limit = after <= MOST_MS_OF_TAGS, f"<= {MOST_MS_OF_TAGS:g} ms"
    else:
        good = after <= MOST_MS and after <= MOST_TIMES * before
        limit = f"<= {MOST_MS:g} ms, <= {MOST_TIMES:g} times"
    of_server = f", {server:.2f} in the server" if server else ""
    return name, f"{before:.2f} -> {after:.2f} ms{of_server}, {after / before:.2f} times", limit, good


# -- the calls -----------------------------------------------------------------------------------------------------


def warm(store: JobStore) -> Mapping[str, Call]:
    """Return what is timed on a table, after calls that build statements and plans and note who was served."""
    made = calls(store)
    for _ in range(WARM):
        for call in made.values():
            call()
    settle(store.database.engine)
    return made


def calls(store: JobStore) -> Mapping[str, Call]:
    """Return what is timed on a table, by name."""
    watched, meter = watched_jobs(store), Meter(store.database)
    return {
        "claim, nothing loaded": lambda: claimed(store, meter, Lane.PAINT, None),
        "claim, a variant loaded": lambda: claimed(store, meter, Lane.PAINT, LOADED),
        "claim of the light worker": lambda: claimed(store, meter, Lane.LIGHT, None),
        f"tags of {WATCHED} jobs that wait": lambda: meter.of(lambda: store.jobs.tags(watched)),
        "submit": lambda: meter.of(lambda: store.jobs.submit(new_job("newcomer"), queue_limit=NO_LIMIT)),
        "counts, as health tells them": lambda: meter.of(store.jobs.counts),
    }


def claimed(store: JobStore, meter: Meter, lane: Lane, loaded: Variant | None) -> Cpu:
    """Claim a job and put it back; the CPU of the claim."""
    before = meter.read()
    lease = store.leases.claim(WORKER, lane, [MODEL.name], loaded)
    taken = meter.read() - before
    assert lease is not None, "there was nothing to claim"
    store.leases.release(lease)
    return taken


def watched_jobs(store: JobStore) -> Sequence[str]:
    """Ids of jobs: those that wait, and past ones where too few wait."""
    waiting_first = select(jobs.c.id).order_by(jobs.c.state != State.QUEUED, jobs.c.seq.desc()).limit(WATCHED)
    with store.database.reading() as connection:
        return list(connection.scalars(waiting_first))


if __name__ == "__main__":
    sys.exit(main())
