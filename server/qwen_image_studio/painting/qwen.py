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
from qwen_image_studio.contract.words import Precision, Tier
from qwen_image_studio.loading.adapters import Adapters
from qwen_image_studio.loading.memory import TILED_PIXELS, MemoryPlan, plan_for
from qwen_image_studio.loading.preparing import UNCOMPILED, Preparation, preparation_for
from qwen_image_studio.loading.room import Spare
from qwen_image_studio.loading.weights import Weights, part_classes
from qwen_image_studio.models.embeddings import Embeddings
from qwen_image_studio.models.families import Family
from qwen_image_studio.models.folders import find_folder
from qwen_image_studio.models.lora_files import bring, files_of
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.adapted import Adapted, adapters_of
from qwen_image_studio.painting.canvas import Canvas
from qwen_image_studio.painting.cost import Meter
from qwen_image_studio.painting.foreseeing import spared, warning_of
from qwen_image_studio.painting.hold import Hold
from qwen_image_studio.painting.hooks import Call, Hook, Listener, Reporter, steps_to
from qwen_image_studio.painting.inputs import check, fit_texts, negative_text, shown
from qwen_image_studio.painting.latents import FloatLatents
from qwen_image_studio.painting.layering import crisp
from qwen_image_studio.painting.one_frame import OneFrame
from qwen_image_studio.painting.preview import Preview
from qwen_image_studio.painting.ready import Ready
from qwen_image_studio.painting.sparing import Sparing
from qwen_image_studio.painting.step_cache import Skipping
from qwen_image_studio.planning.engine import Painted, Report, Show, silent
from qwen_image_studio.planning.plan import PaintPlan, Variant
from qwen_image_studio.settings import Settings

LOG = logging.getLogger(__name__)
_OF_A_CALL = 16  # encodings that a call remembers for itself: prompt and negative prompt, in an edit for each pass

NARROW_WARNING = (
    "The card of this server holds the model in fp8 alone, so this picture may differ slightly from one in bf16."
)


def open_engine(models: Mapping[str, Model], device: str, settings: Settings | None = None) -> "QwenEngine":
    """Return an engine for these models on one device: ``cpu``, ``cuda:0``, ``mps``. Nothing is loaded yet."""
    if settings is None:
        return QwenEngine(models, device)
    return QwenEngine(
        models,
        device,
        embeddings=settings.embeddings,
        preparation=preparation_for(settings, device),
        memory=plan_for(models, device, settings),
    )


