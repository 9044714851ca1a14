"""``make bench-chaos``: three hundred jobs amid kills, with each kind of bell, and how long nothing is painted.

The same runs with sixty jobs in tests/services, where only the counts are judged.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks import Row, show
from tests.support import chaos

MOST_PAUSE_S = 10.0
"""Bound of the time without a picture after a broker's death."""


def main() -> int:
    """Run the chaos with each bell, and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=300, help="jobs for each bell")
    arguments.add_argument("--only", choices=chaos.BELLS, help="one bell alone")
    arguments.add_argument("--seed", type=int, default=0, help="repeats the kills of a run")
    options = arguments.parse_args()
    rows: list[Row] = []
    for bell in [options.only] if options.only else chaos.BELLS:
        print(f"{bell}: --seed {options.seed}", file=sys.stderr, flush=True)
        rows += measured(bell, options.jobs, options.seed)
    show(rows)
    return 0 if all(good for *_, good in rows) else 1


def measured(bell: str, jobs: int, seed: int) -> list[Row]:
    """Run the chaos with one bell; its rows."""
    with tempfile.TemporaryDirectory() as folder, chaos.servers(bell) as (database, broker):
        began = time.monotonic()
        seen = chaos.run(Path(folder), database, broker, jobs, seed)
        took = time.monotonic() - began
    did = Counter(name.partition(" of ")[0] for name, _ in seen.did)
    kills = ", ".join(f"{number} x {name}" for name, number in sorted(did.items()))
    rows = [
        (f"{bell}: jobs that succeeded", f"{seen.states['succeeded']}", f"{jobs}", seen.states["succeeded"] == jobs),
        (f"{bell}: lost, or ended or counted twice", f"{len(seen.twice)}", "0", not seen.twice),
        (f"{bell}: pictures that a web does not give out", f"{len(seen.unfetched)}", "0", not seen.unfetched),
        (f"{bell}: errors told to callers", f"{len(seen.errors)}", "0", not seen.errors),
        (f"{bell}: deadlocks", f"{seen.deadlocks}", "0", not seen.deadlocks),
        (
            f"{bell}: attempts, pictures really painted",
            f"{seen.attempts}, {seen.painted}",
            f"in {took:.0f} s: {kills}",
            True,
        ),
        (f"{bell}: longest pause of all", f"{seen.pause():.1f} s", "", True),
    ]
    if broker is not None:
        pause = seen.pause(chaos.BROKER_DIES, chaos.QUIET_S)
        limit = f"<= {MOST_PAUSE_S:g} s"
        rows.append((f"{bell}: longest pause after its death", f"{pause:.1f} s", limit, pause <= MOST_PAUSE_S))
    for told in (*seen.errors[:5], *seen.twice[:5], *seen.unfetched[:5]):
        print(f"     {told}", file=sys.stderr)
    return rows


if __name__ == "__main__":
    sys.exit(main())
