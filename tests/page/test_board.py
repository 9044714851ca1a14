"""What is drawn on the board: strokes and how they come back, masks from files, extending; and what is sent."""

import io
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw
from playwright.sync_api import FilePayload, Route, expect

from tests.page.support.drawing import SIZE, Board, Boards
from tests.page.support.opening import Opener
from tests.page.support.studios import OwnStudio
from tests.page.test_mask import rasterised
from tests.support.pictures import saved
from tests.support.studio import SCRIPTED, Studio


@pytest.fixture(scope="module")
def server(own_studio: OwnStudio) -> Studio:
    return own_studio(settings=SCRIPTED)


@pytest.fixture
def open_board(open_page: Opener, server: Studio) -> Boards:
    return Boards(open_page, server)


def assert_alike(mask: Image.Image, steps: list[dict[str, Any]]) -> None:
    """Fail where a mask differs from steps, as the page's own code draws them without a browser."""
    assert ImageChops.difference(mask.convert("L"), rasterised(mask.size, steps)).getbbox() is None


def test_the_area_stays_where_it_is_drawn(open_board: Boards) -> None:
    """Zoom to the pointer, pan, undo, redo; away and back; a reload."""
    board = open_board()
    page = board.page
    board.stroke((200, 150), (300, 200), (320, 260))
    expect(page.get_by_text("of the picture may change")).to_be_visible()
    drawn = board.mask()
    assert drawn.convert("L").getpixel((300, 200)) == 255
    assert board.share() > 0.02

    before = board.still()
    pointer = board.at(310, 230)
    page.mouse.move(*pointer)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -60)
    page.mouse.wheel(0, -60)
    page.keyboard.up("Control")
    after = board.still()
    assert after[2] > 1.5 * before[2]
    moved = board.at(310, 230)
    assert moved == pytest.approx(pointer, abs=1), "it zooms to the pointer"
    page.mouse.wheel(40, 30)
    panned = board.still()
    assert (round(after[0] - panned[0]), round(after[1] - panned[1])) == (40, 30)
    assert board.mask().tobytes() == drawn.tobytes()

    page.keyboard.press("Control+z")
    expect(page.get_by_text("of the picture may change")).to_be_hidden()
    assert board.share() == 0
    expect(board.tool("Undo")).to_be_disabled()
    page.keyboard.press("Control+Shift+z")
    assert board.mask().tobytes() == drawn.tobytes()
    expect(board.tool("Redo")).to_be_disabled()
    board.tool("Undo").click()
    board.tool("Redo").click()
    board.stroke((200, 350), (220, 350))
    more = board.mask()
    board.tool("Undo").click()

    page.get_by_role("link", name="Gallery").click()
    expect(board.stage).to_be_hidden()
    page.go_back()
    again = Board(page, board.image_id, SIZE)
    assert again.mask().tobytes() == drawn.tobytes()
    again.kept(1, undone=1)
    page.reload()
    again = Board(page, board.image_id, SIZE)
    assert again.mask().tobytes() == drawn.tobytes()
    page.keyboard.press("Control+y")
    assert again.mask().tobytes() == more.tobytes(), "what was undone is kept as well"


