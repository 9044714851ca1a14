"""Everybody can use the page: with a reader, by keys alone, with little motion, on a small phone, by thumb."""

from collections.abc import Mapping, Sequence

import pytest
from playwright.sync_api import expect

from tests.page.support.axe import grave
from tests.page.support.opening import PHONE, Language, Opener, Theme, sidewise
from tests.page.support.screens import go, said, screens, settle
from tests.page.support.studios import Hold, OwnStudio

LANGUAGES: tuple[Language, ...] = ("en", "zh")
THEMES: tuple[Theme, ...] = ("light", "dark")
NARROW = (360, 740)
THUMB = 40
"""Least width and height of what is tapped, in pixels."""


def told(found: Mapping[str, Sequence[str]]) -> str:
    """What was found on which screen, in lines."""
    return "\n".join(f"{screen}: {each}" for screen, all_of_it in found.items() for each in all_of_it)


@pytest.fixture
def everything(painted: list[str], hold: Hold) -> str:
    """Have pictures, one that is held, and one that failed; a picture's id."""
    hold("a cup that waits", seed=11)
    return painted[0]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_nothing_grave_on_any_screen(
    open_page: Opener, everything: str, language: Language, theme: Theme
) -> None:
    page = open_page(language=language, theme=theme, reduced_motion=True)
    found = {}
    for name, path in screens(everything).items():
        go(page, path)
        found[name] = grave(page)
    assert told(found) == ""


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_grave_on_a_phone(open_page: Opener, everything: str, theme: Theme) -> None:
    page = open_page(size=PHONE, touch=True, theme=theme, reduced_motion=True)
    found = {}
    for name, path in screens(everything).items():
        go(page, path)
        found[name] = grave(page)
    go(page, "#/paint")
    page.get_by_role("button", name=said(page, "shell.more")).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    found["more"] = grave(page)
    assert told(found) == ""


