"""Tallies: numbers for /metrics that only grow, whatever is pruned and whichever process is started again."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Connection, select, text

from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import tallies
from qwen_image_studio.jobs.states import CLAIMING

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Upper bounds of the buckets of a phase, in seconds."""
CLAIM_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""The same of a claim, which is one transaction."""
ENDED = "jobs"
CACHED = "cached"
IMAGES = "images"
MEGAPIXEL_STEPS = "megapixel_steps"
DEVICE_S = "device_s"
TIER_IMAGES = "images of tier"
TIER_DEVICE_S = "device_s of tier"
_BUCKET = "seconds in "
_SUM = "seconds"
_ADD = text(
    "INSERT INTO tallies (name, model, label, value) VALUES (:name, :model, :label, :value)"
    " ON CONFLICT (name, model, label) DO UPDATE SET value = tallies.value + excluded.value"
)

Added = tuple[str, str, str, float]
"""Name, model and label of a tally, and what is added to it."""


def bounds_of(phase: str) -> Sequence[float]:
    """Return the upper bounds of a phase's buckets, in seconds."""
    return CLAIM_SECONDS if phase == CLAIMING else SECONDS


def observed(model: str, phases: Mapping[str, float]) -> Iterator[Added]:
    """Yield what the milliseconds of each phase add."""
    for phase, ms in phases.items():
        yield _SUM, model, phase, ms / 1000
        yield f"{_BUCKET}{bisect_left(bounds_of(phase), ms / 1000)}", model, phase, 1.0


def add(connection: Connection, added: Iterable[Added]) -> None:
    """Add to tallies, in one order for all, so that no two transactions wait for each other.

    Everybody writes the same few rows, and locks them until the transaction ends: so this comes last in it.
    """
    sums: dict[tuple[str, str, str], float] = defaultdict(float)
    for name, model, label, value in added:
        sums[name, model, label] += value
    if sums:
        rows = [
            {"name": name, "model": model, "label": label, "value": value}
            for (name, model, label), value in sorted(sums.items())
        ]
        connection.execute(_ADD, rows)


class Tallies:
    """The tallies of a server, read at one moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> "Read":
        """Return all of them."""
        with self._database.reading() as connection:
            return Read({(row.name, row.model, row.label): row.value for row in connection.execute(select(tallies))})


class Read:
    """Tallies as they were at one moment."""

    def __init__(self, values: Mapping[tuple[str, str, str], float]) -> None:
        self._values = values

    def of(self, name: str) -> Mapping[tuple[str, str], float]:
        """Return one tally by model and label."""
        return {(model, label): value for (each, model, label), value in self._values.items() if each == name}

    def histograms(self) -> Mapping[tuple[str, str], tuple[list[int], float]]:
        """Return for each model and phase how many jobs are in each bucket, the last of which has no bound, and the
        sum of their seconds.
        """
        counts: dict[tuple[str, str], list[int]] = defaultdict(list)
        for (name, model, phase), value in self._values.items():
            if name.startswith(_BUCKET):
                buckets = counts[model, phase]
                buckets += [0] * (len(bounds_of(phase)) + 1 - len(buckets))
                buckets[int(name.removeprefix(_BUCKET))] += int(value)
        sums = self.of(_SUM)
        return {series: (buckets, sums.get(series, 0.0)) for series, buckets in counts.items()}
