"""A19: restarts under load. Whichever way the server ended, every job that waits is claimed once it is ready again.

``RESTARTS=50 BUSY_LOOPS=8`` makes it the long search for the job that once was not; the suite makes a few.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.faults.test_kills import assert_whole
from tests.support.pictures import png
from tests.support.studio import Studio
from tests.support.waiting import until_ended

RESTARTS = int(os.environ.get("RESTARTS", "2"))
BUSY_LOOPS = int(os.environ.get("BUSY_LOOPS", "0"))
ENDS = (signal.SIGKILL, signal.SIGTERM)
PATIENCE_S = 120.0
"""For how long a job may wait, in seconds: it once was two minutes."""


@pytest.fixture
def load() -> Iterator[None]:
    """Other programs that use the processors up."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY_LOOPS)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.usefixtures("load")
def test_after_every_restart_what_waits_is_claimed(make_scripted: Callable[..., Studio]) -> None:
    studio = make_scripted(shutdown_grace_s=0.5).start()
    for number in range(RESTARTS):
        waiting = [studio.submit(prompt=f"pace=0.05 restart {number}", steps=4)["id"] for _ in range(3)]
        waiting.append(studio.edit(png(), prompt="rotate it 90 degrees").json()["id"])
        end(studio, ENDS[number % len(ENDS)])
        studio.start()
        waiting.append(studio.submit(prompt="a cup", steps=2)["id"])
        for job_id in waiting:
            assert_whole(studio, studio.finished(job_id, timeout=PATIENCE_S))
    assert "although a worker is ready and idle" not in studio.log.read_text()


def end(studio: Studio, how: signal.Signals) -> None:
    """End the supervisor, and wait until all its processes have ended with it."""
    family = studio.family()
    psutil.Process(family[0].pid).send_signal(how)
    until_ended(family)
