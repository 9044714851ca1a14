"""A server that has painted a hundred pictures and one that has painted three hundred hold the same."""

import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil
import pytest

from tests.support.pictures import png
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

WARM_UP, JOBS, CALLERS = 100, 300, 4
MORE = 8
"""What pools may still grow by, of descriptors and threads; what leaks grows by two hundred."""
MIB = 2**20
MARGIN_MIB = 8
"""Growth of a process that is none. Two hundred pictures of a leak as small as a preview's would be more."""


@dataclass(frozen=True)
class Held:
    """What one process holds."""

    descriptors: int
    threads: int
    memory_mib: float


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server of this module's own."""
    with Studio(tmp_path_factory.mktemp("leaks"), **SCRIPTED) as server:
        yield server


def test_three_hundred_jobs_leave_nothing_behind(leaking: Studio) -> None:
    before_any = set(leaking.family())
    paint(leaking, WARM_UP)
    early = held(leaking)
    paint(leaking, JOBS - WARM_UP)
    late = held(leaking)
    assert set(leaking.family()) == before_any, "no process has died"
    assert early.keys() == late.keys()
    for process, then in early.items():
        now = late[process]
        assert now.descriptors <= then.descriptors + MORE, (process, then, now)
        assert now.threads <= then.threads + MORE, (process, then, now)
        assert now.memory_mib <= then.memory_mib + MARGIN_MIB, (process, then, now)


def paint(studio: Studio, jobs: int) -> None:
    """Have pictures painted, edited and adjusted, waited for and fetched, by some callers at once."""
    picture = png(64, 64)

    def one(number: int) -> None:
        kind = number % 4
        if kind == 0:
            job = studio.edit(picture, prompt="preview pace=0", steps=2).json()
        elif kind == 1:
            job = studio.edit(picture, prompt="rotate it 90 degrees").json()
        else:
            job = studio.submit(prompt="preview pace=0", steps=2)
        done = studio.finished(job["id"])
        assert done["state"] == "succeeded", done
        assert studio.request("GET", f"/v1/images/{done['images'][0]['id']}/content").status_code == 200
        if kind == 3:
            events = studio.request("GET", f"/v1/jobs/{done['id']}/events")
            assert "succeeded" in events.text

    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(one, range(jobs)))


def held(studio: Studio) -> dict[str, Held]:
    """What each process holds once nobody calls: the medians of some looks."""
    until(lambda: studio.request("GET", "/v1/health").json()["state"] == "ready")
    looks = [[look(process) for process in studio.family()] for _ in range(5)]
    return {
        f"{' '.join(process.cmdline()[2:4])} {process.pid}": Held(
            int(statistics.median(one.descriptors for one in seen)),
            int(statistics.median(one.threads for one in seen)),
            statistics.median(one.memory_mib for one in seen),
        )
        for process, seen in zip(studio.family(), zip(*looks, strict=True), strict=True)
    }


def look(process: psutil.Process) -> Held:
    """What a process holds now; of its memory what is its own."""
    return Held(process.num_fds(), process.num_threads(), process.memory_full_info().uss / MIB)