def test_the_mask_that_is_sent_equals_the_strokes(open_board: Boards) -> None:
    """By the page's code without a browser, and by Pillow: an opaque PNG of the picture's size, black and white."""
    board = open_board()
    page = board.page
    board.stroke((200, 150), (300, 200))
    board.take("Box")
    board.stroke((400, 300), (500, 380))
    page.keyboard.press("e")
    board.stroke((190, 150), (240, 150))
    page.get_by_label("Your words").fill("a balloon")
    sent: list[bytes] = []

    def pass_on(route: Route) -> None:
        sent.append(route.request.post_data_buffer or b"")
        route.continue_()

    page.route("**/v1/jobs", pass_on)
    page.get_by_role("button", name="Apply change").click()
    expect(page.get_by_role("button", name="Keep")).to_be_visible()
    png = sent[0][sent[0].index(b"\x89PNG") :]
    mask = Image.open(io.BytesIO(png))
    assert (mask.format, mask.size) == ("PNG", SIZE)
    assert mask.convert("RGBA").getchannel("A").getextrema() == (255, 255)
    grey = mask.convert("L")
    assert grey.histogram()[0] + grey.histogram()[255] == SIZE[0] * SIZE[1]

    steps = board.kept(3)
    assert [step["kind"] for step in steps] == ["brush", "box", "brush"]
    assert_alike(mask, steps)
    fine = Image.new("L", (SIZE[0] * 8, SIZE[1] * 8))
    pen = ImageDraw.Draw(fine)
    for step in steps:
        colour, points = 0 if step["erase"] else 255, [8 * value for value in step["points"]]
        if step["kind"] == "box":
            pen.rectangle((points[0], points[1], points[2] - 1, points[3] - 1), fill=colour)
            continue
        for i in range(0, len(points), 3):
            x, y, radius = points[i : i + 3]
            pen.ellipse((x - radius, y - radius, x + radius - 1, y + radius - 1), fill=colour)
            if i:
                pen.line((points[i - 3], points[i - 2], x, y), fill=colour, width=round(2 * radius))
    shares = fine.reduce(8)
    wrong = sum(abs(mine - theirs) == 255 for mine, theirs in zip(grey.tobytes(), shares.tobytes(), strict=True))
    assert wrong == 0, "pixels that Pillow covers all over and the mask does not, or the other way round"


def test_lasso_box_invert_clear(open_board: Boards) -> None:
    board = open_board()
    page = board.page
    page.keyboard.press("m")
    expect(board.tool("Box")).to_have_attribute("aria-pressed", "true")
    board.stroke((100, 100), (300, 200))
    area = 200 * 100 / (640 * 427)
    assert board.share() == pytest.approx(area, rel=0.03)
    page.get_by_role("radio", name="Take away").check(force=True)
    board.stroke((100, 100), (200, 200))
    assert board.share() == pytest.approx(area / 2, rel=0.05)
    page.get_by_role("radio", name="Add").check(force=True)
    page.keyboard.down("Alt")
    board.stroke((190, 90), (250, 210))
    page.keyboard.up("Alt")
    assert board.share() == pytest.approx(area / 4, rel=0.08)

    page.keyboard.press("l")
    board.stroke((400, 100), (600, 100), (600, 300), (400, 300))
    assert board.mask().convert("L").getpixel((500, 200)) == 255
    lassoed = board.share()
    assert lassoed == pytest.approx(area / 4 + 200 * 200 / (640 * 427), rel=0.05)
    page.get_by_role("button", name="Invert").click()
    assert board.share() == pytest.approx(1 - lassoed)
    page.get_by_role("button", name="Clear").click()
    assert board.share() == 0
    expect(page.get_by_role("button", name="Clear")).to_be_disabled()
    page.keyboard.press("Control+z")
    assert board.share() == pytest.approx(1 - lassoed)
    page.keyboard.press("Control+z")
    assert board.share() == pytest.approx(lassoed)
    assert_alike(board.mask(), board.kept(4, undone=2))


def chosen(board: Board, image: Image.Image) -> None:
    """Choose a file with a mask."""
    png = FilePayload(name="mask.png", mimeType="image/png", buffer=saved(image, "PNG"))
    board.page.get_by_label("Area from a file").set_input_files(png)


