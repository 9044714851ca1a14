"""Measurements; never tests. Figures are ratios taken in turns in one run, since machines are noisy."""

from collections.abc import Iterable

Row = tuple[str, str, str, bool]
"""What was measured, the figure, its bound, and whether it is kept."""


def show(rows: Iterable[Row]) -> None:
    """Print a table."""
    for name, value, limit, good in rows:
        print(f"{'ok  ' if good else 'OVER'} {name:62} {value:>22}  {limit}", flush=True)
