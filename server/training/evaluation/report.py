"""The evaluation as a table: each figure in both languages, beside what it has to be and what it could be."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from qwen_image_studio.contract.words import Tier
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
LOST = {Tier.BALANCED: 0.02, Tier.TURBO: 0.04}
"""Largest share by which a faster tier may be below quality."""
ROUNDING = 1e-9
SHOWN_FAILURES = 48
WIDTH = len("en balanced")


@dataclass(frozen=True)
class Row:
    """One figure in each language, what the judge would say of perfect pictures, and the least that it has to be."""

    name: str
    shares: tuple[float, ...]
    ceiling: float
    least: float = 0.0
    """No bound where it is 0."""
    faster: tuple[float, ...] = ()
    """The same of a faster tier, where one is evaluated beside."""
    lost: float | None = None
    """Largest share that the faster tier may be below, in either language; None where there is no bound."""

    @property
    def good(self) -> bool:
        """Return whether both languages reach the bound, and are close together, and a faster tier is close to both."""
        close = not self.least or max(self.shares) - min(self.shares) <= APART
        behind = [whole - fast for whole, fast in zip(self.shares, self.faster, strict=False)]
        kept = self.lost is None or max(behind) <= self.lost + ROUNDING
        return close and kept and min(self.shares) >= self.least

    def __str__(self) -> str:
        mark = "" if not self.least else "ok" if self.good else "LOW"
        bound = f"  >= {self.least:.0%}, within {APART:.0%} of each other" if self.least else ""
        bound += "" if self.lost is None else f", faster within {self.lost:.0%}"
        figures = " ".join(f"{value:{WIDTH}.1%}" for value in (*self.shares, *self.faster, self.ceiling))
        return f"{mark:4} {self.name:44} {figures}{bound}"


@dataclass(frozen=True)
class Report:
    """An evaluation: its lines, and whether every bound is kept."""

    lines: tuple[str, ...]
    good: bool


def report(weights: Path, cache: Path, count: int, failures: Path | None = None, tier: Tier = Tier.QUALITY) -> Report:
    """Paint and judge `count` prompts in each language, and edits and harder prompts in proportion; all of it again in
    the tier where that is another than quality, for its figures beside the others.

    `failures` gets a sheet of pictures that were not right, of the tier's. Raises FileNotFoundError where the weights
    have no judge, RuntimeError where the drawings cannot be fetched.
    """
    judge, atlas = load_judge(weights), load_atlas(cache)
    tasks: list[Task] = [
        *prompts(count),
        *edits(round(count * EDITS), atlas),
        *harder_prompts(max(1, count // HARDER), atlas),
    ]
    found = {one: _judged(tasks, weights, cache, one) for one in dict.fromkeys((Tier.QUALITY, tier))}
    told = accuracy(judge, atlas, JUDGED * count)
    figures = list(table(found[Tier.QUALITY], found[tier], tier))
    things = {icon for task in tasks for icon in task.shown}
    columns = [f"{language} {one.value}" if len(found) > 1 else language for one in found for language in LANGUAGES]
    lines = (
        f"The judge alone, on {JUDGED * count} rendered pictures made much worse: "
        + ", ".join(f"{name} {value:.1%}" for name, value in told.items()),
        f"Painted and judged: {len(tasks)} pictures with {len(things)} different objects and texts.",
        f"{'':4} {'':44} " + " ".join(f"{name:>{WIDTH}}" for name in (*columns, "rendered")),
        *(str(row) for row in figures),
        *(failed(found[tier], failures) if failures is not None else ()),
    )
    return Report(lines, all(row.good for row in figures))


def _judged(tasks: Sequence[Task], weights: Path, cache: Path, tier: Tier) -> list[Verdict]:
    verdicts = evaluate(tasks, weights, cache, tier)
    return list(tqdm(verdicts, desc=tier.value, total=len(tasks), unit="picture", disable=None))


def table(found: Sequence[Verdict], faster: Sequence[Verdict] = (), tier: Tier = Tier.QUALITY) -> Iterator[Row]:
    """Yield the rows of these verdicts, with those of a faster tier where that is another."""
    compared = Compared(found, faster if tier is not Tier.QUALITY else (), LOST.get(tier))
    for question, least in (("object", 0.90), ("background", 0.97), ("place", 0.90)):
        yield compared.row(f"generation, unseen pairs: {question}", _in_group("one object"), question, least)
    for group in ("two objects", "counting", "gold and silver", "other sizes"):
        some = [one for one in found if _in_group(group)(one)]
        for question in dict.fromkeys(name for one in some for name in one.answers):
            yield compared.row(f"  {group}: {question}", _in_group(group), question)
    yield compared.row("edits, unseen pairs: asked change made", _is_edit, "made", 0.85)
    yield compared.row("edits, unseen pairs: all else kept", _is_edit, "kept", 0.90)
    for kind in Kind:
        for question in ("made", "kept"):
            yield compared.row(f"  {kind.value}: {question}", _in_group(kind.value), question)


@dataclass(frozen=True)
class Compared:
    """Verdicts of quality, and beside them those of a faster tier, if any."""

    found: Sequence[Verdict]
    faster: Sequence[Verdict]
    lost: float | None

    def row(self, name: str, chosen: Callable[[Verdict], bool], question: str, least: float = 0.0) -> Row:
        """Return the row of a question, over the verdicts that are chosen."""
        found, faster = ([one for one in verdicts if chosen(one)] for verdicts in (self.found, self.faster))
        shares, beside = (tuple(share(some, question, one) for one in LANGUAGES) for some in (found, faster))
        bounded = least and self.faster
        return Row(
            name,
            shares,
            ceiling(found, question),
            least,
            beside if self.faster else (),
            self.lost if bounded else None,
        )


def _in_group(group: str) -> Callable[[Verdict], bool]:
    return lambda verdict: verdict.task.group == group


def _is_edit(verdict: Verdict) -> bool:
    return not isinstance(verdict.task, Prompted)


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
