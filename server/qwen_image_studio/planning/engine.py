"""Engines, which paint: the protocol that all of them follow, and how the settings' one is opened, without torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from typing import Any, Protocol, TypeVar, cast

from PIL import Image

from qwen_image_studio.contract.words import Precision
from qwen_image_studio.planning.plan import PaintPlan, Variant
from qwen_image_studio.settings import Settings

Report = Callable[[str, int, int], None]
"""``report(phase, step, steps)``: hear how far the work is. It may raise, which stops the work at once."""


Show = Callable[[Image.Image], None]
"""``show(preview)``: take a small RGB picture of an unfinished painting."""


def silent(phase: str, step: int, steps: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Painted:
    """One finished picture of the plan's width x height: RGB, or RGBA where it is not opaque."""

    image: Image.Image
    seed: int | None
    """Seed that paints it again; None where no model painted it."""
    warnings: tuple[str, ...] = field(default=())
    compute_saved: float | None = None
    """Share of the model's work that was not needed, counted from the tokens that ran; None where nothing was saved."""


PlanT = TypeVar("PlanT", contravariant=True)


class Engine(Protocol[PlanT]):
    """An engine, which carries out plans of one kind on one device; owned by one thread."""

    device: str

    def fetch(self, model: str) -> None:
        """Bring the model's files to this machine unless they are here. Raises StudioError ``model_unavailable``."""

    @property
    def loaded(self) -> Variant | None:
        """Return what is ready to paint; None where no model is loaded."""

    def load(self, model: str, precision: Precision | None = None) -> None:
        """Make the model ready, in its own precision unless another is given.

        Raises StudioError ``model_unavailable`` or ``out_of_memory``.
        """

    def paint(
        self,
        plan: PlanT,
        images: Sequence[Image.Image],
        report: Report = silent,
        show: Show | None = None,
        *,
        frugal: bool = False,
    ) -> Iterator[Painted]:
        """Paint the plan's images in the order of its seeds; `images` are the inputs of an edit, RGB or
        RGBA. With `frugal`, use as little memory as possible, at the cost of time; warn where that changes pictures.

        Now and then `show` is given a small picture of the unfinished painting, where the engine can make one. Raises
        StudioError ``out_of_memory``, ``model_unavailable`` or ``engine_failed``, DeviceLost where only a new process
        can go on, and whatever `report` raises.
        """


_FORMER_NAMES = {"server.engine.qwen": "qwen_image_studio.painting.qwen"}
"""Modules that settings of version 0.1 name, and the modules that replaced them."""


def open_engine(settings: Settings, models: Mapping[str, Any], device: str) -> Engine[PaintPlan]:
    """Return the engine that the settings name, for one device (``cpu``, ``cuda:0``).

    Its opener is called with the models and the device, and with `settings` where it has such a parameter.
    """
    module, _, function = settings.engine.partition(":")
    opener = getattr(import_module(_FORMER_NAMES.get(module, module)), function)
    named = {"settings": settings} if "settings" in signature(opener).parameters else {}
    return cast("Engine[PaintPlan]", opener(models, device, **named))
