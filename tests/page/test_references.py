"""References on the Edit screen: numbered, each with its role, and as many as the model takes."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page.support.opening import Opener
from tests.page.support.painting import requests_of
from tests.support.studio import Studio


@pytest.fixture(scope="module")
def studio(scripted: Studio) -> Studio:
    """A server that starts in a second."""
    return scripted


@pytest.fixture(scope="module")
def pictures(studio: Studio) -> list[str]:
    """Ids of as many pictures as the model takes, and one more."""
    [model] = studio.request("GET", "/v1/models").json()["data"]
    jobs = [studio.submit(width=128, height=128, steps=2, seed=seed) for seed in range(model["max_inputs"] + 1)]
    return [studio.finished(job["id"])["images"][0]["id"] for job in jobs]


def references(page: Page) -> Locator:
    """The pictures, each with its role."""
    return page.locator(".edit-refs").get_by_role("combobox")


def add(page: Page, number: int) -> None:
    """Add the newest picture that is not among them yet."""
    page.get_by_role("button", name=f"Add picture {number} as a reference").click()
    page.get_by_role("dialog").get_by_role("list", name="Newest").get_by_role("button").nth(number - 2).click()
    expect(references(page)).to_have_count(number)


def test_roles_are_sent_beside_the_pictures(open_page: Opener, studio: Studio, pictures: list[str]) -> None:
    page = open_page(f"#/edit/{pictures[0]}")
    expect(references(page)).to_have_count(1)
    add(page, 2)
    add(page, 3)
    page.get_by_role("combobox", name="What picture 2 is for").select_option("style")
    page.get_by_role("combobox", name="What picture 3 is for").select_option("control:edges")
    page.get_by_role("textbox", name="Your words").fill("a cup in the style of picture 2")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("button", name="Keep")).to_be_visible()
    asked = requests_of(studio)[0]
    assert asked["image"][0] == pictures[0]
    assert len(asked["image"]) == 3
    assert asked["roles"] == [{}, {"role": "style"}, {"role": "control", "derive": "edges"}]


def test_one_more_than_the_model_takes_is_told_before_it_is_sent(
    open_page: Opener, studio: Studio, pictures: list[str]
) -> None:
    most = len(pictures) - 1
    page = open_page(f"#/edit/{pictures[0]}")
    refs = pictures[1:]
    page.evaluate(
        "([id, refs]) => localStorage.setItem(`studio.draft.edit.${id}`, JSON.stringify({ refs }))", [pictures[0], refs]
    )
    page.reload()
    expect(references(page)).to_have_count(most + 1)
    alert = page.locator(".edit-refs").get_by_role("alert")
    expect(alert).to_have_text(f"miniature takes {most} pictures at most, and these are {most + 1}.")
    expect(page.get_by_role("button", name="as a reference")).to_have_count(0)
    before = len(studio.request("GET", "/v1/jobs", params={"limit": 100}).json()["data"])
    page.get_by_role("textbox", name="Your words").fill("all of them")
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name=f"Remove reference {most + 1}").click()
    expect(alert).to_have_count(0)
    assert len(studio.request("GET", "/v1/jobs", params={"limit": 100}).json()["data"]) == before
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("button", name="Keep")).to_be_visible()
    assert len(requests_of(studio)[0]["image"]) == most
