"""The commands as a person at a shell meets them."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from io import StringIO
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image

from qwen_image_studio.__main__ import main
from qwen_image_studio.imaging import read_origin
from tests.support import ROOT
from tests.support.database import environment, sqlite_alone
from tests.support.pictures import png
from tests.support.studio import Studio, free_port


def settings_of(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a command with settings of its own."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")},
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'server'}",
        "STUDIO_DATA_DIR": str(folder / "data"),
        **environment(Path(settings.get("data_dir", folder / "data"))),
        "STUDIO_PORT": str(free_port()),
        "STUDIO_DEVICES": "cpu",
        **{f"STUDIO_{name.upper()}": value for name, value in settings.items()},
    }


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``qwen-image-studio``."""
    command = [sys.executable, "-m", "qwen_image_studio", *arguments]
    environment = settings_of(folder, **settings)
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def run_here(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``qwen-image-studio`` in this process, which has imported already what a new one would import first."""
    code, out, err = 0, StringIO(), StringIO()
    command = ["qwen-image-studio", *arguments]
    with (
        mock.patch.dict(os.environ, settings_of(folder, **settings), clear=True),
        mock.patch.object(sys, "argv", command),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def assert_one_line(answer: subprocess.CompletedProcess[str], *words: str) -> None:
    """It failed with one readable line that has these words."""
    assert answer.returncode == 1, answer.stderr
    lines = [line for line in answer.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, answer.stderr
    assert "Traceback" not in answer.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_generate_and_edit(tmp_path: Path) -> None:
    made = run(
        tmp_path, "generate", "红苹果", "-o", "a.png", "--steps", "2", "--seed", "5", "--size", "64x64", "-n", "2"
    )
    assert made.returncode == 0, made.stderr
    assert "a-0.png  64x64  seed 5" in made.stdout
    assert "miniature" in made.stderr
    assert read_origin((tmp_path / "a-1.png").read_bytes())["seed"] == 6
    changed = run_here(
        tmp_path, "edit", "make it green", "-i", "a-0.png", "-i", "a-1.png", "-o", "b.jpg", "--steps", "2"
    )
    assert changed.returncode == 0, changed.stderr
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.format == "JPEG"


def test_parts_of_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (96, 64), "green").save(tmp_path / "a.png")
    Image.new("L", (96, 64)).save(tmp_path / "black.png")
    few = ("--steps", "2", "--seed", "5")
    made = run_here(tmp_path, "inpaint", "a star", "-i", "a.png", "--region", "0.25,0.25,0.5,0.5", "-o", "b.png", *few)
    assert made.returncode == 0, made.stderr
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.size == (96, 64)
        assert picture.convert("RGB").getpixel((20, 10)) == (0, 128, 0)
    made = run_here(tmp_path, "outpaint", "-i", "a.png", "--left", "32", "-o", "c.png", *few)
    assert "c.png  128x64  seed 5" in made.stdout, made.stderr
    assert_one_line(run_here(tmp_path, "inpaint", "x", "-i", "a.png", "-o", "d.png"), "mask", "region")
    answer = run_here(tmp_path, "inpaint", "x", "-i", "a.png", "--mask", "black.png", "-o", "d.png")
    assert_one_line(answer, "mask", "paint white what is to change")


def test_a_batch_goes_on_where_it_stopped(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("thing,file\nstar,a.png\ncup,none.png\n", encoding="utf-8-sig")
    Image.new("RGB", (64, 64), "green").save(tmp_path / "a.png")
    asked = (
        "batch",
        "rows.csv",
        "turn the {{thing}} by 90 degrees",
        "--operation",
        "edit",
        "-i",
        "{{file}}",
        "-o",
        "out",
    )
    few = ("--steps", "2", "--seed", "5", "--format", "jpg")
    first = run_here(tmp_path, *asked, *few)
    assert first.returncode == 1
    assert "row-001.jpg" in first.stdout
    assert "row 2 of the table: none.png cannot be read" in first.stderr
    assert "1 of 2 rows failed" in first.stderr
    made = (tmp_path / "out/row-001.jpg").stat().st_mtime_ns
    Image.new("RGB", (64, 64), "red").save(tmp_path / "none.png")
    second = run_here(tmp_path, *asked, *few)
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "out/row-001.jpg").stat().st_mtime_ns == made
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["row-001.jpg", "row-002.jpg"]


def test_the_shell_paints_what_the_server_paints(tmp_path: Path, studio: Studio) -> None:
    made = run_here(tmp_path, "generate", "a cup", "-o", "a.png", "--steps", "2", "--seed", "5", "--size", "64x64")
    assert made.returncode == 0, made.stderr
    job = studio.finished(studio.submit(prompt="a cup", steps=2, seed=5, size="64x64")["id"])
    image_id = job["images"][0]["id"]
    assert (tmp_path / "a.png").read_bytes() == studio.request("GET", f"/v1/images/{image_id}/content").content


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "x", "-o", "a.gif"], [".png"]),
        (["generate", "x", "-o", "a.png", "--steps", "1"], ["steps", "2"]),
        (["generate", "", "-o", "a.png"], ["prompt"]),
        (["generate", "x", "-o", "nowhere/a.png"], ["nowhere", "folder"]),
        (["generate", "x", "-o", "a.png", "--model", "dall-e"], ["dall-e", "Qwen-Image"]),
        (["generate", "x", "-o", "a.png", "--model", "miniature=/nowhere"], ["nowhere", "no such folder"]),
        (["edit", "x", "-i", "text.png", "-o", "a.png"], ["text.png"]),
        (["keys", "add", "a b"], ["name"]),
        (["keys", "revoke", "nobody"], ["nobody"]),
        (["keys", "limit", "nobody", "--images-per-day", "5"], ["nobody", "keys list"]),
        (["keys", "rotate", "nobody"], ["nobody", "keys list"]),
        (["keys", "scopes", "nobody", "edit"], ["nobody", "keys list"]),
        (["keys", "add", "dify", "--max-size", "8x8"], ["--max-size", "4096"]),
        (["keys", "add", "dify", "--per-user-max-steps", "1"], ["--per-user-max-steps", "2"]),
        (["usage", "--month", "November"], ["month", "such as 2026-11"]),
        (["usage", "--month", "2026-13"], ["month", "such as 2026-11"]),
        (["usage", "--group", "colour"], ["group", "model"]),
        (["log", "--outcome", "quota_exceeded"], ["outcome", "refused", "with a code"]),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    assert_one_line(run_here(tmp_path, *arguments), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["keys", "add", "dify", "--images-per-day", "-5"], ["--images-per-day", "a number from 0 up", "none"]),
        (["keys", "add", "dify", "--max-size", "huge"], ["--max-size", "1536x1536", "none"]),
        (["keys", "add", "dify", "--scopes", "edti"], ["--scopes", "generate,edit,review,operate"]),
        (["person", ""], ["id"]),
    ],
)
def test_an_option_that_cannot_be_says_what_can(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    answer = run_here(tmp_path, *arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    for word in words:
        assert word in answer.stderr.splitlines()[-1]


def test_keys(tmp_path: Path) -> None:
    key = run_here(tmp_path, "keys", "add", "dify", "--owner", "shop").stdout.strip()
    assert len(key) > 40
    assert run_here(tmp_path, "keys", "list").stdout == "dify\tshop\tactive\tgenerate,edit\tno limits\n"
    assert run_here(tmp_path, "keys", "revoke", "dify").returncode == 0
    assert run_here(tmp_path, "keys", "list").stdout == "dify\tshop\trevoked\tgenerate,edit\tno limits\n"
    assert_one_line(run_here(tmp_path, "keys", "add", "dify"), "already")


def test_keys_have_scopes_and_limits_that_are_shown_as_they_were_set(tmp_path: Path) -> None:
    limits = ["--images-per-day", "500", "--per-user-jobs-at-once", "2", "--max-size", "1536x1536"]
    run_here(tmp_path, "keys", "add", "dify", "--scopes", "generate,review", *limits)
    shown = "--images-per-day 500 --max-size 2359296 --per-user-jobs-at-once 2"
    assert run_here(tmp_path, "keys", "list").stdout == f"dify\tdify\tactive\tgenerate,review\t{shown}\n"
    changed = run_here(tmp_path, "keys", "limit", "dify", "--max-size", "none", "--images-per-month", "9000")
    assert changed.stdout == "--images-per-day 500 --images-per-month 9000 --per-user-jobs-at-once 2\n"
    assert run_here(tmp_path, "keys", "limit", "dify").stdout == changed.stdout
    run_here(tmp_path, "keys", "policy", "dify", "strict")
    assert run_here(tmp_path, "keys", "list").stdout.endswith("\tpolicy strict\n")
    run_here(tmp_path, "keys", "policy", "dify", "default")
    run_here(tmp_path, "keys", "scopes", "dify", "operate")
    new = run_here(tmp_path, "keys", "rotate", "dify", "--overlap", "12h").stdout.strip()
    assert len(new) > 40
    _, _, state, scopes, _ = run_here(tmp_path, "keys", "list").stdout.split("\t")
    assert scopes == "operate"
    assert state.startswith("active (the old one until 20")


@pytest.mark.parametrize(
    ("option", "value"), [("--scopes", "paint"), ("--images-per-day", "-1"), ("--max-size", "big"), ("--policy", "lax")]
)
def test_what_a_key_cannot_have_is_refused_with_what_it_can(tmp_path: Path, option: str, value: str) -> None:
    done = run(tmp_path, "keys", "add", "dify", option, value)
    assert done.returncode == 2
    assert option in done.stderr
    assert "Traceback" not in done.stderr
    assert run_here(tmp_path, "keys", "list").stdout == ""


def test_a_person_of_dify_is_named_as_in_its_jobs(tmp_path: Path) -> None:
    assert run_here(tmp_path, "person", "user-1").stdout == "5fffe3b404c69a555f8805149e5150ddf0a81cf7\n"


def test_nothing_was_used_yet(tmp_path: Path) -> None:
    assert run_here(tmp_path, "usage").stdout == "Nothing was used.\n"
    header = "month,owner,key,person,model,pictures,megapixel_steps,device_s\n"
    assert run_here(tmp_path, "usage", "--csv").stdout == header


def test_doctor_says_what_fits_and_what_is_missing(tmp_path: Path) -> None:
    well = run_here(tmp_path, "doctor")
    assert well.returncode == 0, well.stdout
    for word in ("torch", "cpu", "Qwen-Image-Edit-2509", "miniature", "All is well"):
        assert word in well.stdout
    ill = run_here(tmp_path, "doctor", models=f"Qwen-Image={tmp_path}/weights", host="0.0.0.0")  # noqa: S104
    assert ill.returncode == 1
    for folder in ("~/weights", "./weights", "a/b/c"):
        assert "its weights are not here" in run_here(tmp_path, "doctor", models=f"Qwen-Image={folder}").stdout
    assert "BAD   Qwen-Image: its weights are not here" in ill.stdout
    assert "keys add" in ill.stdout


def test_serve_says_what_stops_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert_one_line(run(tmp_path, "serve", port=port), f"Port {port}", "STUDIO_PORT")
    assert_one_line(run(tmp_path, "serve", host="0.0.0.0"), "keys add")  # noqa: S104
    assert_one_line(run(tmp_path, "serve", public_url="https://studio.example.com"), "studio.example.com", "keys add")
    assert_one_line(run(tmp_path, "serve", models="dall-e"), "dall-e")
    assert_one_line(run(tmp_path, "serve", port="0"), "STUDIO_PORT")
    (tmp_path / "file").touch()
    assert_one_line(run(tmp_path, "serve", data_dir=str(tmp_path / "file" / "data")), "STUDIO_DATA_DIR")


@sqlite_alone("its disk")
def test_serve_on_a_full_disk(tmp_path: Path) -> None:
    """No byte can be written: the kernel's file size limit plays the full disk."""

    def no_space() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'server'}",
        "STUDIO_DATA_DIR": str(tmp_path / "data"),
    }
    answer = subprocess.run(
        [sys.executable, "-B", "-m", "qwen_image_studio", "serve"],
        env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False, preexec_fn=no_space,
    )  # fmt: skip
    assert_one_line(answer, "cannot be written")


def test_two_servers_never_share_a_folder(tmp_path: Path, studio: Studio) -> None:
    assert_one_line(run(tmp_path, "serve", data_dir=studio.environment["STUDIO_DATA_DIR"]), "Another server")


def test_an_edit_needs_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    assert run_here(tmp_path, "edit", "x", "-o", "b.png").returncode == 2
    for count, said in ((4, "miniature takes 3"), (11, "edit takes 1 to 10 images")):
        sent = ["-i", "a.png"] * count
        assert_one_line(run_here(tmp_path, "edit", "x", *sent, "-o", "b.png"), said)