def test_axe_finds_nothing_grave_at_the_door(open_page: Opener, own_studio: OwnStudio) -> None:
    studio = own_studio(with_key=True)
    for language, theme in zip(LANGUAGES, THEMES, strict=True):
        page = open_page("", studio=studio, language=language, theme=theme, allow={401}, reduced_motion=True)
        settle(page)
        assert grave(page) == []
        expect(page).to_have_title(f"{said(page, 'shell.sign_in')} · Qwen-Image Studio")


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_grave_in_dialogs_forms_and_folds(
    open_page: Opener, painted: list[str], theme: Theme
) -> None:
    page = open_page(theme=theme, reduced_motion=True)
    found = {}

    def look(name: str) -> None:
        page.evaluate("() => document.querySelectorAll('main details').forEach((each) => (each.open = true))")
        settle(page)
        found[name] = grave(page)

    for mode in ("words", "template", "campaign"):
        page.get_by_role("radio", name=said(page, f"paint.mode.{mode}")).check()
        look(mode)
    go(page, f"#/gallery/{painted[0]}")
    page.get_by_role("button", name=said(page, "gallery.delete"), exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(2)
    found["a question"] = grave(page)  # its button waits for the answer
    page.keyboard.press("Escape")
    go(page, f"#/edit/{painted[0]}")
    page.get_by_role("button", name=said(page, "edit.other"), exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    look("a picker")
    assert told(found) == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_screen_has_one_heading_and_its_own_title(open_page: Opener, everything: str, language: Language) -> None:
    page = open_page(language=language)
    for name, path in screens(everything).items():
        go(page, path)
        expect(page.locator("h1"), f"{name}: one heading of the first level").to_have_count(1)
        screen, _, _ = name.partition(",")
        expect(page).to_have_title(f"{said(page, f'shell.{screen}')} · Qwen-Image Studio")
        assert page.evaluate("document.documentElement.lang") == {"en": "en", "zh": "zh-CN"}[language]


# -- keys -------------------------------------------------------------------------------------------------------------

BEGIN = """
() => {
  window.walked = [];
  document.body.tabIndex = -1;
  document.body.focus();  // else Tab goes on from where the screen before was left
  document.body.removeAttribute("tabindex");
}
"""
WALK = """
() => {
  const at = document.activeElement;
  if (!at || at === document.body || walked.includes(at)) return null;
  const before = walked.at(-1);
  walked.push(at);
  const near = [at, at.nextElementSibling, at.parentElement, at.closest("label")].filter(Boolean);
  const ringed = near.some((each) => {
    const {outlineStyle, outlineWidth} = getComputedStyle(each);
    return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
  });
  const forward = !before || !!(before.compareDocumentPosition(at) & Node.DOCUMENT_POSITION_FOLLOWING);
  const rows = before && before.parentElement === at.parentElement;
  const upward = rows && at.getBoundingClientRect().bottom <= before.getBoundingClientRect().top;
  return {html: at.outerHTML.slice(0, 160), ringed, forward, upward};
}
"""
MISSED = """
() => {
  const group = (each) => each.type === "radio" && each.name;
  const passed = new Set(walked.map(group).filter(Boolean));
  const within = document.querySelector("dialog:modal") ?? document;  // all beyond is inert
  const all = within.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]");
  return [...all]
    .filter((each) => !each.disabled && each.tabIndex >= 0 && !each.closest("[inert]"))
    .filter((each) => each.checkVisibility({visibilityProperty: true}))
    .filter((each) => !walked.includes(each) && !passed.has(group(each)))
    .map((each) => each.outerHTML.slice(0, 160));
}
"""


def test_the_tab_key_reaches_everything_in_order_and_shows_where_it_is(open_page: Opener, everything: str) -> None:
    page = open_page()
    wrong: dict[str, list[str]] = {}
    for name, path in screens(everything).items():
        go(page, path)
        page.evaluate(BEGIN)
        faults = wrong[name] = []
        for _ in range(200):
            page.keyboard.press("Tab")
            step = page.evaluate(WALK)
            if step is None:
                break
            faults += [f"{fault}: {step['html']}" for fault in ("upward",) if step[fault]]
            faults += [f"not {virtue}: {step['html']}" for virtue in ("ringed", "forward") if not step[virtue]]
        faults += [f"missed: {each}" for each in page.evaluate(MISSED)]
    assert told(wrong) == ""


def test_little_motion_is_asked_for_and_given(open_page: Opener, everything: str) -> None:
    page = open_page(reduced_motion=True)
    moving = """
    () => [...document.querySelectorAll("*")]
      .filter((each) => getComputedStyle(each).transitionDuration.split(", ").some((time) => parseFloat(time) > 0))
      .map((each) => each.outerHTML.slice(0, 120))
    """
    for path in screens(everything).values():
        go(page, path)
        assert page.evaluate(moving) == []


# -- a small phone ----------------------------------------------------------------------------------------------------

SMALL_TARGETS = """
(least) => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [role=slider]")]
  .filter((each) => !each.disabled && each.checkVisibility({visibilityProperty: true, opacityProperty: true}))
  .filter((each) => !each.closest("p, .sr-only") && !each.matches(".sr-only"))
  .map((each) => {
    const boxes = [each, ...(each.labels ?? [])].map((one) => one.getBoundingClientRect());
    const most = (side) => Math.max(...boxes.map((box) => box[side]));
    return {each, width: most("width"), height: most("height")};
  })
  .filter(({width, height}) => width < least - 0.5 || height < least - 0.5)
  .map(({each, width, height}) => `${width} × ${height}: ${each.outerHTML.slice(0, 160)}`)
"""


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_wider_than_a_small_phone_nor_smaller_than_a_thumb(
    open_page: Opener, everything: str, language: Language
) -> None:
    page = open_page(size=NARROW, touch=True, language=language)
    wrong = {}
    for name, path in screens(everything).items():
        go(page, path)
        wrong[name] = ([f"{sidewise(page)} px too wide"] if sidewise(page) else []) + page.evaluate(
            SMALL_TARGETS, THUMB
        )
    assert told(wrong) == ""
