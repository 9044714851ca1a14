"""Adapter: runs Qwen-Image models through diffusers. With the modules beside it, the only user of torch."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Operation, Size, Way
from qwen_image_studio.models.folders import find_folder
from qwen_image_studio.models.table import Model
from qwen_image_studio.models.weights import PARTS, Weights
from qwen_image_studio.painting.canvas import Canvas, Stage
from qwen_image_studio.painting.cost import Meter
from qwen_image_studio.painting.hold import Anchor
from qwen_image_studio.painting.inputs import check, fit_texts, upright
from qwen_image_studio.painting.pipelines import View, open_view
from qwen_image_studio.painting.preview import Previewer
from qwen_image_studio.planning.engine import DeviceLost, Painted, Report, Show, silent
from qwen_image_studio.planning.plan import Plan

LOG = logging.getLogger(__name__)
TILED_PIXELS = 2 * 1024 * 1024  # above it the VAE works in tiles: it would take some 20 GiB at 2048 x 2048


def open_engine(models: Mapping[str, Model], device: str) -> "QwenEngine":
    """An engine for these models on one device: ``cpu``, ``cuda:0``, ``mps``. Nothing is loaded yet."""
    return QwenEngine(models, device)


class QwenEngine:
    """Runs Qwen-Image models on one device, one picture at a time."""

    def __init__(self, models: Mapping[str, Model], device: str, dtype: torch.dtype | None = None) -> None:
        """`dtype` of the weights; bfloat16 by default, on a CPU float32, which is as fast there."""
        self.device = device
        self._models = models
        self._ready: Model | None = None
        self._weights = Weights(device, dtype or (torch.float32 if device == "cpu" else torch.bfloat16))
        # The VAE keeps a call's state in itself, so even views of their own must take turns.
        self._turn = threading.RLock()

    @property
    def loaded(self) -> str | None:
        """Name of the model that painted or was loaded last, while it is in memory."""
        return self._ready.name if self._ready and self._weights.holds(self._ready) else None

    def fetch(self, model: str) -> None:
        """Bring the model's files to this machine. Raises StudioError ``model_unavailable``."""
        row = self._row(model)
        find_folder(row, {name for family in row.families.values() for name in PARTS[family]})

    def load(self, model: str) -> None:
        """Make the model ready. Raises StudioError ``model_unavailable`` or ``out_of_memory``."""
        with self._turn:
            row = self._row(model)
            if self.device == "cpu" and row.cpu_threads is not None:
                torch.set_num_threads(row.cpu_threads)
            self._weights.parts(row)
            self._ready = row

    def paint(
        self, plan: Plan, images: Sequence[Image.Image], report: Report = silent, show: Show | None = None
    ) -> Iterator[Painted]:
        """Paint the plan's images in order of its seeds; `images` are its inputs, `show` gets previews.

        Raises StudioError ``out_of_memory``, ``model_unavailable``, ``engine_failed`` or ``invalid_value``; lets
        through whatever `report` raises, and is usable afterwards.
        """
        # 1. Refuse what no model can do.
        check(plan, images)
        # 2. Load the model, or find it loaded.
        steps = plan.steps_of_one * len(plan.seeds)
        report("loading", 0, steps)
        self.load(plan.model)
        # 3. Open a pipeline for this call alone, over the shared weights.
        model = self._row(plan.model)
        view = self._open_view(model, plan.way)
        # 4. Make texts and pictures safe.
        texts, warnings = fit_texts(plan, model, view.tokens)
        sources = [upright(image) for image in images]
        canvas = Canvas(plan, sources)
        # 5. Paint one picture per seed, part by part; the view encodes the texts with the first and remembers them.
        for index, seed in enumerate(plan.seeds):
            canvas.begin()
            meter = Meter(plan, model)
            for number in range(max(1, len(plan.passes))):
                done = plan.steps_of_one * index + plan.run_steps * number
                if number or not index:  # later images start from encodings that are there
                    report("encoding", done, steps)
                stage = canvas.stage(number)
                previewer = _previewer(view, stage, show, partial(canvas.preview, number))
                relay = _Relay(report, done, plan.run_steps, steps, previewer)
                call = _Call(view, model, plan, texts, seed_of(seed, number), meter)
                canvas.put(number, self._run(call, stage, relay))
            # 6. Deliver it at the size that was asked for.
            yield Painted(canvas.image, seed, warnings, meter.saved())

    def _row(self, name: str) -> Model:
        if name not in self._models:  # as after a restart with other models, for a job planned before
            raise StudioError(
                "unknown_model",
                f"model '{name}' is not on this server; it has: {', '.join(self._models)}.",
                param="model",
            )
        return self._models[name]

    def _open_view(self, model: Model, way: Way) -> View:
        family = model.families[way]
        parts = self._weights.parts(model)
        return open_view(family, {name: parts[name] for name in PARTS[family]})

    def _run(self, call: "_Call", stage: Stage, relay: "_Relay") -> Image.Image:
        try:
            with self._turn:
                return call.paint(stage, relay)
        except Exception as error:
            if error is relay.raised:
                raise
            if isinstance(error, torch.AcceleratorError):  # CUDA answers every later call with the same error
                raise DeviceLost(f"{self.device}: {error}") from error
            failure = _failure(error, call.plan, stage.size, self.device)
        # Only here, outside the except clause, are the failed call's tensors free to go.
        self._weights.empty_cache()
        raise failure


