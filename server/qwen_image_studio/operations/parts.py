"""Warnings of inpaint and outpaint about the part that they paint."""

import math

from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.operations.painting import Chosen
from qwen_image_studio.planning.plan import Pass


def scale(one: Pass) -> float:
    """Return the factor by which the sides of the window are longer than those of the picture painted for it."""
    return math.sqrt((one.window[2] - one.window[0]) * (one.window[3] - one.window[1]) / (one.width * one.height))


def resized(one: Pass, chosen: Chosen) -> str:
    """Return a warning that a part was painted at another size and resized."""
    width, height, limits = one.window[2] - one.window[0], one.window[3] - one.window[1], chosen.limits
    at = "" if limits.most_pixels is None else f" at tier {chosen.tier.value}"
    least = min(limits.region_pixels, limits.largest)
    parts = f"parts of {least} to {limits.largest} pixels" if least < limits.largest else f"parts of {least} pixels"
    return (
        f"A part of {width}x{height} was painted at {one.width}x{one.height} and resized: {chosen.model.name} paints "
        f"{parts}{at}."
    )


def lossy(output_format: OutputFormat) -> list[str]:
    """Return a warning where the file format is lossy, and so changes pixels that were not painted."""
    if output_format is OutputFormat.PNG:
        return []
    name = output_format.value
    return [f"A {name} file changes every pixel a little; ask for png to keep what was not painted bit for bit."]
