"""``make bench``: what the service costs over the bare pipeline, how fast a submit is answered, how large the web is.

The job and the bare pipeline paint the same picture with the same settings, in turns, so that what slows the machine
slows both. The ratio of the medians is the figure; the seconds are of this machine.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from benchmarks import Row, show
from qwen_image_studio.models.table import MODELS
from tests.support.studio import Studio

PROMPT = "蓝色背景上的红苹果"
MIB = 2**20


def main() -> int:
    """Run every measurement and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--turns", type=int, default=25, help="pictures per side")
    arguments.add_argument("--submits", type=int, default=150, help="submits while a job runs")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, Studio(Path(folder), queue_limit=1000) as studio:
        rows = [
            *overhead(studio, options.turns),
            *submits(studio, options.submits),
            *web_process(studio),
        ]
    print(f"\n{torch.get_num_threads()} threads, torch {torch.__version__}, Python {sys.version.split()[0]}")
    show(rows)
    return 0


def overhead(studio: Studio, turns: int) -> list[Row]:
    """Median wall of a job from submit to URL against the bare pipeline."""
    pipeline = bare_pipeline()
    pairs: list[tuple[float, float]] = []
    for turn in range(turns + 2):  # the first two warm both sides up
        sides = [lambda seed=turn: service(studio, seed), lambda seed=turn: bare(pipeline, seed)]
        order = random.sample((0, 1), 2)
        taken = {side: timed(sides[side]) for side in order}
        if turn >= 2:
            pairs.append((taken[0], taken[1]))
            print(f"\rturn {turn - 1}/{turns}", end="", file=sys.stderr, flush=True)
    job, alone = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = job / alone
    return [
        ("job, submit to URL / bare pipeline, ratio of medians", f"{ratio:.3f}", "<= 1.10", ratio <= 1.10),
        ("  job, median", f"{job:.3f} s", "", True),
        ("  bare pipeline, median", f"{alone:.3f} s", "", True),
    ]


def service(studio: Studio, seed: int) -> None:
    """One job through the whole service."""
    job = studio.finished(studio.submit(prompt=PROMPT, seed=seed)["id"])
    assert job["images"][0]["url"], job


def bare_pipeline() -> Any:
    """The same weights in diffusers' own pipeline, in this process."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

    folder = MODELS["miniature"].repository
    pipeline = QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler"),
        vae=AutoencoderKLQwenImage.from_pretrained(folder, subfolder="vae", dtype=torch.float32),
        text_encoder=Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, subfolder="text_encoder", dtype=torch.float32
        ),
        tokenizer=Qwen2Tokenizer.from_pretrained(folder, subfolder="tokenizer"),
        transformer=QwenImageTransformer2DModel.from_pretrained(folder, subfolder="transformer", dtype=torch.float32),
    )
    pipeline.set_progress_bar_config(disable=True)
    torch.set_num_threads(MODELS["miniature"].cpu_threads or torch.get_num_threads())  # the same as the worker has
    return pipeline


def bare(pipeline: Any, seed: int) -> None:
    """The picture of :func:`service`, to PNG bytes."""
    model = MODELS["miniature"]
    image = pipeline(
        prompt=PROMPT,
        negative_prompt=model.negative_prompt,
        true_cfg_scale=model.recipe().guidance_scale,
        num_inference_steps=model.recipe().steps,
        width=128,
        height=128,
        generator=torch.Generator("cpu").manual_seed(seed),
    ).images[0]
    image.save(BytesIO(), "PNG")


def submits(studio: Studio, count: int) -> list[Row]:
    """How fast a submit is answered while a job runs."""
    running = studio.submit(prompt=PROMPT, steps=150, n=10)
    while studio.job(running["id"])["state"] != "running":
        time.sleep(0.02)
    jobs: list[str] = []
    taken = [timed(lambda: jobs.append(studio.submit(prompt=PROMPT)["id"])) * 1000 for _ in range(count)]
    assert studio.job(running["id"])["state"] == "running", "the running job was too short for this measurement"
    for job_id in (*jobs, running["id"]):
        studio.request("POST", f"/v1/jobs/{job_id}/cancel")
    studio.finished(running["id"])
    p50, p95 = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
    return [
        ("submit while a job runs, p95", f"{p95:.1f} ms", "<= 25 ms", p95 <= 25),
        ("  p50", f"{p50:.1f} ms", "", True),
    ]


def web_process(studio: Studio) -> list[Row]:
    """Memory of the web processes together, and whether torch is in them."""
    web = studio.processes("web")
    memory = sum(process.memory_full_info().uss for process in web) / MIB
    largest = max(process.memory_info().rss for process in web) / MIB
    torch_in = any("libtorch" in part.path for process in web for part in process.memory_maps())
    return [
        ("web process, resident", f"{largest:.0f} MiB", "<= 200 MB", largest * MIB <= 200e6),
        ("  web and its gunicorn parent, unshared", f"{memory:.0f} MiB", "", True),
        ("torch in the web process", "yes" if torch_in else "no", "no", not torch_in),
    ]


def timed(act: Any) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
