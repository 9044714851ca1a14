"""``make bench-page``: what the studio page costs a browser: bytes, requests, CPU, many pictures, a brush.

A real server with the scripted engine, and Chromium without a window. CPU is the renderer's own, from the system's
table of processes: that is true whatever else runs. Seconds until something is seen need an idle machine.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import requests
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from benchmarks import Row, show
from benchmarks.servers import ANSWER_S, Studio, ours
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.page import open_page
from tests.support.chromium import chromium

SETTINGS = {"STUDIO_ENGINE": "tests.support.engine:open_engine", "STUDIO_QUEUE_LIMIT": "2000"}
KB = 1000
PATIENCE_MS = 120_000
EACH = 4
"""Pictures of one job."""
LARGE = 4096
"""Sides of the picture that is drawn on."""
POINTS = 200
"""Points of the stroke."""

FIRST_JS_KB, FIRST_CSS_KB = 82.0, 32.0
FIRST_REQUESTS = 28
"""A module for each noun, and no bundler."""
ALL_JS_KB = 150.0
"""As they are sent, by gzip."""
FIRST_CPU_S, FIRST_PAINT_S = 0.8, 1.0
BUILD_CPU_S, SCROLL_CPU_S, PER_TILE = 1.5, 5.0, 5.0
FRAME_MS = 50.0

LOADED = """
() => performance.getEntriesByType("resource")
  .map(({name, decodedBodySize}) => [new URL(name).pathname, decodedBodySize])
"""
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
LAST_IS_SEEN = "[...document.querySelectorAll('li.tile')].at(-1).getBoundingClientRect().top < innerHeight"
FRAMES = """
() => {
  window.frames_ = [];
  let last = performance.now();
  const note = (now) => { window.frames_.push(now - last); last = now; requestAnimationFrame(note); };
  requestAnimationFrame(note);
}
"""


def main() -> int:
    """Measure, and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--turns", type=int, default=5, help="openings of the page")
    arguments.add_argument("--pictures", type=int, default=500, help="pictures of the gallery")
    options = arguments.parse_args()
    expect.set_options(timeout=PATIENCE_MS)
    with tempfile.TemporaryDirectory() as folder, (studio := ours(Path(folder), **SETTINGS)):
        rows = [*written(), *first_views(studio, options.turns), *brush(studio), *many(studio, options.pictures)]
    show(rows)
    return 0 if all(good for *_, good in rows) else 1


def written() -> Iterator[Row]:
    """What all scripts weigh as they are sent, whether they are ever loaded or not."""
    files = open_page(Settings(_env_file=None)).packed
    size = sum(len(content) for path, content in files.items() if path.endswith((".js", ".mjs"))) / KB
    yield at_most("all scripts, as they are sent", size, ALL_JS_KB, "KB")


# -- the first view ---------------------------------------------------------------------------------------------------


def first_views(studio: Studio, turns: int) -> Iterator[Row]:
    """Open the page several times, each in a browser of its own: nothing is cached."""
    paints: list[float] = []
    used: list[float] = []
    loaded: dict[str, int] = {}
    for _ in range(turns):
        with page_of(studio) as (page, cpu):
            before = cpu()
            page.goto(studio.url)
            drawn(page)
            used.append(cpu() - before)
            paints.append(page.evaluate(PAINTED) / 1000)
            loaded = dict(page.evaluate(LOADED))  # what is shown twice is asked for once

    def weigh(*ends: str) -> float:
        return sum(size for path, size in loaded.items() if path.endswith(ends)) / KB

    yield at_most("first view: scripts, uncompressed", weigh(".js", ".mjs"), FIRST_JS_KB, "KB")
    yield at_most("first view: styles, uncompressed", weigh(".css"), FIRST_CSS_KB, "KB")
    yield at_most("first view: requests", len(loaded) + 1, FIRST_REQUESTS, "")
    yield at_most("first view: CPU of the renderer, median", statistics.median(used), FIRST_CPU_S, "s")
    yield at_most("first contentful paint, median (on an idle machine)", statistics.median(paints), FIRST_PAINT_S, "s")


# -- many pictures ----------------------------------------------------------------------------------------------------


