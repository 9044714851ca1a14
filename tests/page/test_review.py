"""Review: a queue of held pictures, by keyboard alone; verdicts that can be taken back at first, and are never lost."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from qwen_image_studio.contract.words import Scope
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.page.support.opening import PHONE, Opener, sidewise
from tests.page.support.screens import go, said, settle
from tests.page.support.studios import Hold, OwnStudio
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

SCRIPT = '"><img src=x onerror=alert(1)>'
UNDO_MS = 10_000


@pytest.fixture(scope="module")
def scripted(own_studio: OwnStudio) -> Studio:
    """A server that paints plain colours, with a classifier that doubts some of them."""
    return own_studio(settings=SCRIPTED)


@pytest.fixture
def held(scripted: Studio, hold: Hold) -> Iterator[Callable[..., list[str]]]:
    """Paint pictures that wait; what still waits in the end is decided on."""
    yield lambda prompt="a cup", **params: hold(prompt, studio=scripted, **params)
    for image in waiting(scripted):
        decide(scripted, image, "approved")


@pytest.fixture
def review(open_page: Opener, scripted: Studio) -> Callable[..., Page]:
    """Open the screen on that server, with a clock that can be moved."""

    def opened(path: str = "#/review", **how: Any) -> Page:
        page = open_page(path, studio=scripted, **how)
        page.clock.install()
        return page

    return opened


def waiting(studio: Studio) -> list[str]:
    """Ids of what is held, newest first."""
    page = studio.request("GET", "/v1/images", params={"review": "held", "limit": 100}).json()
    return [image["id"] for image in page["data"]]


def record(studio: Studio, image: str) -> dict[str, Any]:
    """A picture as a reviewer sees it."""
    return dict(studio.request("GET", f"/v1/images/{image}/chain").json()["image"])


def decide(studio: Studio, image: str, state: str, **more: Any) -> None:
    """Decide as somebody else would."""
    answer = studio.request("POST", f"/v1/images/{image}/review", json={"state": state, **more})
    assert answer.status_code == 200, answer.text


def thumbs(page: Page) -> Locator:
    """The queue."""
    return page.get_by_role("list", name="Pictures").get_by_role("button")


def looked_at(page: Page, number: int, of: int) -> None:
    """Wait until that picture of the queue is looked at."""
    expect(page.locator(".review-strip [aria-current]")).to_have_accessible_name(
        re.compile(f"^Picture {number} of {of}:")
    )


def sent(page: Page) -> list[dict[str, Any]]:
    """The verdicts that a page sends from now on."""
    found: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/review"):
            found.append(json.loads(request.post_data or "{}"))

    page.context.on("request", note)
    return found


def arrived(studio: Studio, image: str) -> int:
    """How many verdicts on a picture have reached the server, as its call log tells."""
    calls = studio.request("GET", "/v1/calls", params={"limit": 1000}).json()["data"]
    return sum(call["route"] == f"/v1/images/{image}/review" for call in calls)


def close(page: Page) -> None:
    """Close a tab as somebody does, whose page hears of it."""
    with page.expect_event("close"):
        page.close(run_before_unload=True)


def kept(page: Page) -> Any:
    """What the browser keeps of verdicts."""
    return page.evaluate("localStorage.getItem('studio.verdicts')")


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


# -- with keys -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def firm(own_studio: OwnStudio) -> Studio:
    """A server with keys, whose own one paints."""
    return own_studio(with_key=True, settings=SCRIPTED)


@pytest.fixture(scope="module")
def keys(firm: Studio) -> dict[str, str]:
    """A key for each kind of reviewer."""
    store = KeyStore(open_database(Settings(data_dir=firm.folder / "data")))
    people = {"rita": ("tests", Scope.REVIEW), "bert": ("tests", Scope.REVIEW), "ops": ("ops", Scope.OPERATE)}
    return {name: store.add(name, owner, [scope]) for name, (owner, scope) in people.items()}


def painted_for(firm: Studio, n: int = 1) -> None:
    """Have pictures painted that wait."""
    job = firm.submit(hold=True, width=128, height=128, steps=2, n=n)["id"]
    until(lambda: firm.job(job, wait=5)["state"] == "review")


def states(firm: Studio, key: str, state: str) -> int:
    """How many pictures are in a state of review, as a reviewer sees it."""
    header = {"Authorization": f"Bearer {key}"}
    return int(firm.request("GET", "/v1/images", params={"review": state}, headers=header).json()["total"])


def test_two_reviewers_at_once_and_an_operator_of_another_owner(
    open_page: Opener, firm: Studio, keys: dict[str, str]
) -> None:
    painted_for(firm, 3)
    rita = open_page("#/review", studio=firm, key=keys["rita"], allow={409})
    bert = open_page("#/review", studio=firm, key=keys["bert"])
    rita.clock.install()
    bert.clock.install()
    looked_at(rita, 1, 3)
    looked_at(bert, 1, 3)
    rita.keyboard.press("a")
    bert.keyboard.press("r")
    bert.clock.fast_forward(UNDO_MS)
    until(lambda: states(firm, keys["rita"], "rejected") == 1)
    rita.clock.fast_forward(UNDO_MS)
    expect(rita.get_by_role("status")).to_contain_text("bert was first: the picture is rejected already.")
    looked_at(rita, 1, 2)
    ops = open_page("#/review", studio=firm, key=keys["ops"])
    ops.clock.install()
    looked_at(ops, 1, 2)
    expect(ops.locator("dl")).to_contain_text("tests")
    ops.keyboard.press("a")
    ops.clock.fast_forward(UNDO_MS)
    until(lambda: states(firm, keys["rita"], "approved") == 1)
    looked_at(rita, 1, 1)  # told by events
    rita.keyboard.press("a")
    rita.get_by_role("button", name="Sign out").click()
    expect(rita.get_by_role("heading", name="Nothing to review")).to_have_count(0)
    until(lambda: states(firm, keys["rita"], "held") == 0)  # signing out has sent it
    assert kept(rita) is None
