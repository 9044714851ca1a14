"""The page's policy: exact, kept on every screen, and texts are texts wherever they are typed or shown."""

import base64
import hashlib
import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page.support.hostile import NASTY, hostile_studio
from tests.page.support.opening import PHONE, Language, Opener
from tests.page.support.screens import go, screens, settle
from tests.page.support.studios import OwnStudio
from tests.support.pictures import png
from tests.support.studio import Studio

LANGUAGES: tuple[Language, ...] = ("en", "zh")
MARKUP = "img[src='x'], [onerror], img[src$='/x']"
"""What the nasty text would be where it became markup."""


def test_the_policy_is_exact(studio: Studio) -> None:
    answer = studio.request("GET", "/")
    (imports,) = re.findall(r'<script type="importmap">(.*?)</script>', answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(imports.encode()).digest()).decode()
    assert answer.headers["Content-Security-Policy"] == (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    expected = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
    assert {name: answer.headers.get(name) for name in expected} == expected


def test_answers_of_the_api_show_nothing(studio: Studio) -> None:
    for path in ("/v1/me", "/v1/images", "/v1/health", "/openapi.json", "/nothing"):
        assert studio.request("GET", path).headers["Content-Security-Policy"].startswith("default-src 'none'"), path


def test_no_screen_breaks_the_policy_or_asks_a_stranger(open_page: Opener, painted: list[str]) -> None:
    for size, touch in (((1440, 900), False), (PHONE, True)):
        page = open_page("", size=size, touch=touch)
        for path in screens(painted[0]).values():
            go(page, path)  # whatever is wrong fails the test by its watch


# -- texts are texts --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(own_studio: OwnStudio, tmp_path_factory: pytest.TempPathFactory) -> tuple[Studio, str]:
    """A server whose every text wants to be markup, and a picture on it."""
    return hostile_studio(own_studio, tmp_path_factory.mktemp("hostile"))


def texts_only(page: Page, where: str) -> None:
    """Fail where a nasty text became more than text."""
    settle(page)
    assert page.locator(MARKUP).count() == 0, where


def unfold(page: Page) -> None:
    """Open whatever can be unfolded."""
    page.evaluate("() => document.querySelectorAll('details').forEach((each) => (each.open = true))")
    settle(page)


def shown_nasty(page: Page) -> bool:
    """Whether a nasty text can be read on the page, or is the value of a field."""
    values = "(nasty) => [...document.querySelectorAll('input, textarea')].some((each) => each.value.includes(nasty))"
    return NASTY in page.locator("body").inner_text() or page.evaluate(values, NASTY)


def told(page: Page) -> Locator:
    """What the page says in passing, or at a field."""
    return page.locator("[role=alert], [role=status]").filter(has_text=re.compile(r"\w")).first


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_server_tells_is_text_on_every_screen(
    open_page: Opener, hostile: tuple[Studio, str], language: Language
) -> None:
    studio, picture = hostile
    page = open_page(language=language, studio=studio)
    seen = set()
    for name, path in screens(picture).items():
        go(page, path)
        unfold(page)
        texts_only(page, name)
        if shown_nasty(page):
            seen.add(name)
    assert {"paint", "gallery, a picture", "review"} <= seen


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_typed_into_any_field_is_text(
    open_page: Opener, hostile: tuple[Studio, str], language: Language
) -> None:
    studio, picture = hostile
    page = open_page(language=language, studio=studio, allow={400, 404, 422})
    fields = "input:not([type]), input[type=text], input[type=search], input[type=password], textarea"
    filled = 0
    for name, path in screens(picture).items():
        go(page, path)
        unfold(page)
        for field in page.locator(fields).all():
            if not field.is_visible() or not field.is_editable():
                continue
            field.fill(NASTY)
            filled += 1
            texts_only(page, name)
            if field.is_visible() and field.evaluate("(each) => each.tagName === 'INPUT'"):
                field.press("Enter")
                texts_only(page, f"{name}, entered")
    assert filled >= 5


def test_the_name_of_a_file_is_text(open_page: Opener, hostile: tuple[Studio, str]) -> None:
    studio, _ = hostile
    page = open_page("#/edit", studio=studio)
    named = f"{NASTY}.png".replace("/", "")
    chooser = page.locator("input[type=file]").first
    chooser.set_input_files({"name": named, "mimeType": "image/png", "buffer": png()})
    expect(page).to_have_url(re.compile(r"#/edit/img_"))
    texts_only(page, "uploaded")


@pytest.mark.parametrize("content", [b"<script>alert(1)</script>", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_a_file_that_is_no_picture_is_refused_in_words(
    open_page: Opener, hostile: tuple[Studio, str], content: bytes
) -> None:
    studio, _ = hostile
    page = open_page("#/edit", studio=studio, allow={400, 415, 422})
    file = {"name": f"{NASTY}.html", "mimeType": "image/png", "buffer": content}
    page.locator("input[type=file]").first.set_input_files(file)  # type: ignore[arg-type]
    expect(told(page)).to_be_visible()
    texts_only(page, "refused")


def test_a_key_that_is_no_key_is_text(open_page: Opener, own_studio: OwnStudio) -> None:
    page = open_page("", studio=own_studio(with_key=True), allow={401})
    field = page.locator("input").first
    field.fill(NASTY)
    field.press("Enter")
    expect(told(page)).to_be_visible()
    texts_only(page, "sign-in")
