"""The drawing board, by mouse, keys, fingers and pen."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw
from playwright.sync_api import Page, expect

from tests.page.conftest import OwnStudio
from tests.page.support.drawing import Board
from tests.page.support.fingers import Fingers
from tests.page.support.opening import PHONE, Opener
from tests.page.test_mask import rasterised
from tests.support.pictures import saved
from tests.support.studio import SCRIPTED, Studio

SIZE = (640, 427)
OpenBoard = Callable[..., Board]


@pytest.fixture(scope="module")
def server(own_studio: OwnStudio) -> Studio:
    return own_studio(settings=SCRIPTED)


def uploaded(server: Studio, picture: Image.Image) -> str:
    files = {"image": ("picture.png", saved(picture, "PNG"), "image/png")}
    answer = server.request("POST", "/v1/images", files=files)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.fixture
def open_board(open_page: Opener, server: Studio) -> OpenBoard:
    """Open the Edit screen with a picture of one colour."""

    def opened(colour: str = "white", *, picture_size: tuple[int, int] = SIZE, **how: Any) -> Board:
        image = uploaded(server, Image.new("RGB", picture_size, colour))
        return Board(open_page(f"#/edit/{image}", studio=server, **how), image, picture_size)

    return opened


def assert_alike(mask: Image.Image, steps: list[dict[str, Any]]) -> None:
    """Fail where a mask differs from steps, as the page's own code draws them without a browser."""
    assert ImageChops.difference(mask.convert("L"), rasterised(mask.size, steps)).getbbox() is None


# -- drawing ----------------------------------------------------------------------------------------------------------


def test_the_area_stays_where_it_is_drawn(open_board: OpenBoard) -> None:
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


def test_the_mask_that_is_sent_equals_the_strokes(open_board: OpenBoard) -> None:
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
    page.route("**/v1/jobs", lambda route: (sent.append(route.request.post_data_buffer or b""), route.continue_()))
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
    wrong = sum(abs(mine - theirs) > 230 for mine, theirs in zip(grey.tobytes(), shares.tobytes(), strict=True))
    assert wrong == 0, "pixels that Pillow covers all over and the mask does not, or the other way round"


def test_lasso_box_invert_clear(open_board: OpenBoard) -> None:
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


