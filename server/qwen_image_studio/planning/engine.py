"""Port: engines paint. Opened by the settings' name; nothing here imports torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, TypeVar, cast

from PIL import Image

from qwen_image_studio.contract.words import Precision
from qwen_image_studio.planning.plan import PaintPlan
from qwen_image_studio.planning.variant import Variant
from qwen_image_studio.settings import Settings

Report = Callable[[str, int, int], None]
"""``report(phase, step, steps)``: tell how far the work is. May raise to stop the work at once."""


Show = Callable[[Image.Image], None]
"""``show(preview)``: a small RGB picture of a painting in between."""


def silent(phase: str, step: int, steps: int) -> None:
    """A report that tells nobody."""


@dataclass(frozen=True)
class Painted:
    """One picture: RGB, of the plan's width x height."""

    image: Image.Image
    seed: int | None
    """None where none took part."""
    warnings: tuple[str, ...] = field(default=())
    compute_saved: float | None = None
    """Share of the model's work that was not needed, from the tokens that really ran; None where nothing was saved."""


PlanT = TypeVar("PlanT", contravariant=True)


class Engine(Protocol[PlanT]):
    """Carries out plans of one kind on one device; owned by one thread."""

    device: str

    def fetch(self, model: str) -> None:
        """Bring the model's files to this machine, if they are not here. Raises StudioError ``model_unavailable``."""

    @property
    def loaded(self) -> Variant | None:
        """What is ready to paint; None where no model is."""

    def load(self, model: str, precision: Precision | None = None) -> None:
        """Make the model ready, in its own precision unless told another.

        Raise StudioError ``model_unavailable`` or ``out_of_memory``.
        """

    def paint(
        self, plan: PlanT, images: Sequence[Image.Image], report: Report = silent, show: Show | None = None
    ) -> Iterator[Painted]:
        """Paint the plan's images in order of its seeds; `images` are the RGB inputs of an edit. `show` is handed small
        pictures of what is becoming, now and then, if the engine can make them.

        Raises StudioError ``out_of_memory``, ``model_unavailable`` or ``engine_failed``; lets through whatever
        `report` raises. Raises DeviceLost where only a new process can go on.
        """


_FORMER_NAMES = {"server.engine.qwen": "qwen_image_studio.painting.qwen"}
"""Modules that settings of version 0.1 name."""


def open_engine(settings: Settings, models: Mapping[str, Any], device: str) -> Engine[PaintPlan]:
    """The engine that the settings name, for one device (``cpu``, ``cuda:0``)."""
    module, _, function = settings.engine.partition(":")
    opener = getattr(import_module(_FORMER_NAMES.get(module, module)), function)
    return cast("Engine[PaintPlan]", opener(models, device))
