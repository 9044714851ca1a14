"""Chaos over a fleet: processes, broker and database are killed, emptied and frozen while callers wait for pictures.

What has to come of it is always the same: every job ends once, with its picture, and nobody is told of an error but
that he is to send the same again.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import requests

from qwen_image_studio.jobs.calls import JOB
from tests.support.fleet import Fleet, Process, ahead
from tests.support.servers.postgresql import PostgreSQL
from tests.support.servers.rabbitmq import RabbitMQ
from tests.support.servers.redis import Redis
from tests.support.waiting import until

CALLERS = 8
LEASE_S = 4.0
AHEAD_S = 60
STEPS = 3
BROKER_DIES, BROKER_EMPTIED = "broker dies", "broker emptied"
DATABASE_RESTARTS, WORKER_FREEZES = "database restarts", "worker freezes"
PLANNED = ((0.15, BROKER_DIES), (0.35, WORKER_FREEZES), (0.5, DATABASE_RESTARTS), (0.65, BROKER_EMPTIED))
"""What is done once, when this share of the jobs has ended."""
AHEAD = 0.15
"""Share of the jobs by which callers may be ahead of what is planned next."""
KILLS = 1 / 3
"""How often a worker or a web process is killed at random, for each job."""
QUIET_S = 12.0
"""How long nothing else is killed after the broker: what is slow then is slow for want of it."""
_PATIENCE_S = 240.0
_FINAL = {"succeeded", "failed", "cancelled"}
_SEND_AGAIN = {"database_busy", "storage_failed"}

BELLS = ("PostgreSQL", "Redis", "RabbitMQ")
Broker = Redis | RabbitMQ


@dataclass
class Seen:
    """What a run of chaos has done, and what came of it."""

    did: list[tuple[str, float]] = field(default_factory=list)
    """What was begun, and when, in Unix seconds."""
    planned: list[str] = field(default_factory=list)
    """What was planned and has been done."""
    errors: list[str] = field(default_factory=list)
    """What callers were told that they may not be told."""
    states: Counter[str] = field(default_factory=Counter)
    """States of the jobs, by their callers."""
    twice: list[str] = field(default_factory=list)
    """Jobs that did not end once with one picture, by the tables."""
    unfetched: list[str] = field(default_factory=list)
    """Pictures that a web process does not give out whole."""
    attempts: int = 0
    painted: int = 0
    """Pictures that were really painted, those of lost attempts too."""
    ends: list[float] = field(default_factory=list)
    """When jobs ended, by the database's clock."""
    deadlocks: int = 0

    def pause(self, done: str = "", within_s: float = 0.0) -> float:
        """Return the longest time without an end: of all, or of what begins within so many seconds after something was
        done.
        """
        gaps = list(pairwise(self.ends))
        if not done:
            return max((end - start for start, end in gaps), default=0.0)
        moments = [at for name, at in self.did if name == done]
        after = (end - max(start, at) for at in moments for start, end in gaps if end > at and start < at + within_s)
        return max(after, default=0.0)


@contextmanager
def servers(bell: str) -> Iterator[tuple[PostgreSQL, Broker | None]]:
    """Start a database, and the broker of one of BELLS, where it is one."""
    with ExitStack() as stack:
        database = stack.enter_context(PostgreSQL())
        broker: Broker | None = None
        if bell == "Redis":
            broker = stack.enter_context(Redis())
        elif bell == "RabbitMQ":
            broker = stack.enter_context(RabbitMQ())
        yield database, broker


