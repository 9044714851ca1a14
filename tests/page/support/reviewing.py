"""What tests of the Review screen do on it, what they ask its server, and where they look."""

import json
import re
from typing import Any

from playwright.sync_api import Locator, Page, Request, expect

from tests.support.studio import Studio

UNDO_MS = 10_000
"""How long a verdict is kept before it is sent."""


def waiting(studio: Studio) -> list[str]:
    """Ids of what is held, newest first."""
    page = studio.request("GET", "/v1/images", params={"review": "held", "limit": 100}).json()
    return [image["id"] for image in page["data"]]


def record(studio: Studio, image: str) -> dict[str, Any]:
    """A picture as a reviewer sees it."""
    return dict(studio.request("GET", f"/v1/images/{image}/chain").json()["image"])


def decide(studio: Studio, image: str, state: str, **more: Any) -> None:
    """Decide as somebody else would."""
    answer = studio.request("POST", f"/v1/images/{image}/review", json={"state": state, **more})
    assert answer.status_code == 200, answer.text


def thumbs(page: Page) -> Locator:
    """The queue."""
    return page.get_by_role("list", name="Pictures").get_by_role("button")


def looked_at(page: Page, number: int, of: int) -> None:
    """Wait until that picture of the queue is looked at."""
    expect(page.locator(".review-strip [aria-current]")).to_have_accessible_name(
        re.compile(f"^Picture {number} of {of}:")
    )


def sent(page: Page) -> list[dict[str, Any]]:
    """The verdicts that a page sends from now on."""
    found: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/review"):
            found.append(json.loads(request.post_data or "{}"))

    page.context.on("request", note)
    return found


def arrived(studio: Studio, image: str) -> int:
    """How many verdicts on a picture have reached the server, as its call log tells."""
    calls = studio.request("GET", "/v1/calls", params={"limit": 1000}).json()["data"]
    return sum(call["route"] == f"/v1/images/{image}/review" for call in calls)


def close(page: Page) -> None:
    """Close a tab as somebody does, whose page hears of it."""
    with page.expect_event("close"):
        page.close(run_before_unload=True)


def kept(page: Page) -> Any:
    """What the browser keeps of verdicts."""
    return page.evaluate("localStorage.getItem('studio.verdicts')")
