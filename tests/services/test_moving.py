"""A server that was used is moved to PostgreSQL and a bucket: what was given out before opens there, and it goes on."""

import hashlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from qwen_image_studio.database.connection import open_database
from qwen_image_studio.gallery import open_files
from qwen_image_studio.gallery.names import INSTALLATION_KEY
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.support.classifier import NAME as CLASSIFIER
from tests.support.database import environment, without_tables
from tests.support.pictures import png
from tests.support.receiver import Receiver
from tests.support.servers.objects import ObjectStore
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

RED = 128
"""A seed whose picture the classifier holds."""
DIRECTION = {"style": "flat vector", "palette": ["#102030"]}
BATCH = {"operation": "generate", "prompt": "a {{what}}", "steps": 2, "size": "64x64", "seed": 3}


@dataclass(frozen=True)
class Used:
    """What a server told and gave out before it ended."""

    folder: Path
    api_key: str
    links: Mapping[str, str]
    """The SHA-256 of what each link opens."""
    jobs: list[dict[str, Any]]
    running: str
    waiting: str
    held: str
    """The job whose picture waits for a reviewer."""
    settings: Mapping[str, Any]


def opened(url: str, link: str) -> str:
    """The checksum of what a link opens, asked of a server that may be another one than the link names."""
    split = urlsplit(link)
    answer = requests.get(f"{url}{split.path}?{split.query}", timeout=60)
    assert answer.status_code == 200, (link, answer.status_code, answer.text[:300])
    return hashlib.sha256(answer.content).hexdigest()


def listed(studio: Studio) -> list[dict[str, Any]]:
    """All jobs, newest first."""
    return list(studio.request("GET", "/v1/jobs", params={"limit": 100}).json()["data"])


