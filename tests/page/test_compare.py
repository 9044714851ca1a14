"""Compare: two pictures under one handle, by keys, mouse and touch; it breaks neither scrolling nor zoom."""

import re

from playwright.sync_api import Page, expect

from tests.page.support.board import Editing, upload
from tests.page.support.fingers import Fingers
from tests.page.support.opening import DESK, PHONE, Opener, Size
from tests.support.studio import Studio
from tests.support.waiting import until

TURNED = "rotate it 180 degrees"
"""Words that are done at once, without a model."""


def _compared(open_page: Opener, studio: Studio, *, size: Size = DESK, touch: bool = False) -> Editing:
    page = open_page(f"#/edit/{upload(studio)}", size=size, touch=touch)
    editing = Editing(page, studio).ready()
    editing.words.fill(TURNED)
    editing.apply.click()
    editing.compared()
    return editing


def _cut(page: Page) -> float:
    """Where the result begins, in per cent of the width."""
    shown = page.locator(".compare-after").evaluate("image => image.style.clipPath")
    return float(re.findall(r"([0-9.]+)%", shown)[-1])


def test_keys_move_the_handle(open_page: Opener, studio: Studio) -> None:
    editing = _compared(open_page, studio)
    page, handle = editing.page, editing.handle
    expect(handle).to_have_value("50")
    handle.focus()
    page.keyboard.press("ArrowRight")
    expect(handle).to_have_value("51")
    expect(handle).to_have_attribute("aria-valuetext", "51% before")
    assert _cut(page) == 51
    page.keyboard.press("Home")
    expect(handle).to_have_value("0")
    page.keyboard.press("End")
    assert _cut(page) == 100


def test_the_mouse_takes_the_handle_along(open_page: Opener, studio: Studio) -> None:
    editing = _compared(open_page, studio)
    page = editing.page
    box = page.locator(".compare").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 3
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, middle, steps=5)
    page.mouse.up()
    expect(editing.handle).to_have_value("25")
    line = page.locator(".compare-line").bounding_box()
    assert line is not None
    assert abs(line["x"] + line["width"] / 2 - (box["x"] + box["width"] / 4)) <= box["width"] / 100, "below the pointer"
    scale = page.get_by_role("group", name="Zoom").get_by_text("%")
    before = scale.inner_text()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    expect(scale).not_to_have_text(before)  # the wheel zooms board and comparison together
    bigger = page.locator(".compare").bounding_box()
    assert bigger is not None
    assert bigger["width"] > box["width"]
    expect(editing.handle).to_have_value("25")


def test_it_stands_where_the_picture_stood(open_page: Opener, studio: Studio) -> None:
    editing = _compared(open_page, studio)
    compared, picture = (editing.page.locator(each).bounding_box() for each in (".compare", ".board-picture"))
    assert compared is not None
    assert picture is not None
    assert all(abs(compared[name] - picture[name]) < 1 for name in ("x", "y", "width", "height"))


def test_a_held_key_shows_the_picture_before(open_page: Opener, studio: Studio) -> None:
    editing = _compared(open_page, studio)
    page = editing.page
    page.locator(".board-stage").focus()
    page.keyboard.down("\\")
    expect(page.locator(".compare")).to_have_attribute("data-held", "true")
    assert _cut(page) == 100
    page.keyboard.up("\\")
    expect(page.locator(".compare")).to_have_attribute("data-held", "false")
    assert _cut(page) == 50
    editing.words.focus()
    page.keyboard.press("End")
    page.keyboard.press("\\")
    expect(editing.words).to_have_value(f"{TURNED}\\")


def test_a_finger_moves_the_handle_and_two_zoom(open_page: Opener, studio: Studio) -> None:
    editing = _compared(open_page, studio, size=PHONE, touch=True)
    page = editing.page
    box = page.locator(".compare").bounding_box()
    assert box is not None
    fingers = Fingers(page)
    row = box["y"] + box["height"] / 2
    columns = [box["x"] + box["width"] * share for share in (0.5, 0.6, 0.7, 0.8)]
    fingers.drag(*((column, row) for column in columns))
    expect(editing.handle).not_to_have_value("50")
    assert 75 <= _cut(page) <= 85
    at = editing.handle.input_value()
    fingers.pinch((box["x"] + box["width"] / 2, row), 20, 90)
    until(lambda: (page.locator(".compare").bounding_box() or box)["width"] > 1.5 * box["width"])
    expect(editing.handle).to_have_value(at)
