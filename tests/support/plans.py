"""Plans to paint: made by hand, or by the recipe from what a caller asks for."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from qwen_image_studio.contract.words import OutputFormat, Tier, Way
from qwen_image_studio.imaging.masks import Mask
from qwen_image_studio.models.table import Model
from qwen_image_studio.operations.given import Given
from qwen_image_studio.operations.request import ready, validated
from qwen_image_studio.planning.plan import PaintPlan
from tests.support.pictures import digest

if TYPE_CHECKING:
    from qwen_image_studio.painting.qwen import QwenEngine


def a_plan(**changed: Any) -> PaintPlan:
    """A plan that paints 64 x 64 pixels in two steps, with these fields changed."""
    fields: dict[str, Any] = {
        "model": "miniature",
        "tier": Tier.QUALITY,
        "prompt": "a red apple",
        "negative_prompt": " ",
        "width": 64,
        "height": 64,
        "paint_width": 64,
        "paint_height": 64,
        "steps": 2,
        "guidance_scale": 3.0,
        "seeds": (1,),
        "output_format": OutputFormat.PNG,
    }
    return PaintPlan(**{**fields, **changed})


def painted(engine: "QwenEngine", images: Sequence[Image.Image] = (), **changed: Any) -> list[str]:
    """Digest of each picture that the engine paints for that plan, in order; an edit where there are images."""
    if images:
        changed.setdefault("way", Way.EDIT)
    return [digest(one.image) for one in engine.paint(a_plan(**changed), images)]


def plan_of(
    asked: Mapping[str, Any],
    models: Mapping[str, Model],
    inputs: Sequence[tuple[int, int]] = (),
    mask: Mask | None = None,
) -> tuple[Any, list[str]]:
    """The plan that the recipe makes of these parameters, and its warnings."""
    given = Given(models, inputs=inputs, mask=mask)
    made = ready(validated(asked), given).plan(given)
    return made.plan, made.warnings
