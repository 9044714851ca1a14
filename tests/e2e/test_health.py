"""Health of real processes: who died is known by their ends, not by their silence."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until, until_ended

Processes = dict[str, subprocess.Popen[bytes]]


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[tuple[Studio, Processes]]:
    """A server whose processes were started by hand, one by one; killed at the end."""
    studio = Studio(tmp_path, **SCRIPTED)
    processes = {name: studio.spawn(name) for name in ("web", "worker", "light")}
    yield studio, processes
    for process in processes.values():
        process.kill()
        process.wait(60)


def workers(studio: Studio) -> dict[str, dict[str, Any]]:
    """The workers in health, by device; none while nobody listens."""
    try:
        health = requests.get(f"{studio.url}/v1/health", timeout=60).json()
    except requests.ConnectionError:
        return {}
    return {worker["device"]: worker for worker in health["workers"]}


def wait_until_both_ready(studio: Studio) -> None:
    """Wait for both workers."""

    def ready() -> bool:
        found = workers(studio)
        return [found.get(device, {}).get("state") for device in ("cpu", "light")] == ["ready", "ready"]

    until(ready)


@pytest.mark.parametrize(
    ("victim", "device", "state", "ready"), [("worker", "cpu", "failed", 503), ("light", "light", "degraded", 200)]
)
def test_a_worker_that_was_started_by_hand_and_killed_is_lost_at_the_next_look(
    by_hand: tuple[Studio, Processes], victim: str, device: str, state: str, ready: int
) -> None:
    studio, processes = by_hand
    wait_until_both_ready(studio)
    processes[victim].kill()
    processes[victim].wait(60)
    health = requests.get(f"{studio.url}/v1/health", timeout=60).json()
    assert (health["state"], workers(studio)[device]["state"]) == (state, "lost")
    assert "process has ended" in health["message"]
    assert "is started again" not in health["message"], "nobody does that"
    assert requests.get(f"{studio.url}/v1/health/ready", timeout=60).status_code == ready
    assert requests.get(f"{studio.url}/v1/health/live", timeout=60).status_code == 200
    processes[victim] = studio.spawn(victim)
    wait_until_both_ready(studio)


@pytest.mark.parametrize("command", ["worker", "light"])
def test_the_supervisor_logs_how_a_worker_ended_and_starts_it_again(tmp_path: Path, command: str) -> None:
    with Studio(tmp_path, **SCRIPTED) as studio:
        wait_until_both_ready(studio)
        victim = studio.processes(command)[0]
        victim.kill()
        until_ended([victim])
        until(lambda: "ended with signal 9; starting it again" in studio.log.read_text())
        wait_until_both_ready(studio)