def test_brush_keys_and_the_size_that_is_kept(open_board: OpenBoard, open_page: Opener) -> None:
    board = open_board()
    page = board.page
    size = board.settings().get_by_role("slider", name="Brush size")
    expect(size).to_have_value("64")
    page.keyboard.press("]")
    expect(size).to_have_value("70")
    page.keyboard.press("[")
    page.keyboard.press("[")
    expect(size).to_have_value("57")
    for key, name in (("e", "Eraser"), ("l", "Lasso"), ("m", "Box"), ("o", "Extend"), ("h", "Hand"), ("b", "Brush")):
        page.keyboard.press(key)
        expect(board.tool(name)).to_have_attribute("aria-pressed", "true")
    words = page.get_by_label("Your words")
    words.fill("")
    words.press_sequentially("[hello]")
    expect(words).to_have_value("[hello]")
    expect(size).to_have_value("57")
    expect(board.tool("Brush")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(size).to_have_value("57")
    size.focus()
    page.keyboard.press("End")
    expect(size).to_have_value("300")
    expect(board.ring).to_be_visible()


def test_the_ring_is_at_the_pointer_and_as_wide_as_the_brush(open_board: OpenBoard) -> None:
    board = open_board()
    page = board.page
    for x, y in ((100, 100), (333.5, 210), (600, 400)):
        at = board.at(x, y)
        page.mouse.move(*at)
        ring = board.ring.bounding_box()
        assert ring is not None
        assert (ring["width"], ring["height"]) == pytest.approx((64, 64), abs=0.5)
        assert (ring["x"] + 32, ring["y"] + 32) == pytest.approx(at, abs=1)
    page.mouse.down()
    page.mouse.up()
    assert page.evaluate("devicePixelRatio") == 1
    box = board.mask().convert("L").getbbox()
    assert box is not None
    x, y, scale = board.place()
    seen = (box[0] * scale + x, box[1] * scale + y)
    ring = board.ring.bounding_box()
    assert ring is not None
    assert seen == pytest.approx((ring["x"], ring["y"]), abs=2), "what is drawn is what the ring went around"
    page.mouse.move(1400, 700)
    expect(board.ring).to_be_hidden()


def test_zoom_and_pan_by_keys_and_buttons(open_board: OpenBoard) -> None:
    board = open_board()
    page = board.page
    whole = board.still()
    page.keyboard.press("+")
    assert board.still()[2] == pytest.approx(whole[2] * 1.25)
    page.keyboard.press("-")
    assert board.still() == pytest.approx(whole)
    page.keyboard.press("1")
    assert board.still()[2] == pytest.approx(1)
    expect(page.get_by_role("group", name="Zoom")).to_contain_text("100%")
    page.get_by_role("button", name="Zoom in").click()
    assert board.still()[2] == pytest.approx(1.25)
    page.keyboard.press("0")
    assert board.still() == pytest.approx(whole)

    def dragged(button: str = "left") -> tuple[float, float]:
        before = board.still()
        page.mouse.move(600, 450)
        page.mouse.down(button=button)  # type: ignore[arg-type]
        page.mouse.move(650, 480, steps=3)
        page.mouse.up(button=button)  # type: ignore[arg-type]
        after = board.still()
        return after[0] - before[0], after[1] - before[1]

    assert dragged("middle") == pytest.approx((50, 30))
    page.keyboard.down(" ")
    assert dragged() == pytest.approx((50, 30))
    page.keyboard.up(" ")
    page.keyboard.press("h")
    assert dragged() == pytest.approx((50, 30))
    assert board.share() == 0
    page.keyboard.press("b")
    assert dragged() == (0, 0)
    assert board.share() > 0
    for _ in range(30):
        page.mouse.wheel(400, 400)
    x, y, scale = board.still()
    stage = board.stage.bounding_box()
    assert stage is not None
    right, bottom = x + SIZE[0] * scale - stage["x"], y + SIZE[1] * scale - stage["y"]
    assert min(right, bottom) >= 90, "some of it stays"


# -- fingers and pen --------------------------------------------------------------------------------------------------


def test_one_finger_draws_and_two_zoom(open_board: OpenBoard) -> None:
    board = open_board(size=PHONE, touch=True)
    fingers = Fingers(board.page)
    fingers.drag(board.at(200, 150), board.at(300, 200), board.at(400, 200))
    drawn = board.mask()
    assert board.share() > 0.02
    before = board.still()
    middle = board.at(320, 213)
    fingers.pinch(middle, 30, 90)
    after = board.still()
    assert after[2] > 2 * before[2]
    centre = board.at(320, 213)
    assert centre == pytest.approx(middle, abs=2), "what is between the fingers stays there"
    assert board.mask().tobytes() == drawn.tobytes(), "nothing is drawn by a pinch"

    # The first finger comes down before the second, and has begun to draw.
    x, y = board.at(320, 213)
    fingers.down((x, y))
    fingers.move((x + 12, y))
    fingers.down((x + 12, y), (x + 90, y + 40))
    fingers.move((x + 42, y + 30), (x + 120, y + 70))
    fingers.up()
    panned = board.still()
    assert panned[:2] == pytest.approx((after[0] + 30, after[1] + 30), abs=1)
    assert board.mask().tobytes() == drawn.tobytes()
    expect(board.tool("Undo")).to_be_enabled()
    board.tool("Undo").tap()
    assert board.share() == 0
    expect(board.tool("Undo")).to_be_disabled()


def pen(page: Page, kind: str, x: float, y: float, force: float) -> None:
    """Have a pen do something."""
    held = {} if kind == "mouseMoved" and not force else {"button": "left", "buttons": 1}
    line = page.context.new_cdp_session(page)
    line.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "pointerType": "pen", "force": force, **held})


def test_a_pen_draws_as_wide_as_it_is_pressed(open_board: OpenBoard) -> None:
    board = open_board()
    widths = []
    for y, force in ((120, 0.1), (300, 1.0)):
        pen(board.page, "mouseMoved", *board.at(200, y), 0)
        pen(board.page, "mousePressed", *board.at(200, y), force)
        pen(board.page, "mouseMoved", *board.at(300, y), force)
        pen(board.page, "mouseReleased", *board.at(300, y), 0)
        column = board.mask().convert("L").crop((250, y - 60, 251, y + 60))
        widths.append(column.histogram()[255])
    assert widths[1] == pytest.approx(64 / board.place()[2], abs=2)
    assert widths[0] < 0.4 * widths[1]

    # Its other end: no protocol of the browser's sends that, so the event is made.
    board.stage.evaluate(
        """(stage, [x0, y0, x1, y1]) => {
          stage.setPointerCapture = () => {};
          const send = (kind, buttons, clientX, clientY) => stage.dispatchEvent(new PointerEvent(kind, {
            pointerId: 77, pointerType: "pen", pressure: 1, clientX, clientY,
            button: kind === "pointermove" ? -1 : 5, buttons,
          }));
          send("pointerdown", 32, x0, y0);
          send("pointermove", 32, x1, y1);
          send("pointerup", 0, x1, y1);
        }""",
        [*board.at(150, 300), *board.at(350, 300)],
    )
    assert board.mask().convert("L").getpixel((250, 300)) == 0
    assert board.mask().convert("L").getpixel((250, 120)) == 255


