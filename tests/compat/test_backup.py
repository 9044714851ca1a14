"""The data of 0.1.0, backed up before or after an upgrade and restored: every picture and link is there."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from qwen_image_studio.database.tables import REVISION
from qwen_image_studio.host.backup import back_up
from qwen_image_studio.host.restore import restore
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from tests.compat.calls import HERE

FACTS: Mapping[str, Any] = json.loads((HERE / "data-0.1.0.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("upgraded", [False, True], ids=["before the upgrade", "after the upgrade"])
def test_every_picture_and_link_of_0_1_0_is_restored(tmp_path: Path, upgraded: bool) -> None:
    with zipfile.ZipFile(HERE / "data-0.1.0.zip") as data:
        data.extractall(tmp_path)
    old = Settings(_env_file=None, data_dir=tmp_path / "data", public_url=FACTS["public_url"])
    if upgraded:
        open_store(old)
    made = back_up(old, tmp_path / "backup")
    assert (made.missing, made.revision) == ([], REVISION if upgraded else made.revision)
    new = old.model_copy(update={"data_dir": tmp_path / "restored"})
    restore(new, tmp_path / "backup")
    client: Client = create_app(new, {}).test_client()
    for link, sha256 in FACTS["links"].items():
        answer = client.get(link)
        assert answer.status_code == 200, link
        assert hashlib.sha256(answer.data).hexdigest() == sha256, link
    headers = {"Authorization": f"Bearer {FACTS['api_key']}"}
    for image_id, record in FACTS["images"].items():
        content = client.get(f"/v1/images/{image_id}/content", headers=headers).data
        assert hashlib.sha256(content).hexdigest() == record["sha256"], image_id
    listed = client.get("/v1/jobs?limit=100", headers=headers).get_json()["data"]
    assert {job["id"] for job in FACTS["jobs"]} <= {job["id"] for job in listed}
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {FACTS['revoked_key']}"}).status_code == 401
