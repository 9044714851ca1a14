"""The probes beside real processes that were started one by one, as containers start them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until


def probe(studio: Studio, *arguments: str) -> int:
    """The probe's exit code, with the environment of the processes."""
    command = [sys.executable, "-m", "qwen_image_studio.host.probe", *arguments]
    return subprocess.run(
        command, env=studio.environment, cwd=studio.folder, capture_output=True, check=False
    ).returncode


def test_each_process_is_well_until_it_stands_still_or_ends(tmp_path: Path) -> None:
    studio = Studio(tmp_path, **SCRIPTED)
    assert {probe(studio, role) for role in ("web", "worker", "light")} == {1}, "nothing has been started"
    processes = {role: studio.spawn(role) for role in ("web", "worker", "light")}
    try:
        for role in processes:
            until(lambda role=role: probe(studio, role, "--ready") == 0)  # type: ignore[misc]
            until(lambda role=role: probe(studio, role) == 0)  # type: ignore[misc]
        processes["worker"].send_signal(signal.SIGSTOP)
        pulse = studio.folder / "data/worker-cpu.pulse"
        stopped_at = pulse.stat().st_mtime
        os.utime(pulse, (stopped_at - 100, stopped_at - 100))
        assert (probe(studio, "worker"), probe(studio, "light")) == (1, 0)
        processes["worker"].send_signal(signal.SIGCONT)
        until(lambda: probe(studio, "worker", "--ready") == 0)
        for process in processes.values():
            process.terminate()
        assert [process.wait(60) for process in processes.values()] == [0, 0, 0]
        assert {probe(studio, role) for role in processes} == {1}
    finally:
        for process in processes.values():
            process.kill()
            process.wait(60)
