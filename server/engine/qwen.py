"""Adapter: runs Qwen-Image models through diffusers. With ``weights`` and ``views`` beside it, the only user of torch.

In a notebook::

    from server.engine.qwen import QwenImageGenerator

    studio = QwenImageGenerator("Qwen-Image")
    picture = studio.generate(prompt="一只红苹果, studio light", height=1024, width=1024, seed=7)[0]
    picture.save("apple.png")
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, Literal

import torch
from PIL import Image
from pydantic import ValidationError

from server.engine import MODELS, DeviceLost, Model, Painted, Plan, Report, Show, find_model, silent
from server.engine.folders import find_folder
from server.engine.inputs import check, fit_texts, resized, upright
from server.engine.plan import plan as make_plan
from server.engine.preview import Previewer
from server.engine.views import View, open_view
from server.engine.weights import PARTS, Weights
from server.errors import StudioError, from_validation
from server.schemas import JOB_REQUEST
from server.vocabulary import Operation, Prefer

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
        """Paint the plan's images in order of its seeds; `images` are an edit's inputs, `show` gets previews.

        Raises StudioError ``out_of_memory``, ``model_unavailable``, ``engine_failed`` or ``invalid_value``; lets
        through whatever `report` raises, and is usable afterwards.
        """
        # 1. Refuse what no model can do.
        check(plan, images)
        # 2. Load the model, or find it loaded.
        steps = plan.steps * len(plan.seeds)
        report("loading", 0, steps)
        self.load(plan.model)
        # 3. Open a pipeline for this call alone, over the shared weights.
        model = self._row(plan.model)
        view = self._open_view(model, plan.operation)
        # 4. Make texts and pictures safe.
        texts, warnings = fit_texts(plan, model, view.tokens)
        sources = [upright(image) for image in images]
        report("encoding", 0, steps)
        # 5. Paint one picture per seed; the view encodes the texts with the first and remembers them.
        for index, seed in enumerate(plan.seeds):
            previewer = Previewer(view, (plan.paint_width, plan.paint_height), show) if show and view.previews else None
            relay = _Relay(report, plan.steps * index, plan.steps, steps, previewer)
            named = {**view.keywords(model, sources), **texts, **_settings(plan, seed), "callback_on_step_end": relay}
            picture = self._run(view, named, plan, relay)
            # 6. Deliver it at the size that was asked for.
            yield Painted(resized(upright(picture), (plan.width, plan.height)), seed, warnings)

    def _row(self, name: str) -> Model:
        if name not in self._models:  # as after a restart with other models, for a job planned before
            raise StudioError(
                "unknown_model",
                f"model '{name}' is not on this server; it has: {', '.join(self._models)}.",
                param="model",
            )
        return self._models[name]

    def _open_view(self, model: Model, operation: Operation) -> View:
        family = model.families[operation]
        parts = self._weights.parts(model)
        return open_view(family, {name: parts[name] for name in PARTS[family]})

    def _run(self, view: View, named: dict[str, Any], plan: Plan, relay: "_Relay") -> Image.Image:
        try:
            with self._turn:
                view.vae.use_tiling = plan.paint_width * plan.paint_height > TILED_PIXELS
                picture: Image.Image = view(**named).images[0]
                return picture
        except Exception as error:
            if error is relay.raised:
                raise
            if isinstance(error, torch.AcceleratorError):  # CUDA answers every later call with the same error
                raise DeviceLost(f"{self.device}: {error}") from error
            failure = _failure(error, plan, self.device)
        # Only here, outside the except clause, are the failed call's tensors free to go.
        self._weights.empty_cache()
        raise failure


class _Relay:
    """Carries one picture's steps to the job's report, and remembers what that raised."""

    def __init__(self, report: Report, done: int, own: int, steps: int, previewer: Previewer | None) -> None:
        self.raised: BaseException | None = None
        self._report = report
        self._done = done
        self._own = own
        self._steps = steps
        self._previewer = previewer

    def __call__(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        try:
            self._report("denoising", self._done + step + 1, self._steps)
            self._preview(step, tensors["latents"])
            if step + 1 == self._own:
                self._report("decoding", self._done + step + 1, self._steps)
        except BaseException as error:
            self.raised = error
            raise
        return {}

    def _preview(self, step: int, latents: torch.Tensor) -> None:
        if self._previewer is None:
            return
        try:
            self._previewer.step(step, latents)
        except RuntimeError as error:  # no memory left for a look in between: the picture itself goes on
            LOG.warning("no more previews of this picture: %s", error)
            self._previewer = None


def _settings(plan: Plan, seed: int) -> dict[str, Any]:
    """The call's arguments that every family takes."""
    return {
        "width": plan.paint_width,
        "height": plan.paint_height,
        "num_inference_steps": plan.steps,
        # The models are not guidance-distilled: what users call guidance is true_cfg_scale, and the
        # pipelines' own guidance_scale does nothing.
        "true_cfg_scale": plan.guidance_scale,
        # On the CPU, so that the noise does not depend on the device.
        "generator": torch.Generator("cpu").manual_seed(seed),
    }