@dataclass(frozen=True)
class _Call:
    """One picture of a plan, to be painted with one view."""

    view: View
    model: Model
    plan: Plan
    texts: dict[str, str | None]
    seed: int
    meter: Meter

    def paint(self, stage: Stage, relay: "_Relay") -> Image.Image:
        """Run the pipeline for one stage."""
        view, model, plan = self.view, self.model, self.plan
        area = stage.size[0] * stage.size[1]
        view.vae.use_tiling = area > TILED_PIXELS
        if len(plan.passes) > 1 and plan.way is Way.EDIT:
            view.forget_texts()
        # The first source as small as the part that is painted: it costs as much as the result.
        first = area if plan.passes else model.input_pixels
        named = {**view.keywords(model, stage.sources, first), **self.texts, **_settings(plan, stage, self.seed)}
        if stage.start is not None and view.anchors:
            relay.anchor = Anchor(view, stage, plan=plan, seed=self.seed)
            named |= relay.anchor.arguments()
        with self.meter.counting(view, stage.size):
            picture: Image.Image = view(**named, callback_on_step_end=relay).images[0]
        return picture


class _Relay:
    """Carries one picture's steps to the job's report, and remembers what that raised."""

    def __init__(self, report: Report, done: int, own: int, steps: int, previewer: Previewer | None) -> None:
        self.raised: BaseException | None = None
        self._report = report
        self._done = done
        self._own = own
        self._steps = steps
        self._previewer = previewer
        self.anchor: Anchor | None = None

    def __call__(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        try:
            self._report("denoising", self._done + step + 1, self._steps)
            latents = tensors["latents"] if self.anchor is None else self.anchor.hold(step, tensors["latents"])
            self._preview(step, latents)
            if step + 1 == self._own:
                self._report("decoding", self._done + step + 1, self._steps)
        except BaseException as error:
            self.raised = error
            raise
        return {} if self.anchor is None else {"latents": latents}

    def _preview(self, step: int, latents: torch.Tensor) -> None:
        if self._previewer is None:
            return
        try:
            self._previewer.step(step, latents)
        except RuntimeError as error:  # no memory left for a look in between: the picture itself goes on
            LOG.warning("no more previews of this picture: %s", error)
            self._previewer = None


def seed_of(seed: int, number: int) -> int:
    """The seed of pass `number`: the image's own for the first, others for the rest, lest windows look alike."""
    # torch's generator on a processor hears 32 bits only, so what is added to them must be mixed in.
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0]) if number else seed


def _previewer(
    view: View, stage: Stage, show: Show | None, placed: Callable[[Image.Image], Image.Image]
) -> Previewer | None:
    """What shows the stage in between, each small picture where it belongs in the whole."""
    if show is None or not view.previews:
        return None
    return Previewer(view, stage.size, lambda small: show(placed(small)))


def _settings(plan: Plan, stage: Stage, seed: int) -> dict[str, Any]:
    """The call's arguments that every family takes."""
    return {
        "width": stage.size[0],
        "height": stage.size[1],
        "num_inference_steps": plan.steps,
        # The models are not guidance-distilled: what users call guidance is true_cfg_scale, and the
        # pipelines' own guidance_scale does nothing.
        "true_cfg_scale": plan.guidance_scale,
        # On the CPU, so that the noise does not depend on the device.
        "generator": torch.Generator("cpu").manual_seed(seed),
    }


def _failure(error: Exception, plan: Plan, size: Size, device: str) -> StudioError:
    # A CPU says so in a plain RuntimeError.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error):
        width, height = size
        smaller = "x".join(str(max(64, int(side * 0.7) // 32 * 32)) for side in size)
        advice = {
            Operation.INPAINT: "mark a smaller part",
            Operation.OUTPAINT: "send a smaller image, or add less to it",
        }.get(plan.operation, f"ask for {smaller} or smaller")
        return StudioError(
            "out_of_memory",
            f"{width}x{height} does not fit into the memory of {device}; {advice}, or send fewer input images.",
        )
    LOG.error("painting failed", exc_info=error)
    return StudioError(
        "engine_failed",
        f"{plan.model} stopped with an error of its own ({type(error).__name__}); the server's log says more.",
    )
