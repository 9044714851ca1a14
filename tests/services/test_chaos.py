"""Sixty jobs amid kills, with each bell: each ends once, and nobody is told of an error. `make bench-chaos` has times.

What is killed: workers and webs on several hosts, of which one has a clock that is ahead; the broker; PostgreSQL, which
is restarted; and a worker that is frozen within a transaction, which the database has to cut off.
"""

import os
import random
from pathlib import Path

import pytest

from tests.support import chaos
from tests.support.servers.fixtures import need_servers

JOBS = 60


@pytest.mark.parametrize("bell", chaos.BELLS)
@pytest.mark.timeout(900)
def test_sixty_jobs_end_once_amid_chaos(bell: str, tmp_path: Path) -> None:
    need_servers(bell)
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"CHAOS_SEED={seed} repeats these kills, though not the moments at which they come")
    with chaos.servers(bell) as (database, broker):
        seen = chaos.run(tmp_path, database, broker, JOBS, seed, pause_s=(1.0, 4.0))
    assert set(seen.planned) == {name for _, name in chaos.PLANNED if broker is not None or "broker" not in name}
    assert seen.states == {"succeeded": JOBS}, seen
    assert seen.twice == [], "jobs that were lost, or that two attempts have ended"
    assert seen.unfetched == []
    assert seen.errors == []
    assert seen.deadlocks == 0
