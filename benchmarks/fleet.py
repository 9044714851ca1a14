"""``make bench-fleet``: what a fleet of workers costs PostgreSQL, at 10 s a picture.

Nothing is painted. Threads of a few processes do to the job table and the bell what so many workers do, in real time:
they listen, claim, renew twice a second while a picture would be painted, report on themselves, and finish; another
process submits nine tenths of what the fleet could paint, at random moments, and two listen as web processes do. Where
the machine cannot keep up, the table says so, and what counts is the CPU of each call, taken one at a time afterwards.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import psutil
import psycopg
from sqlalchemy import text

from benchmarks.cpu import Cpu, Meter, cpu_clock
from benchmarks.fleet_workers import (
    PICTURE_S,
    STEPS,
    Counts,
    Span,
    Where,
    begin,
    drive,
    hear,
    image_of,
    job,
    report,
    settings_of,
    submit,
)
from benchmarks.full_table import LOADED, MODEL, NO_LIMIT, settle
from qwen_image_studio.contract.words import Lane
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.jobs import JobStore, Progress
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.worker.keeper import PROGRESS_S
from qwen_image_studio.worker.reporting import NOTE_S
from tests.support.servers.postgresql import PostgreSQL
from tests.support.servers.redis import Redis

LOAD = 0.9
"""Share of what the fleet could paint that is submitted."""
PROCESSES, WEBS = 4, 2
"""Number of processes that act as workers, and of those that listen as a web process does."""
KEPT = 0.95
"""Share of the pictures asked for that a machine which keeps up has painted."""
_WARM, _CALLS = 15, 30
_DEADLOCKS = b"SELECT sum(deadlocks) FROM pg_stat_database"
_CONNECTIONS = b"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


def main() -> int:
    """Measure each size of fleet, and print a table, which grows with each."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--workers", type=int, nargs="+", default=[50, 200, 500], help="sizes of the fleet")
    arguments.add_argument("--seconds", type=float, default=40, help="time that counts, for each size")
    arguments.add_argument("--bell", choices=("PostgreSQL", "Redis"), default="PostgreSQL")
    options = arguments.parse_args()
    fleets = []
    with ExitStack() as stack:
        most = max(options.workers) * 2 + 300
        server = stack.enter_context(PostgreSQL(fsync="on", full_page_writes="on", max_connections=str(most)))
        broker_url = stack.enter_context(Redis()).url if options.bell == "Redis" else ""
        for number in options.workers:
            with tempfile.TemporaryDirectory() as folder:
                fleets.append(measured(server, broker_url, Path(folder), number, options.seconds))
            show(fleets)
    return 0 if all(fleet["deadlocks"] == "0" for fleet in fleets) else 1


# -- the measurement -----------------------------------------------------------------------------------------------


def measured(server: PostgreSQL, broker_url: str, folder: Path, number: int, seconds: float) -> Mapping[str, str]:
    """Run a fleet of that size; its column of the table."""
    schema = f"fleet_{number}"
    with server.connect() as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    where = Where(f"{server.url}?options=-csearch_path%3D{schema}", broker_url)
    open_database(settings_of(where, folder), "migrate").close()
    rate = number / PICTURE_S * LOAD
    with server.connect() as looking, open_store(settings_of(where, folder)) as store:
        print(f"{number} workers", file=sys.stderr, flush=True)
        with ThreadPoolExecutor(1) as thread:
            ran = thread.submit(run, where, folder, number, rate)
            span = begin(folder, PROCESSES + WEBS + 1, 2 * PICTURE_S + number / 25, seconds)
            time.sleep(max(0.0, span.start - 3 - time.time()))
            settle(store.database.engine)
            watched = watch(server, looking, span)
            workers, submitter = ran.result()
        alone, lags = one_at_a_time(store), lags_of(store, span)
    return {
        "workers": f"{number}",
        **of_fleet(workers, submitter, rate * seconds, seconds),
        "submit to claim, p50 p95 max": " ".join(f"{lag * 1000:.0f}" for lag in lags) + " ms",
        **watched.told(sum(each.finished for each in workers), seconds),
        **{
            f"{name} alone, server + client": f"{cpu.server * 1000:.2f} + {cpu.client * 1000:.2f} ms"
            for name, cpu in alone.items()
        },
        "workers for a core of PostgreSQL, by these": f"{1 / server_s_of_worker(alone):.0f}",
    }


def run(where: Where, folder: Path, number: int, rate: float) -> tuple[list[Counts], Counts]:
    """Run the processes of a fleet to their end; what the workers did, and who submits."""
    names = [f"host-{each}/cpu/{token_hex(4)}" for each in range(number)]
    with ProcessPoolExecutor(PROCESSES + WEBS + 1, multiprocessing.get_context("spawn")) as pool:
        webs = [pool.submit(hear, where, folder) for _ in range(WEBS)]
        workers = [pool.submit(drive, where, folder, names[each::PROCESSES]) for each in range(PROCESSES)]
        submitter = pool.submit(submit, where, folder, rate)
        for web in webs:
            web.result()
        return [each.result() for each in workers], submitter.result()


