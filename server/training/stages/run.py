"""Runs of training: a folder with each stage's checkpoint and log, from which an interrupted run goes on."""

import json
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Device on which all stages train."""
HAS_BFLOAT16 = DEVICE.type == "cuda" or torch.backends.cpu.get_cpu_capability() not in {"DEFAULT", "AVX2"}
"""Whether bfloat16 is quick there; a processor without it would only make believe."""
LOG_STEPS = 20
CHECKPOINT_SECONDS = 120


class Stage(Protocol):
    """The training of one part. All randomness in step n depends on seed and n, so a resumed run loses nothing."""

    name: str

    def step(self, number: int) -> Mapping[str, float]:
        """Learn from one batch; returns figures to watch."""

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on, in tensors and plain values."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to such a state."""


class Mean:
    """Exponential moving average of a module's parameters."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values: dict[str, torch.Tensor] = {}
        self.restart(module)

    def restart(self, module: nn.Module) -> None:
        """Begin with the module as it is."""
        self.values = {name: value.detach().clone() for name, value in module.named_parameters()}

    def restore(self, values: Mapping[str, torch.Tensor]) -> None:
        """Go back to the values of a checkpoint."""
        self.values = {name: value.to(DEVICE) for name, value in values.items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Follow the module; faster in the first steps, which are soon forgotten so."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in module.named_parameters():
            self.values[name].lerp_(value.detach(), weight)


def random_of(seed: int, stage: str, step: int) -> np.random.Generator:
    """Return the source of everything random in that step."""
    return np.random.default_rng([seed, *stage.encode(), step])


def torch_random_of(rng: np.random.Generator) -> torch.Generator:
    """Return the same source for tensors."""
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def fast_numbers() -> torch.autocast:
    """Within it, matrices multiply in bfloat16, where that is quick."""
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=HAS_BFLOAT16)


def decayed(step: int, steps: int, warm: int = 50) -> float:
    """Factor of the learning rate: rises over the first steps, falls to a twentieth over the second half."""
    rise = min(1.0, (step + 1) / warm)
    return rise * min(1.0, max(0.05, 2 * (1 - step / max(1, steps))))


def descend(optimizers: Sequence[torch.optim.Optimizer], rates: Sequence[float], factor: float) -> None:
    """Make one step of each optimizer at its rate times the factor, then clear the gradients."""
    for optimizer, rate in zip(optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def compile_blocks(module: nn.Module, kind: type[nn.Module]) -> None:
    """Compile each block of that kind alone: the whole graph would take minutes and be no faster."""
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    for block in module.modules():
        if isinstance(block, kind):
            block.compile(dynamic=False)


def checkpoint_of(folder: Path, stage: str) -> Path:
    """Return the file in which the stage's state is kept."""
    return folder / f"{stage}.pt"


def load_state(folder: Path, stage: str) -> dict[str, Any]:
    """Return the stage's latest state. Raises FileNotFoundError where it was never trained."""
    state: dict[str, Any] = torch.load(checkpoint_of(folder, stage), map_location="cpu", weights_only=True)
    return state


def train(stage: Stage, folder: Path, steps: int, minutes: float = float("inf"), echo: Any = print) -> int:
    """Bring the stage to that many steps, or as far as it comes in the time; returns the steps that are done.

    Goes on from the stage's checkpoint in the folder. A signal to end writes a checkpoint first. A terminal gets a
    progress bar, anything else a line now and then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done, spent = 0, 0.0
    if checkpoint_of(folder, stage.name).is_file():
        kept = load_state(folder, stage.name)
        stage.restore(kept["stage"])
        done, spent = kept["steps"], kept["seconds"]
    asked: list[int] = []
    before = {sign: signal.signal(sign, lambda number, _: asked.append(number)) for sign in _SIGNALS}
    began = saved = time.monotonic()
    try:
        with tqdm(total=steps, initial=done, desc=stage.name, unit="step", disable=None) as bar:
            while done < steps and not asked and time.monotonic() - began < 60 * minutes:
                figures = stage.step(done)
                done += 1
                bar.update()
                now = time.monotonic()
                if done % LOG_STEPS == 0 or done == steps:
                    line = _log(folder, stage.name, done, spent + now - began, figures)
                    bar.set_postfix_str(line) if not bar.disable else echo(f"{stage.name} {done}/{steps}: {line}")
                if now - saved > CHECKPOINT_SECONDS:
                    _save(folder, stage, done, spent + now - began)
                    saved = now
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
    _save(folder, stage, done, spent + time.monotonic() - began)
    return done


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _save(folder: Path, stage: Stage, steps: int, seconds: float) -> None:
    target = checkpoint_of(folder, stage.name)
    new = target.with_suffix(".new")
    torch.save({"stage": stage.state(), "steps": steps, "seconds": seconds}, new)
    new.replace(target)


def _log(folder: Path, stage: str, steps: int, seconds: float, figures: Mapping[str, float]) -> str:
    """Add a line to the run's log; returns the figures in words."""
    rounded = {name: round(float(value), 4) for name, value in figures.items()}
    row = {"stage": stage, "step": steps, "seconds": round(seconds, 1), **rounded}
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")
    return ", ".join(f"{name} {value:g}" for name, value in rounded.items())
