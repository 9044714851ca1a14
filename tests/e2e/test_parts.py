"""``.ci/run``: the table of parts is run, what each took is told, and what takes too much CPU fails the run."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import ROOT

BUSY = f"""{sys.executable} -c 'while __import__("time").process_time() < 1: pass'"""
"""Uses a second of CPU."""


def run(folder: Path, table: str) -> subprocess.CompletedProcess[str]:
    """Run a table of parts."""
    (folder / "parts.toml").write_text(table)
    command = [sys.executable, str(ROOT / ".ci/parts.py"), str(folder / "parts.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def part(name: str, command: str, cpu_minutes: float = 1, unless: str = "") -> str:
    """A row of the table."""
    row = f'[[part]]\nname = "{name}"\ncommand = """{command}"""\ncpu_minutes = {cpu_minutes}\n'
    return row + (f'unless = """{unless}"""\n' if unless else "")


def test_each_part_is_run_and_told(tmp_path: Path) -> None:
    done = run(tmp_path, part("first", "echo said") + part("second", "true"))
    assert done.returncode == 0
    assert "said" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[-3:]] == ["first", "second", "all"]


def test_the_first_part_that_fails_ends_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, part("bad", "false") + part("next", "echo never"))
    assert done.returncode == 1
    assert "failed" in done.stdout
    assert "never" not in done.stdout


def test_a_part_that_need_not_run_says_why(tmp_path: Path) -> None:
    done = run(tmp_path, part("training", "false", unless="echo nothing has changed"))
    assert done.returncode == 0
    assert "nothing has changed" in done.stdout
    assert "skipped" in done.stdout


@pytest.mark.parametrize("way", ["{}", "{} & wait", "setsid {} & disown"], ids=["child", "grandchild", "orphan"])
def test_too_much_cpu_fails_whoever_used_it(tmp_path: Path, way: str) -> None:
    script = tmp_path / "busy.sh"
    script.write_text(f"{BUSY}\ntouch {tmp_path}/over\n")
    command = f"bash -c '{way.format(f'bash {script}')}'; until [ -e {tmp_path}/over ]; do sleep 0.1; done"
    done = run(tmp_path, part("busy", command, cpu_minutes=0.012))
    assert done.returncode == 1
    assert "and 0.012 are allowed" in done.stdout


def test_the_table_of_the_repository_can_be_read() -> None:
    names = [row["name"] for row in tomllib.loads((ROOT / ".ci/parts.toml").read_text(encoding="utf-8"))["part"]]
    assert {"lint", "test", "training", "demo"} <= set(names)
    assert len(set(names)) == len(names)


def test_the_trainers_tests_are_due_until_they_have_passed_on_it_as_it_is(tmp_path: Path) -> None:
    for name in ("server/training/tests/test_build.py", "server/qwen_image_studio/models/known_words.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for folder in (".ci", "tests/support"):
        shutil.copytree(ROOT / folder, tmp_path / folder)

    def stamp(word: str) -> int:
        return subprocess.run([sys.executable, tmp_path / ".ci/training_stamp.py", word], check=False).returncode

    assert stamp("check") == 1
    assert stamp("write") == 0
    assert stamp("check") == 0
    with (tmp_path / "server/training/tests/test_build.py").open("a") as file:
        file.write("# changed\n")
    assert stamp("check") == 1
