"""``make bench-load``: what health and submits cost a caller while others are many, slow or hostile.

One server with the scripted engine, which paints at once: what is measured is the web process. Beside every crowd, one
caller asks for health and submits a job in turns. The same is done to the server of an earlier commit with
`--earlier`, to see what the choice of web server brings.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import psutil
import requests
from PIL import Image

from benchmarks import Row, show
from benchmarks.servers import Studio, earlier, ours
from tests.support.crowds import DRIPPING_BODY, DRIPPING_HEAD, SMALL_BUFFER, Crowd, Dripping, NotReading, Waiting, get

EARLIER = "1fe6586"
"""The commit whose server held a thread for each caller."""
ALONE = "alone"
MEMORY_MB = 250.0
"""Most memory of the web process, in MB."""
SETTINGS = {"STUDIO_ENGINE": "tests.support.engine:open_engine", "STUDIO_QUEUE_LIMIT": "20000"}


def main() -> int:
    """Run every crowd against one server and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60, help="seconds beside the clients")
    arguments.add_argument("--attack", type=float, default=20, help="seconds beside every other crowd")
    arguments.add_argument("--earlier", action="store_true", help=f"measure the server of {EARLIER}")
    options = arguments.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        studio = earlier(folder, EARLIER, **SETTINGS) if options.earlier else ours(folder, **SETTINGS)
        if studio is None:
            sys.exit(f"bench-load: no git history here, so {EARLIER} cannot be measured")
        stack.enter_context(studio)
        memory = stack.enter_context(Memory(studio))
        rows = list(measured(studio, memory, options.seconds, options.attack))
    show(rows)
    return 0 if all(good for *_, good in rows) else 1


def measured(studio: Studio, memory: "Memory", seconds: float, attack: float) -> Iterator[Row]:
    """Go through the crowds, one after the other."""
    path = _large_file(studio)
    yield from beside(studio, ALONE, attack, 1.0, 1.0)
    for clients in (32, 128):
        bounds = (0.3, 0.5) if clients == 32 else (1.0, 1.0)
        with painting(studio, clients) as seen:
            yield from beside(studio, f"{clients} clients", seconds, *bounds)
        others = {status: count for status, count in seen().items() if status not in {200, 202, 429}}
        yield f"  errors seen by {clients} clients, {seen()[202]} jobs", str(others or "none"), "none", not others
    memory.before = memory.now()  # that of a server in use: threads, connections and caches are there
    forever = studio.submit(prompt="forever")
    waiting = [forever, *(studio.submit(prompt="forever") for _ in range(20))]
    crowds: dict[str, list[Crowd]] = {
        "200 senders of a header byte at a time": [Dripping(studio.port, [DRIPPING_HEAD] * 200)],
        "200 senders of a body byte at a time": [Dripping(studio.port, [DRIPPING_BODY] * 200)],
        "70 readers that stopped in a file of 10 MB": [NotReading(studio.port, [get(path)] * 70, buffer=SMALL_BUFFER)],
        "500 long polls and 200 event streams": [
            Waiting(studio.port, [get(f"/v1/jobs/{waiting[n % 21]}?wait=30") for n in range(500)]),
            Waiting(studio.port, [get(f"/v1/jobs/{waiting[n % 21]}/events") for n in range(200)]),
        ],
    }
    for name, attackers in crowds.items():
        with ExitStack() as stack:
            for crowd in attackers:
                stack.enter_context(crowd)
            yield from beside(studio, name, attack, 1.0, 1.0)
    for job_id in waiting:
        studio.cancel(job_id)
    time.sleep(5)
    yield from memory.rows()


# -- one honest caller ---------------------------------------------------------------------------------------------


def beside(studio: Studio, crowd: str, seconds: float, health_s: float, submit_s: float) -> Iterator[Row]:
    """Ask for health and submit, in turns, for so long; the 95th percentiles, in seconds."""
    print(f"\r{crowd:60}", end="", file=sys.stderr, flush=True)
    taken: dict[str, list[float]] = {"health": [], "submit": []}
    seen: Counter[int] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name in taken:
            started = time.perf_counter()
            seen[_ask(studio, name)] += 1
            taken[name].append(time.perf_counter() - started)
        time.sleep(0.1)
    for (name, figures), bound in zip(taken.items(), (health_s, submit_s), strict=True):
        p95 = statistics.quantiles(figures, n=20)[-1] if len(figures) > 1 else max(figures)
        yield f"{name} beside {crowd}, p95, s", f"{p95:.3f}", f"<= {bound:g}", p95 <= bound
    others = {status: count for status, count in seen.items() if status not in {200, 202, 429}}
    if others:
        yield f"  other answers beside {crowd}", str(others), "none", False


def _ask(studio: Studio, what: str) -> int:
    try:
        if what == "health":
            return requests.get(f"{studio.url}/v1/health", timeout=30).status_code
        body = {"operation": "generate", "prompt": "a cup", "steps": 2, "width": 128, "height": 128}
        return requests.post(f"{studio.url}/v1/jobs", json=body, timeout=30).status_code
    except requests.RequestException:
        return 0


# -- many clients --------------------------------------------------------------------------------------------------


@contextmanager
def painting(studio: Studio, clients: int) -> Iterator[Callable[[], Counter[int]]]:
    """Have so many clients, in a process of their own, each submit, wait and fetch again and again."""
    command = [sys.executable, "-m", "benchmarks.load_clients", studio.url, str(clients)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        result: list[Counter[int]] = []

        def seen() -> Counter[int]:
            return result[0]

        yield seen
        told, _ = process.communicate("")
        result.append(Counter({int(status): int(count) for status, count in map(str.split, told.splitlines())}))


def _large_file(studio: Studio) -> str:
    """The path of a signed link to a picture of some 10 MB."""
    noise = Image.effect_noise((2048, 1700), 200).convert("RGB")
    buffer = BytesIO()
    noise.save(buffer, "PNG", compress_level=0)
    answer = requests.post(
        f"{studio.url}/v1/jobs",
        data={"params": '{"operation": "adjust", "prompt": "rotate it 180 degrees"}'},
        files={"image": ("noise.png", buffer.getvalue(), "image/png")},
        timeout=60,
    )
    assert answer.status_code == 202, answer.text
    job = studio.ended(answer.json()["id"])
    return str(job["images"][0]["url"]).removeprefix(studio.url)


class Memory:
    """The memory of the web process, looked at all the time."""

    def __init__(self, studio: Studio) -> None:
        self._studio, self._over = studio, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._most = self.before = 0.0

    def __enter__(self) -> "Memory":
        webs = [one for one in self._studio.family() if "web" in one.cmdline()[3:4]]
        self._process: psutil.Process = webs[-1]  # the last is gunicorn's child
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def now(self) -> float:
        """Resident memory in MB."""
        return float(self._process.memory_info().rss) / 1e6

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            self._most = max(self._most, self.now())

    def rows(self) -> Iterator[Row]:
        """The most that there was, and what is left of it."""
        after = self.now()
        yield "web process, most memory, MB", f"{self._most:.0f}", f"<= {MEMORY_MB:g}", self._most <= MEMORY_MB
        bound = self.before * 1.2
        yield f"web process after all, MB ({self.before:.0f} before)", f"{after:.0f}", f"<= {bound:.0f}", after <= bound


if __name__ == "__main__":
    sys.exit(main())
