"""The mask and the view, without a browser: by node's test runner, and beside drawings by Pillow."""

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw

BOARD = Path(__file__).parent / "node" / "board"
FINE = 17
"""Pillow draws so many times larger: the middle of each square is then the centre of a pixel."""

Step = dict[str, Any]


def node(*arguments: str, said: str = "") -> bytes:
    """Run node in the folder of the board's tests, and return what it writes."""
    program = shutil.which("node")
    assert program, "node is not here; `make test-page` installs it"
    done = subprocess.run([program, *arguments], cwd=BOARD, input=said.encode(), capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout.decode()[-4000:] + done.stderr.decode()[-4000:]
    return done.stdout


@pytest.mark.parametrize("name", ["mask", "view"])
def test_logic(name: str) -> None:
    assert b"# pass" in node("--test", "--test-reporter=tap", f"{name}.test.mjs")


def rasterised(size: tuple[int, int], steps: list[Step]) -> Image.Image:
    """Return what the page's own code makes of steps."""
    said = json.dumps({"width": size[0], "height": size[1], "steps": steps})
    return Image.frombytes("L", size, node("rasterise.mjs", said=said))


def drawn(size: tuple[int, int], steps: list[Step]) -> Image.Image:
    """Return what Pillow makes of steps, `FINE` times larger."""
    image = Image.new("L", (size[0] * FINE, size[1] * FINE), 0)
    pen = ImageDraw.Draw(image)
    for step in steps:
        colour = 0 if step.get("erase") else 255
        points = [value * FINE for value in step.get("points", [])]
        if step["kind"] == "clear":
            image.paste(0, (0, 0, *image.size))
        elif step["kind"] == "invert":
            image.paste(ImageChops.invert(image))
        elif step["kind"] == "box":
            pen.rectangle((points[0], points[1], points[2] - 1, points[3] - 1), fill=colour)
        elif step["kind"] == "lasso":
            pen.polygon(points, fill=colour)
        else:
            dabs = list(zip(points[::3], points[1::3], points[2::3], strict=True))
            for x, y, radius in dabs:
                pen.ellipse((x - radius, y - radius, x + radius - 1, y + radius - 1), fill=colour)
            for (x0, y0, radius), (x1, y1, _) in pairwise(dabs):
                pen.line((x0, y0, x1, y1), fill=colour, width=round(2 * radius))
    return image


STEPS: dict[str, list[Step]] = {
    "dab": [{"kind": "brush", "erase": False, "points": [60, 40, 25]}],
    "stroke": [{"kind": "brush", "erase": False, "points": [20, 20, 10, 70, 80, 10, 130, 30, 10, 131, 31, 10]}],
    "stroke over the edge": [{"kind": "brush", "erase": False, "points": [-5, 50, 30, 170, 110, 30]}],
    "lasso": [{"kind": "lasso", "erase": False, "points": [20, 20, 140, 30, 100, 70, 130, 110, 30, 100]}],
    "box": [{"kind": "box", "erase": False, "points": [10, 15, 120, 90]}],
    "eraser": [
        {"kind": "box", "erase": False, "points": [10, 15, 120, 90]},
        {"kind": "brush", "erase": True, "points": [60, 10, 12, 60, 100, 12]},
    ],
    "invert": [{"kind": "lasso", "erase": False, "points": [20, 20, 140, 30, 100, 90]}, {"kind": "invert"}],
    "clear": [
        {"kind": "box", "erase": False, "points": [0, 0, 160, 120]},
        {"kind": "clear"},
        {"kind": "brush", "erase": False, "points": [90, 50, 33.5]},
    ],
}


@pytest.mark.parametrize("name", STEPS)
def test_equals_a_drawing_by_pillow(name: str) -> None:
    """A pixel is white where its centre lies inside; the two differ only where an edge crosses it, and rarely."""
    size = (160, 120)
    ours = rasterised(size, STEPS[name])
    fine = drawn(size, STEPS[name])
    centres = fine.resize(size, Image.Resampling.NEAREST)
    shares = fine.reduce(FINE)
    assert ours.histogram()[0] + ours.histogram()[255] == size[0] * size[1]
    differing = edges = 0
    for mine, theirs, share in zip(ours.tobytes(), centres.tobytes(), shares.tobytes(), strict=True):
        edges += 0 < share < 255
        if mine != theirs:
            assert 0 < share < 255, "a pixel is wrong that no edge crosses"
            differing += 1
    assert differing <= max(2, 0.1 * edges), f"{differing} of {edges} pixels of the edge"