# -- keys alone -------------------------------------------------------------------------------------------------------


def test_drawing_by_keys_alone(open_board: OpenBoard) -> None:
    board = open_board()
    page = board.page
    board.stage.focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(board.ring).to_be_visible()
    expect(page.get_by_text("from the left")).to_have_text("57% from the left, 50% from the top")
    page.keyboard.press("Enter")
    scale = board.place()[2]
    box = board.mask().convert("L").getbbox()
    assert box is not None
    assert (box[0] + box[2]) / 2 == pytest.approx(320 + 64 / scale, abs=1)
    page.keyboard.press("m")
    board.stage.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    expect(page.locator(".board-box")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".board-box")).to_be_hidden()
    assert [step["kind"] for step in board.kept(2)] == ["brush", "box"]
    page.keyboard.press("l")
    board.stage.focus()
    for key in ("Shift+ArrowLeft", "Enter", "Shift+ArrowLeft", "Enter", "Shift+ArrowDown", "Enter", "Enter"):
        page.keyboard.press(key)
    inside = board.mask().convert("L")
    x, y = 320 - 115 / scale, 213.5 + 15 / scale
    assert inside.getpixel((int(x), int(y))) == 255
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert board.mask().convert("L").getbbox() == box


# -- a mask from a file -----------------------------------------------------------------------------------------------


def chosen(board: Board, image: Image.Image) -> None:
    """Choose a file with a mask."""
    png = {"name": "mask.png", "mimeType": "image/png", "buffer": saved(image, "PNG")}
    board.page.get_by_label("Area from a file").set_input_files([png])  # type: ignore[list-item]


def test_a_mask_from_a_file(open_board: OpenBoard) -> None:
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
    text = {"name": "mask.png", "mimeType": "image/png", "buffer": b"<svg onload=alert(1)>"}
    page.get_by_label("Area from a file").set_input_files([text])  # type: ignore[list-item]
    expect(page.get_by_text("no picture that the browser can open")).to_be_visible()
    assert board.mask().convert("L").getbbox() == (0, 0, 64, 427), "nothing is lost"
    for _ in range(3):
        page.keyboard.press("Control+z")
    assert board.share() == 0


# -- extending --------------------------------------------------------------------------------------------------------


def test_extending_by_keys_shape_pixels_and_mouse(open_board: OpenBoard) -> None:
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


# -- what is seen -----------------------------------------------------------------------------------------------------


def seen(page: Page, at: tuple[float, float]) -> tuple[int, int, int]:
    """Return the colour of a pixel of the window."""
    clip = {"x": round(at[0]) - 1, "y": round(at[1]) - 1, "width": 3, "height": 3}
    image = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")  # type: ignore[arg-type]
    red, green, blue = image.getpixel((1, 1))  # type: ignore[misc]
    return int(red), int(green), int(blue)


@pytest.mark.parametrize("colour", ["white", "black", "#3d64ff", "#808080"])
def test_the_area_is_seen_on_any_picture(open_board: OpenBoard, colour: str) -> None:
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


def test_the_preview_is_seen_within_the_area_only(open_board: OpenBoard) -> None:
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


def test_a_move_of_the_brush_draws_its_piece_only(open_board: OpenBoard) -> None:
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


def test_a_picture_that_is_gone_is_told(open_board: OpenBoard) -> None:
    board = open_board(allow={404})
    page = board.page
    page.route("**/files/**", lambda route: route.fulfill(status=404))
    page.evaluate("document.querySelector('.board-picture').src = '/files/gone.png'")
    expect(page.get_by_text("The picture could not be loaded")).to_be_visible()
    page.unroute("**/files/**")
    page.get_by_role("region", name="Drawing board").get_by_role("button", name="Try again").click()
    expect(board.picture).to_be_visible()
