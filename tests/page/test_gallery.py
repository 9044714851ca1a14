"""The gallery: hundreds of pictures, what finds one of them, one of them in full, and several at once."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.support.fingers import Fingers
from tests.page.support.opening import PHONE, opener, sidewise
from tests.page.support.shelf import at, detail, fact, ids, listed, made, scroll, tiles, upload
from tests.page.support.studios import OwnStudio
from tests.support.studio import SCRIPTED, Studio

MANY = 170
UPLOADS = 4
EVIL = '"><img src=x onerror=alert(1)>'
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def shelf(own_studio: OwnStudio) -> Studio:
    """A server with hundreds of pictures, painted in no time."""
    studio = own_studio(settings=SCRIPTED)
    jobs = [made(studio, f"picture {number} of many", n=10) for number in range(MANY // 10)]
    jobs.append(made(studio, f"a needle in {EVIL}", seed=7, n=1))
    for number in range(UPLOADS):
        upload(studio, number)
    for job in jobs:
        studio.finished(job)
    return studio


@pytest.fixture
def open_shelf(browser: Browser, shelf: Studio) -> Iterator[Open]:
    with opener(browser, shelf) as opened:

        def go(path: str = "#/gallery", **how: Any) -> Page:
            page = opened(path, **how)
            expect(tiles(page).first).to_be_visible()
            return page

        yield go


# -- finding ---------------------------------------------------------------------------------------------------------


def test_hundreds_come_as_one_scrolls(open_shelf: Open, shelf: Studio) -> None:
    page = open_shelf()
    total = len(listed(shelf))
    expect(page.get_by_text(f"{total} pictures")).to_be_visible()
    assert len(ids(page)) < total, "not all at once"
    while tiles(page).count() < total:
        known = tiles(page).count()
        scroll(page, 4000)
        expect(tiles(page).nth(known)).to_be_attached()
    assert ids(page) == [image["id"] for image in listed(shelf)], "newest first, each once"
    most = page.locator(".tile").evaluate_all("all => Math.max(...all.map((e) => e.querySelectorAll('*').length + 1))")
    assert most <= 5
    sides = page.locator(".tile").first.bounding_box()
    assert sides is not None
    assert sides["width"] >= 188
    assert abs(sides["width"] - sides["height"]) < 1


def test_filters_and_a_search_leave_what_they_name(open_shelf: Open, shelf: Studio) -> None:
    page = open_shelf()
    page.get_by_role("radio", name="Uploads").check(force=True)
    expect(tiles(page)).to_have_count(UPLOADS)
    expect(page.get_by_text(f"{UPLOADS} pictures")).to_be_visible()
    page.get_by_role("radio", name="Approved").check(force=True)
    expect(page.get_by_role("heading", name="Nothing approved yet")).to_be_visible()
    page.get_by_role("radio", name="Painted").check(force=True)
    page.get_by_role("searchbox").fill("NEEDLE")
    expect(tiles(page)).to_have_count(1)
    expect(page.get_by_role("img", name=f"a needle in {EVIL}")).to_be_visible()
    page.get_by_role("searchbox").fill(EVIL)
    expect(tiles(page)).to_have_count(1)
    page.get_by_role("searchbox").fill(f"nothing {EVIL}")
    expect(page.get_by_role("heading", name=f"Nothing found for “nothing {EVIL}”")).to_be_visible()
    page.get_by_role("searchbox").fill("")
    expect(tiles(page).nth(50)).to_be_attached()


def test_an_empty_gallery_says_what_to_do_and_a_search_where_prompts_are_not_kept(
    own_studio: OwnStudio, browser: Browser
) -> None:
    studio = own_studio(settings={**SCRIPTED, "prompts": "dropped"})
    with opener(browser, studio) as opened:
        page = opened("#/gallery")
        expect(page.get_by_role("heading", name="No pictures yet")).to_be_visible()
        page.get_by_role("link", name="Paint a picture").click()
        expect(page).to_have_url(re.compile("#/paint$"))
        studio.finished(made(studio, "a cup"))
        page.go_back()
        expect(tiles(page)).to_have_count(1)
        page.get_by_role("searchbox").fill("cup")
        expect(page.get_by_text("This server does not keep prompts")).to_be_visible()
        page.get_by_role("searchbox").fill("")
        tiles(page).click()
        expect(detail(page).get_by_text("No words are kept for this picture.")).to_be_visible()


# -- news ------------------------------------------------------------------------------------------------------------


def test_news_move_nothing_that_one_looks_at(open_shelf: Open, shelf: Studio) -> None:
    page = open_shelf()
    first = ids(page)[0]
    shelf.finished(made(shelf, "something new"))
    new = listed(shelf)[0]["id"]
    expect(tiles(page).first).to_have_attribute("data-id", new)
    assert ids(page)[1] == first
    scroll(page, 1500)
    before = ids(page)
    seen = page.locator(f'[data-id="{before[30]}"]')
    place = seen.bounding_box()
    shelf.finished(made(shelf, "something newer"))
    shelf.request("DELETE", f"/v1/images/{new}")
    news = page.get_by_role("button", name="Show 1 new")
    expect(news).to_be_visible()
    expect(page.locator(f'[data-id="{new}"]')).to_have_count(0)
    assert seen.bounding_box() == place
    news.click()
    expect(tiles(page).first).to_have_attribute("data-id", listed(shelf)[0]["id"])
    assert ids(page)[1] == first, "what was deleted has gone"


# -- one picture -------------------------------------------------------------------------------------------------------


def test_keys_open_step_and_close(open_shelf: Open, shelf: Studio) -> None:
    page = open_shelf()
    order = ids(page)
    tiles(page).nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(tiles(page).nth(2)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"#/gallery/{order[2]}$"))
    expect(detail(page)).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(f"#/gallery/{order[3]}$"))
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile(f"#/gallery/{order[1]}$"))
    shown = next(image for image in listed(shelf) if image["id"] == order[1])
    expect(fact(page, "Seed")).to_have_text(str(shown["seed"]))
    for name, value in {"Made": "Painted from words", "Size": "64 × 64 px", "Steps": "2", "Model": "miniature"}.items():
        expect(fact(page, name)).to_have_text(value)
    for name in ("Took", "Date", "File", "Speed"):
        expect(fact(page, name)).not_to_be_empty()
    page.keyboard.press("Escape")
    expect(detail(page)).to_have_count(0)
    expect(page).to_have_url(re.compile("#/gallery$"))
    expect(page.locator(f'[data-id="{order[1]}"]')).to_be_focused()


def test_a_picture_has_an_address_and_back_closes_it(open_shelf: Open, shelf: Studio) -> None:
    image = listed(shelf)[5]["id"]
    page = open_shelf(f"#/gallery/{image}")
    expect(detail(page).get_by_role("img").first).to_be_visible()
    detail(page).get_by_role("button", name="Close").click()
    expect(detail(page)).to_have_count(0)
    expect(page).to_have_url(re.compile("#/gallery$"))
    scroll(page, 1800)
    place = at(page)
    inside = page.locator(f'[data-id="{ids(page)[50]}"]')
    inside.click()
    page.keyboard.press("ArrowRight")
    page.go_back()
    expect(detail(page)).to_have_count(0)
    assert abs(at(page) - place) < 400, "at the picture that was seen last"
    place = at(page)
    page.get_by_role("link", name="Status").click()
    expect(page).to_have_url(re.compile("#/status"))
    page.go_back()
    expect(tiles(page).first).to_be_attached()
    assert at(page) == place


def test_a_picture_that_is_not_there_says_so(open_shelf: Open) -> None:
    page = open_shelf("#/gallery/img_unknown", allow={404})
    expect(detail(page).get_by_role("alert")).to_contain_text("img_unknown")


def test_prompt_and_link_are_copied_and_the_file_downloaded(open_shelf: Open, shelf: Studio) -> None:
    [image] = listed(shelf, q="needle")
    page = open_shelf(f"#/gallery/{image['id']}")
    detail(page).get_by_role("button", name="Copy the prompt").click()
    assert page.evaluate("() => navigator.clipboard.readText()") == f"a needle in {EVIL}"
    detail(page).get_by_role("button", name="Copy link").click()
    expect(detail(page).get_by_role("button", name="Copied").last).to_be_visible()
    link = str(page.evaluate("() => navigator.clipboard.readText()"))
    assert link.startswith(shelf.url)
    content = shelf.request("GET", f"/v1/images/{image['id']}/content").content
    assert page.request.get(link).body() == content
    with page.expect_download() as download:
        detail(page).get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.startswith("a-needle-in-img-src-x-onerror-alert-1-")
    assert download.value.path().read_bytes() == content


def test_it_is_shown_larger_by_a_click(open_shelf: Open, shelf: Studio) -> None:
    page = open_shelf(f"#/gallery/{listed(shelf)[0]['id']}")
    picture = detail(page).locator(".look img")
    whole = picture.bounding_box()
    detail(page).get_by_role("button", name="Show larger").click()
    detail(page).get_by_role("button", name="Show whole").wait_for()
    large = picture.bounding_box()
    assert whole
    assert large
    assert large["width"] > 1.9 * whole["width"]
    page.keyboard.press("ArrowRight")
    expect(detail(page).get_by_role("button", name="Show whole")).to_be_visible()
    detail(page).get_by_role("button", name="Show whole").click()
    expect(detail(page).get_by_role("button", name="Show larger")).to_be_visible()


def test_settings_are_used_again_where_they_belong(open_shelf: Open, shelf: Studio) -> None:
    [image] = listed(shelf, q="needle")
    page = open_shelf(f"#/gallery/{image['id']}")
    detail(page).get_by_role("button", name="Use these settings").click()
    expect(page.get_by_role("textbox", name="What to paint")).to_have_value(image["prompt"])
    source = upload(shelf, 7)
    region = {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}
    asked = {"operation": "inpaint", "image": source, "region": region, "feather": 8, "steps": 2}
    job = shelf.finished(str(shelf.submit(prompt="a hat", **asked)["id"]))
    page.goto(f"{shelf.url}/#/gallery/{job['images'][0]['id']}")
    expect(fact(page, "Made")).to_have_text("Part painted anew")
    expect(fact(page, "Area")).to_have_text("50% × 50%")
    expect(fact(page, "Soft edge")).to_have_text("8 px")
    detail(page).get_by_role("radio", name="Before and after").check(force=True)
    expect(detail(page).get_by_role("slider")).to_be_visible()
    detail(page).get_by_role("button", name="Use these settings").click()
    expect(page).to_have_url(re.compile(f"#/edit/{source}$"))
    expect(page.get_by_role("textbox", name="Your words")).to_have_value("a hat")
    expect(page.get_by_text("25% of the picture may change")).to_be_visible()


def test_a_variation_is_painted_beside_it(open_shelf: Open, shelf: Studio) -> None:
    [image] = listed(shelf, q="needle")
    page = open_shelf(f"#/gallery/{image['id']}")
    detail(page).get_by_role("button", name="Vary").click()
    detail(page).get_by_role("link", name="The variation is done. Show it").click()
    other = next(each for each in listed(shelf, q="needle") if each["id"] != image["id"])
    expect(page).to_have_url(re.compile(f"#/gallery/{other['id']}$"))
    assert (other["prompt"], other["seed"] == image["seed"]) == (image["prompt"], False)
    shelf.request("DELETE", f"/v1/images/{other['id']}")


def test_a_finger_steps_and_two_columns_fit_a_phone(open_shelf: Open) -> None:
    page = open_shelf(size=PHONE, touch=True)
    tops = page.locator(".tile").evaluate_all("all => all.slice(0, 3).map((e) => e.getBoundingClientRect().top)")
    assert tops[0] == tops[1] < tops[2]
    assert sidewise(page) == 0
    order = ids(page)
    tiles(page).nth(1).tap()
    expect(detail(page).locator(".look img")).to_be_visible()
    Fingers(page).drag((300, 260), (200, 262), (80, 264))
    expect(page).to_have_url(re.compile(f"#/gallery/{order[2]}$"))
    Fingers(page).drag((80, 260), (200, 262), (320, 264))
    expect(page).to_have_url(re.compile(f"#/gallery/{order[1]}$"))
    assert sidewise(page) == 0


# -- deleting, and several at once -------------------------------------------------------------------------------------


def test_one_is_deleted_after_a_question(open_shelf: Open, shelf: Studio) -> None:
    shelf.finished(made(shelf, "to be deleted"))
    [doomed] = listed(shelf, q="to be deleted")
    page = open_shelf(f"#/gallery/{doomed['id']}")
    detail(page).get_by_role("button", name="Delete").click()
    question = page.get_by_role("dialog", name="Delete 1 picture?")
    question.get_by_role("button", name="Cancel").click()
    assert listed(shelf, q="to be deleted")
    detail(page).get_by_role("button", name="Delete").click()
    question.get_by_role("button", name="Delete").click()
    expect(page).not_to_have_url(re.compile(doomed["id"]))
    expect(page.locator(f'[data-id="{doomed["id"]}"]')).to_have_count(0)
    assert listed(shelf, q="to be deleted") == []


@pytest.fixture
def used(shelf: Studio) -> Iterator[str]:
    """A picture that a job needs which does not end."""
    image = upload(shelf, 9)
    job = made(shelf, "forever", operation="edit", image=image)
    yield image
    shelf.request("POST", f"/v1/jobs/{job}/cancel")
    shelf.finished(job)


def test_what_is_in_use_stays_and_says_why(open_shelf: Open, shelf: Studio, used: str) -> None:
    page = open_shelf(f"#/gallery/{used}", allow={409})
    detail(page).get_by_role("button", name="Delete").click()
    page.get_by_role("dialog", name="Delete 1 picture?").get_by_role("button", name="Delete").click()
    expect(detail(page).get_by_role("alert")).to_contain_text("in use")
    page.keyboard.press("Escape")
    expect(detail(page)).to_have_count(0)
    page.get_by_role("button", name="Select").click()
    boxes = page.get_by_role("list", name="Pictures").get_by_role("checkbox")
    doomed = [image["id"] for image in listed(shelf)[:3]]
    assert doomed[0] == used
    for number in range(3):
        boxes.nth(number).check()
    page.get_by_role("group", name="3 selected").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog", name="Delete 3 pictures?").get_by_role("button", name="Delete").click()
    told = page.get_by_role("dialog", name="1 could not be deleted")
    expect(told).to_contain_text("in use")
    told.get_by_role("button", name="Close").first.click()  # the message below has one, too
    assert [image["id"] for image in listed(shelf) if image["id"] in doomed] == [used]
    expect(page.get_by_role("status").filter(has_text="1 selected")).to_be_visible()


def test_several_are_chosen_by_range_and_keys_and_downloaded(open_shelf: Open, shelf: Studio) -> None:
    page = open_shelf()
    page.get_by_role("button", name="Select").click()
    boxes = page.get_by_role("list", name="Pictures").get_by_role("checkbox")
    boxes.nth(2).click()
    boxes.nth(6).click(modifiers=["Shift"])
    expect(page.get_by_role("group", name="5 selected")).to_be_visible()
    boxes.nth(6).press("ArrowRight")
    expect(boxes.nth(7)).to_be_focused()
    page.keyboard.press("Space")
    bar = page.get_by_role("group", name="6 selected")
    with page.expect_download() as download:
        bar.get_by_role("button", name="Download").click()
    wanted = listed(shelf)[2:8]
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == 6
        contents = {archive.read(name) for name in names}
    sent = {shelf.request("GET", f"/v1/images/{image['id']}/content").content for image in wanted}
    assert contents == sent
    expect(tiles(page).first).to_be_visible()
    page.get_by_role("button", name="Select").click()
    boxes.first.check()
    page.keyboard.press("Escape")
    expect(tiles(page).first).to_be_visible()
