"""What became of a task: what the judge sees in the picture, and what can be measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.data.edits import Edit, Kind
from training.data.scenes import MATERIALS, Scene
from training.evaluation.tasks import Task
from training.judge import Seen, background_of, is_on

KEPT_BACKGROUND, KEPT_OBJECT = 12.0, 28.0
"""Mean difference from what was there, of 255, up to which it counts as kept. The VAE alone, there and back, makes 2
and 5 to 15; another object in its place 40 and more."""
OBJECT_SHOWS = 24.0  # difference from the background from which a pixel is the object's
LEAST_PIXELS = 40  # that say anything
COLOURLESS = 14.0  # mean spread of the three channels up to which a picture is gray
NEARER = 0.7  # how much nearer to the mirror image than to the source a mirrored picture has to be


@dataclass(frozen=True)
class Verdict:
    """The result of a task: every question with its answer, and the pictures."""

    task: Task
    answers: dict[str, bool]
    seen: Seen
    pictures: tuple[Image.Image, ...]
    """Sources, if any, and the result."""

    ceiling: dict[str, bool] = field(default_factory=dict)
    """The same questions asked of the picture as it should be, rendered and made worse: whether the judge can tell."""

    @property
    def good(self) -> bool:
        """Return whether every answer is yes."""
        return all(self.answers.values())


def painted_right(scene: Scene, picture: Image.Image, seen: Seen) -> dict[str, bool]:
    """Return whether the picture shows the scene's objects, background and places, and any material that it names."""
    answers = {
        "object": seen.icons == scene.icons,
        "background": is_on(picture, scene.colour),
        "place": seen.layout is scene.layout,
    }
    return answers | ({"material": seen.effect is scene.effect} if scene.effect in MATERIALS else {})


def edited_right(
    edit: Edit, source: Image.Image, target: Image.Image, picture: Image.Image, seen: Seen
) -> dict[str, bool]:
    """Return whether the asked change was made, and whether all else was kept."""
    made = {
        Kind.BACKGROUND: lambda: is_on(picture, edit.target.colour),
        Kind.REPLACE: lambda: seen.icons == edit.target.icons,
        Kind.REMOVE: lambda: seen.icons == edit.target.icons,
        Kind.ADD: lambda: (
            seen.icons == edit.target.icons and (len(seen.icons) > 1 or seen.layout is edit.target.layout)
        ),
        Kind.BIGGER: lambda: seen.layout is edit.target.layout,
        Kind.SMALLER: lambda: seen.layout is edit.target.layout,
        Kind.MOVE: lambda: seen.layout is edit.target.layout,
        Kind.MATERIAL: lambda: seen.effect is edit.target.effect,
        Kind.GRAYSCALE: lambda: float(np.ptp(_pixels(picture), axis=2).mean()) < COLOURLESS,
        Kind.FLIP: lambda: _distance(picture, target) < NEARER * _distance(picture, source),
        Kind.JOIN: lambda: seen.icons == edit.target.icons,
    }[edit.kind]()
    return {"made": bool(made), "kept": _kept(edit, source, target, picture, seen)}


def _kept(edit: Edit, source: Image.Image, target: Image.Image, picture: Image.Image, seen: Seen) -> bool:
    """Background and objects that nobody asked to change: by measure where they stay, by the judge where they move."""
    before, after, got = (_pixels(one) for one in (source, target, picture))
    off = np.abs(got - after).mean(axis=2)
    object_there = np.abs(after - np.array(background_of(target), dtype=np.float32)).max(axis=2) > OBJECT_SHOWS
    stays = np.abs(before - after).max(axis=2) < 1
    if edit.kind in {Kind.GRAYSCALE, Kind.FLIP}:
        stays[:] = True  # all of it is known
    unchanged = _is_close(off, stays & ~_widened(object_there), KEPT_BACKGROUND)
    unchanged = unchanged and _is_close(off, stays & object_there, KEPT_OBJECT)
    if edit.kind not in {Kind.REPLACE, Kind.REMOVE, Kind.ADD, Kind.JOIN}:
        unchanged = unchanged and seen.icons == edit.target.icons
    if edit.kind is Kind.JOIN:
        unchanged = unchanged and edit.target.icons[0] in seen.icons
    if edit.kind in {Kind.BACKGROUND, Kind.REPLACE, Kind.MATERIAL, Kind.GRAYSCALE, Kind.FLIP}:
        unchanged = unchanged and seen.layout is edit.target.layout
    return unchanged


def _is_close(off: NDArray[np.float32], where: NDArray[np.bool_], most: float) -> bool:
    return int(where.sum()) < LEAST_PIXELS or float(off[where].mean()) < most


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask grown by two pixels, since an object's edge may ring."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(5))) > 0


def _pixels(picture: Image.Image) -> NDArray[np.float32]:
    return np.asarray(picture.convert("RGB")).astype(np.float32)


def _distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(_pixels(one) - _pixels(other)).mean())


def share(verdicts: Sequence[Verdict], question: str, language: str | None = None) -> float:
    """Return the share, 0 to 1, of the pictures with this question for which the answer is yes."""
    asked = [one for one in verdicts if language in {None, one.task.language}]
    return _part([one.answers[question] for one in asked if question in one.answers])


def ceiling(verdicts: Sequence[Verdict], question: str) -> float:
    """Return the same share for rendered pictures, which are as they should be: the judge's own limit."""
    return _part([one.ceiling[question] for one in verdicts if question in one.ceiling])


def _part(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers) if answers else float("nan")
