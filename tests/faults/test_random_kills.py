"""Many kill -9 at random over as many jobs: each ends once, and neither a file nor a process is left over."""

import os
import random
import time
from collections.abc import Callable

import psutil
import pytest

from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.gallery.pruning import LEFTOVER_S, Pruning
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.faults.test_kills import assert_whole, stored_files
from tests.support.database import runs_on_postgresql
from tests.support.studio import Studio
from tests.support.waiting import until_ended

KILLS = JOBS = 30 if runs_on_postgresql() else 60
"""Fewer where each start of a server takes longer."""
VICTIMS = {"worker": 12, "light": 3, "web": 3, "serve": 1}
"""How often each process is killed, in proportion. A supervisor takes all others with it, and starting them is dear."""
LONGEST_PAUSE_S = 0.3
"""Between two kills, besides the time that the server needs to stand up again."""


@pytest.mark.timeout(1500)
def test_as_many_kills_as_jobs(make_scripted: Callable[..., Studio]) -> None:
    seed = int(os.environ.get("KILLS_SEED", random.randrange(10**6)))
    print(f"KILLS_SEED={seed} repeats these kills, though not the moments at which they come")
    studio = make_scripted(max_attempts=10, queue_limit=JOBS, lease_s=2).start()
    jobs = [studio.submit(prompt=f"preview pace=0.05 job {number}", steps=3)["id"] for number in range(JOBS)]
    seen = killed(studio, random.Random(seed))
    ended = [studio.finished(job_id) for job_id in jobs]
    for job in ended:
        assert_whole(studio, job)
    assert sum(job["attempt"] - 1 for job in ended) <= KILLS
    seen.update(studio.family())
    assert studio.stop() == 0
    until_ended(seen)
    pruned_of_leftovers(studio)
    kept = {name for name in stored_files(studio) if "preview" not in name}
    assert len(kept) == 2 * JOBS, "each picture with its thumbnail"
    assert {job_id for job_id in jobs for name in kept if job_id in name} == set(jobs)
    studio.start()
    assert [studio.job(job_id) | LINKS for job_id in jobs] == [job | LINKS for job in ended], "they ended once"


LINKS = {"images": None, "archive_url": None}
"""What is signed anew at each look."""


def killed(studio: Studio, chance: random.Random) -> set[psutil.Process]:
    """Kill processes of a server that has stood up again each time; all processes that there were."""
    seen: set[psutil.Process] = set()
    for _ in range(KILLS):
        studio.wait_for_state("ready", "busy", "degraded")
        time.sleep(chance.uniform(0, LONGEST_PAUSE_S))
        seen.update(studio.family())
        studio.kill_one(*chance.choices(list(VICTIMS), list(VICTIMS.values())))
    return seen


def pruned_of_leftovers(studio: Studio) -> None:
    """Delete what attempts left behind that died after their job's end was written, as the light worker does daily, and
    what was being written just then, as every start does after an hour.
    """
    settings = Settings(_env_file=None, data_dir=studio.folder / "data")
    for unfinished in (settings.data_dir / "images" / ".incoming").iterdir():
        os.utime(unfinished, (0, 0))
    store = open_store(settings)
    for _ in Pruning(open_gallery(settings, store), store, settings).pieces(None, now=time.time() + LEFTOVER_S + 60):
        pass
