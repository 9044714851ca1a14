"""Edit: change one or more images by an instruction. One that asks for adjustments alone needs no model."""

from typing import ClassVar, Literal

from qwen_image_studio.contract.errors import NotAdjustments, OutOfRange, StudioError, refusal
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import MAX_INPUTS, Operation, Prefer
from qwen_image_studio.operations.adjust import plan_adjustments, understood
from qwen_image_studio.operations.given import Given, Planned
from qwen_image_studio.operations.paint_request import PaintRequest
from qwen_image_studio.operations.painting import choose, plan_painting, whole_shape
from qwen_image_studio.operations.parameters import SeveralImages, Shaped
from qwen_image_studio.prompts.grammar import Instruction, parse_adjustments

_CANNOT = "Painted by the model, since it cannot be done without: {}."
_AT_ONCE = "Done at once without the model, since nothing else was asked; prefer=model has the model do it."


class EditRequest(SeveralImages, Shaped, PaintRequest):
    """Change one or more images by an instruction; how many at once is up to the model."""

    NAME: ClassVar[str] = Operation.EDIT
    TAKES_IMAGES: ClassVar[tuple[int, int]] = (1, MAX_INPUTS)
    operation: Literal[Operation.EDIT]
    prefer: Prefer = Prefer.AUTO
    """Whether an instruction that says only adjustments (crop, rotate ...) is done at once, without a model."""

    def texts(self) -> list[tuple[str, str]]:
        """Return the prompt, also as it was sent: a watermark is written so, whatever a model would be told."""
        return [*super().texts(), ("prompt", self.as_sent)]

    def foresee_images(self, images: int, given: Given) -> None:
        """Raise StudioError for more than the model takes; adjustments, which take one, need none."""
        if images > 1 and self.prefer is not Prefer.CV:
            choose(self, given, images)

    def plan(self, given: Given) -> Planned:
        """Return the plan of a painting, or of adjustments where the instruction asks for nothing else."""
        why_painted: list[str] = []
        if self.prefer is Prefer.CV:
            return self._only_adjusted(given).warned(self.cut)
        if self.prefer is Prefer.AUTO and len(given.inputs) == 1:
            try:
                adjusted, why_painted = self._adjusted(parse_adjustments(self.as_sent), given)
            except OutOfRange as why:
                why_painted = [_CANNOT.format(why)]
            except NotAdjustments:
                pass
            else:
                if adjusted is not None:
                    return adjusted.warned(self.cut)
        chosen = choose(self, given)
        shape, warnings = whole_shape(self, chosen, given.inputs)
        planned = plan_painting(self, chosen, shape, warnings, given)
        return planned.warned(why_painted)

    def _only_adjusted(self, given: Given) -> Planned:
        """Return the plan for a caller who wants no model (prefer=cv). Raises StudioError where a model is needed."""
        is_shaped = self.asked_size is not None or self.aspect_ratio is not None
        if self.background is not Background.AUTO:
            raise refusal("background", "adjustments keep what lies behind a picture as it is; leave background out")
        wishes = (("image", len(given.inputs) > 1), ("roles", bool(self.roles)), ("n", self.n > 1), ("size", is_shaped))
        for param, wrong in wishes:
            if wrong:
                raise refusal(param, f"adjustments change one image, as the instruction says; leave {param} out")
        return self._plan_of(understood(self.as_sent), given)

    def _adjusted(self, instruction: Instruction, given: Given) -> tuple[Planned | None, list[str]]:
        """Return the plan of adjustments; or None where the model has to paint, with a warning that tells why."""
        try:
            planned = self._plan_of(instruction, given)
        except StudioError as why:  # the model may find a way of its own
            reason = why.message.removeprefix(f"{why.param}: ")
            return None, [_CANNOT.format(reason.removesuffix("."))]
        if named := self._wishes_of_a_painting():
            return None, [f"Painted by the model, because of {named}; without that it is done exactly, and at once."]
        return planned.warned([_AT_ONCE]), []

    def _plan_of(self, instruction: Instruction, given: Given) -> Planned:
        output_format = instruction.output_format or self.output_format
        return plan_adjustments(self, self.as_sent, instruction, output_format, given)

    def _wishes_of_a_painting(self) -> str:
        """Return the names of the parameters in the request that only make sense for a painting."""
        named = {
            "size": self.asked_size is not None,
            "aspect_ratio": self.aspect_ratio is not None,
            "n": self.n > 1,
            "roles": bool(self.roles),
            "model": bool(self.model),
            "negative_prompt": bool(self.negative_prompt),
            "background": self.background is not Background.AUTO,
        }
        return ", ".join(name for name, is_named in named.items() if is_named)
