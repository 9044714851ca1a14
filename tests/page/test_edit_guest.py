"""Edit for guests, who came by a signed link to one picture: the same screen, for so many changes."""

from playwright.sync_api import expect

from tests.page.support.board import HEIGHT, WIDTH, Editing
from tests.page.support.opening import Opener
from tests.page.support.studios import OwnStudio
from tests.support.studio import SCRIPTED


def test_a_guest_changes_the_picture_of_the_link_as_often_as_it_says(open_page: Opener, own_studio: OwnStudio) -> None:
    studio = own_studio(with_key=True, settings={**SCRIPTED, "guest_jobs": 2})
    made = [studio.finished(studio.submit(width=WIDTH, height=HEIGHT, steps=2)["id"]) for _ in range(2)]
    image, link = (made[0]["images"][0][name] for name in ("id", "studio_url"))
    page = open_page("#" + link.split("#")[1], studio=studio)
    editing = Editing(page, studio).ready()
    expect(page).to_have_url(f"{studio.url}/#/edit/{image}")
    expect(page.get_by_text("2 changes left")).to_be_visible()
    expect(page.get_by_role("button", name="Another picture")).to_have_count(0)
    page.get_by_role("button", name="Add picture 2 as a reference").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Choose a picture")).to_be_visible()
    expect(dialog.get_by_role("list").get_by_role("button")).to_have_count(1)  # the linked one, not the other
    page.keyboard.press("Escape")
    editing.tool("Box")
    editing.draw([(60, 30), (150, 90)])
    editing.words.fill("a cup")
    editing.apply.click()
    editing.compared()
    expect(page.get_by_text("1 change left")).to_be_visible()
    editing.keep.click()
    expect(editing.history).to_have_count(2)
    editing.words.fill("another cup")
    editing.apply.click()
    editing.compared()
    expect(page.get_by_text("No changes left with this link; the picture can still be looked at.")).to_be_visible()
    expect(editing.apply).to_be_disabled()
