"""Verdicts of the Review screen are never lost: who reloads, closes the tab or loses the line sends each once."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.page.support.reviewing import UNDO_MS, arrived, close, kept, looked_at, record, waiting
from tests.page.support.screens import go
from tests.support.studio import Studio
from tests.support.waiting import until

# -- leaving -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["#/review", "#/status"])
def test_a_reload_sends_what_is_kept_once(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio, where: str
) -> None:
    [image] = held()
    page = review()
    looked_at(page, 1, 1)
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="Nothing to review")).to_be_visible()
    if where != "#/review":
        go(page, where)
    page.reload()
    until(lambda: record(scripted, image)["review"] == "approved")
    until(lambda: kept(page) is None)  # the next page has looked it up
    until(lambda: arrived(scripted, image) == 1)


def test_closing_the_tab_sends_what_is_kept(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio
) -> None:
    newest, oldest = held(n=2)
    page = review()
    looked_at(page, 1, 2)
    page.keyboard.press("r")
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="Nothing to review")).to_be_visible()
    close(page)
    until(lambda: waiting(scripted) == [])
    assert [record(scripted, each)["review"] for each in (newest, oldest)] == ["rejected", "approved"]


# -- a line that is lost -------------------------------------------------------------------------------------------


def test_a_verdict_waits_for_the_line_and_is_sent_once(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio
) -> None:
    [image] = held()
    page = review(lost=True)
    looked_at(page, 1, 1)
    page.context.set_offline(True)
    page.keyboard.press("a")
    page.clock.fast_forward(UNDO_MS)
    expect(page.get_by_role("heading", name="Nothing to review")).to_be_visible()
    until(lambda: kept(page) is not None)
    assert waiting(scripted) == [image]
    page.context.set_offline(False)
    until(lambda: record(scripted, image)["review"] == "approved")
    until(lambda: kept(page) is None)
    until(lambda: arrived(scripted, image) == 1)
    expect(page.get_by_role("heading", name="Nothing to review")).to_be_visible()


def test_what_a_closed_page_could_not_send_is_sent_by_the_next(
    review: Callable[..., Page], held: Callable[..., list[str]], scripted: Studio
) -> None:
    first, second = held(n=2)
    page = review(lost=True)
    context = page.context
    looked_at(page, 1, 2)
    context.set_offline(True)
    page.keyboard.press("r")
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="Nothing to review")).to_be_visible()
    close(page)
    context.set_offline(False)
    assert set(waiting(scripted)) == {first, second}
    again = context.new_page()
    again.goto(f"{scripted.url}/#/paint")
    until(lambda: waiting(scripted) == [])
    assert [record(scripted, each)["review"] for each in (first, second)] == ["rejected", "approved"]
    until(lambda: kept(again) is None)
    until(lambda: [arrived(scripted, each) for each in (first, second)] == [1, 1])
