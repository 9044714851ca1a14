"""Warnings of inpaint and outpaint about the part that they paint."""

import math

from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.plan import Pass


def scale(one: Pass) -> float:
    """Return the factor by which the sides of the window are longer than those of the picture painted for it."""
    return math.sqrt((one.window[2] - one.window[0]) * (one.window[3] - one.window[1]) / (one.width * one.height))


def resized(one: Pass, model: Model) -> str:
    """Return a warning that a part was painted at another size and resized."""
    width, height = one.window[2] - one.window[0], one.window[3] - one.window[1]
    return (
        f"A part of {width}x{height} was painted at {one.width}x{one.height} and resized: {model.name} paints parts of "
        f"{model.region_pixels} to {model.paint_pixels[1]} pixels."
    )


def lossy(output_format: OutputFormat) -> list[str]:
    """Return a warning where the file format is lossy, and so changes pixels that were not painted."""
    if output_format is OutputFormat.PNG:
        return []
    name = output_format.value
    return [f"A {name} file changes every pixel a little; ask for png to keep what was not painted bit for bit."]
