"""Hooks, which follow a painting step by step: to report, to preview, to count, to hold pixels in place."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.models.families import Family, Sources
from qwen_image_studio.models.table import Model
from qwen_image_studio.models.tiers import Recipe
from qwen_image_studio.painting.canvas import PassInput
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
    """Number of the picture in the plan, from 0."""
    number: int
    """Number of the pass in the picture, from 0."""

    @property
    def family(self) -> Family:
        """Return the family that paints."""
        return self.model.family(self.plan.way)

    @property
    def clear(self) -> bool:
        """Return whether what is painted is to have transparency."""
        return self.plan.background is Background.TRANSPARENT and self.family.alpha

    @property
    def recipe(self) -> Recipe:
        """Return how the model paints at the plan's tier."""
        return self.model.recipe(self.plan.tier)

    @property
    def seed(self) -> int:
        """Return the seed of the noise."""
        return seed_of(self.plan.seeds[self.index], self.number)

    @property
    def done(self) -> int:
        """Return how many steps of the job come before this call."""
        return self.plan.steps_of_one * self.index + self.plan.run_steps * self.number

    def keywords(self) -> dict[str, Any]:
        """Return what the pipeline is called with, before the hooks add to it."""
        width, height = self.pass_input.size
        named: dict[str, Any] = {
            **self.family.keywords(self._sources()),
            "prompt": self.texts["prompt"],
            "width": width,
            "height": height,
            "num_inference_steps": self.plan.steps,
            # On the CPU, so that the noise does not depend on the device.
            "generator": torch.Generator("cpu").manual_seed(self.seed),
        }
        if self.family.takes_guidance:
            # The models are not guidance-distilled: what users call guidance is true_cfg_scale, and the
            # pipelines' own guidance_scale has no effect.
            guidance = {"true_cfg_scale": self.plan.guidance_scale, "negative_prompt": self.texts["negative_prompt"]}
            named |= guidance
        return named

    def _sources(self) -> Sources:
        model, (width, height) = self.model, self.pass_input.size
        most = min(model.input_pixels, self.recipe.max_pixels or model.input_pixels)
        # The first source as small as the part that is painted: it costs as much as the result.
        first = width * height if self.plan.passes else most
        shown = self.pass_input.sources, first, most, model.vision_pixels, model.input_grid
        return Sources(*shown, layers=self.plan.layers, clear=self.clear)


class Hook:
    """The base of hooks, which follow calls of a pipeline; a method that a hook does not override does nothing."""

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Get ready for a call; return further arguments for the pipeline."""
        return {}

    def step(self, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Take the packed latents after denoising step `index`, from 0; return those to continue with."""
        return latents

    def end(self) -> None:
        """Free what the call needed, however it ended."""


class Listener:
    """The caller's functions for reports and previews. Where one has raised, the model has not failed."""

    def __init__(self, report: Report, show: Show | None) -> None:
        self.has_raised = False
        self.sees = show is not None
        self._report, self._show = report, show

    def report(self, phase: str, step: int, steps: int) -> None:
        """Report how far the work is."""
        self._pass_on(self._report, phase, step, steps)

    def show(self, picture: Image.Image) -> None:
        """Pass on a preview."""
        if self._show is not None:
            self._pass_on(self._show, picture)

    def _pass_on(self, function: Callable[..., None], *arguments: Any) -> None:
        self.has_raised = True  # unless it returns
        function(*arguments)
        self.has_raised = False


class Reporter(Hook):
    """A hook that reports phases and steps, counted over all pictures of the job."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._done = self._steps = self._last = 0

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Report the encoding of the texts, which is done already for later pictures of a job."""
        self._done, self._last = call.done, call.plan.run_steps - 1
        self._steps = call.plan.steps_of_one * len(call.plan.seeds)
        if call.number or not call.index:
            self._listener.report("encoding", self._done, self._steps)
        return {}

    def step(self, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Report the step, and after the last step the decoding."""
        done = self._done + index + 1
        self._listener.report("denoising", done, self._steps)
        if index == self._last:
            self._listener.report("decoding", done, self._steps)
        return latents


def seed_of(seed: int, number: int) -> int:
    """Return the seed of pass `number`: the image's own for the first, others for the rest, lest windows look alike."""
    # torch's generator on a CPU uses only 32 bits of a seed, so the pass has to be mixed into them.
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0]) if number else seed


def steps_to(hooks: Iterable[Hook]) -> Callable[..., dict[str, Any]]:
    """Return what a pipeline calls after every step: it hands the latents from hook to hook, in their order."""

    def on_step_end(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        latents = tensors["latents"]
        for hook in hooks:
            latents = hook.step(index, latents)
        return {"latents": latents}

    return on_step_end
