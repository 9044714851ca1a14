"""Who comes in, and how: by a link from another site, by a key; and how everybody goes out again."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.page.support.opening import Opener, opener
from tests.page.support.studios import SMALL, OwnStudio
from tests.support.studio import Studio

NOBODY = 401
"""What who is not known is answered."""


@pytest.fixture(scope="module")
def keyed(own_studio: OwnStudio) -> Studio:
    """A server with a key."""
    return own_studio(with_key=True)


@pytest.fixture(scope="module")
def links(keyed: Studio) -> list[str]:
    """Links to two pictures."""
    jobs = [keyed.submit(prompt=prompt, user="person-1", **SMALL)["id"] for prompt in ("a red apple", "a blue boat")]
    return [keyed.finished(job)["images"][0]["studio_url"] for job in jobs]


@pytest.fixture
def enter(browser: Browser, keyed: Studio) -> Iterator[Opener]:
    """Open the page of the server with a key."""
    with opener(browser, keyed) as opened:
        yield opened


def keys_of(studio: Studio) -> KeyStore:
    """The keys of a server."""
    return KeyStore(open_database(Settings(data_dir=studio.folder / "data")))


def fragment(link: str) -> str:
    """What a link has after the address."""
    return "#" + link.partition("#")[2]


def who(page: Page) -> dict[str, Any]:
    """Who the server says that a page's visitor is."""
    answer = page.context.request.get(f"{page.url.partition('#')[0]}v1/me")
    found: dict[str, Any] = answer.json() if answer.ok else {"kind": None}
    return found


def image_of(link: str) -> str:
    """The image that a link leads to."""
    return fragment(link).removeprefix("#/edit/").partition("?")[0]


@contextmanager
def other_site(link: str) -> Iterator[str]:
    """Another site whose page has the link, and a form that tries to use the visitor's session."""
    server = link.partition("/#")[0]
    body = (
        f'<!doctype html><title>chat</title><a href="{link}" target="_blank" rel="opener">Edit in the studio</a>'
        f'<form method="post" enctype="multipart/form-data" action="{server}/v1/jobs">'
        '<input name="params" value=\'{"operation": "generate", "prompt": "a cup"}\'><button>Paint</button></form>'
        f'<iframe src="{server}/"></iframe>'
    ).encode()

    class Chat(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Chat) as chat:
        Thread(target=chat.serve_forever, daemon=True).start()
        yield f"http://localhost:{chat.server_port}/"
        chat.shutdown()


def test_a_link_from_another_site_opens_the_editor_and_goes_from_the_address(
    browser: Browser, keyed: Studio, links: list[str]
) -> None:
    """Neither the address, nor the history, nor any request but the one for the session has the link's signature."""
    context = browser.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url + request.headers.get("referer", "")))
    with other_site(links[0]) as chat:
        page = context.new_page()
        page.goto(chat)
        with page.expect_popup() as popup:
            page.get_by_role("link", name="Edit in the studio").click()
        studio = popup.value
        expect(studio.get_by_role("navigation")).to_be_visible()
        expect(studio).to_have_url(f"{keyed.url}/#/edit/{image_of(links[0])}")
        assert (who(studio)["kind"], who(studio)["image_id"]) == ("guest", image_of(links[0]))
        assert studio.evaluate("history.length") == 1, "Back leads to no address with it"
        k = links[0].partition("?k=")[2]
        assert not [url for url in asked if k in url], "it travels in the body alone"
        assert studio.evaluate("document.cookie") == "", "no script sees the session"
        rail = studio.get_by_role("navigation").get_by_role("link")
        assert not {"Paint", "Status", "Review"} & set(rail.all_inner_texts())
    context.close()


def test_another_site_neither_frames_the_page_nor_uses_its_session(
    browser: Browser, keyed: Studio, links: list[str]
) -> None:
    context = browser.new_context()
    assert context.request.post(f"{keyed.url}/v1/session", data={"api_key": keyed.api_key}).ok
    before = len(keyed.request("GET", "/v1/jobs").json()["data"])
    with other_site(links[0]) as chat:
        page = context.new_page()
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))
        page.goto(chat)
        expect(page.frame_locator("iframe").get_by_role("navigation")).to_have_count(0)
        with page.expect_response(f"{keyed.url}/v1/jobs") as answer:
            page.get_by_role("button", name="Paint").click()
        assert answer.value.status in {401, 403}
        assert any("frame-ancestors" in each or "frame" in each.lower() for each in refused), refused
    assert len(keyed.request("GET", "/v1/jobs").json()["data"]) == before
    context.close()