def run(
    folder: Path,
    database: PostgreSQL,
    broker: Broker | None,
    jobs: int,
    seed: int,
    *,
    pause_s: tuple[float, float] = (0.5, 2.5),
    pace: float = 0.4,
) -> Seen:
    """Have so many jobs painted by three workers and two webs on three hosts, amid chaos; `pause_s` is the least and
    the longest time between two kills.
    """
    seen, chance = Seen(), random.Random(seed)
    broker_url = "" if broker is None else broker.url
    with Fleet(folder, database.url, broker_url, lease_s=LEASE_S, max_attempts=10, queue_limit=jobs) as fleet:
        fleet.migrate()
        first, second, third = fleet.host("one"), fleet.host("two", environment=ahead(AHEAD_S)), fleet.host("three")
        for host, command in ((first, "web"), (third, "web"), (third, "light")):
            host.start(command)
        for host in (first, second, third):
            host.start("worker")
        fleet.wait()
        callers = _Callers(fleet, jobs, seen, pace)
        chaos = _Chaos(fleet, database, broker, callers, seen, chance, pause_s)
        with ThreadPoolExecutor(1) as thread:
            broken = thread.submit(chaos.run)
            try:
                done = callers.run()
            finally:
                chaos.is_over.set()
        broken.result()
        judge(fleet, database, done, seen)
    return seen


class _Callers:
    """People who submit jobs, wait for them, and send the same again where they are told to or nobody answers."""

    def __init__(self, fleet: Fleet, jobs: int, seen: Seen, pace: float) -> None:
        self._webs, self.jobs, self._seen, self._pace = fleet.processes("web"), jobs, seen, pace
        self.ended = 0
        self.allowed = 0.0
        """Share of the jobs that may be submitted until what is planned next has begun."""

    @property
    def share(self) -> float:
        """How much of all has ended."""
        return self.ended / self.jobs

    def run(self) -> Sequence[Mapping[str, Any]]:
        """Have all jobs painted; how they ended."""
        with ThreadPoolExecutor(CALLERS) as pool:
            return list(pool.map(self._painted, range(self.jobs)))

    def _painted(self, number: int) -> Mapping[str, Any]:
        until(lambda: number < self.jobs * self.allowed, patience_s=_PATIENCE_S)
        prompt = f"pace={self._pace} job {number}"
        body = {"operation": "generate", "prompt": prompt, "width": 64, "height": 64, "steps": STEPS, "seed": number}
        job = self._answer("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": f"chaos-{number}"})
        while job["state"] not in _FINAL:
            job = self._answer("GET", f"/v1/jobs/{job['id']}", params={"wait": 5})
        self.ended += 1
        return job

    def _answer(self, method: str, path: str, **options: Any) -> Mapping[str, Any]:
        """Ask one web process after the other until one answers."""
        patience = time.monotonic() + _PATIENCE_S
        while time.monotonic() < patience:
            web = random.choice(self._webs)
            try:
                answer = requests.request(method, f"{web.url}{path}", timeout=40, **options)
                told = answer.json()
            except (requests.RequestException, ValueError):  # it was killed
                time.sleep(0.1)
                continue
            if answer.ok:
                return dict(told)
            code = told.get("error", {}).get("code")
            if answer.status_code != 503 or code not in _SEND_AGAIN:
                self._seen.errors.append(f"{method} {path.partition('_')[0]}: {answer.status_code} {code}")
            time.sleep(0.2)
        raise AssertionError(f"nobody answered {method} {path}; told until then: {self._seen.errors[-3:]}")


