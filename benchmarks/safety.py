"""``make bench-safety``: what the classifier costs: pictures a minute with its policy off and on, and one check.

The engine only waits, as a processor does beside a graphics card that paints, so that what shows is time in which
nothing is painted. Both servers run side by side, and each is measured while the other has nothing to do.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import psutil
from PIL import Image

from benchmarks import Row, show
from qwen_image_studio.guard.scoring import Scoring
from qwen_image_studio.settings import Settings
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

LEAST_SHARE = 0.95
"""Bound of the pictures a minute with the classifier, as a share of those without."""
MOST_CHECK_MS = 200.0
"""Bound of one check in milliseconds of CPU time, at the largest size."""
STEPS, PACE_S = 4, 0.1
"""Steps of a picture, and seconds of each."""
SIDES = (256, 1024, 1664)


def main() -> int:
    """Run both servers in turns, and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--turns", type=int, default=5, help="turns of each server")
    arguments.add_argument("--pictures", type=int, default=20, help="pictures of a turn")
    arguments.add_argument("--checks", type=int, default=20, help="checks of each size")
    options = arguments.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        off, standard = (stack.enter_context(server(folder, policy)) for policy in ("off", "standard"))
        until(lambda: standard.processes("safety") and state(standard) == "ready")
        pairs = [(rate(off, options.pictures), rate(standard, options.pictures)) for _ in range(options.turns)]
        rows = [*rates(pairs), *checks(standard, options.checks), *memory(off, standard)]
    show(rows)
    return 0 if all(good for *_, good in rows) else 1


def server(folder: Path, policy: str) -> Studio:
    """A server of its own whose engine waits; its classifier is the real one."""
    home = folder / policy
    home.mkdir()
    return Studio(home, **{**SCRIPTED, "safety": policy})


def state(studio: Studio) -> str:
    """How health says that the classifier is."""
    workers = studio.request("GET", "/v1/health").json()["workers"]
    return next((str(each["state"]) for each in workers if each["device"] == "safety"), "none")


def rate(studio: Studio, pictures: int) -> float:
    """Pictures a minute, from the beginning of the first to that of the last: how soon the next is painted."""
    asked = {"prompt": f"pace={PACE_S}", "size": "256x256", "steps": STEPS, "seed": 1, "cache": False}
    ids = [studio.submit(**asked)["id"] for _ in range(pictures)]
    ended = [studio.finished(job_id) for job_id in ids]
    assert {job["state"] for job in ended} == {"succeeded"}, ended
    began = [float(job["started_at"]) for job in ended]
    return 60 * (pictures - 1) / (max(began) - min(began))


def rates(pairs: Sequence[tuple[float, float]]) -> list[Row]:
    """The rows on pictures a minute."""
    shares = sorted(with_it / without for without, with_it in pairs)
    least, middle, most = shares[0], statistics.median(shares), shares[-1]
    figures = [
        (name, statistics.median(column))
        for name, column in zip(("off", "standard"), zip(*pairs, strict=True), strict=True)
    ]
    rows: list[Row] = [(f"pictures a minute, policy {name}", f"{figure:.0f}", "", True) for name, figure in figures]
    share = f"{least:.2f} {middle:.2f} {most:.2f}"
    return [*rows, ("standard / off (min median max)", share, f">= {LEAST_SHARE}", middle >= LEAST_SHARE)]


def checks(studio: Studio, count: int) -> list[Row]:
    """The rows on one check: milliseconds from question to answer, and of the process's CPU time."""
    settings = Settings(_env_file=None, data_dir=studio.folder / "data", safety="standard")
    scoring, process = Scoring(settings), studio.processes("safety")[0]
    rows: list[Row] = []
    for side in SIDES:
        file = BytesIO()
        Image.effect_noise((side, side), 60).convert("RGB").save(file, "PNG")
        took, before = [], cpu_s(process)
        for _ in range(count):
            began = time.perf_counter()
            assert scoring.scores(file.getvalue()) is not None
            took.append(time.perf_counter() - began)
        spent = 1000 * (cpu_s(process) - before) / count
        figure = f"{1000 * statistics.median(took):.0f} ms, {spent:.0f} ms of CPU"
        rows.append((f"one check of {side}x{side} PNG", figure, f"<= {MOST_CHECK_MS:.0f} CPU", spent <= MOST_CHECK_MS))
    return rows


def memory(off: Studio, standard: Studio) -> list[Row]:
    """The rows on memory in MB: the classifier's process, and what a worker that paints needs more beside it."""
    alone, beside = (mb(studio.processes("worker")[0]) for studio in (off, standard))
    return [
        ("memory of the classifier's process", f"{mb(standard.processes('safety')[0]):.0f} MB", "", True),
        ("a painting worker: off, standard", f"{alone:.0f} {beside:.0f} MB", "+ 10 MB", beside <= alone + 10),
    ]


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1e6


if __name__ == "__main__":
    sys.exit(main())