def test_a_key_signs_in_and_out_and_back_shows_nothing(enter: Opener, keyed: Studio) -> None:
    page = enter("#/gallery", allow={NOBODY})
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    field = page.get_by_label("API key", exact=True)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Enter your API key.")
    field.fill('qis_"><img src=x onerror=alert(1)>')
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("no API key of this server")
    expect(field).to_be_focused()
    field.fill(keyed.api_key)
    field.press("Enter")
    expect(page.get_by_role("navigation")).to_be_visible()
    assert who(page)["key"] == "tests"
    stored = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert keyed.api_key not in stored
    page.goto(f"{keyed.url}/#/paint")
    page.get_by_label("Prompt").or_(page.get_by_role("textbox")).first.fill("a secret plan")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    assert "secret" not in page.evaluate("JSON.stringify([localStorage, sessionStorage])")
    page.go_back()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    expect(page.get_by_role("navigation")).to_have_count(0)
    page.goto("about:blank")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_contain_text("ign")
    expect(page.get_by_role("navigation")).to_have_count(0)
    assert who(page)["kind"] is None
    assert page.locator("main img:not([alt=''])").count() == 0


def test_a_revoked_key_ends_the_session_with_what_to_do(enter: Opener, keyed: Studio) -> None:
    key = keys_of(keyed).add("short")
    page = enter("#/gallery", key=key, allow={NOBODY})
    expect(page.get_by_role("navigation")).to_be_visible()
    keys_of(keyed).revoke("short")
    page.reload()
    expect(page.get_by_role("heading", name="Sign in again")).to_be_visible()
    expect(page.get_by_text("its API key was revoked")).to_be_visible()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_dead_link_says_what_to_do(enter: Opener, links: list[str], language: Any) -> None:
    page = enter(fragment(links[0])[:-4], allow={NOBODY, 403}, language=language)
    title = {"en": "This link opens nothing any more", "zh": "此链接已失效"}[language]
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    assert "k=" not in page.url
    page.get_by_text({"en": "I have an API key", "zh": "我有 API 密钥"}[language]).click()
    expect(page.get_by_label({"en": "API key", "zh": "API 密钥"}[language], exact=True)).to_be_visible()


def test_two_links_in_two_tabs_stay_two(enter: Opener, links: list[str], keyed: Studio) -> None:
    """They share one cookie: the tab that is used shows its own link again."""
    first = enter(fragment(links[0]))
    expect(first.get_by_role("navigation")).to_be_visible()
    second = first.context.new_page()
    with second.expect_response(f"**/v1/images/{image_of(links[1])}/chain"):  # nothing of it is asked for later
        second.goto(links[1])
    expect(second.get_by_role("navigation")).to_be_visible()
    assert who(second)["image_id"] == image_of(links[1])
    with first.expect_response("**/v1/session"):
        first.keyboard.press("Shift")
    assert who(first)["image_id"] == image_of(links[0])
    first.reload()
    expect(first.get_by_role("navigation")).to_be_visible()
    expect(first).to_have_url(f"{keyed.url}/#/edit/{image_of(links[0])}")


def test_who_signs_out_is_out_in_every_tab(enter: Opener, keyed: Studio) -> None:
    first = enter("#/gallery", key=keyed.api_key, allow={NOBODY})
    second = first.context.new_page()
    second.goto(f"{keyed.url}/#/paint")
    expect(second.get_by_role("navigation")).to_be_visible()
    second.get_by_role("button", name="Sign out").click()
    expect(first.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(first.get_by_role("navigation")).to_have_count(0)


def test_who_is_signed_in_stays_so_by_a_colleagues_link(enter: Opener, links: list[str], keyed: Studio) -> None:
    page = enter("#/gallery", key=keyed.api_key)
    expect(page.get_by_role("navigation")).to_be_visible()
    page.evaluate(f"location.hash = '{fragment(links[0])}'")
    expect(page).to_have_url(f"{keyed.url}/#/edit/{image_of(links[0])}")
    expect(page.get_by_role("navigation")).to_be_visible()
    assert who(page)["key"] == "tests"


def test_origins_of_the_settings_may_frame_the_page(own_studio: OwnStudio) -> None:
    studio = own_studio(settings={"frame_ancestors": "https://dify.example"})
    policy = requests.get(f"{studio.url}/", timeout=60).headers["Content-Security-Policy"]
    assert "frame-ancestors https://dify.example;" in policy
