"""Hooks: what follows a painting step by step, from the progress report to the pixels that are held in place."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from qwen_image_studio.contract.words import Way
from qwen_image_studio.models.families import Family, Sources
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.canvas import PassInput
from qwen_image_studio.painting.inputs import upright
from qwen_image_studio.planning.engine import Report, Show
from qwen_image_studio.planning.plan import PaintPlan


@dataclass(frozen=True)
class Call:
    """One call of a pipeline: one pass of one picture of a plan."""

    plan: PaintPlan
    model: Model
    pipeline: Any
    texts: Mapping[str, str | None]
    """Prompt and negative prompt by the pipelines' names."""
    pass_input: PassInput
    index: int
    """Which of the plan's pictures, from 0."""
    number: int
    """Which of the picture's passes, from 0."""

    @property
    def family(self) -> Family:
        """The family that paints."""
        return self.model.family(self.plan.way)

    @property
    def seed(self) -> int:
        """Seed of the noise."""
        return seed_of(self.plan.seeds[self.index], self.number)

    @property
    def done(self) -> int:
        """Steps of the job that lie before this call."""
        return self.plan.steps_of_one * self.index + self.plan.run_steps * self.number

    def paint(self, hooks: Iterable["Hook"]) -> Image.Image:
        """Run the pipeline with these hooks, in their order; return its picture in RGB, on white where it is clear."""
        if len(self.plan.passes) > 1 and self.plan.way is Way.EDIT:  # the pass before changed what is seen with them
            self.pipeline.forget_texts()
        named = self._named()
        with ExitStack() as stack:
            for hook in hooks:
                stack.callback(hook.end)
                named |= hook.begin(self)
            named["callback_on_step_end"] = _subscribed(hooks)
            painted = self.family.paint(self.pipeline, self._sources(), named)
        return upright(painted) if self.family.alpha else painted

    def _sources(self) -> Sources:
        model, (width, height) = self.model, self.pass_input.size
        # The first source as small as the part that is painted: it costs as much as the result.
        first = width * height if self.plan.passes else model.input_pixels
        return Sources(self.pass_input.sources, first, model.input_pixels, model.vision_pixels, model.input_grid)

    def _named(self) -> dict[str, Any]:
        """Return the arguments that every family takes."""
        width, height = self.pass_input.size
        named: dict[str, Any] = {
            "prompt": self.texts["prompt"],
            "width": width,
            "height": height,
            "num_inference_steps": self.plan.steps,
            # On the CPU, so that the noise does not depend on the device.
            "generator": torch.Generator("cpu").manual_seed(self.seed),
        }
        if self.family.takes_guidance:
            # The models are not guidance-distilled: what users call guidance is true_cfg_scale, and the
            # pipelines' own guidance_scale does nothing.
            guidance = {"true_cfg_scale": self.plan.guidance_scale, "negative_prompt": self.texts["negative_prompt"]}
            named |= guidance
        return named


class Hook:
    """Follows calls of a pipeline; each method does nothing unless a hook replaces it."""

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Get ready for a call; return what the pipeline is to be called with besides."""
        return {}

    def step(self, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Look at the packed latents after denoising step `index`, from 0; return those to go on with."""
        return latents

    def end(self) -> None:
        """Let go of what the call needed, however it ended."""


class Listener:
    """The functions of whoever asked for the painting. What they raise is remembered: it is no failure of a model."""

    def __init__(self, report: Report, show: Show | None) -> None:
        self.raised: BaseException | None = None
        self.sees = show is not None
        self._report, self._show = report, show

    def report(self, phase: str, step: int, steps: int) -> None:
        """Tell how far the work is."""
        self._pass_on(self._report, phase, step, steps)

    def show(self, picture: Image.Image) -> None:
        """Hand over a preview."""
        if self._show is not None:
            self._pass_on(self._show, picture)

    def _pass_on(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            function(*arguments)
        except BaseException as error:
            self.raised = error
            raise


class Reporter(Hook):
    """Reports phases and steps, counted over all pictures of the job."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._done = self._steps = self._last = 0

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Report the encoding, which later pictures of a job find done."""
        self._done, self._last = call.done, call.plan.run_steps - 1
        self._steps = call.plan.steps_of_one * len(call.plan.seeds)
        if call.number or not call.index:
            self._listener.report("encoding", self._done, self._steps)
        return {}

    def step(self, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Report the step, and after the last one that the picture is being decoded."""
        done = self._done + index + 1
        self._listener.report("denoising", done, self._steps)
        if index == self._last:
            self._listener.report("decoding", done, self._steps)
        return latents


def seed_of(seed: int, number: int) -> int:
    """Return the seed of pass `number`: the image's own for the first, others for the rest, lest windows look alike."""
    # torch's generator on a processor hears 32 bits only, so what is added to them must be mixed in.
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0]) if number else seed


def _subscribed(hooks: Iterable[Hook]) -> Callable[..., dict[str, Any]]:
    def on_step_end(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        latents = tensors["latents"]
        for hook in hooks:
            latents = hook.step(index, latents)
        return {"latents": latents}

    return on_step_end
