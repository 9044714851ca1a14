"""``make bench``: what the service costs over the bare pipeline, and over the simplest server that one would write.

Ours, the same of an earlier commit and the simplest server (`benchmarks.naive`) run side by side with the miniature and
are measured in turns, so that what slows the machine slows all. The figures that count are ratios, as minimum, median
and maximum of the turns; the median is held against the bound.
"""

import argparse
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks import Row, show
from benchmarks.calls import ROOT
from benchmarks.servers import KINDER, PROMPT, Server, Studio, earlier, naive, ours

EARLIER = "b9bab95"
"""The commit that ours is compared with."""
CLIENTS = 16
SUBMITS = 60
"""Submits of one turn while a job runs."""

Side = Callable[[int], float]
"""What is measured once a turn: takes the turn's number, and returns the figure."""
Figures = Mapping[str, Sequence[float]]
"""What was measured in each turn, by side."""


def main() -> int:
    """Run every measurement and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--turns", type=int, default=12, help="single pictures per side")
    arguments.add_argument("--rounds", type=int, default=3, help="turns of all other measurements")
    arguments.add_argument("--pictures", type=int, default=20, help="pictures of a round with many clients")
    arguments.add_argument("--idle", type=float, default=20, help="seconds of a look at idle servers")
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))  # and stop the servers on the way out
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        new, old, simple = ours(folder), earlier(folder, EARLIER), naive(folder)
        if old is None:
            print(f"bench: no git history here, so {EARLIER} is left out", file=sys.stderr)
        studios = [new, old] if old is not None else [new]
        for server in (*studios, simple):
            stack.enter_context(server)
        bare = stack.enter_context(bare_pipeline())
        rows = [
            *overhead(studios, simple, bare, options.turns),
            *crowds(studios, simple, options.rounds, options.pictures),
            *submits(studios, options.rounds),
            *idle(studios, options.rounds, options.idle),
            *memory(studios, simple),
        ]
    print(f"\nminimum, median and maximum of the turns; in brackets the median of {EARLIER}")
    show(rows)
    return 0 if all(good for *_, good in rows) else 1


# -- one picture ---------------------------------------------------------------------------------------------------


@contextmanager
def bare_pipeline() -> Iterator[Side]:
    """Start the bare pipeline; what paints with it, by seed, and returns the seconds that it took."""
    command = [*KINDER, sys.executable, "-m", "benchmarks.bare", PROMPT]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin
        assert process.stdout
        question, answer = process.stdin, process.stdout
        assert answer.readline() == "ready\n", "the bare pipeline did not start"

        def paint(seed: int) -> float:
            question.write(f"{seed}\n")
            return float(answer.readline())

        yield paint
        question.close()


def overhead(studios: Sequence[Studio], simple: Server, bare: Side, turns: int) -> list[Row]:
    """How long one picture takes, against the bare pipeline."""
    sides: dict[str, Side] = {"bare": bare, "naive": partial(seconds_of, simple.generate)}
    for studio in studios:
        sides[f"{studio.name} jobs"] = partial(seconds_of, studio.paint)
        sides[f"{studio.name} OpenAI"] = partial(seconds_of, studio.generate)
    measured = in_turns(sides, turns, warm=1)
    return [
        row(f"one picture by {route} / bare pipeline", measured, f" {route}", ("bare", 1.05))
        for route in ("jobs", "OpenAI")
    ] + [
        info("  naive / bare pipeline", ratios(measured["naive"], measured["bare"])),
        info("  bare pipeline, s", measured["bare"]),
    ]


# -- many callers --------------------------------------------------------------------------------------------------


def crowds(studios: Sequence[Studio], simple: Server, rounds: int, pictures: int) -> list[Row]:
    """CPU seconds of all processes per picture while many callers wait, against the simplest server."""
    sides: dict[str, Side] = {"naive": partial(crowd, simple, simple.generate, pictures)}
    for studio in studios:
        sides[f"{studio.name} jobs"] = partial(crowd, studio, studio.paint, pictures)
        sides[f"{studio.name} OpenAI"] = partial(crowd, studio, studio.generate, pictures)
    measured = in_turns(sides, rounds)
    return [
        row(f"CPU per picture, {CLIENTS} clients of {route} / naive", measured, f" {route}", ("naive", 1.15))
        for route in ("jobs", "OpenAI")
    ] + [info("  naive, CPU s per picture", measured["naive"])]


OF_CROWD = 10_000
"""The first seed of the crowd, above those of single pictures, which would answer it."""


def crowd(server: Server, paint: Callable[[int], None], pictures: int, turn: int) -> float:
    """Have so many pictures painted for clients that each ask for the next one when they have theirs; CPU s of one."""
    before = server.cpu_s()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(paint, range(OF_CROWD + turn * pictures, OF_CROWD + (turn + 1) * pictures)))
    return (server.cpu_s() - before) / pictures


# -- answers, rest, memory -----------------------------------------------------------------------------------------


def submits(studios: Sequence[Studio], rounds: int) -> list[Row]:
    """How fast a submit is answered while a job runs: the 95th percentile of each turn, in milliseconds."""
    measured = in_turns({studio.name: partial(submit_p95, studio) for studio in studios}, rounds)
    return [row("submit while a job runs, p95, ms", measured, "", (None, 25))]


def submit_p95(studio: Studio, _turn: int) -> float:
    """Submit many jobs while one runs; the 95th percentile in milliseconds."""
    running = studio.submit(steps=150, n=10)
    while studio.job(running)["state"] != "running":
        time.sleep(0.02)
    jobs: list[str] = []
    taken = [seconds_of(lambda _seed: jobs.append(studio.submit()), number) * 1000 for number in range(SUBMITS)]
    assert studio.job(running)["state"] == "running", "the running job was too short for this measurement"
    for job_id in (*jobs, running):
        studio.cancel(job_id)
    studio.ended(running)
    return statistics.quantiles(taken, n=20)[-1]


def idle(studios: Sequence[Studio], rounds: int, seconds: float) -> list[Row]:
    """Share of a processor core that a server takes while nobody asks for anything."""
    looks: dict[str, list[float]] = {studio.name: [] for studio in studios}
    for turn in range(rounds):
        progress("idle", turn, rounds)
        before, started = {studio.name: studio.cpu_s() for studio in studios}, time.monotonic()
        time.sleep(seconds)
        for studio in studios:
            looks[studio.name].append((studio.cpu_s() - before[studio.name]) / (time.monotonic() - started))
    return [row("idle server, cores", looks, "", (None, 0.02))]


def memory(studios: Sequence[Studio], simple: Server) -> list[Row]:
    """Memory of all processes after all this, and how much more it is than the simplest server's."""
    least = simple.memory_mib()
    more = {studio.name: [studio.memory_mib() - least] for studio in studios}
    parts = (f"{one.cmdline()[3]} {one.memory_full_info().uss / 2**20:.0f}" for one in studios[0].family())
    return [
        row("memory of all processes - naive's, MiB", more, "", (None, 200)),
        info("  naive, MiB", [least]),
        (f"  unshared, each, MiB: {', '.join(parts)}", "", "", True),
    ]


