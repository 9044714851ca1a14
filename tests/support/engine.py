"""An engine that misbehaves on cue, behind the same seam (STUDIO_ENGINE) as the real one.

The prompt of a job is its script: words such as ``kill@3`` (kill -9 of the worker at step 3), ``kill@finish`` (between
storing and finishing), ``hang@2``, ``memory@1``, ``bug@1``, ``pace=0.2`` (seconds a step). A fault happens on the
first attempt only, unless the script says ``always``. ``large@1`` is a lack of memory that lasts until an attempt
saves it. ``kill@layer2`` comes between the storing of the second layer and of the third. With ``preview`` it shows a
dark picture after every step, with ``preview=200`` one of that red. With ``forever`` it stays at the first step until
somebody cancels the job. A transparent picture is the colour in the middle of nothing, unless the script says
``full``.
"""

import os
import re
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from qwen_image_studio.contract.errors import DeviceLost, StudioError
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import Precision, Tier
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.engine import Engine, Painted, Report, Show, silent
from qwen_image_studio.planning.plan import PaintPlan, Variant
from qwen_image_studio.settings import Settings
from tests.support.layers import recomposed, toy_layers


def open_engine(models: Mapping[str, Model], device: str) -> Engine[PaintPlan]:
    """Called by the worker through the settings."""
    return ScriptedEngine(next(iter(models)), device, Settings().data_dir / "painted.log")


class ScriptedEngine:
    """Paints one colour a seed, as slowly and as badly as the prompt says."""

    def __init__(self, model: str, device: str, painted: Path | None = None) -> None:
        self.device = device
        self.loaded: Variant | None = None
        self._model = model
        self._painted = painted
        """Where each picture that was really painted is noted."""

    def fetch(self, model: str) -> None:
        """Nothing to fetch."""

    def load(self, model: str, precision: Precision | None = None) -> None:
        """Nothing to load."""
        self.loaded = Variant(model, Tier.QUALITY, Precision.BF16)

    def paint(
        self,
        plan: PaintPlan,
        images: Sequence[Image.Image],
        report: Report = silent,
        show: Show | None = None,
        *,
        frugal: bool = False,
    ) -> Iterator[Painted]:
        """Go through the steps of each image and its faults."""
        pace = float(match[1]) if (match := re.search(r"pace=([0-9.]+)", plan.prompt)) else 0.01
        total = plan.steps * len(plan.seeds)
        for number, seed in enumerate(plan.seeds):
            for step in range(1, plan.steps + 1):
                time.sleep(pace)
                report("denoising", number * plan.steps + step, total)
                if show and "preview" in plan.prompt:
                    red = int(match[1]) if (match := re.search(r"preview=([0-9]+)", plan.prompt)) else step
                    show(Image.new("RGB", (64, 48), (red, 0, 0)))
                _act(plan.prompt, str(step))
                if f"large@{step}" in plan.prompt and not frugal:
                    _memory()
                while "forever" in plan.prompt:
                    time.sleep(pace)
                    report("denoising", number * plan.steps + step, total)
            colour = (seed % 256, seed // 256 % 256, 128)
            if self._painted is not None:
                with self._painted.open("a") as file:
                    file.write(f"{plan.prompt}\t{seed}\n")
            if plan.layers:
                yield from _apart(plan, seed)
                continue
            yield Painted(_picture(plan, colour), seed, ("Sparing.",) * frugal)
        # Whoever asks for one more picture has stored those before it, and has written no end yet.
        _act(plan.prompt, "finish")


def _apart(plan: PaintPlan, seed: int) -> Iterator[Painted]:
    for number, layer in enumerate(layers := toy_layers(plan.layers, (plan.width, plan.height), seed), start=1):
        yield Painted(layer, seed)
        _act(plan.prompt, f"layer{number}")
    yield Painted(recomposed(layers), seed)


def _picture(plan: PaintPlan, colour: tuple[int, int, int]) -> Image.Image:
    size = (plan.width, plan.height)
    if plan.background is not Background.TRANSPARENT or "full" in plan.prompt:
        return Image.new("RGB", size, colour)
    return clear_picture(size, colour)


def clear_picture(size: tuple[int, int], colour: tuple[int, int, int]) -> Image.Image:
    """A picture that is of that colour in its middle, and transparent around it."""
    picture = Image.new("RGBA", size)
    picture.paste(colour, (size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4))
    return picture


def _act(prompt: str, moment: str) -> None:
    for fault, when in re.findall(r"(\w+)@(\w+)", prompt):
        if when == moment and fault in _FAULTS and _due(prompt, f"{fault}@{when}"):
            _FAULTS[fault]()


def _due(prompt: str, cue: str) -> bool:
    if "always" in prompt:
        return True
    marker: Path = Settings().data_dir / f"fault-{zlib.crc32((prompt + cue).encode())}"
    if marker.exists():
        return False
    marker.touch()
    return True


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _hang() -> None:
    time.sleep(3600)


def _memory() -> None:
    raise StudioError("out_of_memory", "The device has too little memory for 128x128; ask for a smaller size.")


def _lost() -> None:
    raise DeviceLost("a planted device error")


def _bug() -> None:
    raise ZeroDivisionError("a bug in the engine")


_FAULTS: Mapping[str, Callable[[], None]] = {
    "kill": _kill,
    "stop": _stop,
    "hang": _hang,
    "memory": _memory,
    "bug": _bug,
    "lost": _lost,
}


class Paints:
    """An engine that delivers these pictures, one a seed."""

    device = "cpu"
    loaded = Variant("miniature", Tier.QUALITY, Precision.BF16)

    def __init__(self, *pictures: Image.Image) -> None:
        self._pictures = pictures

    def fetch(self, model: str) -> None:
        """Nothing to fetch."""

    def load(self, model: str, precision: Precision | None = None) -> None:
        """Nothing to load."""

    def paint(
        self,
        plan: PaintPlan,
        images: Sequence[Image.Image],
        report: Report = silent,
        show: Show | None = None,
        *,
        frugal: bool = False,
    ) -> Iterator[Painted]:
        """The pictures in order, the last one again and again."""
        for number, seed in enumerate(plan.seeds):
            yield Painted(self._pictures[min(number, len(self._pictures) - 1)].copy(), seed)
