"""The engine that runs Qwen-Image models with diffusers."""

import copy
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from PIL import Image

from qwen_image_studio.contract.errors import DeviceLost, StudioError
from qwen_image_studio.contract.words import Precision, Tier, Way
from qwen_image_studio.imaging.pixels import upright
from qwen_image_studio.models.families import Family
from qwen_image_studio.models.folders import find_folder
from qwen_image_studio.models.table import Model
from qwen_image_studio.models.weights import Weights, part_classes
from qwen_image_studio.painting.canvas import Canvas
from qwen_image_studio.painting.cost import Meter
from qwen_image_studio.painting.hold import Hold
from qwen_image_studio.painting.hooks import Call, Hook, Listener, Reporter, steps_to
from qwen_image_studio.painting.inputs import check, fit_texts
from qwen_image_studio.painting.preview import Preview
from qwen_image_studio.painting.sparing import TILED_WARNING, Sparing, bring_back, tiles
from qwen_image_studio.planning.engine import Painted, Report, Show, silent
from qwen_image_studio.planning.plan import PaintPlan, Variant

LOG = logging.getLogger(__name__)
TILED_PIXELS = 2 * 1024 * 1024  # above it the VAE works in tiles; at 2048 x 2048 it would take some 20 GiB


def open_engine(models: Mapping[str, Model], device: str) -> "QwenEngine":
    """Return an engine for these models on one device: ``cpu``, ``cuda:0``, ``mps``. Nothing is loaded yet."""
    return QwenEngine(models, device)


class QwenEngine:
    """An engine that runs Qwen-Image models on one device, one picture at a time."""

    def __init__(
        self, models: Mapping[str, Model], device: str, dtypes: Mapping[Precision, torch.dtype] | None = None
    ) -> None:
        """Load nothing yet; `dtypes` are the number formats by precision, by default its own, on a CPU float32."""
        self.device = device
        self._models = models
        self._ready: Variant | None = None
        self._weights = Weights(device, dtypes)
        # The VAE keeps a call's state in itself, so even separate pipelines must take turns.
        self._turn = threading.RLock()

    @property
    def loaded(self) -> Variant | None:
        """Return what painted or was loaded last; None once it is no longer in memory."""
        ready = self._ready
        return ready if ready and self._weights.holds(self._models[ready.model], ready.precision) else None

    def fetch(self, model: str) -> None:
        """Bring the model's files to this machine. Raises StudioError ``model_unavailable``."""
        row = self._row(model)
        find_folder(row, part_classes(row))

    def load(self, model: str, precision: Precision | None = None) -> None:
        """Make the model ready, in its own precision unless another is given.

        Raises StudioError ``model_unavailable`` or ``out_of_memory``.
        """
        row = self._row(model)
        self._parts(Variant(row.name, Tier.QUALITY, row.precision(precision)[0]))

    def paint(
        self,
        plan: PaintPlan,
        images: Sequence[Image.Image],
        report: Report = silent,
        show: Show | None = None,
        *,
        frugal: bool = False,
    ) -> Iterator[Painted]:
        """Paint the plan's images in the order of its seeds; `images` are its inputs, `show` gets previews. With
        `frugal`, other models are dropped, and memory is spared as `painting.sparing` has it.

        Raises StudioError ``out_of_memory``, ``model_unavailable``, ``engine_failed`` or ``invalid_value``, DeviceLost
        where only a new process can go on, and whatever `report` raises. Except after DeviceLost, it can paint again.
        """
        # 1. Refuse what no model can do.
        check(plan, images)
        # 2. Load the model, or find it loaded.
        listener = Listener(report, show)
        listener.report("loading", 0, plan.steps_of_one * len(plan.seeds))
        model = self._row(plan.model)
        parts = self._parts(Variant(model.name, plan.tier, model.precision(plan.precision)[0]), alone=frugal)
        # 3. Open a pipeline for this call alone, over the shared weights.
        family = model.family(plan.way)
        pipeline = open_pipeline(family, parts)
        # 4. Make texts and pictures safe.
        texts, warnings = fit_texts(plan, model, family.tokenizer(parts))
        canvas = Canvas(plan, images)
        # 5. Paint one picture per seed, part by part; the texts are encoded for the first and remembered.
        for index, seed in enumerate(plan.seeds):
            canvas.begin()
            meter = Meter(plan, model)
            hooks = [Reporter(listener), Hold(), Preview(listener, canvas), meter, *([Sparing(self.device)] * frugal)]
            for number in range(max(1, len(plan.passes))):
                call = Call(plan, model, pipeline, texts, canvas.pass_input(number), index, number)
                canvas.put(number, self._run(call, hooks, listener, frugal=frugal))
                warnings = _with_tiles(warnings, call) if frugal else warnings
            # 6. Deliver it at the size that was asked for.
            yield Painted(canvas.finished, seed, warnings, meter.saved())

    def _row(self, name: str) -> Model:
        if name not in self._models:  # the job was planned before a restart with other models
            raise StudioError(
                "unknown_model",
                f"model '{name}' is not on this server; it has: {', '.join(self._models)}.",
                param="model",
            )
        return self._models[name]

    def _parts(self, variant: Variant, *, alone: bool = False) -> dict[str, Any]:
        """Load the variant's parts, note that it is ready, and return the parts; drop other models where it is to be
        `alone`.
        """
        with self._turn:
            row = self._row(variant.model)
            if alone:
                self._weights.keep_only(row, variant.precision)
            if self.device == "cpu" and row.cpu_threads is not None:
                torch.set_num_threads(row.cpu_threads)
            parts = self._weights.parts(row, variant.precision)
            self._ready = variant
            return parts

    def _run(self, call: Call, hooks: Iterable[Hook], listener: Listener, *, frugal: bool) -> Image.Image:
        try:
            with self._turn:
                bring_back(call.pipeline.text_encoder, self.device)
                call.pipeline.vae.use_tiling = frugal or _is_large(call)
                return _painted(call, hooks)
        except Exception as error:
            if listener.has_raised:
                raise
            if isinstance(error, torch.AcceleratorError):  # CUDA answers every later call with the same error
                raise DeviceLost(f"{self.device}: {error}") from error
            failure = _failure(error, call, self.device)
        # The failed call's tensors can be freed only here, since inside the except clause the traceback refers to them.
        self._weights.empty_cache()
        raise failure