def many(studio: Studio, number: int) -> Iterator[Row]:
    """Show a gallery of so many pictures, and scroll to its end."""
    jobs = [studio.submit(prompt="pace=0", steps=2, n=EACH, seed=seed * EACH) for seed in range(number // EACH)]
    for job in jobs:
        studio.ended(job)
    shown = requests.get(f"{studio.url}/v1/images?limit=1", timeout=ANSWER_S).json()["total"]  # the brush's as well
    with page_of(studio) as (page, cpu):
        page.goto(f"{studio.url}/#/status")
        drawn(page)
        before = cpu()
        page.evaluate("location.hash = '#/gallery'")
        tiles = page.locator("li.tile")
        expect(tiles.first).to_be_visible()
        drawn(page)
        yield at_most(f"{number} pictures: CPU until they are shown", cpu() - before, BUILD_CPU_S, "s")
        before = cpu()
        box = page.viewport_size
        assert box is not None
        page.mouse.move(box["width"] / 2, box["height"] / 2)
        for _ in range(number * 10):
            page.mouse.wheel(0, 800)
            page.wait_for_timeout(16)  # a hand is no faster
            if tiles.count() == shown and page.evaluate(LAST_IS_SEEN):
                break
        expect(tiles).to_have_count(shown)
        expect(tiles.last).to_be_in_viewport()
        yield at_most(f"{number} pictures: CPU of scrolling to the end", cpu() - before, SCROLL_CPU_S, "s")
        per_tile = page.evaluate("document.querySelectorAll('li.tile *, li.tile').length") / tiles.count()
        yield at_most("elements of a tile", per_tile, PER_TILE, "")
        line = page.context.new_cdp_session(page)
        line.send("HeapProfiler.collectGarbage")
        heap = line.send("Runtime.getHeapUsage")["usedSize"] / KB / KB
        yield f"{number} pictures: heap", f"{heap:.1f} MB", "", True


# -- a brush ----------------------------------------------------------------------------------------------------------


def brush(studio: Studio) -> Iterator[Row]:
    """Draw a long stroke on a large picture, and look at each frame."""
    buffer = BytesIO()
    Image.new("RGB", (LARGE, LARGE), "teal").save(buffer, "PNG")
    files = {"image": ("large.png", buffer.getvalue(), "image/png")}
    answer = requests.post(f"{studio.url}/v1/images", files=files, timeout=ANSWER_S)
    assert answer.status_code == 201, answer.text
    with page_of(studio) as (page, cpu):
        page.goto(f"{studio.url}/#/edit/{answer.json()['id']}")
        picture = page.locator(".board-picture")
        expect(picture).to_be_visible()
        drawn(page)
        box = picture.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.5)
        page.mouse.down()
        page.evaluate(FRAMES)
        before = cpu()
        for point in range(POINTS):
            across = 0.1 + 0.8 * point / POINTS
            page.mouse.move(
                box["x"] + box["width"] * across, box["y"] + box["height"] * (0.3 + 0.4 * (point % 20) / 20)
            )
        used, frames = cpu() - before, page.evaluate("window.frames_")
        page.mouse.up()
    yield at_most(f"brush on {LARGE}²: longest frame (on an idle machine)", max(frames), FRAME_MS, "ms")
    yield f"brush: CPU of the renderer for {POINTS} points", f"{used:.2f} s", "", True


# -- a browser --------------------------------------------------------------------------------------------------------

Cpu = Callable[[], float]


@contextmanager
def page_of(studio: Studio) -> Iterator[tuple[Page, Cpu]]:
    """Open a window of a fresh browser; also what tells the CPU seconds of its renderers until now."""
    with chromium() as browser:
        page = window_of(browser)
        yield page, renderers_cpu_s


def window_of(browser: Browser) -> Page:
    """Return an empty page of an ordinary size."""
    page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-GB")
    page.set_default_timeout(PATIENCE_MS)
    return page


def renderers_cpu_s() -> float:
    """CPU seconds of all renderers that this process has started."""
    total = 0.0
    for process in psutil.Process(os.getpid()).children(recursive=True):
        try:
            if "--type=renderer" in process.cmdline():
                total += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


def drawn(page: Page) -> None:
    """Wait until a screen is drawn, and has what it waits for."""
    expect(page.locator("h1").first).to_be_visible()
    expect(page.locator("main [aria-busy=true]")).to_have_count(0)
    page.wait_for_timeout(300)  # for what the last answers change


def at_most(name: str, value: float, limit: float, unit: str) -> Row:
    """Return a row that holds where the value is not above the limit."""
    figure: Any = f"{value:.2f}" if unit == "s" else f"{value:.1f}"
    return name, f"{figure} {unit}".strip(), f"<= {limit:g} {unit}".strip(), value <= limit


if __name__ == "__main__":
    sys.exit(main())