def test_a_mask_from_a_file(open_board: Boards) -> None:
    board = open_board()
    page = board.page
    mask = Image.new("L", SIZE, 0)
    ImageDraw.Draw(mask).rectangle((100, 50, 299, 149), fill=255)
    ImageDraw.Draw(mask).rectangle((300, 50, 399, 149), fill=127)
    chosen(board, mask)
    expect(page.get_by_text("7.3% of the picture may change")).to_be_visible()
    assert board.mask().convert("L").getbbox() == (100, 50, 300, 150)
    chosen(board, mask.resize((1280, 854), Image.Resampling.NEAREST))
    expect(page.get_by_text("7.3% of the picture may change")).to_be_visible()
    assert board.mask().convert("L").getbbox() == (100, 50, 300, 150), "it is scaled to the picture"
    clear = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    clear.paste((9, 9, 9, 255), (0, 0, 64, 427))
    chosen(board, clear)
    expect(page.get_by_text("10% of the picture may change")).to_be_visible()

    chosen(board, Image.new("L", (400, 400), 255))
    expect(page.get_by_text("another shape")).to_contain_text("640 × 427")
    chosen(board, Image.new("L", SIZE, 0))
    expect(page.get_by_text("This file marks nothing")).to_be_visible()
    text = FilePayload(name="mask.png", mimeType="image/png", buffer=b"<svg onload=alert(1)>")
    page.get_by_label("Area from a file").set_input_files(text)
    expect(page.get_by_text("no picture that the browser can open")).to_be_visible()
    assert board.mask().convert("L").getbbox() == (0, 0, 64, 427), "nothing is lost"
    for _ in range(3):
        page.keyboard.press("Control+z")
    assert board.share() == 0


def test_extending_by_keys_shape_pixels_and_mouse(open_board: Boards) -> None:
    board = open_board()
    page = board.page
    page.keyboard.press("o")
    right = page.get_by_role("slider", name="Extend on the right")
    right.focus()
    page.keyboard.press("ArrowRight")
    expect(right).to_have_attribute("aria-valuenow", "8")
    page.keyboard.press("Shift+ArrowRight")
    expect(right).to_have_attribute("aria-valuenow", "72")
    page.keyboard.press("ArrowLeft")
    expect(right).to_have_attribute("aria-valuetext", "64 px")
    expect(page.get_by_text("Extends to 704 × 427")).to_be_visible()
    top = page.get_by_role("slider", name="Extend at the top")
    top.focus()
    page.keyboard.press("ArrowUp")
    expect(top).to_have_attribute("aria-valuenow", "8")
    page.keyboard.press("Home")
    expect(top).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("Control+z")
    expect(top).to_have_attribute("aria-valuenow", "0")
    expect(right).to_have_attribute("aria-valuenow", "0")
    expect(page.get_by_text("Extends to")).to_be_hidden()
    page.keyboard.press("Control+Shift+z")
    expect(right).to_have_attribute("aria-valuenow", "64")

    page.get_by_role("radio", name="16:9").check(force=True)
    expect(page.get_by_text("Extends to 759 × 427")).to_be_visible()
    page.get_by_role("spinbutton", name="Bottom").fill("100")
    page.get_by_role("spinbutton", name="Bottom").press("Enter")
    expect(page.get_by_text("Extends to 759 × 527")).to_be_visible()
    page.get_by_role("spinbutton", name="Left").fill("99999")
    page.get_by_role("spinbutton", name="Left").press("Enter")
    expect(page.get_by_role("spinbutton", name="Left")).to_have_value(str(4096 - 640 - 60))
    page.get_by_role("button", name="Take the extension back").click()
    expect(page.get_by_text("Extends to")).to_be_hidden()

    scale = board.still()[2]
    handle = page.get_by_role("slider", name="Extend on the left").bounding_box()
    assert handle is not None
    assert min(handle["width"], handle["height"]) >= 44
    x, y = handle["x"] + 22, handle["y"] + 22
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y + 10, steps=4)
    page.mouse.up()
    left = round(40 / scale)
    expect(page.get_by_text(f"Extends to {640 + left} × 427")).to_be_visible()
    page.reload()
    expect(page.get_by_text(f"Extends to {640 + left} × 427")).to_be_visible()
