"""What became of a task: what the judge sees in the picture, and what can be measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.miniature.data.edits import Edit, Kind
from server.miniature.data.scenes import MATERIALS, TOKEN, Scene
from server.miniature.evaluation.tasks import Task
from server.miniature.judge import Seen, is_on

KEPT = 16.0
"""Mean difference from what was there, of 255, up to which a part of the picture counts as kept. The VAE alone, there
and back, makes 3 to 8."""
COLOURLESS = 14.0  # mean spread of the three channels up to which a picture is gray


@dataclass(frozen=True)
class Verdict:
    """What became of a task: every question with its answer, and the pictures."""

    task: Task
    answers: dict[str, bool]
    seen: Seen
    pictures: tuple[Image.Image, ...]
    """Sources, if any, and the result."""

    @property
    def good(self) -> bool:
        """Whether every answer is yes."""
        return all(self.answers.values())


def painted_right(scene: Scene, picture: Image.Image, seen: Seen) -> dict[str, bool]:
    """Whether the picture shows the scene's objects, background and places, and where it asks for one its material."""
    answers = {
        "object": seen.icons == scene.icons,
        "background": is_on(picture, scene.colour),
        "place": seen.layout is scene.layout,
    }
    return answers | ({"material": seen.effect is scene.effect} if scene.effect in MATERIALS else {})


def edited_right(
    edit: Edit, source: Image.Image, target: Image.Image, picture: Image.Image, seen: Seen
) -> dict[str, bool]:
    """Whether the asked change was made, and whether all else was kept."""
    made = {
        Kind.BACKGROUND: lambda: is_on(picture, edit.target.colour),
        Kind.REPLACE: lambda: seen.icons == edit.target.icons,
        Kind.REMOVE: lambda: seen.icons == edit.target.icons,
        Kind.ADD: lambda: seen.icons == edit.target.icons and seen.layout is edit.target.layout,
        Kind.BIGGER: lambda: seen.layout is edit.target.layout,
        Kind.SMALLER: lambda: seen.layout is edit.target.layout,
        Kind.MOVE: lambda: seen.layout is edit.target.layout,
        Kind.MATERIAL: lambda: seen.effect is edit.target.effect,
        Kind.GRAYSCALE: lambda: float(np.ptp(_pixels(picture), axis=2).mean()) < COLOURLESS,
        Kind.FLIP: lambda: _distance(picture, target) < _distance(picture, source),
        Kind.JOIN: lambda: seen.icons == edit.target.icons,
    }[edit.kind]()
    return {"made": bool(made), "kept": _kept(edit, source, target, picture, seen)}


def _kept(edit: Edit, source: Image.Image, target: Image.Image, picture: Image.Image, seen: Seen) -> bool:
    """Background and objects that nobody asked to change: by measure where they stay, by the judge where they move."""
    before, after, got = (_pixels(one) for one in (source, target, picture))
    # What is the same pixel before and after, apart from where an object comes close.
    same = _blocks(np.abs(before - after).max(axis=2)).max(axis=(2, 3)) < 1
    off = _blocks(np.abs(got - after).mean(axis=2)).mean(axis=(2, 3))
    unchanged = not same.any() or float(off[same].mean()) < KEPT
    if edit.kind in {Kind.BACKGROUND, Kind.BIGGER, Kind.SMALLER, Kind.MOVE, Kind.MATERIAL}:
        unchanged = unchanged and seen.icons == edit.target.icons
    if edit.kind in {Kind.BACKGROUND, Kind.REPLACE, Kind.MATERIAL}:
        unchanged = unchanged and seen.layout is edit.target.layout
    if edit.kind in {Kind.GRAYSCALE, Kind.FLIP}:
        unchanged = unchanged and float(np.abs(got - after).mean()) < KEPT
    return unchanged


def _pixels(picture: Image.Image) -> NDArray[np.float32]:
    return np.asarray(picture.convert("RGB")).astype(np.float32)


def _blocks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """In blocks of one token. (rows x columns x 16 x 16)"""
    rows, columns = values.shape[0] // TOKEN, values.shape[1] // TOKEN
    return values.reshape(rows, TOKEN, columns, TOKEN).swapaxes(1, 2)


def _distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(_pixels(one) - _pixels(other)).mean())


def share(verdicts: Sequence[Verdict], question: str, language: str | None = None) -> float:
    """How many of the pictures that are asked this have the answer yes, of 1."""
    answers = [
        one.answers[question] for one in verdicts if question in one.answers and language in {None, one.task.language}
    ]
    return sum(answers) / len(answers) if answers else float("nan")
