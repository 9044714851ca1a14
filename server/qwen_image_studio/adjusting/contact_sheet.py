"""The contact sheet of a batch: small pictures in a grid, with a number under each."""

import math
from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFont, ImageOps

from qwen_image_studio.imaging.encoding import THUMBNAIL_SIDE
from qwen_image_studio.imaging.pixels import on_white

MAX_SHEET_SIDE = 4096
"""Longest side of a sheet in pixels."""
_GAP = 8
_PAPER, _INK, _EMPTY, _CROSS = "white", "#333333", "#eeeeee", "#bb4444"


def contact_sheet(pictures: Iterable[Image.Image | None], count: int) -> Image.Image:
    """Return `count` pictures in a grid, numbered from 1; for None a cell is empty, with a cross.

    A cell is as large as a thumbnail, or smaller where a side of the sheet would have more than 4096 pixels.
    """
    columns, side, label = _grid(count)
    sheet = Image.new("RGB", _size(count), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(label * 2 // 3)
    for place, picture in enumerate(pictures):
        left = _GAP + place % columns * (side + _GAP)
        top = _GAP + place // columns * (side + label + _GAP)
        if picture is None:
            _draw_cross(draw, left, top, side)
        else:
            small = ImageOps.contain(on_white(picture), (side, side), Image.Resampling.LANCZOS)
            sheet.paste(small, (left + (side - small.width) // 2, top + (side - small.height) // 2))
        middle = (left + side / 2, top + side + label / 2)
        draw.text(middle, str(place + 1), _INK, font, anchor="mm")
    return sheet


def _grid(count: int) -> tuple[int, int, int]:
    """Return the number of columns, and in pixels the side of a cell and the height of the label under it."""
    columns = math.ceil(math.sqrt(count))
    side = min(THUMBNAIL_SIDE, int((MAX_SHEET_SIDE - _GAP) / columns / 1.125) - _GAP)
    return columns, side, max(12, side // 8)


def _size(count: int) -> tuple[int, int]:
    columns, side, label = _grid(count)
    lines = math.ceil(count / columns)
    return _GAP + columns * (side + _GAP), _GAP + lines * (side + label + _GAP)


def _draw_cross(draw: ImageDraw.ImageDraw, left: int, top: int, side: int) -> None:
    right, bottom, inset = left + side - 1, top + side - 1, side // 3
    draw.rectangle((left, top, right, bottom), fill=_EMPTY)
    width = max(2, side // 40)
    draw.line((left + inset, top + inset, right - inset, bottom - inset), _CROSS, width)
    draw.line((left + inset, bottom - inset, right - inset, top + inset), _CROSS, width)
