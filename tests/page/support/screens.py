"""The screens, how to go from one to the next within a page, and what a page says in its own words."""

from collections.abc import Mapping
from typing import Any

from playwright.sync_api import Page, expect

_QUIET = """
() => new Promise((resolve, reject) => {
  const began = performance.now();
  let changed = began;
  const watch = new MutationObserver(() => (changed = performance.now()));
  watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
  const look = () => {
    const busy = [
      ...document.querySelectorAll('main [aria-busy="true"]'),
      ...[...document.images].filter((image) => image.loading !== "lazy" && !image.complete),
    ];
    if (!busy.length && performance.now() - changed > 250) return watch.disconnect(), resolve();
    if (performance.now() - began < 60_000) return setTimeout(look, 50);
    watch.disconnect();
    reject(new Error(`never quiet: ${busy.map((each) => each.outerHTML.slice(0, 200))}`));
  };
  look();
})
"""
_SAID = """
async ([name, values]) => {
  const main = document.querySelector('script[src$="/main.js"]').src;
  return (await import(main.replace("main.js", "words.js"))).t(name, values);
}
"""


def screens(image_id: str) -> Mapping[str, str]:
    """Addresses of all screens within the page, by what they show; some show a picture."""
    return {
        "paint": "#/paint",
        "edit": "#/edit",
        "edit, a picture": f"#/edit/{image_id}",
        "gallery": "#/gallery",
        "gallery, a picture": f"#/gallery/{image_id}",
        "review": "#/review",
        "status": "#/status",
    }


def go(page: Page, path: str) -> None:
    """Open another screen of an open page, and wait until it is drawn."""
    page.evaluate("(hash) => void (location.hash = hash)", path)
    expect(page.locator("h1").first).to_be_attached()
    settle(page)


def settle(page: Page) -> None:
    """Wait until a page has everything that it waits for, and changes no more."""
    page.evaluate(_QUIET)


def said(page: Page, name: str, **values: Any) -> str:
    """Return a text of the page's tables, in its language."""
    text = str(page.evaluate(_SAID, [name, values]))
    assert text != name, f"no text is named {name}"
    return text
