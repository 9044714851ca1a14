"""Edit: what is drawn and said decides what is done; outside of it nothing changes; nothing is lost on the way."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import expect

from tests.page.support.board import DRAFT, HEIGHT, WIDTH, Editing, pixels, scene, upload
from tests.page.support.opening import Opener
from tests.support.studio import Studio

Edit = Callable[..., Editing]
Marks = NDArray[np.bool_]


@pytest.fixture
def edit(open_page: Opener, studio: Studio) -> Edit:
    """Open a picture of one's own on the board; paintings are drafts unless told otherwise."""

    def opened(
        *, draft: bool = True, server: Studio | None = None, picture: str | None = None, **how: object
    ) -> Editing:
        owner = server or studio
        image = picture or upload(owner)
        page = open_page(f"#/edit/{image}", studio=owner, **how)  # type: ignore[arg-type]
        if draft:
            page.evaluate(DRAFT)
            page.reload()
        return Editing(page, owner).ready()

    return opened


def _mask(editing: Editing) -> Marks:
    """Which pixels the newest job could change."""
    asked = editing.newest()["request"]
    return pixels(editing.studio, asked["mask"])[:, :, 0] >= 128


def _unchanged_outside(editing: Editing, image: str) -> Marks:
    """Check that the result equals the picture beyond the mask, bit for bit, and return the mask."""
    job = editing.newest()
    assert job["operation"] == "inpaint"
    before, after, free = pixels(editing.studio, image), pixels(editing.studio, job["images"][0]["id"]), _mask(editing)
    assert before.shape == after.shape
    assert np.array_equal(before[~free], after[~free])
    assert not np.array_equal(before[free], after[free])
    return free


def test_outside_the_brush_every_pixel_stays(edit: Edit) -> None:
    editing = edit()
    page, image = editing.page, editing.page.url.split("/")[-1]
    expect(page.get_by_text("Without an area, the whole picture is edited by your words")).to_be_visible()
    editing.draw([(100, 40), (140, 50), (120, 60)])
    told = page.get_by_text(re.compile("of the picture may change$"))
    expect(told).to_be_visible()
    editing.words.fill("a red apple")
    page.keyboard.press("Control+Enter")
    editing.compared()
    free = _unchanged_outside(editing, image)
    shown = float(re.sub("%.*", "", told.inner_text()))
    assert abs(shown - 100 * free.mean()) < 0.6
    assert free[40, 100], "a mask of the picture's size, where it was drawn"
    assert not free[5, 5]
    expect(editing.results).to_contain_text(re.compile(r"Changed inside \d.*% · outside 0%"))
    expect(page.get_by_text("Painted by the miniature")).to_be_visible()


@pytest.mark.parametrize(
    ("tool", "line"),
    [("Lasso", [(60, 30), (150, 30), (150, 90), (60, 90), (60, 30)]), ("Box", [(60, 30), (150, 90)])],
)
def test_lasso_and_box_bound_the_change(edit: Edit, tool: str, line: list[tuple[float, float]]) -> None:
    editing = edit()
    image = editing.page.url.split("/")[-1]
    editing.tool(tool)
    editing.draw(line)
    editing.words.fill("a yellow cup")
    editing.apply.click()
    editing.compared()
    free = _unchanged_outside(editing, image)
    rows, columns = np.nonzero(free)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(np.array(edges) - (60, 30, 150, 90)).max() <= 2


def test_the_soft_edge_is_sent_as_it_is_told(edit: Edit) -> None:
    editing = edit()
    soft = editing.page.get_by_role("slider", name="Soft edge")
    expect(soft).to_be_disabled()
    editing.tool("Box")
    editing.draw([(60, 30), (150, 90)])
    expect(soft).to_have_attribute("aria-valuetext", "automatic")
    soft.focus()
    for _ in range(6):
        editing.page.keyboard.press("ArrowRight")
    expect(soft).to_have_attribute("aria-valuetext", "12 px")
    editing.words.fill("a cup")
    editing.apply.click()
    editing.compared()
    assert editing.newest()["request"]["feather"] == 12


