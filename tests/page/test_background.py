"""Transparent pictures on the page: where they can be asked for, why not elsewhere, and how they are shown."""

import pytest
from playwright.sync_api import Page, expect

from tests.page.support.opening import Opener
from tests.page.support.painting import paint, requests_of, results, say
from tests.page.support.studios import OwnStudio
from tests.support.studio import SCRIPTED, Studio


@pytest.fixture(scope="module")
def studio(own_studio: OwnStudio) -> Studio:
    """A server with a model that paints transparent pictures, and plain colours on cue of the prompt."""
    return own_studio(settings={**SCRIPTED, "models": "miniature,miniature-layered"})


def background(page: Page) -> None:
    """Ask for a transparent background."""
    page.get_by_text("More settings").click()
    page.get_by_role("combobox", name="Background").select_option("transparent")


def test_a_transparent_picture_is_asked_for(open_page: Opener, studio: Studio) -> None:
    page = open_page("#/paint")
    background(page)
    jpeg = page.get_by_role("combobox", name="File").get_by_role("option", name="JPEG")
    expect(jpeg).to_be_disabled()
    paint(page, "a logo")
    shown = results(page).get_by_alt_text("a logo")
    expect(shown).to_have_attribute("data-there", "")
    assert "conic-gradient" in shown.evaluate("image => getComputedStyle(image).backgroundImage")
    asked = requests_of(studio)[0]
    assert (asked["background"], asked["model"]) == ("transparent", "miniature-layered")


def test_what_cannot_be_says_why(open_page: Opener) -> None:
    page = open_page("#/paint")
    page.get_by_text("More settings").click()
    field = page.get_by_role("combobox", name="Background")
    page.get_by_role("combobox", name="File").select_option("jpeg")
    expect(field.get_by_role("option", name="Transparent")).to_be_disabled()
    expect(field).to_have_accessible_description("JPEG has no transparency; take PNG or WebP.")
    page.get_by_role("combobox", name="File").select_option("png")
    expect(field.get_by_role("option", name="Transparent")).to_be_enabled()
    page.get_by_role("combobox", name="Model").select_option("miniature")
    expect(field.get_by_role("option", name="Transparent")).to_be_disabled()
    expect(field).to_have_accessible_description(
        "miniature paints opaque pictures only; transparent ones: miniature-layered."
    )
    say(page, "a logo")


def test_no_model_that_edits_paints_transparency_here(open_page: Opener, studio: Studio) -> None:
    image = studio.finished(studio.submit(width=128, height=128, steps=2)["id"])["images"][0]["id"]
    page = open_page(f"#/edit/{image}")
    page.get_by_text("More settings").click()
    field = page.get_by_role("combobox", name="Background")
    expect(field.get_by_role("option", name="Transparent")).to_be_disabled()
    expect(field).to_have_accessible_description("No model of this server paints transparent pictures.")
