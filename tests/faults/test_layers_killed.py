"""kill -9 of a worker that has stored some layers of a picture: the next attempt leaves nothing of them."""

import json
import os
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from qwen_image_studio.database.tables import images
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from tests.support import ROOT
from tests.support.database import environment, with_tables
from tests.support.layers import offer_layers
from tests.support.pictures import png
from tests.support.studio import stored_pictures
from tests.support.waiting import until
from tests.support.worker import scripted_worker

WORKER = """
import sys
from pathlib import Path
import pytest
from tests.faults.test_layers_killed import opened, settings_of
from tests.support.worker import scripted_worker

_, parts = opened(settings_of(Path(sys.argv[1])), pytest.MonkeyPatch())
scripted_worker(parts).run_next()
"""


def settings_of(folder: Path) -> Settings:
    """The settings of a server over that folder."""
    return Settings(_env_file=None, data_dir=folder, models="miniature", lease_s=1)


def opened(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Services]:
    """A server with a model that takes pictures apart."""
    monkeypatch.setenv("STUDIO_DATA_DIR", str(settings.data_dir))
    app = create_app(settings, configured_models(settings, card_gib=0))
    parts: Services = app.extensions["qwen-image-studio"]
    offer_layers(parts.models, monkeypatch)
    return app, parts


@pytest.mark.parametrize("moment", ["layer1", "layer2", "finish"])
def test_a_worker_that_is_killed_among_layers_leaves_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    app, parts = opened(with_tables(settings_of(tmp_path)), monkeypatch)
    asked = {"operation": "layers", "layers": 3, "seed": 7, "steps": 2, "prompt": f"kill@{moment}"}
    data = {"params": json.dumps(asked), "image": (BytesIO(png(64, 48)), "a.png")}
    job_id = app.test_client().post("/v1/jobs", data=data).get_json()["id"]

    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    own = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'server'}", **environment(tmp_path)}
    died = subprocess.run(command, env=own, check=False)
    assert died.returncode == -signal.SIGKILL
    orphans = {path.name for path in stored_pictures(tmp_path) if job_id in path.name}
    assert orphans, "the attempt has stored something"
    with parts.store.database.reading() as connection:
        assert connection.scalar(select(func.count()).where(images.c.job_id == job_id)) == 0

    worker = scripted_worker(parts)
    until(worker.run_next)  # once the lease of the dead one has expired
    job = app.test_client().get(f"/v1/jobs/{job_id}").get_json()
    assert (job["state"], job["attempt"], len(job["images"])) == ("succeeded", 2, 4), job
    left = {path.name for path in stored_pictures(tmp_path) if job_id in path.name}
    assert not left & orphans
    assert len(left) == 4 * 2 + 1, "a picture and a thumbnail each, and a comparison"
