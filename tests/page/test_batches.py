"""Batches and campaigns in the gallery: one tile each, their rows with what became of them, and one piece again."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.page.support.opening import PHONE, opener, sidewise
from tests.page.support.shelf import detail, fact, made, tiles
from tests.page.support.studios import OwnStudio
from tests.support.studio import SCRIPTED, Studio

EVIL = '"><img src=x onerror=alert(1)>'
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def press(own_studio: OwnStudio) -> Studio:
    """A server that paints in no time, and fails on cue."""
    return own_studio(settings={**SCRIPTED, "max_attempts": 1})


@pytest.fixture
def open_press(browser: Browser, press: Studio) -> Iterator[Open]:
    with opener(browser, press) as opened:
        yield lambda path="#/gallery", **how: opened(path, **how)


def batch(studio: Studio, *things: str, said: str = "a {{thing}}") -> str:
    """Submit a batch; its id."""
    job = {"operation": "generate", "prompt": said, "width": 64, "height": 64, "steps": 2}
    asked = {"operation": "batch", "job": job, "rows": [{"thing": thing} for thing in things]}
    return str(studio.request("POST", "/v1/jobs", json=asked).json()["id"])


def rows(page: Page) -> Locator:
    return page.get_by_role("list", name="Rows").locator("> li")


def images(studio: Studio, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = studio.request("GET", "/v1/images", params={"limit": 100, **query}).json()["data"]
    return found


def test_a_batch_is_one_tile_with_rows_and_reasons(open_press: Open, press: Studio) -> None:
    press.finished(made(press, "before the batch"))
    job = press.finished(batch(press, "cup", f"bug@1 always {EVIL}", "star"))
    press.finished(made(press, "after the batch"))
    page = open_press()
    expect(tiles(page)).to_have_count(3)
    tile = tiles(page).nth(1)
    expect(tile).to_have_accessible_name("a ‹thing› Batch, 3 pictures, 1 failed")
    tile.click()
    expect(page).to_have_url(re.compile(f"#/gallery/{job['id']}$"))
    expect(page.get_by_role("status").filter(has_text="2 done")).to_contain_text("1 failed")
    expect(page.get_by_role("img", name="Contact sheet")).to_be_visible()
    expect(rows(page)).to_have_count(3)
    failed = press.request("GET", "/v1/jobs", params={"parent_id": job["id"], "state": "failed"}).json()["data"][0]
    expect(rows(page).nth(1)).to_contain_text(failed["error"]["message"])
    expect(rows(page).nth(1)).to_contain_text(EVIL)
    expect(rows(page).nth(0).get_by_role("img", name="a cup")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="ZIP").click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        assert {"row-001.png", "row-003.png", "rows.csv"} < set(archive.namelist())
    rows(page).nth(0).get_by_role("link").click()
    expect(detail(page).get_by_text("a cup", exact=True)).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(detail(page).get_by_text("a star", exact=True)).to_be_visible()
    page.go_back()
    expect(detail(page)).to_have_count(0)
    expect(rows(page)).to_have_count(3)
    page.get_by_role("link", name="Back to the gallery").click()
    expect(tiles(page)).to_have_count(3)


def test_a_failed_row_is_tried_again(open_press: Open, press: Studio) -> None:
    job = press.finished(batch(press, "boat", "bug@1 boat"))
    page = open_press(f"#/gallery/{job['id']}")
    rows(page).nth(1).get_by_role("button", name="Try again").click()
    expect(rows(page).nth(1).get_by_role("img", name="a bug@1 boat")).to_be_visible()
    expect(rows(page).nth(1)).not_to_contain_text("did not work")


def test_a_batch_is_followed_and_cancelled(open_press: Open, press: Studio) -> None:
    page = open_press()
    job = batch(press, "quick", "forever", "later")
    tile = page.locator(f'[data-id="{job}"]')
    expect(tile).to_contain_text("1 / 3")
    tile.click()
    expect(rows(page).nth(0).get_by_role("img")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_attribute("value", re.compile(r"0\.3"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status").filter(has_text="1 done")).to_contain_text("2 cancelled")
    expect(rows(page).filter(has_text="Cancelled")).to_have_count(2)
    assert press.finished(job)["state"] == "cancelled"


def test_a_batch_is_deleted_with_its_rows(open_press: Open, press: Studio) -> None:
    job = press.finished(batch(press, "doomed", "doomed too"))
    page = open_press(f"#/gallery/{job['id']}")
    page.get_by_role("button", name="Delete").click()
    question = page.get_by_role("dialog", name="Delete 1 batch with all pictures?")
    question.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile("#/gallery$"))
    expect(page.locator(f'[data-id="{job["id"]}"]')).to_have_count(0)
    assert not images(press, q="doomed")


def test_a_campaign_tells_its_texts_and_paints_a_piece_again(open_press: Open, press: Studio) -> None:
    brief = "Spring Festival sale of red apples, in English and Chinese"
    asked = {"operation": "campaign", "brief": brief, "channels": ["post"], "steps": 2}
    job = press.finished(press.request("POST", "/v1/jobs", json=asked).json()["id"])
    pieces = job["request"]["pieces"]
    page = open_press(f"#/gallery/{job['id']}")
    expect(page.get_by_role("heading", name=brief)).to_be_visible()
    expect(rows(page)).to_have_count(2)
    page.get_by_role("radio", name="Texts").check(force=True)
    table = page.get_by_role("table")
    for number, piece in enumerate(pieces, start=1):
        expect(table.get_by_role("row").nth(number)).to_contain_text(piece["headline"])
    page.get_by_role("radio", name="Pictures").check(force=True)
    rows(page).nth(1).get_by_role("button", name="Paint again").click()
    form = page.get_by_role("dialog", name="Paint again")
    expect(form.get_by_label("Headline")).to_have_value(pieces[1]["headline"])
    form.get_by_label("Headline").fill("福")
    form.get_by_role("button", name="Paint", exact=True).click()
    page.get_by_role("status").get_by_role("button", name="Show").click()
    expect(page).not_to_have_url(re.compile(job["id"]))
    expect(rows(page)).to_have_count(1)
    expect(rows(page).nth(0)).to_contain_text("福")
    expect(rows(page).nth(0).get_by_role("img")).to_be_visible()
    [again] = press.request("GET", "/v1/jobs", params={"operation": "campaign", "limit": 1}).json()["data"]
    assert [piece["headline"] for piece in again["request"]["pieces"]] == ["福"]


def test_a_search_finds_pictures_of_rows_and_they_lead_to_their_batch(open_press: Open, press: Studio) -> None:
    job = press.finished(batch(press, "lighthouse", "mill"))
    page = open_press()
    page.get_by_role("searchbox").fill("lighthouse")
    expect(tiles(page)).to_have_count(1)
    tiles(page).click()
    detail(page).get_by_role("link", name="Show its batch").click()
    expect(page).to_have_url(re.compile(f"#/gallery/{job['id']}$"))
    expect(rows(page)).to_have_count(2)


def test_it_fits_a_phone_in_chinese(open_press: Open, press: Studio) -> None:
    job = press.finished(batch(press, "杯子", " bug@1 always", said="一个{{thing}}"))
    page = open_press(f"#/gallery/{job['id']}", size=PHONE, touch=True, language="zh", theme="dark")
    expect(page.get_by_role("heading", name="一个‹thing›")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="失败 1")).to_be_visible()
    assert sidewise(page) == 0


def test_what_is_gone_says_so(open_press: Open) -> None:
    page = open_press("#/gallery/job_unknown", allow={404})
    expect(page.get_by_role("heading", name="This batch is not here any more.")).to_be_visible()
    page.get_by_role("link", name="Back to the gallery").click()
    expect(page.get_by_role("heading", name="Gallery")).to_be_visible()


def test_a_guest_sees_what_the_link_shows_and_deletes_nothing(own_studio: OwnStudio, browser: Browser) -> None:
    studio = own_studio(with_key=True, settings=SCRIPTED)
    studio.finished(made(studio, "not for guests"))
    image = studio.finished(made(studio, "for a guest"))["images"][0]
    with opener(browser, studio) as opened:
        # The job is the key's: what it was asked for is not a guest's to read.
        page = opened(f"#/{image['studio_url'].partition('#/')[2]}", allow={404})
        page.get_by_role("link", name="Gallery").click()
        expect(tiles(page)).to_have_count(1)
        expect(page.get_by_role("button", name="Select")).to_have_count(0)
        expect(page.get_by_role("radio", name="Uploads")).to_have_count(0)
        tiles(page).click()
        expect(detail(page).get_by_text("for a guest", exact=True)).to_be_visible()
        expect(fact(page, "Size")).to_have_text("64 × 64 px")
        expect(detail(page).get_by_role("link", name="Edit")).to_be_visible()
        expect(detail(page).get_by_role("button", name="Delete")).to_have_count(0)
