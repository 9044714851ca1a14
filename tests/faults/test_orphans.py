"""B15: a supervisor that is killed takes its children along, even if they still import."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support import ROOT
from tests.support.waiting import runs, until

SLOW_IMPORT = """
import os, time
from pathlib import Path
Path(os.environ["IMPORTING"]).write_text(str(os.getpid()))
time.sleep(600)
"""
SUPERVISOR = """
import time
from qwen_image_studio.host import supervise
supervise.Child("child", supervise._command("light")).start()
time.sleep(600)
"""


def test_a_child_that_still_imports_dies_with_its_supervisor(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(SLOW_IMPORT)
    importing = tmp_path / "importing"
    environment = {
        **os.environ,
        "IMPORTING": str(importing),
        "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT / "server"))),
    }
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR], env=environment, cwd=tmp_path)
    try:
        until(lambda: importing.exists() and importing.read_text())
        child = psutil.Process(int(importing.read_text()))
        assert child.ppid() == supervisor.pid
    finally:
        supervisor.kill()
        supervisor.wait()
    try:
        until(lambda: not runs(child), patience_s=20)
    finally:
        if runs(child):
            child.kill()


def test_a_child_whose_supervisor_died_before_it_began_ends_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qwen_image_studio.host.child", "light", "--parent", "1"]
    (tmp_path / "click.py").write_text("raise SystemExit('it was imported')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT / "server")))}
    answer = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (1, "")


def test_nothing_heavy_is_imported_before_the_kernel_is_asked() -> None:
    code = "import sys, qwen_image_studio.host.child; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "server")}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "qwen_image_studio.system.processes" in answer.stdout.split()
    assert not {"pydantic", "sqlalchemy", "flask", "PIL", "filelock", "click"} & {*answer.stdout.split()}
