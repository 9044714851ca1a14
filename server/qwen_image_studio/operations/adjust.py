"""Adjust: change one image without a model, at once."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from qwen_image_studio.contract.adjustments import MAX_ADJUSTMENTS, Adjustment, Watermark
from qwen_image_studio.contract.errors import NotAdjustments, OutOfRange, refusal
from qwen_image_studio.contract.fields import FileFormat
from qwen_image_studio.contract.words import MAX_PROMPT_CHARS, Operation, OutputFormat
from qwen_image_studio.imaging.adjustments import check_adjustments, unexpected
from qwen_image_studio.operations.given import Given, Planned
from qwen_image_studio.operations.paint_request import ImageRequest
from qwen_image_studio.operations.parameters import OneImage
from qwen_image_studio.planning.plan import QUALITY, AdjustPlan
from qwen_image_studio.prompts.cleaning import THOUGHTS_CUT, without_thoughts
from qwen_image_studio.prompts.grammar import Instruction, parse_adjustments


class AdjustRequest(OneImage, ImageRequest):
    """Change one image without a model, at once."""

    NAME: ClassVar[str] = Operation.ADJUST
    TAKES_IMAGES: ClassVar[tuple[int, int]] = (1, 1)
    operation: Literal[Operation.ADJUST]
    adjustments: list[Adjustment] = Field(default_factory=list, max_length=MAX_ADJUSTMENTS)
    """What to do, in this order."""
    prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARS)
    """Instead of adjustments, an instruction that says nothing else, in Chinese or English."""
    output_format: FileFormat | None = None
    """File format of the image. Left out: what the instruction says, else png."""

    @model_validator(mode="after")
    def _adjustments_or_words(self) -> Self:
        if (self.prompt is None) is not bool(self.adjustments) and not (self.output_format and self.prompt is None):
            message = "send adjustments, or an instruction as prompt, and not both"
            raise PydanticCustomError("adjustments_or_prompt", message, {"param": "adjustments"})
        return self

    @property
    def said(self) -> str:
        """The instruction; empty where there are adjustments instead."""
        return self.prompt or ""

    def texts(self) -> list[tuple[str, str]]:
        """Return the instruction, and the text of each watermark."""
        marks = [(index, one) for index, one in enumerate(self.adjustments) if isinstance(one, Watermark)]
        return [("prompt", self.prompt or ""), *((f"adjustments[{index}].text", one.text) for index, one in marks)]

    def plan(self, given: Given) -> Planned:
        """Return the plan of the listed adjustments, or of those that the instruction asks for."""
        prompt = without_thoughts(self.prompt or "").strip()
        instruction = Instruction(tuple(self.adjustments)) if self.prompt is None else understood(prompt)
        output_format = self.output_format or instruction.output_format or OutputFormat.PNG
        planned = plan_adjustments(self, prompt, instruction, output_format, given)
        return planned if prompt == (self.prompt or "") else planned.warned([THOUGHTS_CUT])


def understood(prompt: str) -> Instruction:
    """Return the adjustments that the prompt asks for. Raises StudioError where it asks for anything else."""
    try:
        return parse_adjustments(prompt)
    except OutOfRange as reason:
        raise refusal("prompt", str(reason)) from reason
    except NotAdjustments as reason:
        raise refusal(
            "prompt",
            f"cannot be done without a model: {reason}. Without one only adjustments can be done: crop, "
            "resize, rotate, flip, brightness, contrast, saturation, hue, grayscale, blur, sharpen, file format, "
            "watermark, such as 'rotate it 90 degrees, then make it brighter'. For all else use the edit operation "
            "with prefer=auto",
        ) from reason


def plan_adjustments(
    request: ImageRequest, prompt: str, instruction: Instruction, output_format: OutputFormat, given: Given
) -> Planned:
    """Return the plan that adjusts the one image. Raises StudioError where an adjustment does not fit the image."""
    check_adjustments(given.inputs[0], instruction.adjustments, output_format, font=given.font)
    plan = AdjustPlan(
        prompt=prompt,
        output_format=output_format,
        output_quality=request.output_quality or QUALITY,
        adjustments=instruction.adjustments,
    )
    return Planned(plan, unexpected(given.inputs[0], instruction.adjustments))
