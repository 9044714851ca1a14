"""Deleting by real processes: one that is killed between the row and the files, and one that deletes by age."""

import subprocess
import sys
import time
from collections.abc import Callable

import requests

from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.gallery.pruning import LEFTOVER_S, Pruned, Pruning
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.faults.test_kills import stored_files
from tests.support.studio import Studio
from tests.support.waiting import until

DIES = """
import os, signal, sys
from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.gallery.local import LocalStore
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
settings = Settings()
LocalStore.delete = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
getattr(open_gallery(settings, open_store(settings)), sys.argv[1])(sys.argv[2], "local")
"""


def test_killed_between_the_row_and_the_files(scripted: Studio) -> None:
    for forget in ("forget_image", "forget_job"):
        job = scripted.finished(scripted.submit(steps=2)["id"])
        [image] = job["images"]
        asked = image["id"] if forget == "forget_image" else job["id"]
        killed = subprocess.run([sys.executable, "-c", DIES, forget, asked], env=scripted.environment)
        assert killed.returncode == -9
        assert len([name for name in stored_files(scripted) if job["id"] in name]) == 2
        for url in (image["url"], image["thumbnail_url"]):
            assert requests.get(url, timeout=60).status_code == 404
        settings = Settings(_env_file=None, data_dir=scripted.folder / "data")
        store = open_store(settings)
        pruning = Pruning(open_gallery(settings, store), store, settings)
        for _ in pruning.pieces(None, now=time.time() + LEFTOVER_S + 60):
            pass
        assert pruning.pruned == Pruned(leftovers=2)
        assert not [name for name in stored_files(scripted) if job["id"] in name]


def test_a_server_deletes_by_age_what_its_setting_says(make_scripted: Callable[..., Studio]) -> None:
    studio = make_scripted().start()
    old = studio.finished(studio.submit(steps=2)["id"])
    studio.stop()
    studio.start()
    assert studio.job(old["id"])["state"] == "succeeded", "never, unless it is set"
    studio.stop()
    studio.environment["STUDIO_RETENTION_DAYS"] = "0.000001"
    studio.start()
    until(lambda: studio.request("GET", f"/v1/jobs/{old['id']}").status_code == 404)
    assert studio.request("GET", "/v1/jobs").json()["data"] == []
    assert not stored_files(studio)
