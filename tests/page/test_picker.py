"""Picking a picture: chosen, dropped, pasted, or one that is there; what is no picture is refused in words."""

import base64
import re

import pytest
from playwright.sync_api import Page, expect

from tests.page.support.board import Editing, scene
from tests.page.support.opening import Opener
from tests.support.studio import Studio

HTML = b"<!doctype html><script>alert(1)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><rect width="9" height="9"/></svg>'
GIVE = """([kind, name, type, bytes]) => {
  const file = new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, { type });
  const data = new DataTransfer();
  data.items.add(file);
  const how = { bubbles: true, cancelable: true };
  const tell = (event) => document.body.dispatchEvent(event);
  if (kind === "paste") tell(new ClipboardEvent("paste", { clipboardData: data, ...how }));
  else for (const step of ["dragover", "drop"]) tell(new DragEvent(step, { dataTransfer: data, ...how }));
}"""
"""Drops or pastes a file, with the event that the browser makes of it."""


def _give(page: Page, kind: str, content: bytes, name: str = "scene.png", of: str = "image/png") -> None:
    page.evaluate(GIVE, [kind, name, of, base64.b64encode(content).decode()])


def _choose(page: Page, content: bytes, name: str = "scene.png", of: str = "image/png") -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a picture").click()
    chooser.value.set_files({"name": name, "mimeType": of, "buffer": content})


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_a_picture_comes_to_the_board(open_page: Opener, studio: Studio, way: str) -> None:
    page = open_page("#/edit")
    if way == "choose":
        _choose(page, scene())
    else:
        _give(page, way, scene())
    expect(page).to_have_url(re.compile("#/edit/img_"))
    Editing(page, studio).ready()
    record = studio.request("GET", f"/v1/images/{page.url.split('/')[-1]}").json()
    assert record["expires_at"] is not None, "an upload, which is not kept for good unless it is used"


@pytest.mark.parametrize(
    ("content", "name", "of"), [(HTML, "page.png", "image/png"), (SVG, "drawing.svg", "image/svg+xml")]
)
def test_what_is_no_picture_is_refused_in_words(open_page: Opener, content: bytes, name: str, of: str) -> None:
    page = open_page("#/edit", allow={415, 422, 400})
    _choose(page, content, name, of)
    expect(page.get_by_role("alert")).to_contain_text(re.compile("image|picture|PNG"))
    expect(page).to_have_url(re.compile("#/edit$"))
    expect(page.get_by_role("button", name="Choose a picture")).to_be_enabled()


def test_a_picture_dropped_on_the_board_is_opened(open_page: Opener, studio: Studio, painted: list[str]) -> None:
    page = open_page(f"#/edit/{painted[0]}")
    Editing(page, studio).ready()
    _give(page, "drop", scene())
    expect(page).not_to_have_url(re.compile(painted[0]))
    Editing(page, studio).ready()


def test_the_newest_are_there_and_can_be_searched(open_page: Opener, studio: Studio, painted: list[str]) -> None:
    page = open_page("#/edit")
    newest = page.get_by_role("list", name="Newest pictures")
    expect(newest.get_by_role("button").first).to_be_visible()
    assert newest.get_by_role("button").count() <= 12
    search = page.get_by_role("searchbox", name="Search by words")
    search.fill("green tree")
    expect(newest.get_by_role("button", name="a green tree").first).to_be_visible()
    expect(newest.get_by_role("button", name="a yellow cup")).to_have_count(0)
    search.fill('"><img src=x onerror=alert(1)>')
    expect(page.get_by_text('No picture has “"><img src=x onerror=alert(1)>” in its words.')).to_be_visible()
    search.fill("green tree")
    newest.get_by_role("button", name="a green tree").first.click()
    expect(page).to_have_url(re.compile("#/edit/img_"))
    Editing(page, studio).ready()


def test_a_dialog_takes_the_file_and_the_board_below_does_not(
    open_page: Opener, studio: Studio, painted: list[str]
) -> None:
    page = open_page(f"#/edit/{painted[0]}")
    Editing(page, studio).ready()
    page.get_by_role("button", name="Add picture 2 as a reference").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    _give(page, "paste", scene())
    expect(page.get_by_role("img", name="Picture 2", exact=True)).to_be_visible()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page).to_have_url(re.compile(painted[0]))