def test_keys_extend_the_picture_and_its_own_pixels_stay(edit: Edit) -> None:
    editing = edit()
    page, image = editing.page, editing.page.url.split("/")[-1]
    page.locator(".board-stage").focus()
    page.keyboard.press("o")
    right = page.get_by_role("slider", name="Extend on the right")
    right.focus()
    page.keyboard.press("Shift+ArrowRight")
    page.get_by_role("slider", name="Extend at the top").focus()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_text(f"Extends to {WIDTH + 64} × {HEIGHT + 8}")).to_be_visible()
    page.keyboard.press("Control+Enter")  # words may stay empty
    job = editing.compared()
    assert job["operation"] == "outpaint"
    assert (job["images"][0]["width"], job["images"][0]["height"]) == (WIDTH + 64, HEIGHT + 8)
    before, after = pixels(editing.studio, image), pixels(editing.studio, job["images"][0]["id"])
    assert np.array_equal(before, after[8:, :WIDTH])
    expect(editing.results).to_contain_text("the picture itself changed 0%")


def test_without_an_area_words_change_the_whole_picture(edit: Edit) -> None:
    editing = edit()
    editing.apply.click()
    expect(editing.page.get_by_role("alert")).to_have_text("Say in a few words what should change.")
    expect(editing.words).to_be_focused()
    editing.words.fill("make it green")
    editing.apply.click()
    job = editing.compared()
    assert (job["operation"], job["engine"]) == ("edit", "qwen")
    expect(editing.results).to_contain_text("Changed")


def test_an_adjustment_is_done_at_once(edit: Edit) -> None:
    editing = edit(language="zh")
    editing.words.fill("旋转90度")
    editing.apply.click()
    job = editing.compared()
    assert job["engine"] == "cv"
    assert (job["images"][0]["width"], job["images"][0]["height"]) == (HEIGHT, WIDTH)


