"""Locks between processes: held by one, seen by all, and free as soon as their process is dead."""

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from qwen_image_studio.contract.errors import Locked
from qwen_image_studio.system.processes import is_locked, lock

HOLD = """
import os, sys
from pathlib import Path
from qwen_image_studio.system.processes import lock
with lock(Path(sys.argv[1])):
    if "child" in sys.argv:
        os.system("sleep 5 >/dev/null &")
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path, *more: str) -> "subprocess.Popen[str]":
    """Start a process that holds the lock until its input ends; it has the lock when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a lock, in a folder that is not there yet."""
    return tmp_path / "data" / "worker-cpu.lock"


@pytest.mark.parametrize("more", [(), ("child",)], ids=["alone", "with a child that lives on"])
def test_a_killed_process_holds_nothing(path: Path, more: tuple[str, ...]) -> None:
    with holder(path, *more) as process:
        assert is_locked(path)
        with pytest.raises(Locked), lock(path, wait=False):
            raise AssertionError("two processes hold one lock")
        process.kill()
        process.wait()
        assert not is_locked(path)
        with lock(path, wait=False):
            assert is_locked(path)
    assert not is_locked(path)


def test_a_lock_is_waited_for(path: Path) -> None:
    with holder(path) as first:
        waiting = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        first.kill()
        with waiting:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == "held\n"
            assert is_locked(path)
            waiting.kill()


def test_asking_at_the_same_time_does_not_look_like_holding(path: Path) -> None:
    path.parent.mkdir()
    with path.open("w") as asked:
        fcntl.flock(asked, fcntl.LOCK_SH | fcntl.LOCK_NB)  # as is_locked does in another thread
        assert not is_locked(path)


def test_a_disk_without_locks_is_said_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_file: object, _operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(OSError, match="not implemented"), lock(path):
        raise AssertionError("a file that outlives its process is no lock")