# -- taking and showing figures ------------------------------------------------------------------------------------


def in_turns(sides: Mapping[str, Side], turns: int, *, warm: int = 0) -> Figures:
    """Measure every side once a turn, in an order drawn anew each time; the first `warm` turns do not count."""
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warm + turns):
        for name in random.sample(list(sides), len(sides)):
            progress(name, turn, warm + turns)
            figure = sides[name](turn)
            if turn >= warm:
                measured[name].append(figure)
    return measured


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The ratio of each turn."""
    return [one / other for one, other in zip(above, below, strict=True)]


def row(name: str, measured: Figures, side: str, against: tuple[str | None, float]) -> Row:
    """A figure of ours with its bound, and beside it the earlier commit's; a ratio where there is a divisor."""
    divisor, bound = against
    of = {
        whose: ratios(measured[whose + side], measured[divisor]) if divisor else measured[whose + side]
        for whose in ("ours", EARLIER)
        if whose + side in measured
    }
    before = f"  ({number(statistics.median(of[EARLIER]))})" if EARLIER in of else ""
    return name, spread(of["ours"]) + before, f"<= {bound:g}", statistics.median(of["ours"]) <= bound


def info(name: str, figures: Sequence[float]) -> Row:
    """A figure without a bound."""
    return name, spread(figures), "", True


def spread(figures: Sequence[float]) -> str:
    """Minimum, median and maximum."""
    return "  ".join(number(figure) for figure in (min(figures), statistics.median(figures), max(figures)))


def number(figure: float) -> str:
    """A figure as people read it."""
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.3f}"


def seconds_of(act: Callable[[int], object], seed: int) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    act(seed)
    return time.perf_counter() - started


def progress(name: str, turn: int, turns: int) -> None:
    """Say what is being measured."""
    print(f"\r{name}: {turn + 1}/{turns}    ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
