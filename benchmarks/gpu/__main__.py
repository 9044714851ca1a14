"""``python -m benchmarks.gpu``: measure, and write every row to a file as soon as it is there."""

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.gpu.measures import Bench, everything
from benchmarks.gpu.painting import FULL, TOY
from benchmarks.gpu.recording import Recorder
from qwen_image_studio.loading.compiling import INDUCTOR


def main() -> int:
    """Measure on the card there is, else at toy size on the processor; return 1 where a row has failed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, default=Path("bench-gpu.jsonl"), help="file of the rows")
    arguments.add_argument("--seconds", type=float, default=460, help="time for all of it")
    arguments.add_argument("--toy", action="store_true", help="a small transformer, to see that every row works")
    arguments.add_argument("--backend", default=INDUCTOR, help="what compiles; eager is quick and no faster")
    options = arguments.parse_args()
    card = torch.cuda.is_available()
    toy = options.toy or not card
    bench = Bench(
        Recorder(options.out, options.seconds),
        "cuda" if card else "cpu",
        torch.bfloat16 if card else torch.float32,
        TOY if toy else FULL,
        (64, 96, 48) if toy else (1024, 1328, 768),
        options.backend,
    )
    if toy:
        print("A toy: its times say nothing about the large models.")
    everything(bench)
    bench.recorder.close()
    return 1 if bench.recorder.failed else 0


if __name__ == "__main__":
    sys.exit(main())
