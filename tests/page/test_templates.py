"""Templates as forms: each slot is a control of its own, and the sentence is shown as it will be sent."""

import pytest
from playwright.sync_api import Page, expect

from tests.page.support.opening import Opener
from tests.support.studio import Studio

SCRIPT = '"><img src=x onerror=alert(1)>'


@pytest.fixture
def form(open_page: Opener) -> Page:
    """The form of templates, for drafts."""
    page = open_page("#/paint", allow={422})
    page.get_by_role("radio", name="Template").check()
    page.get_by_role("radio", name="Draft").check()
    return page


def test_a_template_is_filled_in_and_painted(form: Page, studio: Studio) -> None:
    expect(form.get_by_role("heading", level=1)).to_have_text("Fill in a template")
    expect(form.get_by_role("combobox", name="Template")).to_have_value("poster")
    sentence = form.get_by_label("The sentence that is sent")
    expect(sentence).to_contain_text("red background")
    form.get_by_role("textbox", name="What it shows").fill("an orange")
    form.keyboard.press("Control+Enter")
    headline = form.get_by_role("textbox", name="The headline, kept letter for letter")
    expect(headline).to_be_focused()
    expect(headline).to_have_accessible_description("slots.headline: is missing: the headline, kept letter for letter.")
    headline.fill("SALE")
    form.get_by_role("radio", name="blue").check()
    expect(sentence).to_have_text(
        'a poster of an orange, blue background, the text "SALE" at the top in large letters, clean layout'
    )
    form.keyboard.press("Control+Enter")
    expect(form.locator(".final.there")).to_be_visible()
    asked = studio.request("GET", "/v1/jobs", params={"limit": 1}).json()["data"][0]["request"]
    assert asked["template"] == "poster"
    assert asked["slots"] == {"subject": "an orange", "headline": "SALE", "color": "blue"}
    assert asked["language"] == "en"

    form.reload()
    expect(form.get_by_role("textbox", name="What it shows")).to_have_value("an orange")
    form.get_by_role("button", name="Use these settings").click()
    expect(form.get_by_role("textbox", name="The headline")).to_have_value("SALE")


def test_slots_of_all_types_and_a_picture_to_change(form: Page, studio: Studio, painted: list[str]) -> None:
    form.get_by_role("combobox", name="Template").select_option("add_object")
    form.get_by_role("textbox", name="What is to come, such as a star").fill(SCRIPT)
    form.get_by_role("radio", name="top left corner").check()
    expect(form.get_by_label("The sentence that is sent")).to_have_text(f"add {SCRIPT} on the top left corner")
    assert form.locator('img[src="x"]').count() == 0
    expect(form.get_by_role("radio", name="16:9")).to_have_count(0)

    form.get_by_role("combobox", name="Template").select_option("change_material")
    form.get_by_role("textbox", name="What is to change").fill("cup")
    form.get_by_role("radio", name="gold", exact=True).check()
    expect(form.get_by_label("The sentence that is sent")).to_have_text("make the cup look as if made of gold")
    form.keyboard.press("Control+Enter")
    expect(form.get_by_role("alert")).to_have_text("Choose the picture that is to change.")
    form.get_by_role("button", name="Add a picture").click()
    form.get_by_role("dialog").get_by_role("searchbox").fill("by a window")
    form.get_by_role("dialog").get_by_role("button", name="a yellow cup by a window").first.click()
    expect(form.get_by_role("alert")).to_have_count(0)
    form.keyboard.press("Control+Enter")
    expect(form.locator(".final.there")).to_be_visible()
    asked = studio.request("GET", "/v1/jobs", params={"limit": 1}).json()["data"][0]["request"]
    assert (asked["operation"], asked["template"], asked["slots"]) == (
        "edit",
        "change_material",
        {"object": "cup", "material": "gold"},
    )
    assert asked["image"] == [painted[1]]


def test_a_template_speaks_the_language_of_what_is_typed(open_page: Opener, studio: Studio) -> None:
    page = open_page("#/paint", language="zh")
    page.get_by_role("radio", name="模板").check()
    page.get_by_role("radio", name="草稿").check()
    page.get_by_role("combobox", name="模板").select_option("product_photo")
    sentence = page.get_by_label("将要发送的句子")
    product = page.get_by_role("textbox", name="商品，如手提包")
    product.fill("handbag")
    expect(sentence).to_have_text("handbag on a white background")
    product.fill("手提包")
    page.get_by_role("radio", name="粉色").check()
    expect(sentence).to_have_text("粉色背景上的手提包")
    page.get_by_role("button", name="开始绘制").click()
    expect(page.locator(".final.there")).to_be_visible()
    painted = studio.request("GET", "/v1/images", params={"limit": 1}).json()["data"][0]
    assert painted["prompt"] == "粉色背景上的手提包"