def command(settings: Mapping[str, str], *arguments: str) -> "subprocess.Popen[str]":
    """Start a command of the server."""
    program = [sys.executable, "-m", "qwen_image_studio", *arguments]
    return subprocess.Popen(program, env=dict(settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for a command: its exit code, and what it wrote."""
    told, failed = process.communicate(timeout=240)
    return process.returncode, told, failed


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Used]:
    """A server on SQLite and files that painted, edited, took uploads, and was killed in the middle of a job."""
    folder = tmp_path_factory.mktemp("old")
    url = f"sqlite:///{folder}/data/studio.sqlite"
    with closing(open_database(Settings(_env_file=None, data_dir=folder / "data", database_url=url))) as database:
        api_key = KeyStore(database).add("tests")
    with Receiver() as receiver:
        told = {
            **SCRIPTED,
            "classifier": CLASSIFIER,
            "safety": "standard",
            "webhook_allow": receiver.host,
            "lease_s": 4,
        }
        studio = Studio(folder, **{**told, "database_url": url})
        studio.api_key = api_key
        with studio:
            yield use(studio, receiver, told)


def use(studio: Studio, receiver: Receiver, settings: Mapping[str, Any]) -> Used:
    """Do what people do, and kill the server."""
    assert studio.request("PUT", "/v1/styles/spring", json=DIRECTION).status_code == 201
    done = studio.finished(studio.submit(steps=2, size="64x64", n=2, seed=1, webhook_url=receiver.url)["id"])
    upload = studio.request("POST", "/v1/images", files={"image": ("a.png", png(colour="#102060"), "image/png")}).json()
    edited = studio.finished(studio.submit(operation="edit", image=upload["id"], steps=2, seed=2)["id"])
    batch = {"operation": "batch", "job": BATCH, "rows": [{"what": each} for each in "abc"]}
    batched = studio.finished(studio.request("POST", "/v1/jobs", json=batch).json()["id"])
    held = studio.submit(steps=2, size="64x64", seed=RED)["id"]
    until(lambda: studio.job(held)["state"] == "review")
    until(lambda: receiver.calls)
    rows = studio.request("GET", "/v1/jobs", params={"parent_id": batched["id"]}).json()["data"]
    images = [*(image for job in (done, edited, batched, *rows) for image in job["images"]), upload]
    links = [image[name] for image in images for name in ("url", "thumbnail_url", "comparison_url") if image.get(name)]
    links += [job["archive_url"] for job in (done, batched) if job.get("archive_url")]
    running = studio.submit(prompt="preview hang@3", size="64x64", steps=4, seed=4)["id"]
    until(lambda: studio.job(running)["progress"]["preview_url"])
    waiting = studio.submit(steps=2, size="64x64", seed=5)["id"]
    used = Used(
        studio.folder, studio.api_key, {link: opened(studio.url, link) for link in links}, listed(studio),
        running, waiting, held, settings,
    )  # fmt: skip
    studio.kill()
    return used


@pytest.fixture(params=["moto", "nanio"])
def bucket(request: pytest.FixtureRequest) -> ObjectStore:
    """Object stores; the second one checks signatures."""
    store: ObjectStore = request.getfixturevalue(request.param)
    return store


def test_a_used_server_goes_on_with_postgresql_and_a_bucket(used: Used, bucket: ObjectStore, tmp_path: Path) -> None:
    place = environment(tmp_path)["STUDIO_DATABASE_URL"]
    without_tables(Settings(_env_file=None, data_dir=tmp_path))
    stores: dict[str, Any] = {**bucket.settings, "database_url": place}
    new = Studio(used.folder, **{**used.settings, **stores})
    new.api_key = used.api_key
    settings = Settings(_env_file=None, data_dir=used.folder / "data", **stores)
    # -- cut off twice, and run again
    for lines in (1, 3):
        moving = command(new.environment, "move", str(used.folder / "data"))
        assert moving.stderr is not None
        for _ in range(lines):
            moving.stderr.readline()
        moving.kill()
        code, _, _ = ended(moving)
        assert code in {0, -signal.SIGKILL}
    code, told, failed = ended(command(new.environment, "move", str(used.folder / "data")))
    assert code == 0, failed
    count = int(re.findall(r"^files: (\d+), ", told, re.MULTILINE)[0])
    assert re.search(rf"^jobs: {len(used.jobs) + 3} rows, sum [0-9a-f]{{32}}, the same there$", told, re.MULTILINE), (
        told
    )
    assert "STUDIO_SECRET_KEY" in told
    assert (used.folder / "data" / "secret_key").read_text() not in told + failed
    # -- a file that is damaged there is found, and put again
    files = open_files(settings)
    keys = [key for key, _ in files.keys() if key != INSTALLATION_KEY]
    assert len(keys) == count
    assert any(".preview." in key for key in keys)
    files.put(keys[0], b"damaged", "image/png")
    code, told, failed = ended(command(new.environment, "move", str(used.folder / "data"), "--check"))
    assert (code, f"1 files DIFFER there or are missing there: {keys[0]}" in told) == (1, True), told + failed
    code, told, failed = ended(command(new.environment, "move", str(used.folder / "data")))
    assert (code, "(1 of them put now)" in told) == (0, True), told + failed
    # -- and the server goes on there
    with new:
        assert {link: opened(new.url, link) for link in used.links} == used.links
        assert [job["id"] for job in listed(new)] == [job["id"] for job in used.jobs]
        ended_before = [job for job in used.jobs if job["state"] == "succeeded"]
        for job in ended_before:
            now = new.job(job["id"])
            assert [image["sha256"] for image in now["images"]] == [image["sha256"] for image in job["images"]]
        for job_id in (used.running, used.waiting):
            assert new.finished(job_id)["state"] == "succeeded"
        assert new.request("GET", "/v1/styles/spring").json().items() >= DIRECTION.items()
        assert (new.job(used.held)["state"], new.job(used.held)["held"]) == ("review", 1)
        assert new.request("GET", "/v1/jobs", headers={"Authorization": "Bearer wrong"}).status_code == 401
        painted = new.finished(new.submit(steps=2, size="64x64", seed=6)["id"])
        assert painted["state"] == "succeeded"
        assert opened(new.url, painted["images"][0]["url"]) == painted["images"][0]["sha256"]
        assert [job["id"] for job in listed(new)] == [painted["id"], *(job["id"] for job in used.jobs)]
    assert not (
        used.folder / "data" / "images" / painted["images"][0]["url"].split("/files/")[1].split("?")[0]
    ).exists()
