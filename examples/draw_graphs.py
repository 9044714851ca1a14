"""``python -m examples.draw_graphs``: draw the graph of each example app beside it, from the app's own file."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageDraw, ImageFont

APPS = Path(__file__).parent / "apps"
SCALE = 2
"""Drawn this much larger, then reduced, so that lines are smooth."""
SHRINK = 0.6
"""Pixels of the picture for one unit of Dify's canvas."""
MARGIN = 40
WIDTH, HEAD, ROW = 244, 64, 26
INK, QUIET, LINE, PAPER, CARD = "#101828", "#667085", "#98a2b3", "#f2f4f7", "#ffffff"
KINDS: dict[str, tuple[str, str]] = {
    "start": ("input", "#296dff"),
    "llm": ("language model", "#6172f3"),
    "parameter-extractor": ("parameter extraction", "#6172f3"),
    "tool": ("tool", "#f79009"),
    "human-input": ("a person's form", "#0ba5ec"),
    "if-else": ("if / else", "#06aed4"),
    "template-transform": ("template", "#2e90fa"),
    "list-operator": ("list", "#06aed4"),
    "assigner": ("variable", "#7a5af8"),
    "answer": ("answer", "#f04438"),
    "end": ("output", "#f04438"),
}


@dataclass(frozen=True)
class Box:
    """A node on Dify's canvas, in its units."""

    left: float
    top: float
    title: str
    kind: str
    detail: str
    exits: tuple[str, ...]
    """Names of the ways out, from top to bottom; one without a name for most nodes."""

    @property
    def height(self) -> float:
        """Of the box as it is drawn, whatever Dify draws in it."""
        return HEAD + (ROW * len(self.exits) if len(self.exits) > 1 else 0)

    def way_out(self, name: str) -> tuple[float, float]:
        """Where an edge begins."""
        if len(self.exits) == 1:
            return self.left + WIDTH, self.top + HEAD / 2
        return self.left + WIDTH, self.top + HEAD + ROW * self.exits.index(name) + ROW / 2 - 6

    @property
    def way_in(self) -> tuple[float, float]:
        """Where an edge ends."""
        return self.left, self.top + HEAD / 2


def main() -> int:
    """Draw all apps."""
    for app in sorted(APPS.glob("*.yml")):
        target = app.with_suffix(".webp")
        draw(yaml.safe_load(app.read_text())).save(target, "WEBP", lossless=True, method=6)
        print(f"{target.relative_to(APPS.parent)}: {target.stat().st_size / 1000:.0f} kB")
    return 0


def draw(app: dict[str, Any]) -> Image.Image:
    """The graph of an app, on Dify's canvas from the topmost and leftmost node on."""
    graph = app["workflow"]["graph"]
    boxes = {node["id"]: _box(node) for node in graph["nodes"]}
    left, top = min(box.left for box in boxes.values()), min(box.top for box in boxes.values())
    right, bottom = max(box.left for box in boxes.values()) + WIDTH, max(box.top + box.height for box in boxes.values())
    unit = SHRINK * SCALE
    size = round((right - left + 2 * MARGIN) * unit), round((bottom - top + 2 * MARGIN) * unit)
    picture = Image.new("RGB", size, PAPER)
    pen = _Pen(ImageDraw.Draw(picture), left - MARGIN, top - MARGIN, unit)
    for box in boxes.values():
        pen.box(box)
    for edge in graph["edges"]:
        pen.edge(boxes[edge["source"]].way_out(edge["sourceHandle"]), boxes[edge["target"]].way_in)
    return picture.resize((size[0] // SCALE, size[1] // SCALE), Image.Resampling.LANCZOS)


def _box(node: dict[str, Any]) -> Box:
    data = node["data"]
    cases = tuple(case["case_id"] for case in data.get("cases", ()))
    actions = tuple(action["id"] for action in data.get("user_actions", ()))
    detail = data.get("tool_name") or KINDS[data["type"]][0]
    exits = (*cases, "false") if cases else (*actions, "__timeout__") if actions else ("source",)
    return Box(node["position"]["x"], node["position"]["y"], data["title"], data["type"], detail, exits)


@dataclass(frozen=True)
class _Pen:
    """Draws in units of the canvas."""

    draw: ImageDraw.ImageDraw
    left: float
    top: float
    unit: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (x - self.left) * self.unit, (y - self.top) * self.unit

    def edge(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """An S-shaped line, level at both ends."""
        bend = max(40.0, (end[0] - start[0]) / 2)
        handles = (start, (start[0] + bend, start[1]), (end[0] - bend, end[1]), end)
        line = [self.at(*_on_curve(handles, step / 40)) for step in range(41)]
        self.draw.line(line, LINE, round(3 * self.unit), joint="curve")
        for x, y in (start, end):
            self.draw.ellipse((self.at(x - 5, y - 5), self.at(x + 5, y + 5)), LINE)

    def box(self, box: Box) -> None:
        """A card with the node's kind, its title, and its named ways out."""
        corners = (self.at(box.left, box.top), self.at(box.left + WIDTH, box.top + box.height))
        self.draw.rounded_rectangle(corners, 14 * self.unit, CARD, "#d0d5dd", round(2 * self.unit))
        colour = KINDS[box.kind][1]
        mark = (self.at(box.left + 14, box.top + 17), self.at(box.left + 44, box.top + 47))
        self.draw.rounded_rectangle(mark, 8 * self.unit, colour)
        self.text(box.left + 56, box.top + 12, box.title, 20, INK)
        self.text(box.left + 56, box.top + 37, box.detail, 17, QUIET)
        for number, name in enumerate(box.exits if len(box.exits) > 1 else ()):
            said = {"false": "else", "__timeout__": "time-out"}.get(name, name)
            self.text(box.left + 56, box.top + HEAD + ROW * number - 4, said, 17, QUIET)

    def text(self, x: float, y: float, words: str, size: float, colour: str) -> None:
        """Words in a height of so many units."""
        self.draw.text(self.at(x, y), words, colour, ImageFont.load_default(size * self.unit))


def _on_curve(handles: tuple[tuple[float, float], ...], part: float) -> tuple[float, float]:
    """A point of a cubic Bezier curve."""
    weights = ((1 - part) ** 3, 3 * part * (1 - part) ** 2, 3 * part**2 * (1 - part), part**3)
    x, y = (sum(weight * handle[axis] for weight, handle in zip(weights, handles, strict=True)) for axis in (0, 1))
    return x, y


if __name__ == "__main__":
    sys.exit(main())
