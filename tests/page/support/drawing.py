"""The drawing board, as somebody who draws on it sees it."""

import base64
import io
from typing import Any

from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.page.support.opening import Opener
from tests.support.pictures import saved
from tests.support.studio import Studio

Point = tuple[float, float]
SIZE = (640, 427)
"""Size of a picture, where a test says nothing else."""

_EXPORT = """async ([id, width, height]) => {
  const main = document.querySelector("script[type=module]").src;
  const { openBoard } = await import(main.replace("main.js", "board.js"));
  const bytes = new Uint8Array(await (await openBoard(id, { width, height }).exportMask()).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""


class Board:
    """The board of a page that shows an image there."""

    def __init__(self, page: Page, image_id: str, size: tuple[int, int]) -> None:
        self.page, self.image_id, self.size = page, image_id, size
        self.stage = page.get_by_role("application")
        self.picture = page.locator(".board-picture")
        self.ring = page.locator(".board-ring > i")
        expect(self.picture).to_be_visible()
        self.still()

    def tool(self, name: str) -> Locator:
        """The button of a tool, or of undo and redo."""
        return self.page.get_by_role("toolbar", name="Tools").get_by_role("button", name=name, exact=True)

    def take(self, name: str) -> None:
        """Take a tool in hand."""
        self.tool(name).click()
        expect(self.tool(name)).to_have_attribute("aria-pressed", "true")

    def place(self) -> tuple[float, float, float]:
        """Return where the picture's corner is in the window, and its scale."""
        box = self.picture.bounding_box()
        assert box is not None
        return box["x"], box["y"], box["width"] / self.size[0]

    def still(self) -> tuple[float, float, float]:
        """Wait until the picture stands still, and return where."""
        before = self.place()
        while True:
            self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            now = self.place()
            if now == before:
                return now
            before = now

    def at(self, x: float, y: float) -> Point:
        """Return where a place of the picture is in the window."""
        left, top, scale = self.place()
        return left + x * scale, top + y * scale

    def stroke(self, *points: Point) -> None:
        """Draw with the mouse through places of the picture."""
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=4)
        self.page.mouse.up()

    def mask(self) -> Image.Image:
        """Return the mask as it would be sent."""
        data = base64.b64decode(self.page.evaluate(_EXPORT, [self.image_id, *self.size]))
        return Image.open(io.BytesIO(data))

    def share(self) -> float:
        """Return the share of the picture that may change, 0 to 1."""
        return self.mask().convert("L").histogram()[255] / (self.size[0] * self.size[1])

    def settings(self) -> Locator:
        """The bar with the settings of the tool in hand."""
        return self.page.locator(".board-bar")

    def kept(self, done: int, undone: int = 0) -> list[dict[str, Any]]:
        """Wait until the browser keeps so many steps, and return those that are done."""
        steps: list[dict[str, Any]] = self.page.evaluate(
            """async ([name, done, undone]) => {
              for (;;) {
                const kept = JSON.parse(localStorage.getItem(name));
                if (kept?.done.length === done && kept.undone.length === undone) return kept.done;
                await new Promise(requestAnimationFrame);
              }
            }""",
            [f"studio.draft.board.{self.image_id}", done, undone],
        )
        return steps


class Boards:
    """Opens the Edit screen with a picture of one colour."""

    def __init__(self, open_page: Opener, studio: Studio) -> None:
        self._open, self._studio = open_page, studio

    def __call__(self, colour: str = "white", *, picture_size: tuple[int, int] = SIZE, **how: Any) -> Board:
        """Open it; ``how`` is what an `Opener` takes."""
        picture = saved(Image.new("RGB", picture_size, colour), "PNG")
        answer = self._studio.request("POST", "/v1/images", files={"image": ("picture.png", picture, "image/png")})
        assert answer.status_code == 201, answer.text
        image = str(answer.json()["id"])
        return Board(self._open(f"#/edit/{image}", studio=self._studio, **how), image, picture_size)
