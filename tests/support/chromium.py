"""Debian's Chromium, one for each process of tests."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",  # tests of a container are root's
    "--disable-gpu",
    "--disable-quic",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # nothing else is to be reached
)
"""How it is started, so that it asks nobody for anything by itself."""


def executable() -> str:
    """Return the path of Chromium. Where it is not here, what needs it is skipped; in CI it fails."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    message = "Chromium is not here; `make test-page` installs it from Debian, as root"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Run it without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=[*QUIET, *flags])
        try:
            yield browser
        finally:
            browser.close()
