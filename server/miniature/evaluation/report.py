"""The evaluation as a table: each figure in both languages, beside what it has to be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from server.miniature.data.edits import Kind
from server.miniature.data.prompts import LANGUAGES
from server.miniature.data.sprites import load_atlas
from server.miniature.evaluation import evaluate
from server.miniature.evaluation.tasks import Prompted, Task, edits, harder_prompts, prompts
from server.miniature.evaluation.verdicts import Verdict, share
from server.miniature.judge import load_judge
from server.miniature.sheet import COLUMNS, side_by_side, tile
from server.miniature.training.judging import accuracy

JUDGED = 7  # rendered pictures for each prompt, that the judge's own accuracy is measured on
HARDER = 5  # one of so many prompts, for each of the harder groups
EDITS = 2 / 3  # as many edits as prompts
APART = 0.05
"""How far Chinese and English may be apart."""


@dataclass(frozen=True)
class Row:
    """One figure in each language, and the least that it has to be; no bound where that is 0."""

    name: str
    shares: tuple[float, ...]
    least: float = 0.0

    @property
    def good(self) -> bool:
        """Whether both languages reach it, and are close together."""
        close = not self.least or max(self.shares) - min(self.shares) <= APART
        return close and min(self.shares) >= self.least


def verdicts(weights: Path, cache: Path, count: int) -> list[Verdict]:
    """Paint and judge `count` prompts in each language, and edits and harder prompts in proportion."""
    atlas = load_atlas(cache)
    tasks: list[Task] = [*prompts(count), *edits(round(count * EDITS), atlas), *harder_prompts(max(1, count // HARDER))]
    return list(tqdm(evaluate(tasks, weights, cache), total=len(tasks), unit="picture", disable=None))


def table(found: Sequence[Verdict]) -> Iterator[Row]:
    """The rows of these verdicts."""
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
    return Row(name, tuple(share(found, question, language) for language in LANGUAGES), least)


def report(weights: Path, cache: Path, count: int, failures: Path | None = None) -> Iterator[str]:
    """The table in lines, the judge's own accuracy first; `failures` gets a sheet of pictures that were not right."""
    judge, atlas = load_judge(weights), load_atlas(cache)
    yield f"The judge on {JUDGED * count} rendered pictures, made worse: " + ", ".join(
        f"{name} {value:.1%}" for name, value in accuracy(judge, atlas, JUDGED * count).items()
    )
    yield f"{'':4} {'':44} " + " ".join(f"{language:>7}" for language in LANGUAGES)
    found = verdicts(weights, cache, count)
    for row in table(found):
        mark = "" if not row.least else "ok" if row.good else "LOW"
        bound = f"  >= {row.least:.0%}, within {APART:.0%} of each other" if row.least else ""
        yield f"{mark:4} {row.name:44} " + " ".join(f"{value:7.1%}" for value in row.shares) + bound
    if failures is not None:
        yield from failed(found, failures)


def failed(found: Sequence[Verdict], out: Path, most: int = 48) -> Iterator[str]:
    """A sheet of pictures that are not as asked, evenly drawn from all of them; yields what was asked."""
    wrong = [one for one in found if not one.good]
    shown = wrong[:: max(1, -(-len(wrong) // most))]
    tile([side_by_side(one.pictures) for one in shown]).save(out)
    yield f"{len(wrong)} of {len(found)} pictures have at least one thing wrong; {out.name} shows {len(shown)} of them:"
    for index, one in enumerate(shown):
        questions = ", ".join(name for name, answer in one.answers.items() if not answer)
        yield f"row {index // COLUMNS + 1}, column {index % COLUMNS + 1}: {one.task.prompt} (wrong: {questions})"
