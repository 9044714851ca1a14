"""The Edit screen as somebody uses it: places on its picture, strokes, and what came of a change."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from playwright.sync_api import Locator, Page, expect

from tests.support.pictures import saved
from tests.support.studio import Studio

Point = tuple[float, float]
Pixels = NDArray[np.uint8]
WIDTH, HEIGHT = 240, 160
DRAFT = "localStorage.setItem('studio.draft.edit', JSON.stringify({tier: 'draft'}))"
"""Has the page ask for the fastest painting, as somebody who chose it before."""


def scene(sun: str = "#ffeebe") -> bytes:
    """A picture in which every pixel counts: hills, a sun, and a slope of colours."""
    across, down = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    sky = np.stack([120 + across // 3, 160 + down // 2, np.full_like(across, 230) - down // 3], axis=2)
    image = Image.fromarray(sky.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    pen.ellipse((170, 20, 200, 50), fill=sun)
    pen.polygon([(0, 160), (0, 120), (70, 70), (130, 130), (190, 90), (240, 125), (240, 160)], fill="#40705a")
    return saved(image, "PNG")


def upload(studio: Studio, picture: bytes | None = None) -> str:
    """Upload a picture, and return its id."""
    answer = studio.request("POST", "/v1/images", files={"image": ("scene.png", picture or scene(), "image/png")})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def pixels(studio: Studio, image: str) -> Pixels:
    """Download a picture, and return its pixels."""
    answer = studio.request("GET", f"/v1/images/{image}/content")
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


class Editing:
    """One page with the Edit screen."""

    def __init__(self, page: Page, studio: Studio) -> None:
        self.page, self.studio = page, studio
        self.words = page.get_by_role("textbox", name=re.compile("Your words|修改要求"))
        self.apply = page.get_by_role("button", name=re.compile("Apply change|应用修改"))
        self.results = page.get_by_role("group", name=re.compile("^(Result|结果)$"))
        self.keep = self.results.get_by_role("button", name=re.compile("^(Keep|保留)$"))
        self.progress = page.get_by_role("group", name=re.compile("^(Progress|进度)$"))
        self.history = page.get_by_role("button", name=re.compile("^(Step|第)"))
        self.handle = page.get_by_role("slider", name=re.compile("Before and after|前后对比"))

    @property
    def picture(self) -> Locator:
        """The picture on the board."""
        return self.page.locator(".board-picture")

    def ready(self) -> "Editing":
        """Wait until the picture is there to draw on."""
        expect(self.picture).to_be_visible()
        return self

    def tool(self, name: str) -> None:
        """Take a tool in hand."""
        self.page.get_by_role("toolbar").get_by_role("button", name=name, exact=True).click()

    def at(self, point: Point) -> Point:
        """Return where a place of the picture, in its pixels, is on the screen."""
        box = self.picture.bounding_box()
        assert box is not None
        return box["x"] + point[0] / WIDTH * box["width"], box["y"] + point[1] / HEIGHT * box["height"]

    def draw(self, points: Sequence[Point]) -> None:
        """Draw with the mouse along places of the picture."""
        mouse = self.page.mouse
        mouse.move(*self.at(points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.at(point), steps=6)
        mouse.up()

    def compared(self) -> dict[str, Any]:
        """Wait for the result, and return its job."""
        expect(self.keep).to_be_visible()
        return self.newest()

    def newest(self) -> dict[str, Any]:
        """Return the job that was submitted last."""
        listed = self.studio.request("GET", "/v1/jobs", params={"limit": 1}).json()["data"]
        return self.studio.job(listed[0]["id"])