def of_fleet(workers: Sequence[Counts], submitter: Counts, asked: float, seconds: float) -> Mapping[str, str]:
    """What the fleet did."""

    def total(name: str) -> float:
        return float(sum(getattr(each, name) for each in workers))

    finished = total("finished")
    saturated = "" if finished >= KEPT * asked else " SATURATED"
    waits = sorted(wait for each in workers for wait in each.waits)
    middle, high = (waits[int(share * (len(waits) - 1))] * 1000 for share in (0.5, 0.95))
    return {
        "pictures a second": f"{finished / seconds:.1f} of {asked / seconds:.1f}{saturated}",
        "renews a second": f"{total('renews') / seconds:.0f}",
        "claims that find nothing, a picture": f"{total('empty') / max(1, finished):.1f}",
        "wall time of a claim, p50 p95": f"{middle:.0f} {high:.0f} ms",
        "cores of all workers": f"{total('cpu_s') / seconds:.2f}",
        "told that the database is busy": f"{total('busy') + submitter.busy:.0f}",
        "leases lost": f"{total('lost'):.0f}",
    }


@dataclass(frozen=True)
class Watched:
    """What PostgreSQL was seen to do within a span."""

    cpu_s: float
    connections: int
    memory: int
    """Bytes that its processes have for themselves alone."""
    deadlocks: int

    def told(self, pictures: int, seconds: float) -> Mapping[str, str]:
        """Return it as it stands in the table."""
        each = self.memory / max(1, self.connections) / 2**20
        return {
            "cores of PostgreSQL": f"{self.cpu_s / seconds:.2f}",
            "CPU of PostgreSQL, a picture": f"{self.cpu_s / max(1, pictures) * 1000:.1f} ms",
            "connections, memory of one": f"{self.connections}, {each:.1f} MiB",
            "deadlocks": f"{self.deadlocks}",
        }


def watch(server: PostgreSQL, looking: psycopg.Connection[Any], span: Span) -> Watched:
    """Watch PostgreSQL for the time that counts."""
    time.sleep(max(0.0, span.start - time.time()))
    before, locked = cpu_of(server), number_of(looking, _DEADLOCKS)
    time.sleep(max(0.0, span.end - 1 - time.time()))
    connections = number_of(looking, _CONNECTIONS)
    memory = sum(memory_of(process) for process in server.family())
    time.sleep(max(0.0, span.end - time.time()))
    after = cpu_of(server)
    used = sum(spent - before.get(pid, 0.0) for pid, spent in after.items())
    return Watched(used, connections, memory, number_of(looking, _DEADLOCKS) - locked)


def cpu_of(server: PostgreSQL) -> Mapping[int, float]:
    """Seconds of CPU of each of its processes."""
    spent = {}
    for process in server.family():
        with suppress(OSError):  # it has just ended
            spent[process.pid] = time.clock_gettime(cpu_clock(process.pid))
    return spent


def memory_of(process: psutil.Process) -> int:
    """Bytes that a process has for itself alone."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.NoSuchProcess:
        return 0


def number_of(looking: psycopg.Connection[Any], query: bytes) -> int:
    """Return the number that a query finds."""
    [number] = looking.execute(query).fetchone() or [0]
    return int(number)


def lags_of(store: JobStore, span: Span) -> Sequence[float]:
    """Seconds from submit to the first claim of jobs of the span: median, 95th percentile, longest."""
    lags = text(
        "SELECT percentile_cont(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY started_at - created_at) FROM jobs"
        " WHERE created_at >= :start AND created_at < :end AND started_at IS NOT NULL"
    )
    with store.database.reading() as connection:
        found = connection.scalar(lags, {"start": span.start, "end": span.end - PICTURE_S})
    return [float(each) for each in found or [0, 0, 0]]


def one_at_a_time(store: JobStore) -> Mapping[str, Cpu]:
    """What each call costs by itself, medians, with the table as the fleet has left it."""
    meter, taken = Meter(store.database), defaultdict[str, list[Cpu]](list)
    for number in range(_WARM + _CALLS):
        taken["submit"].append(meter.of(partial(store.jobs.submit, job(number), queue_limit=NO_LIMIT)))
        before = meter.read()
        lease = store.leases.claim("one", Lane.PAINT, [MODEL.name], LOADED)
        taken["claim"].append(meter.read() - before)
        assert lease is not None, "there was nothing to claim"
        taken["renew"].append(meter.of(partial(store.leases.renew, lease, Progress("denoising", 1, STEPS))))
        taken["finish"].append(meter.of(partial(store.leases.finish, lease, [image_of(lease)], [])))
        taken["report"].append(meter.of(partial(store.workers.note, report("one"))))
        taken["claim of nothing"].append(meter.of(partial(store.leases.claim, "one", Lane.LIGHT)))
    return {
        name: Cpu(*(statistics.median(getattr(cpu, side) for cpu in of[_WARM:]) for side in ("client", "server")))
        for name, of in taken.items()
    }


def server_s_of_worker(alone: Mapping[str, Cpu]) -> float:
    """Seconds of PostgreSQL's CPU that a worker takes in a second, while nobody waits for a worker."""
    of_picture = sum(alone[name].server for name in ("submit", "claim", "finish")) / PICTURE_S
    return of_picture + alone["renew"].server / PROGRESS_S + alone["report"].server / NOTE_S


def show(fleets: Sequence[Mapping[str, str]]) -> None:
    """Print a column for each fleet."""
    for name in fleets[0]:
        print(f"{name:42}" + "".join(f"{fleet[name]:>24}" for fleet in fleets))


if __name__ == "__main__":
    sys.exit(main())
