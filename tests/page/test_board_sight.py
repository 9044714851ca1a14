"""What is seen on the board, and what it costs to draw."""

import io

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.page.support.drawing import Boards
from tests.page.support.opening import Opener
from tests.page.support.studios import OwnStudio
from tests.support.studio import SCRIPTED, Studio


@pytest.fixture(scope="module")
def server(own_studio: OwnStudio) -> Studio:
    return own_studio(settings=SCRIPTED)


@pytest.fixture
def open_board(open_page: Opener, server: Studio) -> Boards:
    return Boards(open_page, server)


def seen(page: Page, at: tuple[float, float]) -> tuple[int, int, int]:
    """Return the colour of a pixel of the window."""
    clip = {"x": round(at[0]) - 1, "y": round(at[1]) - 1, "width": 3, "height": 3}
    image = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")  # type: ignore[arg-type]
    red, green, blue = image.getpixel((1, 1))  # type: ignore[misc]
    return int(red), int(green), int(blue)


@pytest.mark.parametrize("colour", ["white", "black", "#3d64ff", "#808080"])
def test_the_area_is_seen_on_any_picture(open_board: Boards, colour: str) -> None:
    """Half transparent over the picture, with an edge that is seen where the area's own colour is not."""
    board = open_board(colour)
    page = board.page
    board.take("Box")
    board.stroke((100, 100), (300, 300))
    page.mouse.move(1400, 700)
    board.still()
    picture = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    inside = seen(page, board.at(200, 200))
    mixed = tuple(round(0.45 * old + 0.55 * new) for old, new in zip(picture, (61, 100, 255), strict=True))  # type: ignore[arg-type]
    assert inside == pytest.approx(mixed, abs=3)
    x, y = board.at(300, 200)
    across = [seen(page, (x + step, y)) for step in range(-2, 5)]
    assert max(sum(colour) for colour in across) > 620, f"no bright edge in {across}"
    assert seen(page, board.at(400, 200)) == picture


def test_the_preview_is_seen_within_the_area_only(open_board: Boards) -> None:
    board = open_board("white")
    page = board.page
    board.take("Box")
    board.stroke((100, 100), (300, 300))
    page.get_by_label("Your words").fill("preview=200 forever")
    page.get_by_role("button", name="Apply change").click()
    expect(board.tool("Brush")).to_be_disabled()
    at, outside = board.at(200, 200), board.at(400, 200)
    for _ in range(600):
        colour = seen(page, at)
        if colour[1] < 40 and colour[2] < 40:
            break
    assert colour == pytest.approx((200, 0, 0), abs=12)
    assert seen(page, outside) == (255, 255, 255)
    board.stroke((400, 300), (500, 300))
    board.still()
    page.get_by_role("button", name="Cancel").click()
    expect(board.tool("Brush")).to_be_enabled()
    assert board.mask().convert("L").getpixel((450, 300)) == 0, "nothing is drawn while it is painted"


def test_a_move_of_the_brush_draws_its_piece_only(open_board: Boards) -> None:
    """On a picture of 4096 × 4096 as on a small one: what is drawn anew is about as large as the brush."""
    board = open_board(picture_size=(4096, 4096))
    page = board.page
    page.mouse.move(*board.at(1000, 1000))
    page.mouse.down()
    page.evaluate(
        """() => {
          window.drawnAnew = [];
          const { clearRect } = CanvasRenderingContext2D.prototype;
          CanvasRenderingContext2D.prototype.clearRect = function (x, y, width, height) {
            window.drawnAnew.push([this.canvas.width, width * height]);
            return clearRect.call(this, x, y, width, height);
          };
        }"""
    )
    for step in range(1, 101):
        page.mouse.move(*board.at(1000 + 10 * step, 1000 + 5 * step))
    drawn = page.evaluate("window.drawnAnew")
    page.mouse.up()
    assert drawn
    assert max(width for width, _ in drawn) < 1200, "no canvas has the picture's size"
    assert max(area for _, area in drawn) < 120 * 120
    assert board.share() > 0.02


def test_a_picture_that_is_gone_is_told(open_board: Boards) -> None:
    board = open_board(allow={404})
    page = board.page
    page.route("**/files/**", lambda route: route.fulfill(status=404))
    page.evaluate("document.querySelector('.board-picture').src = '/files/gone.png'")
    expect(page.get_by_text("The picture could not be loaded")).to_be_visible()
    page.unroute("**/files/**")
    page.get_by_role("region", name="Drawing board").get_by_role("button", name="Try again").click()
    expect(board.picture).to_be_visible()
