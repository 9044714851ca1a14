"""A running server is backed up with one command, and another one goes on from there."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.support.database import sqlite_alone
from tests.support.pictures import png
from tests.support.studio import Studio


def command(studio: Studio, *arguments: str) -> str:
    """Run a command with the settings of a server, which has to succeed; what it prints."""
    answer = subprocess.run(
        [sys.executable, "-m", "qwen_image_studio", *arguments],
        env=studio.environment, cwd=studio.folder, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def opened(studio: Studio, link: str) -> str:
    """The checksum of what a link opens, asked of a server that may be another one than the link names."""
    split = urlsplit(link)
    answer = requests.get(f"{studio.url}{split.path}?{split.query}", timeout=30)
    assert answer.status_code == 200, answer.text
    return hashlib.sha256(answer.content).hexdigest()


@sqlite_alone("PostgreSQL's tools back it up")
def test_a_running_server_goes_on_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with Studio(tmp_path / "old", with_key=True) as old:
        done = old.finished(old.submit(steps=2, size="64x64", n=2)["id"])
        edited = old.finished(old.edit(png(), steps=2).json()["id"])
        images = [*done["images"], *edited["images"]]
        links = [image[name] for image in images for name in ("url", "thumbnail_url")]
        links.append(edited["images"][0]["comparison_url"])
        before = {link: opened(old, link) for link in links}
        running = old.submit(steps=100, size="128x128", seed=7)["id"]
        waiting = old.submit(steps=2, size="64x64", seed=8)["id"]
        while old.job(running, wait=5)["state"] == "queued":
            pass
        said = command(old, "backup", "../backup")
        assert said.startswith("Backed up to ../backup: ")
        assert old.job(running)["state"] in {"running", "succeeded"}, "the server was not stopped for it"
    new = Studio(tmp_path / "new", lease_s=2)
    new.api_key = old.api_key
    assert command(new, "restore", "../backup").startswith(f"Restored into {tmp_path / 'new/data'}: ")
    refused = subprocess.run(
        [sys.executable, "-m", "qwen_image_studio", "restore", "../backup"],
        env=new.environment, cwd=new.folder, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert refused.stderr.count("Error: There is a server's data already") == 1
    assert "Traceback" not in refused.stderr
    with new:
        assert {link: opened(new, link) for link in links} == before
        for image in images:
            content = new.request("GET", f"/v1/images/{image['id']}/content").content
            assert hashlib.sha256(content).hexdigest() == image["sha256"]
        for name, seed in ((running, 7), (waiting, 8)):
            job = new.finished(name)
            assert (job["state"], job["error"], job["images"][0]["seed"]) == ("succeeded", None, seed)
        assert new.wait_for_state("ready")["queued"] == 0
        wrong = new.request("GET", "/v1/jobs", headers={"Authorization": "Bearer wrong"})
        assert wrong.status_code == 401, "keys come along"
        assert new.submit(steps=2, size="64x64")["id"]
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]
