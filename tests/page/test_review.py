"""Review: a queue of held pictures, by keyboard alone; what is shown of each, and what others have decided."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.page.support.opening import PHONE, sidewise
from tests.page.support.reviewing import UNDO_MS, decide, kept, looked_at, record, sent, waiting
from tests.page.support.screens import said, settle
from tests.support.studio import Studio
from tests.support.waiting import until

SCRIPT = '"><img src=x onerror=alert(1)>'


# -- by keyboard ---------------------------------------------------------------------------------------------------


def test_a_queue_is_worked_through_by_keyboard_alone(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio
) -> None:
    newest, second, oldest = held(n=3)
    page = review()
    posts = sent(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("3 to review")
    looked_at(page, 1, 3)
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    looked_at(page, 3, 3)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("k")
    looked_at(page, 1, 3)
    for key in "421":
        page.keyboard.press(key)
    page.keyboard.press("1")  # again: taken back
    expect(page.get_by_role("button", name="Off brand")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Wrong text")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("r")
    expect(page.get_by_role("heading", level=1)).to_have_text("2 to review")
    looked_at(page, 1, 2)
    expect(page.get_by_role("button", name="Off brand")).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_role("link", name="Review")).to_contain_text("2 wait for review")
    page.keyboard.press("a")
    looked_at(page, 1, 1)
    assert posts == []
    assert waiting(scripted) == [newest, second, oldest]
    page.clock.fast_forward(UNDO_MS)
    until(lambda: waiting(scripted) == [oldest])
    assert posts == [
        {"state": "rejected", "reasons": ["Off brand", "Not what was asked"]},
        {"state": "approved", "reasons": []},
    ]
    assert record(scripted, newest)["review_reasons"] == ["Off brand", "Not what was asked"]
    assert record(scripted, second)["review"] == "approved"
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="Nothing to review")).to_be_visible()


def test_a_key_that_is_held_down_decides_once(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio
) -> None:
    held(n=3)
    page = review()
    looked_at(page, 1, 3)
    page.keyboard.down("a")
    page.keyboard.down("a")  # the second one repeats
    page.keyboard.up("a")
    looked_at(page, 1, 2)
    page.keyboard.press("Control+a")
    looked_at(page, 1, 2)


def test_own_words_are_typed_and_sent_with_the_verdict(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio
) -> None:
    [image] = held()
    page = review()
    field = page.get_by_role("textbox", name="In other words")
    field.click()
    page.keyboard.type(f"raz, jak {SCRIPT}")
    expect(page.get_by_role("heading", level=1)).to_have_text("1 to review")
    page.keyboard.press("Control+Enter")
    page.clock.fast_forward(UNDO_MS)
    until(lambda: record(scripted, image)["review"] == "rejected")
    assert record(scripted, image)["review_reasons"] == [f"raz, jak {SCRIPT}"]
    page.get_by_role("radio", name="Rejected").check()
    expect(page.get_by_text(SCRIPT).first).to_be_visible()


# -- taking back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["key", "button"])
def test_a_verdict_is_taken_back_within_ten_seconds(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio, how: str
) -> None:
    held(n=2)
    page = review()
    posts = sent(page)
    looked_at(page, 1, 2)
    page.keyboard.press("3")
    page.keyboard.press("r")
    looked_at(page, 1, 1)
    page.clock.fast_forward(UNDO_MS - 2000)
    if how == "key":
        page.keyboard.press("z")
    else:
        page.get_by_role("status").get_by_role("button", name="Undo").click()
    looked_at(page, 1, 2)
    expect(page.get_by_role("heading", level=1)).to_have_text("2 to review")
    expect(page.get_by_role("button", name="Looks broken")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("status").get_by_role("button", name="Undo")).to_have_count(0)
    page.clock.fast_forward(2 * UNDO_MS)
    settle(page)
    assert (posts, len(waiting(scripted)), kept(page)) == ([], 2, None)


def test_a_verdict_that_was_sent_is_not_taken_back(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio
) -> None:
    held(n=2)
    page = review()
    looked_at(page, 1, 2)
    page.keyboard.press("a")
    page.clock.fast_forward(UNDO_MS)
    until(lambda: len(waiting(scripted)) == 1)
    expect(page.get_by_role("status").get_by_role("button", name="Undo")).to_have_count(0)
    page.keyboard.press("z")
    settle(page)
    looked_at(page, 1, 1)


# -- others --------------------------------------------------------------------------------------------------------


def test_who_was_first_is_told(review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio) -> None:
    [image] = held()
    page = review(allow={409})
    looked_at(page, 1, 1)
    page.keyboard.press("a")
    decide(scripted, image, "rejected", user="bert")
    page.clock.fast_forward(UNDO_MS)
    expect(page.get_by_role("status")).to_contain_text("local (bert) was first: the picture is rejected already.")
    assert kept(page) is None
    assert record(scripted, image)["review"] == "rejected"


def test_what_others_decide_goes_and_what_comes_appears_by_itself(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio
) -> None:
    newest, oldest = held(n=2)
    page = review()
    looked_at(page, 1, 2)
    page.keyboard.press("j")
    decide(scripted, oldest, "approved", user="bert")
    expect(page.get_by_role("status")).to_contain_text("Somebody else has decided")
    looked_at(page, 1, 1)
    [fresh] = held("a robot")
    looked_at(page, 2, 2)  # what one looks at stays
    expect(page.get_by_role("heading", level=1)).to_have_text("2 to review")
    decide(scripted, newest, "approved")
    decide(scripted, fresh, "rejected")
    expect(page.get_by_role("heading", name="Nothing to review")).to_be_visible()


# -- what is shown -------------------------------------------------------------------------------------------------


def test_an_edit_is_compared_with_the_picture_before(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio
) -> None:
    before = scripted.finished(scripted.submit(width=256, height=128, steps=2)["id"])["images"][0]["id"]
    area = {"x": 0.5, "y": 0, "width": 0.5, "height": 1}
    asked = {"operation": "inpaint", "prompt": "a star", "image": before, "region": area, "steps": 2, "hold": True}
    scripted.submit(**asked, user="0a" * 20)
    until(lambda: waiting(scripted))
    page = review()
    handle = page.get_by_role("slider")
    handle.focus()
    page.keyboard.press("ArrowRight")
    expect(handle).to_have_value("51")
    expect(page.get_by_text("a star", exact=True)).to_be_visible()
    expect(page.locator("dl")).to_contain_text("256 × 128")
    expect(page.locator("dl")).to_contain_text("Dify · 0a0a0a0a")
    for side in ("inside", "outside"):
        expect(page.get_by_role("progressbar", name=f"Changed {side} the area")).to_be_visible()


def test_verdicts_of_lately_are_found_with_who_decided_and_why(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio
) -> None:
    good, bad, late = held(n=3)
    decide(scripted, good, "approved", user="ann")
    decide(scripted, bad, "rejected", user="bert", reasons=["six fingers"], note="the left hand")
    page = review()
    looked_at(page, 1, 1)
    page.get_by_role("radio", name="Rejected").check()
    expect(page.get_by_text("six fingers")).to_be_visible()
    expect(page.get_by_text("local (bert)")).to_be_visible()
    expect(page.get_by_text("the left hand")).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    page.get_by_role("radio", name="To review").check()
    looked_at(page, 1, 1)
    page.keyboard.press("a")
    page.get_by_role("radio", name="Approved").check()
    expect(page.get_by_text("Not sent yet")).to_be_visible()
    page.get_by_role("complementary").get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Not sent yet")).to_have_count(0)
    expect(page.get_by_text("local (ann)")).to_be_visible()
    assert waiting(scripted) == [late]


def test_a_picture_that_its_owner_has_cancelled_goes(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio
) -> None:
    [image] = held()
    job = record(scripted, image)["job_id"]
    page = review(allow={404})
    looked_at(page, 1, 1)
    page.keyboard.press("a")
    scripted.request("POST", f"/v1/jobs/{job}/cancel")
    page.clock.fast_forward(UNDO_MS)
    expect(page.get_by_role("status")).to_contain_text("waits for nobody any more")
    assert kept(page) is None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_phone_shows_picture_and_buttons_without_scrolling(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio, language: str
) -> None:
    [image] = held(SCRIPT)
    page = review(size=(360, PHONE[1]), touch=True, language=language)
    assert sidewise(page) == 0
    expect(page.get_by_alt_text(SCRIPT)).to_be_in_viewport()
    approve = page.get_by_role("button", name=said(page, "review.approve"))
    expect(approve).to_be_in_viewport()
    approve.tap()
    page.clock.fast_forward(UNDO_MS)
    until(lambda: record(scripted, image)["review"] == "approved")
