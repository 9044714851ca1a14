"""Colours and transparency of what comes in, as browsers show them."""

import re

import pytest
from PIL import Image

from qwen_image_studio.imaging import open_image
from tests.server.colour_table import Row, rows, table
from tests.support import ROOT

PAGE = ROOT / "docs" / "pictures.md"


def opened(data: bytes) -> Image.Image:
    return open_image(data, max_bytes=10**8, max_pixels=10**8, param="image")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_a_file_is_opened_with_the_colours_and_the_transparency_that_a_browser_shows(row: Row) -> None:
    """A4, A6: the right colour is worked out from the standards, by formulae of the table's own."""
    image = opened(row.data)
    assert (image.mode, image.info) == ("RGB" if row.right[3] == 255 else "RGBA", {})
    found = image.convert("RGBA").getpixel((5, 7))
    assert isinstance(found, tuple)
    assert max(abs(one - other) for one, other in zip(found, row.right, strict=True)) <= row.within, found


def test_the_page_on_pictures_holds_the_table() -> None:
    """A6: what the docs say is what the test above holds; print it with python -m tests.server.colour_table."""
    text = re.sub(r" *\n", "\n", PAGE.read_text())
    assert table() in text
