"""How a change may end: cancelled, failed, held for a reviewer, or found again after the server was killed."""

import re

import pytest
from playwright.sync_api import expect

from tests.page.support.board import Editing, upload
from tests.page.support.opening import Opener
from tests.page.support.studios import OwnStudio
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

ALIKE = 160 + 190 * 256
"""Seed of a colour that is near those of the picture."""
DARK = 0
"""Seed of one that is far from them."""


@pytest.fixture(scope="module")
def scripted(own_studio: OwnStudio) -> Studio:
    """A server that paints as its prompts say; what changes much waits for a reviewer."""
    return own_studio(settings={**SCRIPTED, "review_change": 0.9})


def _started(open_page: Opener, studio: Studio, words: str, *, lost: bool = False) -> Editing:
    page = open_page(f"#/edit/{upload(studio)}", studio=studio, lost=lost)
    editing = Editing(page, studio).ready()
    editing.tool("Box")
    editing.draw([(60, 30), (150, 90)])
    _with_seed(editing, ALIKE)
    editing.words.fill(words)
    editing.apply.click()
    return editing


def _with_seed(editing: Editing, seed: int) -> None:
    editing.page.get_by_text("More settings").click()
    editing.page.get_by_label("Seed").fill(str(seed))


def test_cancel_leads_back_to_the_area(open_page: Opener, scripted: Studio) -> None:
    editing = _started(open_page, scripted, "forever preview=200")
    expect(editing.progress).to_contain_text("Step 1 of")
    expect(editing.apply).to_be_disabled()
    expect(editing.page.get_by_role("toolbar").get_by_role("button", name="Brush")).to_be_disabled()
    editing.progress.get_by_role("button", name="Cancel").click()
    expect(editing.progress).to_be_hidden()
    expect(editing.page.get_by_text(re.compile("of the picture may change$"))).to_be_visible()
    expect(editing.apply).to_be_enabled()
    assert editing.newest()["state"] == "cancelled"


def test_the_preview_is_drawn_within_the_area(open_page: Opener, scripted: Studio) -> None:
    editing = _started(open_page, scripted, "forever preview=200")
    page = editing.page
    inside, outside = editing.at((100, 60)), editing.at((200, 60))
    colour = """([x, y]) => {
      const canvas = document.querySelector(".board-overlay");
      const box = canvas.getBoundingClientRect();
      const at = [x - box.left, y - box.top].map((side) => Math.round(side * canvas.width / box.width));
      return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
    }"""
    until(lambda: page.evaluate(colour, list(inside))[0] > 150 and page.evaluate(colour, list(inside))[3] == 255)
    assert page.evaluate(colour, list(outside)) == [0, 0, 0, 0], "the sharp picture is seen there"
    editing.progress.get_by_role("button", name="Cancel").click()
    expect(editing.progress).to_be_hidden()


def test_a_failure_is_told_in_the_servers_words_and_tried_again(open_page: Opener, scripted: Studio) -> None:
    editing = _started(open_page, scripted, "bug@1")
    expect(editing.progress).to_contain_text("That did not work")
    failed = editing.newest()
    expect(editing.progress).to_contain_text(failed["error"]["message"])
    editing.progress.get_by_role("button", name="Try again").click()
    editing.compared()
    again = editing.newest()
    assert again["id"] != failed["id"]
    assert again["request"]["seed"] == failed["request"]["seed"]


def test_a_failure_can_be_put_away(open_page: Opener, scripted: Studio) -> None:
    editing = _started(open_page, scripted, "always bug@1")
    expect(editing.progress).to_contain_text("That did not work")
    editing.page.get_by_role("button", name="Close").click()
    expect(editing.progress).to_be_hidden()
    editing.page.reload()
    expect(editing.words).to_have_value("always bug@1")
    expect(editing.progress).to_be_hidden()


def test_what_is_held_is_said_and_shown_once_it_is_approved(open_page: Opener, scripted: Studio) -> None:
    page = open_page(f"#/edit/{upload(scripted)}", studio=scripted)
    editing = Editing(page, scripted).ready()
    editing.words.fill("a night")
    _with_seed(editing, DARK)
    editing.apply.click()
    expect(page.get_by_text("Waits for a reviewer. It is shown here as soon as it is approved.")).to_be_visible()
    [held] = scripted.request("GET", "/v1/images", params={"review": "held"}).json()["data"]
    answer = scripted.request("POST", f"/v1/images/{held['id']}/review", json={"state": "approved"})
    assert answer.ok, answer.text
    editing.compared()


def test_a_server_that_was_killed_goes_on_where_it_was(open_page: Opener, scripted: Studio) -> None:
    editing = _started(open_page, scripted, "pace=0.4 a cup", lost=True)
    expect(editing.progress).to_contain_text("Step")
    before = editing.newest()["id"]
    scripted.kill_one("serve")
    editing.compared()
    assert editing.newest()["id"] == before
    expect(editing.results).to_contain_text("Changed inside")
