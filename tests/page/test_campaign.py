"""A campaign: the brief as a form, its pieces as they come, and what can be done with them."""

import io
import zipfile

import pytest
from playwright.sync_api import Page, expect

from tests.page.support.opening import Opener
from tests.support.studio import Studio


@pytest.fixture
def form(open_page: Opener) -> Page:
    """The form of a brief, for drafts."""
    page = open_page("#/paint", allow={422})
    page.get_by_role("radio", name="Campaign").check()
    page.get_by_role("radio", name="Draft").check()
    return page


def newest(studio: Studio) -> dict[str, object]:
    """The newest job."""
    job: dict[str, object] = studio.request("GET", "/v1/jobs", params={"limit": 1}).json()["data"][0]
    return job


def test_a_brief_becomes_pieces_a_sheet_and_a_zip(form: Page, studio: Studio) -> None:
    form.get_by_role("textbox", name="What, for whom, when").fill('Spring Festival sale of red apples, "Fresh and red"')
    form.get_by_text("Say it part by part").click()
    form.get_by_role("textbox", name="For whom", exact=True).fill("young families")
    form.get_by_role("checkbox", name="Post", exact=True).check()
    form.get_by_role("checkbox", name="Story").check()
    form.get_by_role("checkbox", name="English").check()
    form.get_by_role("checkbox", name="red", exact=True).check()
    form.get_by_role("checkbox", name="gold").check()
    form.get_by_role("textbox", name="Keep its look as a style").fill("spring-sale")
    form.get_by_role("button", name="Paint 2 pictures").click()

    pieces = form.get_by_role("list", name="Pictures of the campaign").get_by_role("listitem")
    expect(pieces).to_have_count(2)
    expect(pieces.nth(0)).to_contain_text("Fresh and red")
    expect(pieces.nth(1)).to_contain_text("Story · English")
    shapes = [piece.get_by_role("button").bounding_box() for piece in pieces.all()]
    assert [round(shape["width"] / shape["height"], 1) for shape in shapes if shape] == [1.0, 0.6]
    expect(pieces.locator(".final")).to_have_count(2)
    asked = newest(studio)["request"]
    assert isinstance(asked, dict)
    assert (asked["audience"], asked["direction"]["palette"]) == ("young families", ["red", "gold"])
    assert "spring-sale" in [each["name"] for each in studio.request("GET", "/v1/styles").json()["data"]]

    with form.expect_download() as download:
        form.get_by_role("link", name="Download all").click()
    names = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())).namelist()
    assert "texts.csv" in names
    form.get_by_role("button", name="Contact sheet").click()
    expect(form.locator(".canvas .final.there")).to_be_visible()
    form.get_by_role("button", name="All pictures").click()
    pieces.nth(1).get_by_role("button").click()
    expect(form.locator(".canvas .final.there")).to_be_visible()
    form.get_by_role("button", name="Paint again").click()
    expect(form.get_by_role("list", name="Pictures of this visit").get_by_role("button")).to_have_count(2)
    expect(pieces).to_have_count(1)
    expect(pieces.locator(".final")).to_have_count(1)
    again = newest(studio)["request"]
    assert isinstance(again, dict)
    assert [piece["channel"] for piece in again["pieces"]] == ["story"]


def test_its_look_is_kept_and_its_settings_come_back(form: Page, studio: Studio, painted: list[str]) -> None:
    product = form.get_by_role("group", name="Picture of the product")
    product.get_by_role("button", name="Add a picture").click()
    form.get_by_role("dialog").get_by_role("searchbox").fill("on a table")
    form.get_by_role("dialog").get_by_role("button", name="a red apple on a table").first.click()
    expect(product.get_by_role("img", name="Picture 1")).to_be_visible()
    form.get_by_role("textbox", name="What, for whom, when").fill("春节苹果大促")
    form.get_by_role("checkbox", name="Banner", exact=True).check()
    form.get_by_role("button", name="Paint campaign").click()
    form.get_by_role("button", name="Keep as style").click()
    name = form.get_by_role("textbox", name="Keep its look as a style").last
    expect(name).to_be_focused()
    name.fill("not a name!")
    form.keyboard.press("Enter")
    expect(name).to_have_accessible_description(
        "name: takes letters, digits, - . and _, such as spring-2027, at most 64."
    )
    name.fill("festival")
    form.keyboard.press("Enter")
    expect(form.get_by_text("Saved as “festival”.")).to_be_visible()
    kept = studio.request("GET", "/v1/styles/festival").json()
    assert kept["palette"]
    assert kept["reference"] == painted[0]
    product.get_by_role("button", name="Remove picture 1").click()

    form.get_by_role("textbox", name="What, for whom, when").fill("")
    form.get_by_role("checkbox", name="Banner", exact=True).uncheck()
    form.get_by_role("button", name="Use these settings").click()
    expect(form.get_by_role("textbox", name="What, for whom, when")).to_have_value("春节苹果大促")
    expect(form.get_by_role("checkbox", name="Banner", exact=True)).to_be_checked()
    expect(form.get_by_role("checkbox", name="Chinese")).to_be_checked()
    expect(product.get_by_role("img", name="Picture 1")).to_be_visible()


def test_what_is_wrong_with_a_brief_is_said_at_its_field(form: Page) -> None:
    form.keyboard.press("Control+Enter")
    brief = form.get_by_role("textbox", name="What, for whom, when")
    expect(brief).to_be_focused()
    expect(brief).to_have_accessible_description("Say in one sentence what it is for.")
    brief.fill("apples")
    style = form.get_by_role("textbox", name="Keep its look as a style")
    style.fill("not a name!")
    form.keyboard.press("Control+Enter")
    expect(style).to_be_focused()
    expect(form.get_by_role("alert")).to_contain_text("save_style: takes letters, digits")
