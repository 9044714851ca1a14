"""The gallery as its tests fill it and look at it."""

from typing import Any

from playwright.sync_api import Locator, Page

from tests.support.pictures import png
from tests.support.studio import Studio
from tests.support.waiting import until


def made(studio: Studio, prompt: str, **params: Any) -> str:
    """Have pictures painted; the id of the job."""
    return str(studio.submit(prompt=prompt, width=64, height=64, steps=2, **params)["id"])


def upload(studio: Studio, number: int = 0) -> str:
    files = {"image": ("a.png", png(64, 48, f"#{number * 16:02x}40a0"), "image/png")}
    return str(studio.request("POST", "/v1/images", files=files).json()["id"])


def listed(studio: Studio, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        query["after"] = found[-1]["id"] if found else None
        page = studio.request("GET", "/v1/images", params={"limit": 100, **query}).json()
        found += page["data"]
        if not page["has_more"]:
            return found


def tiles(page: Page) -> Locator:
    return page.get_by_role("list", name="Pictures").locator("li > a")


def ids(page: Page) -> list[str]:
    return [str(each) for each in tiles(page).evaluate_all("all => all.map((a) => a.dataset.id)")]


def detail(page: Page) -> Locator:
    return page.locator("dialog.detail")


def scroll(page: Page, by: float) -> None:
    """Turn the wheel, and wait until the grid has moved as far or to its end."""
    ahead = page.locator(".gallery").evaluate("(e) => e.scrollHeight - e.clientHeight - e.scrollTop")
    aim = at(page) + min(by, ahead) - 2
    page.mouse.move(700, 500)
    page.mouse.wheel(0, by)
    until(lambda: at(page) >= aim)


def at(page: Page) -> float:
    return float(page.locator(".gallery").evaluate("(e) => e.scrollTop"))


def fact(page: Page, name: str) -> Locator:
    return detail(page).locator(".facts > div").filter(has=page.get_by_text(name, exact=True)).locator("dd")
