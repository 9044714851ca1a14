"""The watch over each page sees what no page may do, and lets pass what a test is about."""

from collections.abc import Callable, Iterator, Mapping

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.page.support.watching import Watch

ORIGIN = "http://page.test"
POLICY = "default-src 'none'; script-src 'self'; img-src *; connect-src *; require-trusted-types-for 'script'"

Show = Callable[..., tuple[Page, Watch]]


@pytest.fixture(scope="module")
def show(browser: Browser) -> Iterator[Show]:
    """Show a page that runs a script, under a policy such as ours, and watch it."""
    contexts = []

    def make(script: str, **expected: object) -> tuple[Page, Watch]:
        context = browser.new_context(service_workers="block")
        contexts.append(context)
        files: Mapping[str, tuple[str, str]] = {
            "/": ("text/html", "<title>page</title><script src=/page.js></script>"),
            "/page.js": ("text/javascript", script),
        }

        def answer(route: Route) -> None:
            path = route.request.url.removeprefix(ORIGIN)
            kind, body = files.get(path, ("text/plain", "none"))
            policy = {"Content-Security-Policy": POLICY} if path == "/" else {}
            status = 200 if path in files else 404
            route.fulfill(status=status, content_type=kind, body=body, headers=policy)

        context.route(f"{ORIGIN}/**", answer)
        watch = Watch(ORIGIN, **expected)  # type: ignore[arg-type]
        watch.over(context)
        page = context.new_page()
        page.goto(ORIGIN)
        page.wait_for_load_state("networkidle")
        return page, watch

    yield make
    for context in contexts:
        context.close()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("console.error('lost its way')", "console: lost its way"),
        ("throw new Error('broken')", "uncaught: Error: broken"),
        ("Promise.reject(new Error('nobody waits'))", "uncaught: Error: nobody waits"),
        ("document.head.innerHTML = '<b>'", "policy broken: require-trusted-types-for"),
        ("document.head.append(Object.assign(document.createElement('style'), {textContent: 'b{}'}))", "style-src"),
        ("setTimeout(() => alert('1'), 0)", "a box of the browser's: alert '1'"),
        ("new Image().src = 'http://other.test/a.png'", "a request to another host: http://other.test/a.png"),
        ("fetch('/nothing')", f"404 for GET {ORIGIN}/nothing"),
    ],
)
def test_what_no_page_may_do_is_seen(show: Show, script: str, told: str) -> None:
    page, watch = show(script)
    with pytest.raises(AssertionError, match="no page may") as failure:
        watch.check([page])
    assert told in str(failure.value)


def test_a_quiet_page_passes_and_so_does_what_was_expected(show: Show) -> None:
    for script, expected in (
        ("document.title = 'ready'; console.warn('careful')", {}),
        ("fetch('/nothing')", {"allow": {404}}),
        ("const stop = new AbortController(); fetch('/', {signal: stop.signal}).catch(() => 0); stop.abort()", {}),
    ):
        page, watch = show(script, **expected)
        watch.check([page])
