"""What an API key allows one painting: its largest size and its number of steps."""

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.contract.limits import Limits
from qwen_image_studio.operations.paint_request import PaintRequest
from qwen_image_studio.planning.plan import PaintPlan

_SHAPING = ("width", "size", "aspect_ratio", "left", "right", "top", "bottom")
"""Parameters that decide the size of a picture; without any, its image does, or the model."""


def check_allowed(request: PaintRequest, plan: PaintPlan, caller: Caller) -> None:
    """Raise StudioError ``invalid_value`` where the plan is beyond the limits of the key, or of its persons."""
    _check(request, plan, caller.limits.key, f"the API key '{caller.key}'")
    _check(request, plan, caller.limits.person, f"each person of the API key '{caller.key}'")


def _check(request: PaintRequest, plan: PaintPlan, limits: Limits, who: str) -> None:
    if limits.max_pixels is not None and plan.width * plan.height > limits.max_pixels:
        side = int(limits.max_pixels**0.5)
        problem = f"{plan.width}x{plan.height} has more than the {limits.max_pixels} pixels that {who} may ask for"
        remedy = f"ask for at most {side}x{side}, or another shape of as many pixels"
        raise refusal(_shaping(request), f"{problem}; {remedy}")
    if limits.max_steps is not None and plan.steps > limits.max_steps:
        own = "" if request.steps else f", which {plan.model} takes by itself,"
        problem = f"{plan.steps}{own} are more than the {limits.max_steps} that {who} may ask for"
        raise refusal("steps", f"{problem}; send steps of at most {limits.max_steps}")


def _shaping(request: PaintRequest) -> str:
    """Return the parameter that decides how large the picture is."""
    named = (name for name in _SHAPING if getattr(request, name, None) not in {None, 0, "auto"})
    return next(named, "image" if request.TAKES_IMAGES[0] or request.images else "size")
