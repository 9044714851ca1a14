"""``qwen-image-studio weights`` as a person at a shell meets it, with a hub on loopback."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from qwen_image_studio.contract.words import Tier
from qwen_image_studio.models.table import MODELS
from tests.e2e.test_command_line import assert_one_line, run_here, settings_of
from tests.support.hub import Hub, a_tensor, digest, files_of_a_model
from tests.support.waiting import until

MODEL = MODELS["Qwen-Image"]
NAME = MODEL.repository
LORAS = {recipe.lora.file for recipe in MODEL.tiers.values() if recipe.lora}
LIGHTNING = "lightx2v/Qwen-Image-Lightning"
LARGE = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has Qwen-Image and its tiers' LoRAs; the commands of this process use it, with an empty cache."""
    with Hub() as hub:
        hub.add(NAME, files_of_a_model())
        hub.add(LIGHTNING, {file: a_tensor(index) for index, file in enumerate(sorted(LORAS))})
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home/hub"))
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))
        yield hub


def row(folder: Path, name: str = "Qwen-Image", **settings: str) -> list[str]:
    """What `weights list` says of a model, cell by cell."""
    listed = run_here(folder, "weights", "list", **settings)
    assert listed.returncode == 0
    return next(line.split("\t") for line in listed.stdout.splitlines() if line.startswith(f"{name}\t"))


def test_pull_list_and_verify(hub: Hub, tmp_path: Path) -> None:
    assert row(tmp_path)[1:] == ["-", "not here", "-", "-", "-", "0 of 2 LoRAs", "Apache-2.0"]
    told = run_here(tmp_path, "weights", "pull", "Qwen-Image")
    commit = hub.repositories[NAME].names["main"]
    assert told.returncode == 0
    assert told.stdout.startswith(f"Qwen-Image is here: commit {commit[:12]} (main) of {NAME}, ")
    assert len(told.stdout.splitlines()) == 1
    assert "Qwen-Image, licence Apache-2.0: " in told.stderr
    assert f"fetched from the mirror {hub.url} (HF_ENDPOINT)" in told.stderr
    assert f"{NAME}: fetching: " in told.stderr
    place = f"the hub's cache: {tmp_path}/home/hub/models--Qwen--Qwen-Image/snapshots/{commit}"
    assert row(tmp_path)[1:] == ["-", place, commit[:12], "0.0 GB", "whole", "2 of 2 LoRAs", "Apache-2.0"]
    assert row(tmp_path, models="Qwen-Image")[1] == "served"
    again = run_here(tmp_path, "weights", "pull", "qwen/qwen-image")
    assert again.stdout.endswith("fetched: 0.0 GB.\n")
    sound = run_here(tmp_path, "weights", "verify", "Qwen-Image")
    assert sound.stdout == "Qwen-Image: 13 files are as the hub listed them.\n"


def test_a_model_is_here_though_the_loras_of_its_tiers_are_not(hub: Hub, tmp_path: Path) -> None:
    [loras] = (hub.repositories.pop(name) for name in [*hub.repositories] if name != NAME)
    told = run_here(tmp_path, "weights", "pull", "Qwen-Image")
    assert told.returncode == 0
    assert told.stdout.startswith("Qwen-Image is here: ")
    lacks = [line for line in told.stderr.splitlines() if "has not come" in line]
    assert [line.split(": its LoRA")[0] for line in lacks] == ["Qwen-Image: tier turbo", "Qwen-Image: tier draft"]
    assert all("no such repository" in line and "weights pull Qwen-Image" in line for line in lacks)

    hub.repositories[LIGHTNING] = loras
    [of_turbo, of_draft] = (MODEL.tiers[tier].lora for tier in (Tier.TURBO, Tier.DRAFT))
    assert of_turbo is not None
    assert of_draft is not None
    hub.add(LIGHTNING, {of_turbo.file: a_tensor(0)})
    told = run_here(tmp_path, "weights", "pull", "Qwen-Image")
    assert told.returncode == 0
    assert "tier turbo" not in told.stderr
    assert f"tier draft: its LoRA {of_draft.file} has not come: {LIGHTNING} has no file {of_draft.file}." in told.stderr


def test_a_lora_that_comes_damaged_fails_the_pull_and_the_model_is_here(hub: Hub, tmp_path: Path) -> None:
    hub.lies = dict.fromkeys(LORAS, 2)
    told = run_here(tmp_path, "weights", "pull", "Qwen-Image")
    assert told.returncode == 1
    assert told.stdout.startswith("Qwen-Image is here: ")
    assert "tier turbo: its LoRA" in told.stderr
    assert "came twice with another content" in told.stderr