class QwenEngine:
    """An engine that runs Qwen-Image models on one device, one picture at a time."""

    def __init__(
        self,
        models: Mapping[str, Model],
        device: str,
        dtypes: Mapping[Precision, torch.dtype] | None = None,
        *,
        embeddings: int = 0,
        preparation: Preparation = UNCOMPILED,
        memory: MemoryPlan | None = None,
    ) -> None:
        """Load nothing yet; `dtypes` are the number formats by precision, by default its own, on a CPU float32.
        `embeddings` texts stay encoded from one plan to the next; `preparation` is how transformers are made ready,
        `memory` what lies where, by default all of a model on the device.
        """
        self.device = device
        self._models = models
        self._ready: Variant | None = None
        self._plan, self._weights = memory, Weights(device, dtypes, preparation, memory)
        self._adapters = Adapters()
        usual = {negative_text(model.negative_prompt) for model in models.values()} | {negative_text("")}
        self._embeddings = Embeddings(embeddings, usual) if embeddings else None
        # The VAE keeps a call's state in itself, so even separate pipelines must take turns.
        self._turn = threading.RLock()

    @property
    def loaded(self) -> Variant | None:
        """Return what painted or was loaded last; None once it is no longer in memory."""
        ready = self._ready
        return ready if ready and self._weights.holds(*self._painter(ready)) else None

    def fetch(self, model: str) -> None:
        """Bring the model's files to this machine, with its LoRAs as far as they can be had.

        Raises StudioError ``model_unavailable``.
        """
        row = self._row(model)
        find_folder(row, part_classes(row))
        for name, lora in files_of(row):
            try:
                bring(name, lora)
            except StudioError as error:  # the model paints without it, and a job that asks for it is told why not
                LOG.warning("%s", error)

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
        model, references = self._row(plan.model), len(images) - plan.mask
        foreseen = spared(plan, model, references, self._plan, self._models, self.device)
        # 2. Load the model, or find it loaded.
        listener = Listener(report, show)
        listener.report("loading", 0, plan.steps_of_one * len(plan.seeds))
        adapters = adapters_of(plan, model)
        parts = self._parts(plan.variant, alone=frugal or foreseen >= Spare.OTHERS)
        # 3. Open a pipeline for this call alone, over the shared weights.
        family = model.family(plan.way)
        pipeline = open_pipeline(family, parts, self._embeddings, model.recipe(plan.tier).scheduler)
        # 4. Make texts and pictures safe.
        texts, warnings = fit_texts(plan, model, family.tokenizer(parts), references)
        warnings = (*warnings, *self._narrowed(plan.variant), *warning_of(foreseen, references))
        canvas = Canvas(plan, shown(plan, model, images), alpha=family.alpha)
        # 5. Paint one picture per seed, part by part; the texts are encoded for the first at the latest.
        with self._sparing(plan.variant, frugal=frugal, foreseen=foreseen) as sparing:
            for index, seed in enumerate(plan.seeds):
                canvas.begin()
                skipping = Skipping(model.recipe(plan.tier).step_cache)
                meter = Meter(plan, model, skipping)
                hooks = [
                    sparing,
                    Adapted(self._adapters, adapters, frugal),
                    Reporter(listener),
                    Ready(),
                    FloatLatents(),
                    OneFrame(),
                    Hold(),
                    Preview(listener, canvas),
                    meter,
                    skipping,
                ]
                for number in range(max(1, len(plan.passes))):
                    call = Call(plan, model, pipeline, texts, canvas.pass_input(number), index, number)
                    painted = self._run(call, hooks, listener, sparing)
                    canvas.put_layers(painted) if plan.layers else canvas.put(number, painted[0])
                # 6. Deliver it at the size that was asked for, or its layers and what they make together.
                notes = (*warnings, *sparing.warnings)
                for image in canvas.delivered:
                    yield Painted(image, seed, notes, meter.saved())

    def _row(self, name: str) -> Model:
        if name not in self._models:  # the job was planned before a restart with other models
            raise StudioError(
                "unknown_model",
                f"model '{name}' is not on this server; it has: {', '.join(self._models)}.",
                param="model",
            )
        return self._models[name]

    def _painter(self, variant: Variant) -> tuple[Model, Precision]:
        """Return the model, and the precision in which it paints where that one was planned."""
        row = self._row(variant.model)
        if self._plan is not None and variant.precision is Precision.FP8:
            return row, variant.precision  # the plan says what that is on this device
        return row, row.precision(variant.precision)[0]

    def _parts(self, variant: Variant, *, alone: bool = False) -> dict[str, Any]:
        """Load the variant's parts, note that it is ready, and return the parts; drop other models where it is to be
        `alone`.
        """
        with self._turn:
            row, precision = self._painter(variant)
            if alone:
                self._weights.keep_only(row, precision)
                if self._embeddings is not None and not self.device.startswith("cuda"):  # they lie in the same memory
                    self._embeddings.clear()
            if self.device == "cpu" and row.cpu_threads is not None:
                torch.set_num_threads(row.cpu_threads)
            parts = self._weights.parts(row, precision)
            self._ready = variant  # as it was planned, since jobs that wait are known by that
            return parts

    def _narrowed(self, variant: Variant) -> tuple[str, ...]:
        """Return a warning where the memory plan has no room for the precision that was planned."""
        narrow = self._plan is not None and self._plan.stored(variant.precision).precision is Precision.FP8
        return (NARROW_WARNING,) if narrow and variant.precision is not Precision.FP8 else ()

    def _sparing(self, variant: Variant, *, frugal: bool, foreseen: Spare) -> Sparing:
        tiled = self._plan.tile_pixels if self._plan else TILED_PIXELS
        painter = self._painter(variant)
        return Sparing(self._weights, *painter, tiled_pixels=tiled, frugal=frugal, foreseen=foreseen)

    def _run(self, call: Call, hooks: Iterable[Hook], listener: Listener, sparing: Sparing) -> Sequence[Image.Image]:
        """Paint one pass, or the layers of a picture; where memory runs out, paint it again with less on the device, as
        long as that can be.
        """
        while True:
            try:
                with self._turn:
                    return _painted(call, hooks)
            except Exception as error:
                if listener.has_raised or isinstance(error, StudioError):
                    raise
                if isinstance(error, torch.AcceleratorError):  # CUDA answers every later call with the same error
                    raise DeviceLost(f"{self.device}: {error}") from error
                failure = _failure(error, call, self.device)
            # The failed call's tensors can be freed only here: inside the except clause the traceback refers to them.
            self._weights.empty_cache()
            with self._turn:
                if failure.code != "out_of_memory" or not sparing.go_down(call):
                    raise failure


def open_pipeline(
    family: Family,
    parts: Mapping[str, Any],
    embeddings: Embeddings | None = None,
    scheduler: Mapping[str, Any] | None = None,
) -> Any:
    """Return a pipeline of the family over the parts that it needs, with a scheduler of its own, which has the entries
    of `scheduler` in place of its config's, and with what remembers encodings, by default for itself alone.

    A pipeline keeps a call's state in itself and in its scheduler, so two calls on one object would spoil each other. A
    new one is cheap (no weights are copied) and is thrown away after its call. It is made with the class constructor,
    because ``from_pipe()`` would cast the shared weights to float32.
    """
    stock = parts["scheduler"]
    timed = type(stock).from_config(stock.config, **scheduler) if scheduler else copy.deepcopy(stock)
    own = {**{name: parts[name] for name in family.parts()}, "scheduler": timed}
    pipeline = family.pipeline()(**own)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.embeddings = Embeddings(_OF_A_CALL) if embeddings is None else embeddings
    return pipeline


def _painted(call: Call, hooks: Iterable[Hook]) -> Sequence[Image.Image]:
    """Call the pipeline with these hooks, in their order; return its picture, in RGBA where the family has alpha, or
    the layers of one.
    """
    named = call.keywords()
    with ExitStack() as stack:
        for hook in hooks:
            stack.callback(hook.end)
            named |= hook.begin(call)
        made = call.pipeline(**named, callback_on_step_end=steps_to(hooks)).images[0]
    painted: Sequence[Image.Image] = made if call.plan.layers else [crisp(made) if call.clear else made]
    return painted


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
    size = call.pass_input.size
    width, height = (max(64, int(side * 0.7) // 32 * 32) for side in size)
    if width * height >= size[0] * size[1]:
        return "no smaller size can be asked for: free memory there, give the server a larger device"
    return f"ask for {width}x{height} or smaller"