def test_references_go_along_in_their_order(edit: Edit, painted: list[str]) -> None:
    editing = edit()
    page, image = editing.page, editing.page.url.split("/")[-1]
    page.get_by_role("button", name="Add picture 2 as a reference").click()
    page.get_by_role("dialog").get_by_role("searchbox").fill("by a window")
    page.get_by_role("dialog").get_by_role("button", name="a yellow cup by a window").first.click()
    expect(page.get_by_role("img", name="Picture 2", exact=True)).to_be_visible()
    page.get_by_role("button", name="Add picture 3 as a reference").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("dialog").get_by_role("button", name="Choose a picture").click()
    chooser.value.set_files({"name": "sun.png", "mimeType": "image/png", "buffer": scene("#ff0000")})
    expect(page.get_by_role("img", name="Picture 3", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_role("img", name="Picture 3", exact=True)).to_be_visible()
    editing.words.fill("put the cup of picture 2 below the sun of picture 3")
    editing.apply.click()
    images = editing.compared()["request"]["image"]
    assert len(images) == 3
    assert images[:2] == [image, painted[1]]
    page.get_by_role("button", name="Remove reference 2").click()
    expect(page.get_by_role("button", name="Remove reference 3")).to_be_hidden()


def test_keep_goes_on_from_the_result_and_every_step_stays(edit: Edit) -> None:
    editing = edit()
    page, image = editing.page, editing.page.url.split("/")[-1]
    editing.tool("Box")
    editing.draw([(60, 30), (150, 90)])
    share = page.get_by_text(re.compile("of the picture may change$"))
    marked = share.inner_text()
    editing.words.fill("a cup")
    editing.apply.click()
    result = editing.compared()["images"][0]["id"]
    editing.keep.click()
    expect(page).to_have_url(re.compile(f"#/edit/{result}$"))
    expect(page.get_by_text("Without an area, the whole picture is edited by your words")).to_be_visible()
    expect(editing.history).to_have_count(2)
    expect(editing.history.nth(1)).to_have_attribute("aria-current", "step")
    editing.history.nth(0).click()
    expect(page).to_have_url(re.compile(f"#/edit/{image}$"))
    expect(share).to_have_text(marked)
    expect(editing.words).to_have_value("a cup")
    page.go_back()
    expect(page).to_have_url(re.compile(f"#/edit/{result}$"))
    expect(editing.history.nth(1)).to_have_attribute("aria-current", "step")


def test_try_again_gives_another_and_the_area_can_be_adjusted(edit: Edit) -> None:
    editing = edit()
    page = editing.page
    editing.draw([(100, 40), (140, 50)])
    editing.words.fill("a red apple")
    editing.apply.click()
    first = editing.compared()
    editing.results.get_by_role("button", name="Try again").click()
    expect(editing.results).to_contain_text("2 of 2")
    second = editing.newest()
    assert second["id"] != first["id"]
    assert second["request"]["seed"] != first["request"]["seed"]
    same = {"seed": 0, "mask": ""}
    assert {**second["request"], **same} == {**first["request"], **same}
    again, once = (pixels(editing.studio, job["request"]["mask"]) for job in (second, first))
    assert np.array_equal(again, once)
    after = page.locator(".compare-after")
    expect(after).to_have_attribute("src", re.compile(second["images"][0]["id"]))
    page.get_by_role("button", name="Result before").click()
    expect(after).to_have_attribute("src", re.compile(first["images"][0]["id"]))
    page.reload()
    expect(editing.results).to_contain_text("2 of 2")
    editing.results.get_by_role("button", name="Adjust area").click()
    expect(editing.results).to_be_hidden()
    share = page.get_by_text(re.compile("of the picture may change$"))
    was = share.inner_text()
    editing.draw([(40, 120), (60, 120)])
    expect(share).not_to_have_text(was)


def test_several_pictures_can_be_stepped_through(edit: Edit) -> None:
    editing = edit()
    editing.page.get_by_text("More settings").click()
    editing.page.get_by_role("group", name="Pictures").get_by_role("radio", name="2").check()
    editing.words.fill("make it green")
    editing.apply.click()
    expect(editing.results).to_contain_text("2 of 2")
    editing.page.get_by_role("button", name="Result before").click()
    expect(editing.results).to_contain_text("1 of 2")


def test_a_reload_in_the_middle_finds_the_job_again(edit: Edit) -> None:
    editing = edit(draft=False)
    editing.draw([(100, 40), (140, 50)])
    editing.words.fill("a red apple")
    editing.apply.click()
    expect(editing.progress).to_contain_text(re.compile("Step [1-9]"))
    editing.page.reload()
    expect(editing.progress).to_be_visible()
    expect(editing.words).to_have_value("a red apple")
    expect(editing.apply).to_be_disabled()
    job = editing.compared()
    assert job["images"]


def test_a_seed_that_is_none_is_said_at_its_field(edit: Edit) -> None:
    editing = edit(allow={422})
    editing.page.get_by_text("More settings").click()
    editing.page.get_by_label("Seed").fill("-7")
    editing.words.fill("make it green")
    editing.apply.click()
    expect(editing.page.get_by_label("Seed")).to_have_attribute("aria-invalid", "true")
    expect(editing.page.get_by_role("alert")).to_contain_text("seed")


def test_words_are_text_wherever_they_are_shown(edit: Edit) -> None:
    words = '"><img src=x onerror=alert(1)>'
    editing = edit()
    editing.words.fill(words)
    editing.apply.click()
    editing.compared()
    editing.keep.click()
    expect(editing.history.nth(1)).to_have_accessible_name(f"Step 2: {words}")
    assert editing.page.locator("img[src=x]").count() == 0


def test_a_picture_that_is_gone_is_told(open_page: Opener) -> None:
    page = open_page("#/edit/img_000000000000000000000000", allow={404})
    expect(page.get_by_role("alert")).to_have_text("This picture is not there any more. Pick another one.")
    expect(page.get_by_role("button", name="Choose a picture")).to_be_visible()


def test_edit_opens_the_picture_of_the_last_time(edit: Edit) -> None:
    editing = edit()
    page, image = editing.page, editing.page.url.split("/")[-1]
    page.get_by_role("link", name="Paint").click()
    page.get_by_role("link", name="Edit").click()
    expect(page).to_have_url(re.compile(f"#/edit/{image}$"))
    expect(editing.picture).to_be_visible()
