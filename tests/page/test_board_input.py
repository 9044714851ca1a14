"""The board by mouse, keys, fingers and pen."""

import pytest
from playwright.sync_api import Page, expect

from tests.page.support.drawing import SIZE, Boards
from tests.page.support.fingers import Fingers
from tests.page.support.opening import PHONE, Opener
from tests.support.studio import Studio


@pytest.fixture
def open_board(open_page: Opener, studio: Studio) -> Boards:
    return Boards(open_page, studio)


def test_brush_keys_and_the_size_that_is_kept(open_board: Boards, open_page: Opener) -> None:
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


def test_the_ring_is_at_the_pointer_and_as_wide_as_the_brush(open_board: Boards) -> None:
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
    left, top, scale = board.place()
    corner = (box[0] * scale + left, box[1] * scale + top)
    ring = board.ring.bounding_box()
    assert ring is not None
    assert corner == pytest.approx((ring["x"], ring["y"]), abs=2), "what is drawn is what the ring went around"
    page.mouse.move(1400, 700)
    expect(board.ring).to_be_hidden()


def test_zoom_and_pan_by_keys_and_buttons(open_board: Boards) -> None:
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


def test_one_finger_draws_and_two_zoom(open_board: Boards) -> None:
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


def test_a_pen_draws_as_wide_as_it_is_pressed(open_board: Boards) -> None:
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


def test_drawing_by_keys_alone(open_board: Boards) -> None:
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
