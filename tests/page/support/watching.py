"""What no page may do, whatever its test is about: fail, break its policy, call a stranger, show a box of its own."""

from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, Response, WebError

REPORT = """
addEventListener("securitypolicyviolation", (e) => console.error(
  `policy broken: ${e.effectiveDirective} ${e.blockedURI} ${e.sample} at ${e.sourceFile}:${e.lineNumber}`));
"""
"""Has the page tell of each violation of its policy, also of those that are only reported."""
_OF_REQUESTS = "Failed to load resource"
"""How the console tells of answers and of lost lines, both of which are looked at themselves."""
_PREVIEW = ".preview."
"""Part of the address of a preview, which goes when its picture comes: who asks a moment later finds none."""
_GIVEN_UP = "net::ERR_ABORTED"
"""A request that the page itself gave up: it went elsewhere, or closed a stream."""


@dataclass
class Watch:
    """Everything that went wrong in one context, and what was expected to."""

    origin: str
    allow: Collection[int] = ()
    """Answers >= 400 that the test is about."""
    lost: bool = False
    """Whether requests may find no server."""
    problems: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        """Watch all pages of a context."""
        context.add_init_script(REPORT)
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("dialog", self._dialog)
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("response", self._response)

    def check(self, pages: Collection[Page]) -> None:
        """Fail where anything went wrong."""
        for page in pages:
            if not page.is_closed():
                page.evaluate("0")  # what happened before has been told by then
        assert not self.problems, "the page did what no page may:\n" + "\n".join(self.problems)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_OF_REQUESTS):
            self.problems.append(f"console: {message.text} ({message.location.get('url')})")

    def _error(self, error: WebError) -> None:
        self.problems.append(f"uncaught: {error.error.stack or error.error}")

    def _dialog(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()
            return
        self.problems.append(f"a box of the browser's: {dialog.type} {dialog.message!r}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in {"blob", "data", "about"} and f"{url.scheme}://{url.netloc}" != self.origin:
            self.problems.append(f"a request to another host: {request.url}")

    def _failed(self, request: Request) -> None:
        if not self.lost and request.failure != _GIVEN_UP:
            self.problems.append(f"no answer: {request.method} {request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        is_gone = response.status == 404 and _PREVIEW in response.url
        if response.status >= 400 and response.status not in self.allow and not is_gone:
            self.problems.append(f"{response.status} for {response.request.method} {response.url}")
