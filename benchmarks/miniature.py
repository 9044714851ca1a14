"""``make bench-pictures``, second part: how right the miniature's pictures are, how fast, and how much memory it takes.

Fetches the drawings from the npm registry the first time. What a picture shows is told by the judge, a small network
trained apart on rendered pictures; what it is asked are pairs of object and background that training never saw.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import Row, show
from qwen_image_studio.models.table import MODELS
from tests.support import ROOT
from tests.support.studio import Studio
from training.evaluation.report import report

WEIGHTS = Path(MODELS["miniature"].repository)
CACHE = ROOT / ".cache/miniature"
ALONE = """
import statistics, time, sys
import torch, diffusers, transformers
from PIL import Image
import qwen_image_studio.painting.qwen
from qwen_image_studio.models.table import MODELS
from tests.support.plans import a_plan
from qwen_image_studio.contract.words import Operation
model = MODELS["miniature"]
engine = qwen_image_studio.painting.qwen.open_engine({model.name: model}, "cpu")
started = time.perf_counter()
engine.load(model.name)
print(time.perf_counter() - started)
whole = {"width": 128, "height": 128, "paint_width": 128, "paint_height": 128, "steps": model.recipe().steps}
whole |= {"guidance_scale": model.recipe().guidance_scale, "prompt": "a red apple on a blue background"}
source = Image.new("RGB", (128, 128), "red")
for images, more in (((), {}), ([source], {"operation": Operation.EDIT, "prompt": "make the background green"})):
    for turn in range(int(sys.argv[1]) + 1):
        started = time.perf_counter()
        list(engine.paint(a_plan(**whole | more), images))
        if turn:
            print(time.perf_counter() - started)
"""


def main() -> int:
    """Run every measurement and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=300, help="prompts in each language; edits are two thirds")
    arguments.add_argument("--turns", type=int, default=9, help="pictures to time")
    arguments.add_argument("--failures", type=Path, help="PNG to write: what was not painted as asked")
    options = arguments.parse_args()
    figures = [*speed(options.turns), worker()]
    show(figures)
    try:
        judged = report(WEIGHTS, CACHE, options.count, options.failures)
    except (RuntimeError, FileNotFoundError) as error:
        print(f"bench: the pictures were not judged: {error}", file=sys.stderr)
        return 1
    print("\n".join(judged.lines))
    return 0 if judged.good and all(good for *_, good in figures) else 1


def speed(turns: int) -> list[Row]:
    """Load and paint in a fresh process with torch's imports done, on the threads that the engine gives it."""
    ran = subprocess.run(
        [sys.executable, "-c", ALONE, str(turns)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    load, *taken = (float(line) for line in ran.stdout.split())
    picture, edit = statistics.median(taken[:turns]), statistics.median(taken[turns:])
    threads = MODELS["miniature"].cpu_threads
    return [
        ("miniature, load after imports", f"{load:.2f} s", "<= 2 s", load <= 2),
        (f"  one picture with guidance, {threads} thread, median", f"{picture:.2f} s", "<= 1.5 s", picture <= 1.5),
        (f"  one edit with guidance, {threads} thread, median", f"{edit:.2f} s", "", True),
    ]


def worker() -> Row:
    """Memory of the worker process after both operations."""
    with tempfile.TemporaryDirectory() as folder, Studio(Path(folder)) as studio:
        first = studio.finished(studio.submit(prompt="a red apple on a blue background")["id"])
        edit = {"operation": "edit", "image": first["images"][0]["id"], "prompt": "make the background green"}
        studio.finished(studio.submit(**edit)["id"])
        memory = max(process.memory_info().rss for process in studio.processes("worker"))
    return (
        "  worker process after a picture and an edit, resident",
        f"{memory / 1e6:.0f} MB",
        "<= 1200 MB",
        memory <= 1.2e9,
    )


if __name__ == "__main__":
    sys.exit(main())
