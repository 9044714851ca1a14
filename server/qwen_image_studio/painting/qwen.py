"""Adapter: runs Qwen-Image models through diffusers. With the modules beside it, the only user of torch."""

import copy
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from qwen_image_studio.contract.errors import DeviceLost, StudioError
from qwen_image_studio.contract.words import Precision, Tier
from qwen_image_studio.models.families import Family
from qwen_image_studio.models.folders import find_folder
from qwen_image_studio.models.table import Model
from qwen_image_studio.models.weights import Weights, part_classes
from qwen_image_studio.painting.canvas import Canvas
from qwen_image_studio.painting.cost import Meter
from qwen_image_studio.painting.hold import Hold
from qwen_image_studio.painting.hooks import Call, Hook, Listener, Reporter
from qwen_image_studio.painting.inputs import check, fit_texts, upright
from qwen_image_studio.painting.preview import Preview
from qwen_image_studio.planning.engine import Painted, Report, Show, silent
from qwen_image_studio.planning.plan import PaintPlan
from qwen_image_studio.planning.variant import Variant

LOG = logging.getLogger(__name__)
TILED_PIXELS = 2 * 1024 * 1024  # above it the VAE works in tiles: it would take some 20 GiB at 2048 x 2048


def open_engine(models: Mapping[str, Model], device: str) -> "QwenEngine":
    """Return an engine for these models on one device: ``cpu``, ``cuda:0``, ``mps``. Nothing is loaded yet."""
    return QwenEngine(models, device)


class QwenEngine:
    """Runs Qwen-Image models on one device, one picture at a time."""

    def __init__(
        self, models: Mapping[str, Model], device: str, dtypes: Mapping[Precision, torch.dtype] | None = None
    ) -> None:
        """`dtypes` in which each precision is computed; by default its own, and on a CPU float32, as fast there."""
        self.device = device
        self._models = models
        self._ready: Variant | None = None
        self._weights = Weights(device, dtypes)
        # The VAE keeps a call's state in itself, so even pipelines of their own must take turns.
        self._turn = threading.RLock()

    @property
    def loaded(self) -> Variant | None:
        """What painted or was loaded last, while it is in memory."""
        ready = self._ready
        return ready if ready and self._weights.holds(self._models[ready.model], ready.precision) else None

    def fetch(self, model: str) -> None:
        """Bring the model's files to this machine. Raise StudioError ``model_unavailable``."""
        row = self._row(model)
        find_folder(row, part_classes(row))

    def load(self, model: str, precision: Precision | None = None) -> None:
        """Make the model ready, in its own precision unless told another.

        Raise StudioError ``model_unavailable`` or ``out_of_memory``.
        """
        row = self._row(model)
        self._parts(Variant(row.name, Tier.QUALITY, row.precision(precision)[0]))

    def paint(
        self, plan: PaintPlan, images: Sequence[Image.Image], report: Report = silent, show: Show | None = None
    ) -> Iterator[Painted]:
        """Paint the plan's images in order of its seeds; `images` are its inputs, `show` gets previews.

        Raise StudioError ``out_of_memory``, ``model_unavailable``, ``engine_failed`` or ``invalid_value``; let through
        whatever `report` raises, and be usable afterwards.
        """
        # 1. Refuse what no model can do.
        check(plan, images)
        # 2. Load the model, or find it loaded.
        listener = Listener(report, show)
        listener.report("loading", 0, plan.steps_of_one * len(plan.seeds))
        model = self._row(plan.model)
        parts = self._parts(Variant(model.name, plan.tier, model.precision(plan.precision)[0]))
        # 3. Open a pipeline for this call alone, over the shared weights.
        family = model.family(plan.way)
        pipeline = open_pipeline(family, parts)
        # 4. Make texts and pictures safe.
        texts, warnings = fit_texts(plan, model, family.tokenizer(parts))
        canvas = Canvas(plan, [upright(image) for image in images])
        # 5. Paint one picture per seed, part by part; the texts are encoded with the first and remembered.
        for index, seed in enumerate(plan.seeds):
            canvas.begin()
            meter = Meter(plan, model)
            hooks = (Reporter(listener), Hold(), Preview(listener, canvas), meter)
            for number in range(max(1, len(plan.passes))):
                call = Call(plan, model, pipeline, texts, canvas.pass_input(number), index, number)
                canvas.put(number, self._run(call, hooks, listener))
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

    def _parts(self, variant: Variant) -> dict[str, Any]:
        """Return the variant's parts, loaded, and note that it is ready."""
        with self._turn:
            row = self._row(variant.model)
            if self.device == "cpu" and row.cpu_threads is not None:
                torch.set_num_threads(row.cpu_threads)
            parts = self._weights.parts(row, variant.precision)
            self._ready = variant
            return parts

    def _run(self, call: Call, hooks: Iterable[Hook], listener: Listener) -> Image.Image:
        width, height = call.pass_input.size
        try:
            with self._turn:
                call.pipeline.vae.use_tiling = width * height > TILED_PIXELS
                return call.paint(hooks)
        except Exception as error:
            if error is listener.raised:
                raise
            if isinstance(error, torch.AcceleratorError):  # CUDA answers every later call with the same error
                raise DeviceLost(f"{self.device}: {error}") from error
            failure = _failure(error, call, self.device)
        # Only here, outside the except clause, are the failed call's tensors free to go.
        self._weights.empty_cache()
        raise failure


def open_pipeline(family: Family, parts: Mapping[str, Any]) -> Any:
    """Return a pipeline of the family over the parts that it needs, with a scheduler of its own.

    A pipeline keeps a call's state in itself and in its scheduler, so two calls on one object spoil each other. One is
    cheap (no weights are copied) and is thrown away after its call. It is made with the class constructor:
    ``from_pipe()`` would cast the shared weights to float32.
    """
    own = {**{name: parts[name] for name in family.parts()}, "scheduler": copy.deepcopy(parts["scheduler"])}
    pipeline = family.pipeline()(**own)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _failure(error: Exception, call: Call, device: str) -> StudioError:
    # A CPU says so in a plain RuntimeError.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error):
        width, height = call.pass_input.size
        return StudioError(
            "out_of_memory",
            f"{width}x{height} does not fit into the memory of {device}; {_smaller(call)}, or send fewer input images.",
        )
    LOG.error("painting failed", exc_info=error)
    return StudioError(
        "engine_failed",
        f"{call.plan.model} stopped with an error of its own ({type(error).__name__}); the server's log says more.",
    )


def _smaller(call: Call) -> str:
    """What to ask for instead of a size that does not fit."""
    if call.plan.mask:
        return "mark a smaller part"
    if call.plan.place is not None:
        return "send a smaller image, or add less to it"
    smaller = "x".join(str(max(64, int(side * 0.7) // 32 * 32)) for side in call.pass_input.size)
    return f"ask for {smaller} or smaller"
