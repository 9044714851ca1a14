"""The pictures of docs/studio.md: each screen with something on it, painted by the miniature.

``make screens`` writes them; else it is only seen that each screen comes to where its picture would be taken.
"""

import math
import os
from io import BytesIO

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.page.support.opening import Opener
from tests.page.support.screens import settle
from tests.page.support.studios import Hold, OwnStudio
from tests.support import ROOT
from tests.support.studio import Studio

WRITES = os.environ.get("STUDIO_SCREENS") == "write"
TIER = "quality" if WRITES else "draft"
THINGS = {
    "red apple": "blue", "panda": "pink", "rocket": "purple", "lion": "green", "strawberry": "yellow", "fox": "white",
    "birthday cake": "blue", "frog": "orange", "watermelon": "pink", "cat": "yellow", "pineapple": "purple",
    "dog": "green",
}  # fmt: skip
WORDS = [f"a {thing} on a {colour} background" for thing, colour in THINGS.items()]
NUMBER = 18 if WRITES else 4
MOST_BYTES = 90_000


@pytest.fixture(scope="module")
def pictures(studio: Studio) -> list[str]:
    """Ids of pictures of what the miniature knows, oldest first."""
    jobs = [
        studio.submit(prompt=WORDS[number % len(WORDS)], tier=TIER, seed=number, user="screens")["id"]
        for number in range(NUMBER)
    ]
    return [studio.finished(job)["images"][0]["id"] for job in jobs]


def taken(page: Page, name: str) -> None:
    """Take the picture of a screen, where pictures are to be written."""
    settle(page)
    page.mouse.move(1439, 899)
    if not WRITES:
        return
    shot = Image.open(BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    buffer = BytesIO()
    shot.save(buffer, "WEBP", quality=82, method=6)
    assert len(buffer.getvalue()) <= MOST_BYTES, f"{name}: {len(buffer.getvalue())} bytes"
    for file in (f"docs/studio-{name}.webp", *(["_assets/studio.webp"] if name == "compare" else [])):
        (ROOT / file).write_bytes(buffer.getvalue())


def test_paint(open_page: Opener, pictures: list[str]) -> None:
    page = open_page("#/paint")
    for prompt in (WORDS[1], WORDS[0]):
        page.get_by_role("textbox", name="What to paint").fill(prompt)
        page.get_by_role("radio", name="Best" if WRITES else "Draft").check()
        page.get_by_role("button", name="Paint").click()
        expect(page.get_by_role("img", name=prompt, exact=True)).to_be_visible()
    taken(page, "paint")


def test_edit_and_compare(open_page: Opener, pictures: list[str]) -> None:
    page = open_page(f"#/edit/{pictures[0]}")
    picture = page.locator(".board-picture")
    expect(picture).to_be_visible()
    settle(page)
    box = picture.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    radius = box["width"] * 0.34
    page.mouse.move(x + radius, y)
    page.mouse.down()
    for turn in range(1, 61):
        shrunk = radius * (1 - turn / 60 * 0.9)
        page.mouse.move(x + shrunk * math.cos(turn * 0.5), y + shrunk * math.sin(turn * 0.5))
    page.mouse.up()
    page.get_by_role("textbox", name="Your words").fill("replace the apple with a cat")
    taken(page, "edit")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("group", name="Result").get_by_role("button", name="Keep")).to_be_visible()
    taken(page, "compare")


def test_layers(open_page: Opener, own_studio: OwnStudio) -> None:
    server = own_studio(settings={"models": "miniature,miniature-layered"})
    prompt = "a red apple on a blue background"
    picture = server.finished(server.submit(prompt=prompt, tier=TIER, seed=0)["id"])["images"][0]["id"]
    page = open_page(f"#/edit/{picture}", studio=server)
    page.get_by_role("button", name="Take apart").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Take apart").click()
    expect(dialog.locator("canvas")).to_have_attribute("data-shown", "0 1 2 3")
    dialog.get_by_role("checkbox", name="Background").uncheck()
    expect(dialog.locator("canvas")).to_have_attribute("data-shown", "1 2 3")
    taken(page, "layers")


def test_gallery(open_page: Opener, pictures: list[str]) -> None:
    page = open_page("#/gallery")
    expect(page.locator("li.tile").nth(NUMBER - 1)).to_be_attached()
    taken(page, "gallery")


def test_review(open_page: Opener, pictures: list[str], hold: Hold) -> None:
    for number in range(3):
        hold(WORDS[number], tier=TIER, seed=50 + number, steps=20 if WRITES else 2)
    page = open_page("#/review")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    taken(page, "review")


def test_status(open_page: Opener, pictures: list[str]) -> None:
    page = open_page("#/status")
    expect(page.get_by_role("heading", level=2).first).to_be_visible()
    taken(page, "status")
