"""What tests of the Paint screen do on it, and where they look."""

from typing import Any

from playwright.sync_api import Locator, Page

from tests.support.studio import Studio

SCRIPT = '"><img src=x onerror=alert(1)>'


def say(page: Page, prompt: str) -> None:
    """Write a prompt."""
    page.get_by_role("textbox", name="What to paint").fill(prompt)


def paint(page: Page, prompt: str) -> None:
    """Write a prompt and have it painted."""
    say(page, prompt)
    page.keyboard.press("Control+Enter")


def results(page: Page) -> Locator:
    """The right side."""
    return page.get_by_role("region", name="Results")


def strip(page: Page) -> Locator:
    """The pictures of the visit, newest first."""
    return page.get_by_role("list", name="Pictures of this visit").get_by_role("button")


def picture(page: Page, prompt: str) -> Locator:
    """The finished picture, in full view."""
    return results(page).locator(".final.there").and_(page.get_by_alt_text(prompt))


def box(locator: Locator) -> dict[str, float]:
    """Where something is on the screen."""
    found = locator.bounding_box()
    assert found is not None
    return {"x": found["x"], "y": found["y"], "width": found["width"], "height": found["height"]}


def requests_of(studio: Studio) -> list[dict[str, Any]]:
    """What the newest jobs were asked for, newest first."""
    jobs = studio.request("GET", "/v1/jobs", params={"limit": 20}).json()["data"]
    return [job["request"] for job in jobs]