def _failure(error: Exception, plan: Plan, device: str) -> StudioError:
    # A CPU says so in a plain RuntimeError.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error):
        smaller = [max(64, int(side * 0.7) // 32 * 32) for side in (plan.paint_width, plan.paint_height)]
        return StudioError(
            "out_of_memory",
            f"{plan.paint_width}x{plan.paint_height} does not fit into the memory of {device}; "
            f"ask for {smaller[0]}x{smaller[1]} or smaller, or for fewer input images.",
        )
    LOG.error("painting failed", exc_info=error)
    return StudioError(
        "engine_failed",
        f"{plan.model} stopped with an error of its own ({type(error).__name__}); the server's log says more.",
    )


class QwenImageGenerator:
    """Qwen-Image for notebooks and scripts: the server's own engine, without the server.

    ::

        studio = QwenImageGenerator("Qwen-Image")  # or "Qwen-Image-Edit-2509", "miniature", …
        red = studio.generate(prompt="a red apple", height=1024, width=1024, seed=7)[0]
        red.info["seed"], red.info["warnings"]
        blue = studio.edit(red, prompt="make it blue")[0]  # with a model that edits

    The pictures are PIL images; ``info`` of each tells prompt, seed, model and warnings.
    """

    def __init__(
        self,
        model_name: str = "Qwen-Image",
        device: str = "auto",
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        model_path: str | PathLike[str] | None = None,
    ) -> None:
        """Choose a model of the table by name or repository id; `model_path` is a folder that holds its files.

        Nothing is loaded before the first picture. Raises StudioError ``unknown_model``.
        """
        row = find_model(model_name, MODELS)
        if model_path is not None:
            row = replace(row, repository=str(model_path))
        self.model = row
        self._models = {row.name: row}
        dtype = {"auto": None, "bf16": torch.bfloat16, "fp32": torch.float32}[precision]
        self._engine = QwenEngine(self._models, _best_device() if device == "auto" else device, dtype)

    def generate(
        self,
        *,
        prompt: str,
        negative_prompt: str | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        num_images: int = 1,
        callback: Report = silent,
    ) -> list[Image.Image]:
        """Paint `num_images` pictures of the prompt, with the model's own settings for what is left out.

        `callback(phase, step, steps)` follows the work and may raise to stop it. Raises StudioError.
        """
        return self._paint(
            callback,
            (),
            operation=Operation.GENERATE,
            prompt=prompt,
            negative_prompt=negative_prompt,
            height=height,
            width=width,
            steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seed=seed,
            n=num_images,
        )

    def edit(
        self,
        image: Image.Image | Sequence[Image.Image],
        *,
        prompt: str,
        negative_prompt: str | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        num_images: int = 1,
        callback: Report = silent,
    ) -> list[Image.Image]:
        """Change one image, or up to three together, as the prompt says; otherwise as :meth:`generate`."""
        return self._paint(
            callback,
            [image] if isinstance(image, Image.Image) else image,
            operation=Operation.EDIT,
            prefer=Prefer.MODEL,
            prompt=prompt,
            negative_prompt=negative_prompt,
            height=height,
            width=width,
            steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seed=seed,
            n=num_images,
        )

    def _paint(self, callback: Report, images: Sequence[Image.Image], **asked: Any) -> list[Image.Image]:
        sources = [upright(image) for image in images]
        try:
            request = JOB_REQUEST.validate_python(asked)
        except ValidationError as error:
            raise from_validation(error, where="call") from error
        plan, warnings = make_plan(request, self._models, [image.size for image in sources])
        pictures = []
        for painted in self._engine.paint(plan, sources, callback):
            painted.image.info |= {
                "prompt": plan.prompt,
                "seed": painted.seed,
                "model": plan.model,
                "warnings": [*warnings, *painted.warnings],
            }
            pictures.append(painted.image)
        return pictures


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"
