"""What is said in passing stands in front of everything, and can be closed."""

import pytest
from playwright.sync_api import expect

from tests.page.support.opening import Opener
from tests.page.support.studios import SMALL
from tests.support.studio import Studio


@pytest.fixture(scope="module")
def studio(scripted: Studio) -> Studio:
    """A server that starts in a second."""
    return scripted


def test_what_is_said_while_a_dialog_is_open_is_in_front_of_it(open_page: Opener, studio: Studio) -> None:
    image = studio.finished(studio.submit(**SMALL)["id"])["images"][0]["id"]
    page = open_page(f"#/gallery/{image}", lost=True)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Delete")).to_be_visible()
    page.context.set_offline(True)
    toast = page.locator(".toast")
    expect(toast).to_have_count(1)
    toast.get_by_role("button", name="Close").click()  # what lies behind a dialog takes no click
    expect(toast).to_have_count(0)
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.context.set_offline(False)
    expect(page.locator(".toast")).to_have_count(1)
