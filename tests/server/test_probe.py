"""The probes of containers: what process 1 is, whether a worker's pulse beats, whether the web process answers."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from qwen_image_studio.host import probe
from qwen_image_studio.host.probe import LATE_S, main, role_in
from qwen_image_studio.system.pulse import Pulse, beats
from tests.support import ROOT
from tests.support.studio import free_port
from tests.support.waiting import until


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which processes beat once, and not again while a test makes a beat look old."""
    monkeypatch.setattr("qwen_image_studio.system.pulse.BEAT_S", 3600.0)
    monkeypatch.setenv("STUDIO_DATA_DIR", str(tmp_path))
    return tmp_path


def age(path: Path, seconds: float) -> None:
    """Make a file look so old."""
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize(
    ("words", "role"),
    [
        ("/usr/bin/tini -- qwen-image-studio worker --device cuda:1", "worker"),
        ("tini -- /opt/studio/bin/qwen-image-studio light", "light"),
        ("/opt/studio/bin/python /opt/studio/bin/qwen-image-studio serve", "serve"),
        ("tini -- qwen-image-studio migrate", None),
        ("/sbin/init", None),
    ],
)
def test_the_role_is_read_from_a_command_line(tmp_path: Path, words: str, role: str | None) -> None:
    (tmp_path / "cmdline").write_text(words.replace(" ", "\0") + "\0")
    assert role_in(tmp_path / "cmdline") == role


def test_a_process_that_one_may_not_look_at_has_no_role(tmp_path: Path) -> None:
    assert role_in(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("state", "ready"), [("starting", 1), ("ready", 0), ("busy", 0), ("failed", 1), ("lost", 1), ("", 1)]
)
def test_a_worker_that_beats_lives_and_is_ready_by_its_state(
    data: Path, state: str, ready: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with Pulse(data, "cuda:0", lambda: state):
        assert (main(["worker"]), main(["worker", "--ready"])) == (0, ready)
    assert f"worker: cuda-0 {state}" in capsys.readouterr().out


def test_a_worker_whose_beats_stopped_is_to_be_replaced(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Pulse(data, "cuda:0", lambda: "busy"):
        [file] = data.glob("*.pulse")
        age(file, LATE_S / 2)
        assert main(["worker"]) == 0
        age(file, LATE_S + 10)
        assert (main(["worker"]), main(["worker", "--ready"])) == (1, 1)
        assert re.search(r"no sign of life for [78]\d seconds", capsys.readouterr().out)


def test_it_beats_again_and_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_image_studio.system.pulse.BEAT_S", 0.01)
    with Pulse(data, "light", lambda: "ready"):
        [file] = data.glob("*.pulse")
        age(file, 1000)
        until(lambda: time.time() - file.stat().st_mtime < 500)


def test_one_role_is_not_taken_for_another(data: Path) -> None:
    with Pulse(data, "light", lambda: "ready"):
        assert (main(["light"]), main(["worker"]), main(["safety"])) == (0, 1, 1)


def test_all_workers_of_a_host_have_to_live(data: Path) -> None:
    with Pulse(data, "cuda:0", lambda: "ready"), Pulse(data, "cuda:1", lambda: "starting"):
        assert (main(["worker"]), main(["worker", "--ready"])) == (0, 1)
        age(data / "worker-cuda-1.pulse", 1000)
        assert main(["worker"]) == 1


def test_the_workers_of_another_host_are_not_looked_at(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "far")
    with Pulse(data, "cuda:0", lambda: "ready"):
        monkeypatch.setattr("socket.gethostname", lambda: "near")
        assert list(beats(data)) == []
        assert main(["worker"]) == 1


def test_a_process_that_ends_leaves_no_pulse(data: Path) -> None:
    with Pulse(data, "cpu", lambda: "ready"):
        assert [beat.device for beat in beats(data)] == ["cpu"]
    assert list(data.iterdir()) == []


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    with Pulse(tmp_path / "gone", "cpu", lambda: "ready") as pulse:
        pulse.beat()
    assert list(tmp_path.iterdir()) == []


# -- the web process -----------------------------------------------------------------------------------------------


class Web(BaseHTTPRequestHandler):
    """A web process that lives, and whose database does not answer."""

    def do_GET(self) -> None:
        self.send_response({"/v1/health/live": 200, "/v1/health/accepts": 503}[self.path])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A web process to be probed, as the settings say."""
    with HTTPServer(("127.0.0.1", 0), Web) as server:
        monkeypatch.setenv("STUDIO_PORT", str(server.server_port))
        monkeypatch.setenv("STUDIO_HOST", "0.0.0.0")  # noqa: S104 - read, not bound
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("role", ["web", "serve"])
def test_the_web_process_lives_where_it_answers_and_is_ready_where_its_database_does(role: str) -> None:
    assert (main([role]), main([role, "--ready"])) == (0, 1)


def test_a_web_process_that_does_not_answer_is_to_be_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STUDIO_PORT", str(free_port()))
    assert main(["web"]) == 1
    assert "no answer from 127.0.0.1" in capsys.readouterr().out


# -- the command ---------------------------------------------------------------------------------------------------


def test_it_needs_nothing_but_the_standard_library() -> None:
    """It runs every few seconds beside each worker: with the program's imports it would take more than a second."""
    code = (
        f"import sys; from {probe.__name__} import main; before = set(sys.stdlib_module_names); "
        "print([name for name in sys.modules if name.split('.')[0] not in before | {'qwen_image_studio', '__main__'}])"
    )
    answer = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(ROOT / "server")}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == "[]"


def test_a_role_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["wroker"])
    assert ended.value.code == 2
    assert "invalid choice: 'wroker'" in capsys.readouterr().err
