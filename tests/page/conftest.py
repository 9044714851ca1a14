"""A browser for each process of tests, a server without keys that all share, servers of one's own, pictures."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.support.opening import PATIENCE_MS, Opener, opener
from tests.page.support.reviewing import decide, waiting
from tests.page.support.studios import SMALL, Hold, OwnStudio, page_studio
from tests.support.chromium import chromium
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

expect.set_options(timeout=PATIENCE_MS)

PAINTED = ("a red apple on a table", "a yellow cup by a window", "a blue boat", "a green tree")
"""Prompts of the pictures that are there from the beginning."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def studio(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """The server that all tests of this process share: the miniature, on loopback, without keys."""
    with page_studio(tmp_path_factory.mktemp("studio")) as server:
        yield server


@pytest.fixture(scope="module")
def own_studio(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStudio]:
    """Make servers of one's own, which live until the module ends: ``own_studio(with_key=True, settings={...})``.

    ``tests/support/engine.py`` has an engine that starts in a second and paints on cue (``studio.SCRIPTED``).
    """
    with ExitStack() as stack:

        def make(*, with_key: bool = False, settings: Mapping[str, object] | None = None) -> Studio:
            folder = tmp_path_factory.mktemp("own")
            return stack.enter_context(page_studio(folder, with_key=with_key, settings=settings))

        yield make


@pytest.fixture
def open_page(browser: Browser, studio: Studio) -> Iterator[Opener]:
    """Open the page; whatever it does that no page may fails the test."""
    with opener(browser, studio) as opened:
        yield opened


@pytest.fixture(scope="session")
def painted(studio: Studio) -> list[str]:
    """Ids of pictures on the shared server, oldest first. Delete and change others."""
    jobs = [studio.submit(prompt=prompt, **SMALL)["id"] for prompt in PAINTED]
    return [studio.finished(job)["images"][0]["id"] for job in jobs]


@pytest.fixture
def hold(studio: Studio) -> Hold:
    """Paint pictures that wait for a reviewer, and return their ids: ``hold("a cup", n=2, seed=1, studio=another)``."""
    shared = studio

    def make(prompt: str = "a cup", *, studio: Studio | None = None, **params: Any) -> list[str]:
        server = studio or shared
        job = server.submit(prompt=prompt, hold=True, **{**SMALL, **params})["id"]
        until(lambda: server.job(job, wait=5)["state"] == "review")
        listed = server.request("GET", "/v1/images", params={"review": "held", "limit": 100}).json()["data"]
        return [image["id"] for image in listed if image["job_id"] == job]

    return make


@pytest.fixture(scope="module")
def scripted(own_studio: OwnStudio) -> Studio:
    """A server that paints plain colours, on cue of the prompt."""
    return own_studio(settings=SCRIPTED)


@pytest.fixture
def held(scripted: Studio, hold: Hold) -> Iterator[Callable[..., list[str]]]:
    """Paint pictures that wait; what still waits in the end is decided on."""
    yield lambda prompt="a cup", **params: hold(prompt, studio=scripted, **params)
    for image in waiting(scripted):
        decide(scripted, image, "approved")


@pytest.fixture
def review(open_page: Opener, scripted: Studio) -> Callable[..., Page]:
    """Open the screen on that server, with a clock that can be moved."""

    def opened(path: str = "#/review", **how: Any) -> Page:
        page = open_page(path, studio=scripted, **how)
        page.clock.install()
        return page

    return opened
