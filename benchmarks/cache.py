"""``make bench-cache``: what an answer costs that needs no painting, among few jobs and among very many.

Two servers with the miniature run side by side, and are asked in turns: first for a picture of fifty steps with a new
seed, then for the same again and again. Each request opens a connection of its own, as most clients do.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import func, literal, select, update

from benchmarks import Row, show
from benchmarks.full_table import Size, filled
from benchmarks.servers import ANSWER_S, Studio, ours
from qwen_image_studio.contract.caller import LOCAL_OWNER
from qwen_image_studio.database.tables import images, jobs
from qwen_image_studio.settings import Settings

LEAST_TIMES = 50.0
"""Bound of a painting by an exact hit, medians of wall time."""
MOST_MS = 30.0
"""Bound of the 95th percentile of hits, in milliseconds."""
TOGETHER = 12
ASK = {"operation": "generate", "prompt": "a red apple on a blue background", "width": 128, "height": 128, "steps": 50}
ALIKE = {"prompt": "A red apple  on a blue background", "cache": "similar"}
PAINTED = "painted, 50 steps"
HITS: Mapping[str, Mapping[str, Any]] = {"exact": {}, "similar": ALIKE}
ALIVE, CPU = "GET /v1/health/live, median p95", "CPU of a hit"

Taken = Mapping[tuple[str, str], Sequence[float]]
"""Seconds of each request, by what it was answered with and by server; and of CPU."""


def main() -> int:
    """Run both servers in turns, and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--turns", type=int, default=10, help="pictures that each server paints")
    arguments.add_argument("--hits", type=int, default=15, help="hits of each kind after each picture")
    arguments.add_argument("--past", type=int, default=20_000, help="jobs that have ended on the second server")
    options = arguments.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        few, many = ours(folder, "few"), ours(folder, "many")
        fill(many, options.past)
        servers = {"few jobs": few, f"{options.past:,} jobs": many}
        for studio in servers.values():
            stack.enter_context(studio)
        taken = in_turns(servers, options.turns, options.hits)
        rows = [*rows_of(taken), *(shared(name, studio) for name, studio in servers.items())]
    show(rows)
    return 0 if all(good for *_, good in rows) else 1


def fill(studio: Studio, number: int) -> None:
    """Fill the table of a server that has not started with jobs of its one owner, each with keys and a picture."""
    key = func.printf("%064x", jobs.c.seq)
    keyed = {"owner": LOCAL_OWNER, "cache_key": key, "similar_key": key, "seed": jobs.c.seq}
    made: dict[str, Any] = {"id": literal("img_") + jobs.c.id, "owner": jobs.c.owner, "job_id": jobs.c.id}
    made |= {name: jobs.c.id for name in ("key", "thumbnail_key", "sha256")}
    made |= {name: literal(1) for name in ("number", "width", "height", "bytes")}
    made |= {"mime_type": literal("image/png"), "created_at": jobs.c.created_at}
    settings = Settings(_env_file=None, data_dir=studio.data_dir, database_url="")
    with filled(settings, Size(0, number)) as store, store.database.writing() as connection:
        connection.execute(update(jobs).values(keyed))
        connection.execute(images.insert().from_select(list(made), select(*made.values()).where(jobs.c.rows.is_(None))))


def in_turns(servers: Mapping[str, Studio], turns: int, hits: int) -> Taken:
    """Have a picture painted by each server, and then answered again and again by each in turns."""
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in range(turns + 1):
        for name, studio in servers.items():
            took = painted(studio, seed)
            taken[PAINTED, name] += [took] if seed else []  # the first one warms up
        before = {name: studio.cpu_s() for name, studio in servers.items()}
        for _ in range(hits):
            for name, studio in servers.items():
                for how, changes in HITS.items():
                    taken[how, name].append(hit(studio, {**ASK, **changes, "seed": seed}, how))
        for name, studio in servers.items():
            taken[CPU, name].append((studio.cpu_s() - before[name]) / (hits * len(HITS)))
            taken[ALIVE, name] += [alive(studio) for _ in range(hits)]
    return taken


def painted(studio: Studio, seed: int) -> float:
    """Seconds from a submit to the end of its painting, by long polls."""
    started = time.perf_counter()
    job = studio.ended(submitted(studio, {**ASK, "seed": seed})["id"])
    assert not job["cached"], job
    return time.perf_counter() - started


def hit(studio: Studio, body: Mapping[str, Any], how: str) -> float:
    """Seconds from a submit to its answer, which has the links."""
    started = time.perf_counter()
    job = submitted(studio, body)
    took = time.perf_counter() - started
    assert (job["cache"], job["state"]) == (how, "succeeded"), job
    return took


def alive(studio: Studio) -> float:
    """Seconds of the smallest request that there is, which tell how busy the machine is."""
    started = time.perf_counter()
    requests.get(f"{studio.url}/v1/health/live", timeout=ANSWER_S).raise_for_status()
    return time.perf_counter() - started


def submitted(studio: Studio, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a submit."""
    answer = requests.post(f"{studio.url}/v1/jobs", json=body, timeout=ANSWER_S)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def rows_of(taken: Taken) -> list[Row]:
    """The rows on one request at a time."""
    rows: list[Row] = []
    for (how, name), seconds in taken.items():
        middle, worst = statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=20)[-1] * 1000
        if how not in HITS:
            figure = f"{middle:.1f} {worst:.1f} ms" if how == ALIVE else f"{middle:.1f} ms"
            rows.append((f"{how}, {name}", figure, "", True))
            continue
        times = statistics.median(taken[PAINTED, name]) * 1000 / middle
        rows.append((f"painted / {how} hit, {name}", f"{times:.0f} times", f">= {LEAST_TIMES:g}", times >= LEAST_TIMES))
        figure = f"{middle:.1f} {worst:.1f} ms"
        rows.append((f"{how} hit, median p95, {name}", figure, f"<= {MOST_MS:g} ms", worst <= MOST_MS))
    return rows


def shared(name: str, studio: Studio) -> Row:
    """The row on equal submits at once: in how many jobs they end."""
    body = {**ASK, "seed": 10**6}
    with ThreadPoolExecutor(TOGETHER) as senders:
        ids = {str(job["id"]) for job in senders.map(lambda _: submitted(studio, body), range(TOGETHER))}
    painted = [job for job_id in ids if not (job := studio.ended(job_id))["cached"]]
    figure = f"{len(ids)} job, {len(painted)} painted"
    return f"{TOGETHER} equal submits at once, {name}", figure, "1 job", len(ids) == 1


if __name__ == "__main__":
    sys.exit(main())
