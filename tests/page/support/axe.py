"""What axe-core, which judges who can use a page, finds in one."""

from functools import cache

from playwright.sync_api import Page

from tests.page.support.node import module

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
GRAVE = {"serious", "critical"}
RUN = "(rules) => axe.run(document, {runOnly: rules, resultTypes: ['violations'], preload: false})"
"""Without a look into style sheets, for which axe writes some of its own, against the policy."""


@cache
def axe() -> str:
    """axe-core's script; an evaluation of the debugger goes past the page's policy."""
    return module("axe-core/axe.min.js").read_text(encoding="utf-8")


def grave(page: Page) -> list[str]:
    """What axe finds in a page that is worse than moderate."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(f"() => {{ {axe()} }}")
    found = page.evaluate(RUN, RULES)
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['html'][:160]}"
        for rule in found["violations"]
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
    ]
