"""`make test` runs a few failures once more, alone (.ci/tests.py): a pause of the machine is none, a fault is one."""

import subprocess
import sys
from pathlib import Path

from tests.support import ROOT


def ran(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(text)
    command = [
        sys.executable,
        str(ROOT / ".ci/tests.py"),
        str(folder),
        "--rootdir",
        str(folder),
        "-c",
        str(folder / "pytest.ini"),
    ]
    return subprocess.run([*command, "--numprocesses", "2"], capture_output=True, text=True, check=False)


UNSTEADY = """
from pathlib import Path

def test_that_fails_the_first_time():
    seen = Path(__file__).with_name("seen")
    was_there = seen.exists()
    seen.touch()
    assert was_there

def test_that_passes():
    pass
"""


def test_what_passes_alone_fails_no_run_and_is_named(tmp_path: Path) -> None:
    done = ran(tmp_path, UNSTEADY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unsteady" in done.stdout
    assert done.stdout.count("test_that_fails_the_first_time") >= 2


def test_what_fails_twice_fails_the_run(tmp_path: Path) -> None:
    done = ran(tmp_path, "def test_broken():\n    assert False\n")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "they failed twice" in done.stdout


def test_many_failures_are_no_accident(tmp_path: Path) -> None:
    done = ran(tmp_path, UNSTEADY + "".join(f"def test_{i}():\n    assert False\n" for i in range(9)))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "once more" not in done.stdout


def test_a_file_that_cannot_be_read_is_no_accident(tmp_path: Path) -> None:
    done = ran(tmp_path, "import nothing_of_this_name\n")
    assert done.returncode not in {0, 5}, done.stdout + done.stderr
    assert "unsteady" not in done.stdout
