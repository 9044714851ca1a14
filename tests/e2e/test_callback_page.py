"""The receiver of the examples, run as it stands beside a real server; and what the API page says of callbacks."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.receivers import Receivers
from qwen_image_studio.settings import Settings
from qwen_image_studio.worker.sender import PAUSES_S
from tests.e2e.test_examples import EXAMPLES, blocks, promised
from tests.support import ROOT
from tests.support.receiver import Receiver
from tests.support.studio import SCRIPTED, Studio, free_port
from tests.support.waiting import until


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """A server that may call this machine."""
    with Studio(tmp_path, **SCRIPTED, webhook_allow="127.0.0.1") as studio:
        yield studio


@pytest.fixture
def example(studio: Studio, tmp_path: Path) -> Iterator[str]:
    """The address of the receiver of the examples, which saves into the folder pictures."""
    settings = Settings(_env_file=None, data_dir=tmp_path / "data")
    secret, port = Receivers(open_database(settings)).secret(""), free_port()
    command = [sys.executable, str(EXAMPLES / "receive_callbacks.py"), "pictures", str(port)]
    environment = {**studio.environment, "WEBHOOK_SECRET": secret}
    with (tmp_path / "received.txt").open("wb") as printed:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=printed, stderr=printed)
    url = f"http://127.0.0.1:{port}/"
    until(lambda: forged(url) == 401)
    yield url
    process.terminate()
    process.wait()


def forged(url: str) -> int | None:
    """The answer to a callback that nobody signed; None while nothing listens."""
    try:
        return requests.post(url, json={"type": "job.succeeded"}, timeout=60).status_code
    except requests.ConnectionError:
        return None


def test_the_receiver_of_the_examples_saves_each_picture_and_takes_nothing_forged(
    studio: Studio, example: str, tmp_path: Path
) -> None:
    good, bad = (
        studio.submit(prompt=prompt, steps=2, webhook_url=example)["id"] for prompt in ("a", "memory@1 always")
    )
    printed = tmp_path / "received.txt"
    until(lambda: good in printed.read_text() and f"job.failed {bad} " in printed.read_text())
    [image] = studio.finished(good)["images"]
    path = tmp_path / "pictures" / f"{image['id']}.png"
    until(lambda: str(path.name) in printed.read_text())
    assert path.read_bytes() == studio.request("GET", f"/v1/images/{image['id']}/content").content
    until(lambda: len(list((tmp_path / "pictures").glob("evt_*.done"))) == 2)


def test_the_page_shows_what_is_sent(studio: Studio) -> None:
    with Receiver() as receiver:
        job = studio.submit(steps=2, webhook_url=receiver.url)
        until(lambda: receiver.calls)
    [shown] = (json.loads(block) for block in blocks("jsonc") if "job.succeeded" in block)
    told = receiver.calls[0].told
    for image in shown["data"]["images"]:  # the scripted engine paints in another size
        image |= {name: told["data"]["images"][0][name] for name in ("width", "height")}
    assert promised(shown, told)
    assert told["data"]["id"] == job["id"]
    assert shown["data"].keys() | {"created_at", "finished_at"} == told["data"].keys()


def test_the_page_has_the_pauses_of_the_sender() -> None:
    assert list(PAUSES_S) == [5, 30, 120, 600, 3600, 4 * 3600, 12 * 3600, 12 * 3600]
    page = " ".join((ROOT / "docs/api.md").read_text(encoding="utf-8").split())
    assert "after 5 s, 30 s, 2 min, 10 min, 1 h, 4 h and twice 12 h" in page
