"""The evaluation as a table: each figure in both languages, beside what it has to be and what it could be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from training.data.edits import Kind
from training.data.prompts import LANGUAGES
from training.data.sprites import load_atlas
from training.evaluation import evaluate
from training.evaluation.tasks import Prompted, Task, edits, harder_prompts, prompts
from training.evaluation.verdicts import Verdict, ceiling, share
from training.judge import load_judge
from training.sheet import COLUMNS, side_by_side, tile
from training.stages.judging import accuracy

JUDGED = 7  # rendered pictures for each prompt, that the judge's own accuracy is measured on
HARDER = 5  # each harder group gets one in this many prompts
EDITS = 2 / 3  # as many edits as prompts
APART = 0.05
"""Largest difference between Chinese and English, as a share."""
SHOWN_FAILURES = 48


@dataclass(frozen=True)
class Row:
    """One figure in each language, what the judge would say of perfect pictures, and the least that it has to be."""

    name: str
    shares: tuple[float, ...]
    ceiling: float
    least: float = 0.0
    """No bound where it is 0."""

    @property
    def good(self) -> bool:
        """Return whether both languages reach the bound, and are close together."""
        close = not self.least or max(self.shares) - min(self.shares) <= APART
        return close and min(self.shares) >= self.least

    def __str__(self) -> str:
        mark = "" if not self.least else "ok" if self.good else "LOW"
        bound = f"  >= {self.least:.0%}, within {APART:.0%} of each other" if self.least else ""
        figures = " ".join(f"{value:9.1%}" for value in (*self.shares, self.ceiling))
        return f"{mark:4} {self.name:44} {figures}{bound}"


@dataclass(frozen=True)
class Report:
    """An evaluation: its lines, and whether every bound is kept."""

    lines: tuple[str, ...]
    good: bool


def report(weights: Path, cache: Path, count: int, failures: Path | None = None) -> Report:
    """Paint and judge `count` prompts in each language, and edits and harder prompts in proportion.

    `failures` gets a sheet of pictures that were not right. Raises FileNotFoundError where the weights have no judge,
    RuntimeError where the drawings cannot be fetched.
    """
    judge, atlas = load_judge(weights), load_atlas(cache)
    tasks: list[Task] = [
        *prompts(count),
        *edits(round(count * EDITS), atlas),
        *harder_prompts(max(1, count // HARDER), atlas),
    ]
    found = list(tqdm(evaluate(tasks, weights, cache), total=len(tasks), unit="picture", disable=None))
    told = accuracy(judge, atlas, JUDGED * count)
    figures = list(table(found))
    things = {icon for one in found for icon in one.task.shown}
    lines = (
        f"The judge alone, on {JUDGED * count} rendered pictures made much worse: "
        + ", ".join(f"{name} {value:.1%}" for name, value in told.items()),
        f"Painted and judged: {len(found)} pictures with {len(things)} different objects and texts.",
        f"{'':4} {'':44} " + " ".join(f"{name:>9}" for name in (*LANGUAGES, "rendered")),
        *(str(row) for row in figures),
        *(failed(found, failures) if failures is not None else ()),
    )
    return Report(lines, all(row.good for row in figures))


def table(found: Sequence[Verdict]) -> Iterator[Row]:
    """Yield the rows of these verdicts."""
    told = [one for one in found if isinstance(one.task, Prompted)]
    asked = [one for one in found if not isinstance(one.task, Prompted)]
    alone = [one for one in told if one.task.group == "one object"]
    for question, least in (("object", 0.90), ("background", 0.97), ("place", 0.90)):
        yield _row(f"generation, unseen pairs: {question}", alone, question, least)
    for group in ("two objects", "counting", "gold and silver", "other sizes"):
        some = [one for one in told if one.task.group == group]
        for question in dict.fromkeys(name for one in some for name in one.answers):
            yield _row(f"  {group}: {question}", some, question)
    yield _row("edits, unseen pairs: asked change made", asked, "made", 0.85)
    yield _row("edits, unseen pairs: all else kept", asked, "kept", 0.90)
    for kind in Kind:
        some = [one for one in asked if one.task.group == kind.value]
        for question in ("made", "kept"):
            yield _row(f"  {kind.value}: {question}", some, question)


def _row(name: str, found: Sequence[Verdict], question: str, least: float = 0.0) -> Row:
    return Row(name, tuple(share(found, question, one) for one in LANGUAGES), ceiling(found, question), least)


def failed(found: Sequence[Verdict], out: Path) -> Iterator[str]:
    """Draw a sheet of pictures that are not as asked, evenly chosen from all of them; yield what was asked."""
    wrong = [one for one in found if not one.good]
    shown = wrong[:: max(1, -(-len(wrong) // SHOWN_FAILURES))]
    yield f"{len(wrong)} of {len(found)} pictures have at least one thing wrong; {out.name} shows {len(shown)} of them:"
    if shown:
        tile([side_by_side(one.pictures) for one in shown]).save(out)
    for index, one in enumerate(shown):
        questions = ", ".join(name for name, answer in one.answers.items() if not answer)
        yield f"row {index // COLUMNS + 1}, column {index % COLUMNS + 1}: {one.task.prompt} (wrong: {questions})"