def test_verify_names_what_is_damaged_and_pull_mends_it(hub: Hub, tmp_path: Path) -> None:
    assert run_here(tmp_path, "weights", "pull", "Qwen-Image").returncode == 0
    whole = files_of_a_model()[LARGE]
    content = tmp_path / f"home/hub/models--Qwen--Qwen-Image/blobs/{digest(whole)}"
    content.write_bytes(a_tensor(9))
    found = run_here(tmp_path, "weights", "verify")
    assert found.returncode == 1
    assert f"Qwen-Image: {LARGE} is damaged; qwen-image-studio weights pull Qwen-Image" in found.stderr
    assert "miniature: its weight files are there and not cut off; their sums are not known here." in found.stdout
    assert run_here(tmp_path, "weights", "pull", "Qwen-Image").returncode == 0
    assert content.read_bytes() == whole
    assert run_here(tmp_path, "weights", "verify", "Qwen-Image").returncode == 0
    (tmp_path / "home/hub/models--Qwen--Qwen-Image").rename(tmp_path / "elsewhere")
    assert_one_line(run_here(tmp_path, "weights", "verify", "Qwen-Image"), "not on this machine", "weights pull")


def test_a_folder_of_ones_own_is_verified_and_nothing_is_pulled_into_it(hub: Hub, tmp_path: Path) -> None:
    assert run_here(tmp_path, "weights", "pull", "Qwen-Image").returncode == 0
    commit = hub.repositories[NAME].names["main"]
    folder = tmp_path / "copied"
    shutil.copytree(tmp_path / f"home/hub/models--Qwen--Qwen-Image/snapshots/{commit}", folder)
    settings = {"models": f"Qwen-Image={folder}"}
    assert row(tmp_path, **settings)[1:4] == ["served", f"its folder: {folder}", "-"]
    assert run_here(tmp_path, "weights", "verify", "Qwen-Image", **settings).returncode == 0
    (folder / LARGE).unlink()
    found = run_here(tmp_path, "weights", "verify", "Qwen-Image", **settings)
    assert (found.returncode, f"{LARGE} is missing; bring it into {folder} again" in found.stderr) == (1, True)
    assert row(tmp_path, **settings)[5] == f"lacks {LARGE}"
    assert_one_line(run_here(tmp_path, "weights", "pull", "Qwen-Image", **settings), str(folder), "nothing is pulled")
    assert_one_line(run_here(tmp_path, "weights", "pull", "miniature"), "came with the package")
    assert_one_line(run_here(tmp_path, "weights", "pull", "dall-e"), "dall-e")


def run_alone(
    folder: Path, *arguments: str, stderr: int = subprocess.PIPE, **environment: str
) -> "subprocess.Popen[str]":
    """Start a command in a process of its own, which reads its environment itself."""
    return subprocess.Popen(
        [sys.executable, "-m", "qwen_image_studio", "weights", *arguments],
        env={**settings_of(folder), **environment},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test in the background ignores it
    )


def ended(process: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
    """What a command said and how it ended."""
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_ctrl_c_keeps_what_has_come_and_the_same_command_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.gates[LARGE] = threading.Event()
    process = run_alone(tmp_path, "pull", "Qwen-Image", HF_HUB_DOWNLOAD_TIMEOUT="1")
    whole = files_of_a_model()[LARGE]
    beginning = tmp_path / f"home/hub/models--Qwen--Qwen-Image/blobs/{digest(whole)}.partial"
    until(lambda: beginning.is_file() and beginning.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    assert_one_line(ended(process), "stopped", "the same command goes on there")
    hub.gates.pop(LARGE).set()
    had = beginning.stat().st_size
    hub.seen.clear()
    assert ended(run_alone(tmp_path, "pull", "Qwen-Image")).returncode == 0
    assert hub.starts(LARGE) == [had]


def test_a_mirror_that_is_not_there_and_no_network_at_all(hub: Hub, tmp_path: Path) -> None:
    away = "http://127.0.0.1:9"
    assert_one_line(ended(run_alone(tmp_path, "pull", "Qwen-Image", HF_ENDPOINT=away)), away, "check the network")
    offline = ended(run_alone(tmp_path, "pull", "Qwen-Image", HF_HUB_OFFLINE="1"))
    assert_one_line(offline, "HF_HUB_OFFLINE is set; unset it, or name a folder")
    assert os.listdir(tmp_path / "home/hub") == [".locks"]


def test_doctor_names_the_mirror_the_place_and_the_remedy(hub: Hub, tmp_path: Path) -> None:
    told = run_here(tmp_path, "doctor", models="Qwen-Image").stdout
    assert f"weights are fetched from the mirror {hub.url} (HF_ENDPOINT)" in told
    assert "qwen-image-studio weights pull Qwen-Image, or name a folder" in told
    told = run_here(tmp_path, "doctor", models="Qwen-Image=/nowhere/q8.gguf").stdout
    assert "there is no file /nowhere/q8.gguf\n        -> put it there, or correct STUDIO_MODELS" in told
    weights = MODELS["miniature"].repository
    assert f"weights in its folder ({weights})" in run_here(tmp_path, "doctor", models="miniature").stdout


def test_a_terminal_is_shown_a_bar(hub: Hub, tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    assert ended(run_alone(tmp_path, "pull", "Qwen-Image", stderr=end)).returncode == 0
    shown = os.read(terminal, 65536).decode()
    os.close(terminal)
    os.close(end)
    assert f"{NAME}: fetching" in shown
    assert "100%" in shown
    assert "/content/" not in shown, "no address of a file, which may have a signature"
