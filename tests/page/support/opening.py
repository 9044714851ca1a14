"""Open the page as somebody does: on a screen of some size, in a language and theme, with a key or without."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.page.support.watching import Watch
from tests.support.studio import Studio

PATIENCE_MS = 60_000
"""How long a state is waited for; a machine may be crowded."""
Language = Literal["en", "zh"]
Theme = Literal["light", "dark"]
LOCALES: Mapping[Language, str] = {"en": "en-GB", "zh": "zh-CN"}

Size = tuple[int, int]
DESK: Size = (1440, 900)
PHONE: Size = (390, 844)


class Opener:
    """Opens pages for one test, each with storage and cookies of its own, and watches them."""

    def __init__(self, browser: Browser, studio: Studio) -> None:
        self._browser, self._studio = browser, studio
        self._opened: list[tuple[BrowserContext, Watch]] = []

    def __call__(
        self,
        path: str = "#/paint",
        *,
        size: Size = DESK,
        theme: Theme = "light",
        language: Language = "en",
        key: str | None = None,
        touch: bool = False,
        reduced_motion: bool = False,
        allow: Collection[int] = (),
        lost: bool = False,
        studio: Studio | None = None,
    ) -> Page:
        """Open a screen of the shared server, or of one's own, and wait until it is drawn.

        Args:
            path: Fragment of the screen.
            size: Width and height of the window.
            theme: What the system prefers.
            language: What the browser prefers.
            key: API key to sign in with; None for nobody, or for whoever needs none.
            touch: Whether this is a phone or tablet.
            reduced_motion: Whether the system asks for little motion.
            allow: Answers >= 400 that are expected.
            lost: Whether the line may be lost on the way.
            studio: The server, if not the shared one.
        """
        server = studio or self._studio
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=theme,
            locale=LOCALES[language],
            has_touch=touch,
            is_mobile=touch,
            reduced_motion="reduce" if reduced_motion else "no-preference",
            service_workers="block",
            accept_downloads=True,
        )
        context.set_default_timeout(PATIENCE_MS)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
        watch = Watch(server.url, allow, lost)
        watch.over(context)
        self._opened.append((context, watch))
        if key is not None:
            answer = context.request.post(f"{server.url}/v1/session", data={"api_key": key})
            assert answer.ok, answer.text()
        page = context.new_page()
        page.goto(f"{server.url}/{path}")
        expect(page.locator("h1").first).to_be_attached()
        return page

    def check(self) -> None:
        """Fail where a page did what no page may, and close them all."""
        try:
            for context, watch in self._opened:
                watch.check(context.pages)
        finally:
            for context, _ in self._opened:
                context.close()


@contextmanager
def opener(browser: Browser, studio: Studio) -> Iterator[Opener]:
    """Open pages within the block; what they did is judged at its end, where nothing else failed before."""
    opened = Opener(browser, studio)
    try:
        yield opened
    finally:
        opened.check()


def sidewise(page: Page) -> Any:
    """Return by how many pixels a page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
