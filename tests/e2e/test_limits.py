"""Keys, limits and usage of a real server: set by its commands, kept over a kill and a restart."""

import csv
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import pytest
import requests

from tests.support.studio import SCRIPTED, Studio

CUP = {"operation": "generate", "prompt": "a cup", "steps": 2, "size": "64x64"}


def command(studio: Studio, *arguments: str) -> str:
    """What a command beside the running server prints."""
    asked = [sys.executable, "-m", "qwen_image_studio", *arguments]
    done = subprocess.run(
        asked, env=studio.environment, cwd=studio.folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def sent(studio: Studio, user: str, **params: object) -> requests.Response:
    """The answer to a submit for a person."""
    return studio.request("POST", "/v1/jobs", json={**CUP, **params, "user": user})


def test_limits_and_usage_outlive_a_killed_server_and_deleted_jobs(tmp_path: Path) -> None:
    with Studio(tmp_path, with_key=True, **SCRIPTED) as studio:
        limits = command(studio, "keys", "limit", "tests", "--images-per-day", "5", "--per-user-images-per-day", "2")
        assert limits == "--images-per-day 5 --per-user-images-per-day 2"
        job = sent(studio, "ann", n=2).json()["id"]
        assert studio.finished(job)["state"] == "succeeded"
        assert sent(studio, "ann").json()["error"]["code"] == "quota_exceeded"
        assert studio.request("DELETE", f"/v1/jobs/{job}").status_code == 204
        studio.kill()
        studio.start()
        refused = sent(studio, "ann")
        assert (refused.status_code, refused.json()["error"]["param"]) == (429, "user")
        with ThreadPoolExecutor(6) as together:
            answers = list(together.map(lambda name: sent(studio, name), "bcdefg"))
        assert sorted(answer.status_code for answer in answers) == [202, 202, 202, 429, 429, 429]
        me = studio.request("GET", "/v1/me?user=ann").json()
        assert me["limits"]["images_per_day"]["left"] == me["person"]["limits"]["images_per_day"]["left"] == 0
        command(studio, "keys", "limit", "tests", "--images-per-day", "none", "--per-user-images-per-day", "none")
        last = sent(studio, "ann")
        assert (last.status_code, "RateLimit" in last.headers) == (202, False)
        for answer in (*answers, last):
            if answer.status_code == 202:
                assert studio.finished(answer.json()["id"])["state"] == "succeeded"
        lines = list(csv.DictReader(StringIO(command(studio, "usage", "--csv", "--group", "person"))))
        assert sorted(line["pictures"] for line in lines) == ["1", "1", "1", "3"]
        assert [line["person"] for line in lines if line["pictures"] == "3"] == ["ann"]
        assert all(float(line["device_s"]) > 0 and float(line["megapixel_steps"]) > 0 for line in lines)


@pytest.mark.parametrize("overlap", ["1h", "0h"])
def test_a_running_server_knows_a_rotated_key_at_once(studio: Studio, overlap: str) -> None:
    name = f"turning-{overlap}"
    old = command(studio, "keys", "add", name, "--scopes", "generate")
    new = command(studio, "keys", "rotate", name, "--overlap", overlap)

    def status(key: str) -> int:
        return studio.request("GET", "/v1/me", headers={"Authorization": f"Bearer {key}"}).status_code

    assert (status(old), status(new)) == (200 if overlap == "1h" else 401, 200)
    command(studio, "keys", "revoke", name)
    assert (status(old), status(new)) == (401, 401)