class _Chaos:
    """Who kills, empties and freezes."""

    def __init__(
        self,
        fleet: Fleet,
        database: PostgreSQL,
        broker: Broker | None,
        callers: _Callers,
        seen: Seen,
        chance: random.Random,
        pause_s: tuple[float, float],
    ) -> None:
        self._fleet, self._database, self._broker, self._callers = fleet, database, broker, callers
        self._seen, self._chance, self._pause_s = seen, chance, pause_s
        self.is_over = threading.Event()

    def run(self) -> None:
        """Go on until all jobs have ended."""
        steps: Mapping[str, Callable[[], None]] = {
            BROKER_DIES: self._kill_broker,
            WORKER_FREEZES: self._freeze_within,
            DATABASE_RESTARTS: self._database.restart,
            BROKER_EMPTIED: self._empty_broker,
        }
        planned = [each for each in PLANNED if self._broker is not None or "broker" not in each[1]]
        self._callers.allowed = planned[0][0] + AHEAD
        kills = 0
        try:
            while not self.is_over.wait(self._chance.uniform(*self._pause_s)):
                if planned and self._callers.share >= planned[0][0]:
                    name = planned.pop(0)[1]
                    self._note(name)
                    self._callers.allowed = planned[0][0] + AHEAD if planned else 1.0
                    steps[name]()
                    self._seen.planned.append(name)
                elif kills < self._callers.jobs * KILLS:
                    kills += 1
                    victim = self._chance.choice([*self._fleet.processes("worker"), *self._fleet.processes("web")])
                    self._note(f"{victim.name} of {victim.host.name}")
                    victim.kill()
        finally:
            self._callers.allowed = 1.0

    def _note(self, name: str) -> None:
        self._seen.did.append((name, time.time()))

    def _kill_broker(self) -> None:
        assert self._broker is not None
        self._broker.kill()
        self.is_over.wait(QUIET_S)
        self._broker.start()

    def _empty_broker(self) -> None:
        assert self._broker is not None
        self._broker.empty()

    def _freeze_within(self) -> None:
        """Freeze a worker that has claimed a job and not committed that yet, until the database has cut it off."""
        waits = "SELECT pid, client_port FROM pg_stat_activity WHERE wait_event = 'relation' AND pid <> %s"
        within = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state <> 'idle'"
        with self._database.connect() as guard, self._database.connect() as looking:
            with guard.transaction():
                # A claim has locked the row of its job when it comes to this table.
                guard.execute("LOCK TABLE turns IN SHARE MODE")
                pid, port = until(lambda: found(looking, waits, guard.info.backend_pid))
                worker = next(each for each in self._fleet.processes("worker") if port in _ports(each))
                worker.freeze()
            until(lambda: found(looking, within, pid) == (0,))
        worker.thaw()


def _ports(process: Process) -> list[int]:
    """The ports of this machine from which a process has connections."""
    return [each.laddr.port for one in process.family() for each in one.net_connections("tcp4") if each.raddr]


def judge(fleet: Fleet, database: PostgreSQL, done: Sequence[Mapping[str, Any]], seen: Seen) -> None:
    """Compare what callers were told with what the tables and the web processes say."""
    seen.states.update(job["state"] for job in done)
    seen.attempts = sum(job["attempt"] for job in done)
    seen.painted = sum(host.painted() for host in fleet.hosts)
    ids = [job["id"] for job in done]
    with database.connect() as connection:
        ended = dict(rows(connection, "SELECT id, finished_at FROM jobs WHERE state = 'succeeded'"))
        pictures = dict(rows(connection, "SELECT job_id, count(*) FROM images GROUP BY job_id"))
        told = dict(rows(connection, f"SELECT job_id, count(*) FROM calls WHERE method = '{JOB}' GROUP BY job_id"))  # noqa: S608
        seen.deadlocks = int(rows(connection, "SELECT sum(deadlocks) FROM pg_stat_database")[0][0])
    seen.twice = [each for each in ids if each not in ended or pictures.get(each) != 1 or told.get(each) != 1]
    seen.ends = sorted(ended.values())
    until(lambda: all(web.answers() for web in fleet.processes("web")))
    for job in done:
        for web in fleet.processes("web"):
            image = next(iter(job["images"]), {"id": "none"})
            answer = requests.get(f"{web.url}/v1/images/{image['id']}/content", timeout=60)
            if not (answer.ok and answer.headers.get("Content-Type", "").startswith("image/")):
                seen.unfetched.append(f"{job['id']} from {web.host.name}: {answer.status_code}")


def found(connection: psycopg.Connection[Any], query: str, value: object) -> Any:
    """Return the first row that a query with one value finds."""
    return connection.execute(query.encode(), [value]).fetchone()


def rows(connection: psycopg.Connection[Any], query: str) -> list[Any]:
    """Return what a query finds."""
    return connection.execute(query.encode()).fetchall()