def open_pipeline(family: Family, parts: Mapping[str, Any]) -> Any:
    """Return a pipeline of the family over the parts that it needs, with a scheduler of its own.

    A pipeline keeps a call's state in itself and in its scheduler, so two calls on one object would spoil each other. A
    new one is cheap (no weights are copied) and is thrown away after its call. It is made with the class constructor,
    because ``from_pipe()`` would cast the shared weights to float32.
    """
    own = {**{name: parts[name] for name in family.parts()}, "scheduler": copy.deepcopy(parts["scheduler"])}
    pipeline = family.pipeline()(**own)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _is_large(call: Call) -> bool:
    width, height = call.pass_input.size
    return width * height > TILED_PIXELS


def _with_tiles(warnings: tuple[str, ...], call: Call) -> tuple[str, ...]:
    """Add that tiles were used to spare memory, where the picture or its sources are not done in tiles otherwise."""
    used = tiles(call.pipeline.vae, call.pass_input.size) or bool(call.pass_input.sources)
    return warnings if TILED_WARNING in warnings or _is_large(call) or not used else (*warnings, TILED_WARNING)


def _painted(call: Call, hooks: Iterable[Hook]) -> Image.Image:
    """Call the pipeline with these hooks, in their order; return its picture in RGB, on white where it is clear."""
    if len(call.plan.passes) > 1 and call.plan.way is Way.EDIT:  # the pass before changed what is seen with them
        call.pipeline.forget_texts()
    named = call.keywords()
    with ExitStack() as stack:
        for hook in hooks:
            stack.callback(hook.end)
            named |= hook.begin(call)
        picture: Image.Image = call.pipeline(**named, callback_on_step_end=steps_to(hooks)).images[0]
    return upright(picture) if call.family.alpha else picture


def _failure(error: Exception, call: Call, device: str) -> StudioError:
    # A CPU reports lack of memory as a plain RuntimeError.
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
    """Return what to ask for instead of a size that does not fit."""
    if call.plan.mask:
        return "mark a smaller part"
    if call.plan.place is not None:
        return "send a smaller image, or add less to it"
    smaller = "x".join(str(max(64, int(side * 0.7) // 32 * 32)) for side in call.pass_input.size)
    return f"ask for {smaller} or smaller"
