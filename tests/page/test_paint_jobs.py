"""What happens to a job on the Paint screen: it waits, fails, is cancelled or tried again, and outlives a reload."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from tests.page.support.opening import Opener
from tests.page.support.painting import SCRIPT, paint, picture, requests_of, results, strip
from tests.support.studio import Studio

OpenScripted = Callable[[], Page]


@pytest.fixture
def open_scripted(open_page: Opener, scripted: Studio) -> Iterator[OpenScripted]:
    """Open the page on that server, and leave it nothing to do."""
    yield lambda: open_page("#/paint", studio=scripted)
    scripted.request("POST", "/v1/queue/cancel", json={"scope": "all"})


def test_an_idea_fills_in_the_prompt_and_text_is_text(open_scripted: OpenScripted) -> None:
    page = open_scripted()
    expect(page.get_by_role("heading", name="What will you paint?")).to_be_visible()
    page.get_by_role("button", name="A panda on a pink background").click()
    prompt = page.get_by_role("textbox", name="What to paint")
    expect(prompt).to_have_value("A panda on a pink background")
    expect(prompt).to_be_focused()
    paint(page, SCRIPT)
    expect(picture(page, SCRIPT)).to_be_visible()
    assert page.locator('img[src="x"]').count() == 0


def test_cancel_and_try_again(open_scripted: OpenScripted) -> None:
    page = open_scripted()
    paint(page, "forever preview")
    expect(results(page)).to_contain_text("Step 1 of 20")
    results(page).get_by_role("button", name="Cancel").click()
    expect(results(page)).to_contain_text("Cancelled")
    results(page).get_by_role("button", name="Try again").click()
    expect(results(page)).to_contain_text("Step 1 of 20")
    expect(strip(page)).to_have_count(2)


def test_a_late_answer_does_not_undo_the_news_of_an_end(open_scripted: OpenScripted, scripted: Studio) -> None:
    page = open_scripted()
    held: list[Route] = []

    def hold(route: Route) -> None:
        route.fetch()
        held.append(route)

    page.route("**/cancel", hold)
    paint(page, "forever preview")
    expect(results(page)).to_contain_text("Step 1 of 20")
    before = scripted.request("GET", "/v1/jobs", params={"limit": 1}).json()["data"][0]
    assert before["state"] == "running"
    results(page).get_by_role("button", name="Cancel").click()
    expect(results(page)).to_contain_text("Cancelled")
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/cancel")):
        held[0].fulfill(json=before)
    paint(page, "after it")  # by then the answer was read
    expect(picture(page, "after it")).to_be_visible()
    expect(strip(page).nth(1)).to_have_accessible_name("Cancelled: forever preview")


def test_a_failed_job_says_why_and_is_tried_again_with_one_click(open_scripted: OpenScripted) -> None:
    page = open_scripted()
    paint(page, f"a cup, bug@2 {SCRIPT}")
    failed = results(page).get_by_role("alert")
    expect(failed).to_contain_text("That did not work")
    expect(failed).to_contain_text("The worker failed at this job; the server's log has the cause.")
    failed.get_by_role("button", name="Try again").click()
    expect(picture(page, f"a cup, bug@2 {SCRIPT}")).to_be_visible()


def test_a_new_job_does_not_take_away_what_is_looked_at(open_scripted: OpenScripted) -> None:
    page = open_scripted()
    paint(page, "forever, the first")
    expect(results(page)).to_contain_text("Step 1 of 20")
    for number, prompt in enumerate(("forever, the second", "forever, the third"), 2):
        paint(page, prompt)
        expect(strip(page)).to_have_count(number)
    expect(results(page)).to_contain_text("Step 1 of 20")
    expect(strip(page).nth(2)).to_have_attribute("aria-current", "true")
    expect(strip(page).nth(0)).to_have_accessible_name("Place 2 in the queue: forever, the third")
    strip(page).nth(1).click()
    expect(results(page)).to_contain_text("Next in the queue")
    strip(page).nth(2).click()

    page.get_by_role("button", name="Cancel the other 2").click()
    expect(page.get_by_role("button", name="Cancel the other")).to_have_count(0)
    expect(strip(page).nth(0)).to_have_accessible_name("Cancelled: forever, the third")
    expect(strip(page).nth(1)).to_have_accessible_name("Cancelled: forever, the second")
    expect(results(page)).to_contain_text("Step 1 of 20")


def test_after_a_reload_in_the_middle_everything_is_there_again(open_scripted: OpenScripted, scripted: Studio) -> None:
    page = open_scripted()
    paint(page, "a cup that is done")
    expect(picture(page, "a cup that is done")).to_be_visible()
    paint(page, "forever preview=90")
    expect(results(page)).to_contain_text("Step 1 of 20")
    page.get_by_role("radio", name="9:16").check()
    page.get_by_text("More settings").click()
    page.get_by_role("textbox", name="Keep out").fill("blur")
    page.reload()
    expect(results(page)).to_contain_text("Step 1 of 20")
    expect(page.get_by_alt_text("Preview of the unfinished picture")).to_be_visible()
    expect(strip(page)).to_have_count(2)
    expect(page.get_by_role("textbox", name="What to paint")).to_have_value("forever preview=90")
    expect(page.get_by_role("radio", name="9:16")).to_be_checked()
    page.get_by_text("More settings").click()
    expect(page.get_by_role("textbox", name="Keep out")).to_have_value("blur")
    results(page).get_by_role("button", name="Cancel").click()
    expect(results(page)).to_contain_text("Cancelled")
    assert len(requests_of(scripted)) >= 2


def test_the_keyboard_is_enough(open_scripted: OpenScripted) -> None:
    page = open_scripted()
    page.get_by_role("radio", name="Words").focus()
    page.keyboard.press("Tab")
    page.keyboard.type("a first cup")
    page.keyboard.press("Control+Enter")
    expect(picture(page, "a first cup")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="4:3")).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="2", exact=True)).to_be_checked()
    page.keyboard.press("Meta+Enter")
    expect(strip(page)).to_have_count(3)
    strip(page).first.focus()
    page.keyboard.press("ArrowRight")
    expect(strip(page).nth(1)).to_be_focused()
    expect(strip(page).nth(1)).to_have_attribute("aria-current", "true")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(picture(page, "a first cup")).to_be_visible()
    expect(strip(page).nth(2)).to_be_focused()


def test_a_piece_that_failed_says_why_beside_those_that_came(open_scripted: OpenScripted) -> None:
    page = open_scripted()
    page.get_by_role("radio", name="Campaign").check()
    page.get_by_role("textbox", name="What, for whom, when").fill("apples")
    page.get_by_text("Say it part by part").click()
    page.get_by_role("textbox", name="Product").fill("apples, bug@2 always")
    page.get_by_role("checkbox", name="Post", exact=True).check()
    page.get_by_role("checkbox", name="English").check()
    page.get_by_role("button", name="Paint 1 picture").click()
    piece = page.get_by_role("list", name="Pictures of the campaign").get_by_role("listitem")
    expect(piece).to_contain_text("The worker failed at this job")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
