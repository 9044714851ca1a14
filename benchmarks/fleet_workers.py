"""What the processes of a simulated fleet do (`fleet`): workers without a device, who submits, and who listens."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from benchmarks.full_table import LOADED, MODEL, NO_LIMIT, OWNERS, PERSONS, new_job
from qwen_image_studio.contract.errors import LeaseLost, StudioError
from qwen_image_studio.contract.words import Lane, WorkerState
from qwen_image_studio.jobs import JobStore, Lease, NewJob, Progress, WorkerReport
from qwen_image_studio.jobs.news import CANCELS, JOBS, Ear, work
from qwen_image_studio.jobs.states import StoredImage
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.worker.keeper import PROGRESS_S
from qwen_image_studio.worker.reporting import NOTE_S

PICTURE_S = 10.0
STEPS = 20


@dataclass
class Counts:
    """What the workers of one process did within the time that counts."""

    claims: int = 0
    empty: int = 0
    """Claims that found nothing."""
    renews: int = 0
    finished: int = 0
    busy: int = 0
    """Calls that were told the database is busy."""
    lost: int = 0
    cpu_s: float = 0.0
    waits: list[float] = field(default_factory=list)
    """Seconds that each claim with a job took."""


@dataclass(frozen=True)
class Span:
    """The times that count, in Unix seconds."""

    start: float
    end: float

    def has(self, now: float) -> bool:
        """Return whether a moment counts."""
        return self.start <= now < self.end


def begun(folder: Path) -> Span:
    """Say that this process is ready, and wait until the span is set; processes start at very different speeds."""
    (folder / f"ready-{token_hex(4)}").touch()
    told = folder / "span"
    while not told.exists():
        time.sleep(0.1)
    return Span(*map(float, told.read_text().split()))


def begin(folder: Path, processes: int, warm_s: float, seconds: float) -> Span:
    """Wait until so many processes are ready, and set their span: it begins after a time to warm up."""
    while len(list(folder.glob("ready-*"))) < processes:
        time.sleep(0.1)
    span = Span(time.time() + warm_s, time.time() + warm_s + seconds)
    (folder / "unfinished").write_text(f"{span.start} {span.end}")
    (folder / "unfinished").rename(folder / "span")
    return span


class Where(NamedTuple):
    """What all processes of a fleet have in common."""

    database_url: str
    broker_url: str


def settings_of(where: Where, folder: Path) -> Settings:
    """Return the settings of one process of the fleet."""
    return Settings(_env_file=None, data_dir=folder / token_hex(4), queue_limit=10**6, **where._asdict())


def drive(where: Where, folder: Path, names: Sequence[str]) -> Counts:
    """Act as these workers until the end of the span; what was done within it."""
    counts = Counts()
    with open_store(settings_of(where, folder), "web") as store:  # a pool for many threads
        span = begun(folder)
        threads = [threading.Thread(target=act, args=(store, name, span, counts)) for name in names]
        for thread in threads:
            thread.start()
        time.sleep(max(0.0, span.start - time.time()))
        before = time.process_time()
        time.sleep(max(0.0, span.end - time.time()))
        counts.cpu_s = time.process_time() - before
        for thread in threads:
            thread.join()
    return counts


def act(store: JobStore, name: str, span: Span, counts: Counts) -> None:
    """Act as one worker: its loop, its keeper, its ear and its reports, in one thread."""
    ear = store.bell.listen(work(Lane.PAINT), CANCELS)
    noted = random.uniform(0, NOTE_S)  # noqa: S311 - no secret
    while (now := time.time()) < span.end:
        if now > noted:
            with counted_busy(counts):
                store.workers.note(report(name))
            noted = now + NOTE_S
        lease = None
        with counted_busy(counts):
            lease = store.leases.claim(name, Lane.PAINT, [MODEL.name], LOADED)
            if span.has(time.time()):
                counts.claims += 1
                counts.empty += lease is None
                counts.waits += [] if lease is None else [time.time() - now]
        if lease is not None:
            try:
                paint(store, ear, lease, span, counts)
            except LeaseLost:  # it was silent for too long
                counts.lost += 1
        elif ear.wait(min(ear.look_s, max(0.0, span.end - time.time()))):
            time.sleep(random.uniform(0, ear.spread_s))  # noqa: S311 - no secret
    ear.close()


def paint(store: JobStore, ear: Ear, lease: Lease, span: Span, counts: Counts) -> None:
    """Renew a lease as a keeper does while its job is painted, and finish it."""
    began = renewed_at = time.monotonic()
    ends_at = began + PICTURE_S * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
    while (now := time.monotonic()) < ends_at and time.time() < span.end:
        if now >= renewed_at + PROGRESS_S:
            renewed_at = now
            with counted_busy(counts):
                store.leases.renew(lease, Progress("denoising", int((now - began) / PICTURE_S * STEPS), STEPS))
                counts.renews += span.has(time.time())
        ear.wait(max(0.0, min(renewed_at + PROGRESS_S, ends_at) - time.monotonic()))
    with counted_busy(counts):
        if time.time() < span.end:
            store.leases.finish(lease, [image_of(lease)], [])
            counts.finished += span.has(time.time())
        else:
            store.leases.release(lease)


@contextmanager
def counted_busy(counts: Counts) -> Iterator[None]:
    """Go on where the database is too busy, and count it."""
    try:
        yield
    except StudioError as error:
        if error.code not in {"database_busy", "storage_failed"}:
            raise
        counts.busy += 1


def submit(where: Where, folder: Path, rate: float) -> Counts:
    """Submit so many jobs a second at random moments, from now until the end of the span."""
    counts = Counts()
    with open_store(settings_of(where, folder)) as store:
        span = begun(folder)
        due, number = time.time(), 0
        while due < span.end:
            time.sleep(max(0.0, due - time.time()))
            began = time.process_time()
            with counted_busy(counts):
                store.jobs.submit(job(number), queue_limit=NO_LIMIT)
                if span.has(due):
                    counts.claims += 1
                    counts.cpu_s += time.process_time() - began
            due, number = due + random.expovariate(rate), number + 1
    return counts


def hear(where: Where, folder: Path) -> Counts:
    """Listen as a web process does."""
    counts = Counts()
    with open_store(settings_of(where, folder)) as store:
        ear, span = store.bell.listen(JOBS), begun(folder)
        while (left := span.end - time.time()) > 0:
            counts.claims += bool(ear.wait(left))
        ear.close()
    return counts


def job(number: int) -> NewJob:
    """A job of one of many people."""
    person = f"person-{number // OWNERS % PERSONS}"
    return replace(new_job(f"owner-{number % OWNERS}"), user=person)


def report(name: str) -> WorkerReport:
    """What a worker says of itself."""
    return WorkerReport(name, "cpu", WorkerState.READY, MODEL.name, "", time.time())


def image_of(lease: Lease) -> StoredImage:
    """A picture, without its files."""
    name = f"{lease.job.id}-{lease.token}"
    return StoredImage(
        f"img_{name}", lease.job.owner, f"{name}.png", f"{name}.webp", 1024, 1024, "image/png", 10**6, "0" * 64,
        lease.job.id, 0, 7,
    )  # fmt: skip
