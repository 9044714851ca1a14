"""Deleting over HTTP: what goes, what stays listed, what stands in the way."""

import json
import os
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import update

from qwen_image_studio.__main__ import cli
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Policy
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.database.tables import images, jobs
from qwen_image_studio.gallery import Gallery
from qwen_image_studio.gallery.links import open_links
from qwen_image_studio.gallery.pruning import DAY_S, LEFTOVER_S, Pruned, Retention, prune
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.guard.safety import Safety
from qwen_image_studio.imaging.received import stored_form
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.seats import worker_name
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png
from tests.support.studio import stored_pictures

ASK: dict[str, Any] = {"operation": "generate", "prompt": "a cup", "steps": 2, "seed": 5, "cache": False}


def painted(client: FlaskClient, worker: Worker, **changes: Any) -> dict[str, Any]:
    """A job that has succeeded."""
    job_id = submitted(client, **changes)
    assert worker.run_next()
    return view(client, job_id)


def submitted(client: FlaskClient, **changes: Any) -> str:
    answer = client.post("/v1/jobs", json={**ASK, **changes})
    assert answer.status_code == 202, answer.text
    return str(answer.get_json()["id"])


def adjusted(client: FlaskClient, light: Worker) -> dict[str, Any]:
    """A job with an upload of its own, that has succeeded."""
    params = json.dumps({"operation": "adjust", "prompt": "blur it"})
    answer = client.post("/v1/jobs", data={"params": params, "image": (BytesIO(png()), "a.png")})
    assert answer.status_code == 202, answer.text
    assert light.run_next()
    return view(client, answer.get_json()["id"])


def batched(client: FlaskClient, light: Worker, **job: Any) -> str:
    """A batch of two rows that were made into jobs; nobody has painted them."""
    params = {"operation": "generate", "prompt": "a {{thing}}", "steps": 2, **job}
    answer = client.post(
        "/v1/jobs", json={"operation": "batch", "job": params, "rows": [{"thing": "cup"}, {"thing": "hat"}]}
    )
    assert answer.status_code == 202, answer.text
    assert light.run_next()
    return str(answer.get_json()["id"])


def view(client: FlaskClient, job_id: str) -> dict[str, Any]:
    answer = client.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.get_json())


def rows_of(client: FlaskClient, batch_id: str) -> list[dict[str, Any]]:
    return list(client.get("/v1/jobs", query_string={"parent_id": batch_id}).get_json()["data"])


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["error"]["code"]


def files_of(settings: Settings) -> list[Path]:
    return stored_pictures(settings.data_dir)


# -- images --------------------------------------------------------------------------------------------------------


def test_a_deleted_image_is_gone_and_its_job_says_so(client: FlaskClient, worker: Worker, settings: Settings) -> None:
    job = painted(client, worker, n=2)
    first, second = job["images"]
    assert first["deleted"] is second["deleted"] is False
    answer = client.delete(f"/v1/images/{first['id']}")
    assert (answer.status_code, answer.data) == (204, b"")
    for address in (f"/v1/images/{first['id']}", f"/v1/images/{first['id']}/content"):
        assert refusal(client.get(address)) == (404, "not_found")
    assert refusal(client.get(first["url"])) == refusal(client.get(first["thumbnail_url"])) == (404, "not_found")
    gone, left = view(client, job["id"])["images"]
    assert (gone["id"], gone["deleted"], gone["sha256"]) == (first["id"], True, "")
    assert gone["url"].startswith("http")
    assert refusal(client.get(gone["url"])) == (404, "not_found")
    assert left == second
    assert client.get(second["url"]).status_code == 200
    assert len(files_of(settings)) == 2
    assert not [path for path in files_of(settings) if first["id"] in path.name]


def test_deleting_an_image_again_changes_nothing(client: FlaskClient, worker: Worker) -> None:
    job = painted(client, worker)
    address = f"/v1/images/{job['images'][0]['id']}"
    assert client.delete(address).status_code == 204
    after = view(client, job["id"])
    assert client.delete(address).status_code == 204
    assert view(client, job["id"]) == after
    assert after["archive_url"] is None
    assert refusal(client.get(f"/v1/jobs/{job['id']}/archive")) == (404, "not_found")


def test_nobody_deletes_what_is_another_owners(app: Flask, settings: Settings, worker: Worker) -> None:
    keys = KeyStore(open_database(settings))
    ann, bob = ({"Authorization": f"Bearer {keys.add(name)}"} for name in ("ann", "bob"))
    client = app.test_client()
    job_id = client.post("/v1/jobs", json=ASK, headers=ann).get_json()["id"]
    worker.run_next()
    image_id = client.get(f"/v1/jobs/{job_id}", headers=ann).get_json()["images"][0]["id"]
    for address in (f"/v1/images/{image_id}", f"/v1/jobs/{job_id}", "/v1/images/img_unknown", "/v1/jobs/job_unknown"):
        assert refusal(client.delete(address, headers=bob)) == (404, "not_found")
        assert refusal(client.delete(address)) == (401, "invalid_api_key")
    assert client.get(f"/v1/images/{image_id}/content", headers=ann).status_code == 200
    assert client.delete(f"/v1/images/{image_id}", headers=ann).status_code == 204
    assert refusal(client.delete(f"/v1/images/{image_id}", headers=bob)) == (404, "not_found")


def test_an_edits_comparison_goes_with_it(client: FlaskClient, worker: Worker, settings: Settings) -> None:
    image = painted(client, worker)["images"][0]
    edit = painted(client, worker, operation="edit", prompt="make it green", image=image["id"])
    [made] = edit["images"]
    assert client.get(made["comparison_url"]).status_code == 200
    assert client.delete(f"/v1/images/{made['id']}").status_code == 204
    assert refusal(client.get(made["comparison_url"])) == (404, "not_found")
    [gone] = view(client, edit["id"])["images"]
    assert (gone["comparison_url"], gone["change"]) == (None, None)
    assert not [path for path in files_of(settings) if made["id"] in path.name]


def test_a_file_goes_with_the_last_row_that_names_it(
    client: FlaskClient, worker: Worker, store: JobStore, settings: Settings
) -> None:
    first, second = (painted(client, worker)["images"][0] for _ in range(2))
    own, shared = store.images.get(second["id"]).key, store.images.get(first["id"])
    with store.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE images SET key = ? WHERE id = ?", (shared.key, second["id"]))
    assert client.delete(f"/v1/images/{first['id']}").status_code == 204
    assert client.get(first["url"]).status_code == 200, "the other image has the same file"
    assert refusal(client.get(first["thumbnail_url"])) == (404, "not_found")
    assert client.delete(f"/v1/images/{second['id']}").status_code == 204
    assert refusal(client.get(first["url"])) == (404, "not_found")
    assert [str(path.relative_to(settings.data_dir.resolve() / "images")) for path in files_of(settings)] in (
        [own],
        [],
    )


def test_an_image_that_a_job_waits_for_stays(client: FlaskClient, worker: Worker) -> None:
    image = painted(client, worker)["images"][0]
    edit = submitted(client, operation="edit", prompt="make it green", image=image["id"])
    answer = client.delete(f"/v1/images/{image['id']}")
    assert refusal(answer) == (409, "image_in_use")
    assert edit in answer.get_json()["error"]["message"]
    assert client.get(image["url"]).status_code == 200
    assert worker.run_next()
    assert view(client, edit)["state"] == "succeeded"
    assert client.delete(f"/v1/images/{image['id']}").status_code == 204
    answer = client.post("/v1/jobs", json={**ASK, "operation": "edit", "prompt": "red", "image": image["id"]})
    assert refusal(answer) == (422, "image_not_found")


@pytest.mark.parametrize("name", ["id", "url"])
def test_an_image_that_a_row_to_come_names_stays(client: FlaskClient, worker: Worker, light: Worker, name: str) -> None:
    image = painted(client, worker)["images"][0]
    rows = [{"picture": image[name]} for _ in range(30)]
    job = {"operation": "edit", "prompt": "make it green", "image": "{{picture}}", "steps": 2}
    batch_id = client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": rows}).get_json()["id"]
    assert refusal(client.delete(f"/v1/images/{image['id']}")) == (409, "image_in_use")
    assert client.post(f"/v1/jobs/{batch_id}/cancel").status_code == 200
    assert client.delete(f"/v1/images/{image['id']}").status_code == 204


def test_the_last_image_of_a_conversation_stays_for_a_batch_that_goes_on_with_it(
    client: FlaskClient, worker: Worker
) -> None:
    image = painted(client, worker, conversation="会话")["images"][0]
    job = {"operation": "edit", "prompt": "make it {{colour}}", "conversation": "会话"}
    ask = {"operation": "batch", "job": job, "rows": [{"colour": "red"}]}
    batch_id = client.post("/v1/jobs", json=ask).get_json()["id"]
    assert refusal(client.delete(f"/v1/images/{image['id']}")) == (409, "image_in_use")
    client.post(f"/v1/jobs/{batch_id}/cancel")
    assert client.delete(f"/v1/images/{image['id']}").status_code == 204


def test_a_rows_image_stays_until_the_batch_has_its_contact_sheet(
    client: FlaskClient, worker: Worker, light: Worker
) -> None:
    batch_id = batched(client, light)
    assert worker.run_next()
    [image] = [image for row in rows_of(client, batch_id) for image in row["images"]]
    assert refusal(client.delete(f"/v1/images/{image['id']}")) == (409, "image_in_use")
    assert worker.run_next()
    assert light.run_next()
    assert view(client, batch_id)["state"] == "succeeded"
    assert client.delete(f"/v1/images/{image['id']}").status_code == 204
    table = archived_table(client, batch_id)
    assert f"Image {image['id']} was deleted." in table
    assert table.count(image["id"]) == 1


def archived_table(client: FlaskClient, batch_id: str) -> str:
    with zipfile.ZipFile(BytesIO(client.get(f"/v1/jobs/{batch_id}/archive").data)) as file:
        return file.read("rows.csv").decode()


def test_a_conversation_goes_on_with_the_image_that_is_left(client: FlaskClient, worker: Worker) -> None:
    first, second = (painted(client, worker, conversation="c", seed=seed)["images"][0] for seed in (1, 2))
    ask = {"operation": "edit", "prompt": "make it green", "conversation": "c"}
    assert client.delete(f"/v1/images/{second['id']}").status_code == 204
    parts: Services = client.application.extensions["qwen-image-studio"]
    job_id = submitted(client, **ask)
    assert parts.store.jobs.get(job_id).inputs == (first["id"],)
    client.post(f"/v1/jobs/{job_id}/cancel")
    assert client.delete(f"/v1/images/{first['id']}").status_code == 204
    assert refusal(client.post("/v1/jobs", json={**ASK, **ask})) == (422, "image_not_found")


def test_an_image_deleted_while_a_request_is_read_is_not_queued(
    client: FlaskClient, worker: Worker, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = painted(client, worker)["images"][0]
    policy_of = Safety.policy_of

    def delete_meanwhile(self: Safety, *asked: Any) -> Policy:
        parts.gallery.forget_image(image["id"], "local")
        return policy_of(self, *asked)

    monkeypatch.setattr(Safety, "policy_of", delete_meanwhile)
    answer = client.post("/v1/jobs", json={**ASK, "operation": "edit", "prompt": "red", "image": image["id"]})
    assert refusal(answer) == (422, "image_not_found")
    assert answer.get_json()["error"]["param"] == "image"


# -- jobs ----------------------------------------------------------------------------------------------------------


def test_a_deleted_job_is_gone_with_all_it_made_and_got(client: FlaskClient, light: Worker, settings: Settings) -> None:
    job = adjusted(client, light)
    assert len(files_of(settings)) == 5  # the upload and its thumbnail, the picture, its thumbnail and its comparison
    answer = client.delete(f"/v1/jobs/{job['id']}")
    assert (answer.status_code, answer.data) == (204, b"")
    assert files_of(settings) == []
    for address in (f"/v1/jobs/{job['id']}", f"/v1/images/{job['images'][0]['id']}", job["archive_url"]):
        assert refusal(client.get(address)) == (404, "not_found")
    assert client.get("/v1/jobs").get_json()["data"] == []
    assert refusal(client.delete(f"/v1/jobs/{job['id']}")) == (404, "not_found")


def test_a_job_that_has_not_ended_is_not_deleted(client: FlaskClient, worker: Worker) -> None:
    job_id = submitted(client)
    answer = client.delete(f"/v1/jobs/{job_id}")
    assert refusal(answer) == (409, "job_not_ended")
    assert f"/v1/jobs/{job_id}/cancel" in answer.get_json()["error"]["message"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204


def test_a_job_whose_image_another_job_waits_for_stays(client: FlaskClient, worker: Worker) -> None:
    job = painted(client, worker)
    edit = submitted(client, operation="edit", prompt="red", image=job["images"][0]["id"])
    assert refusal(client.delete(f"/v1/jobs/{job['id']}")) == (409, "image_in_use")
    assert worker.run_next()
    assert view(client, edit)["state"] == "succeeded"
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert view(client, edit)["images"][0]["deleted"] is False


def test_a_batch_goes_with_its_rows_and_a_row_not_by_itself(
    client: FlaskClient, worker: Worker, light: Worker, settings: Settings
) -> None:
    batch_id = batched(client, light)
    assert refusal(client.delete(f"/v1/jobs/{batch_id}")) == (409, "job_not_ended")
    assert worker.run_next()
    assert worker.run_next()
    assert light.run_next()
    rows = [row["id"] for row in rows_of(client, batch_id)]
    answer = client.delete(f"/v1/jobs/{rows[0]}")
    assert refusal(answer) == (422, "invalid_value")
    assert batch_id in answer.get_json()["error"]["message"]
    assert client.delete(f"/v1/jobs/{batch_id}").status_code == 204
    for job_id in (batch_id, *rows):
        assert refusal(client.get(f"/v1/jobs/{job_id}")) == (404, "not_found")
    assert files_of(settings) == []


def test_an_upload_that_another_job_names_stays(client: FlaskClient, light: Worker, store: JobStore) -> None:
    first = adjusted(client, light)
    [upload] = store.jobs.get(first["id"]).inputs
    ask = {"operation": "adjust", "prompt": "rotate it 90 degrees", "image": upload}
    second = client.post("/v1/jobs", json=ask).get_json()["id"]
    assert light.run_next()
    assert client.delete(f"/v1/jobs/{first['id']}").status_code == 204
    assert store.images.get(upload).id == upload
    assert client.delete(f"/v1/jobs/{second}").status_code == 204
    with pytest.raises(StudioError):
        store.images.get(upload)


def test_a_worker_that_lost_a_job_which_is_deleted_meanwhile_goes_on(
    client: FlaskClient, worker: Worker, store: JobStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = type(store.leases).finish

    def too_late(self: Any, lease: Any, *rest: Any, **more: Any) -> Any:
        store.leases.abandon(worker_name("cpu"))
        client.post(f"/v1/jobs/{lease.job.id}/cancel")
        assert client.delete(f"/v1/jobs/{lease.job.id}").status_code == 204
        return finish(self, lease, *rest, **more)

    job_id = submitted(client)
    with monkeypatch.context() as slow:
        slow.setattr(type(store.leases), "finish", too_late)
        assert worker.run_next()
    assert refusal(client.get(f"/v1/jobs/{job_id}")) == (404, "not_found")
    assert files_of(settings) == []
    assert painted(client, worker)["state"] == "succeeded"


# -- what a kill leaves --------------------------------------------------------------------------------------------


def test_a_file_whose_row_is_gone_is_never_served_and_found_by_prune(
    client: FlaskClient, worker: Worker, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the process were killed between the row and the files."""
    job = painted(client, worker, n=2)
    image = job["images"][0]
    with monkeypatch.context() as killed:
        killed.setattr(type(parts.gallery), "clear", lambda *_: None)
        assert client.delete(f"/v1/images/{image['id']}").status_code == 204
    assert len(files_of(parts.settings)) == 4
    for link in (image["url"], image["thumbnail_url"]):
        assert refusal(client.get(link)) == (404, "not_found")
        answer = client.post("/v1/jobs", json={**ASK, "operation": "edit", "prompt": "red", "image": link})
        assert refusal(answer) == (422, "image_not_found")
    age(parts, LEFTOVER_S + 60)
    assert prune(parts.gallery, parts.store, parts.settings, 9 * DAY_S, dry_run=False) == Pruned(leftovers=2)
    assert len(files_of(parts.settings)) == 2
    assert client.get(job["images"][1]["url"]).status_code == 200


def test_deleting_an_image_again_clears_what_a_kill_left(
    client: FlaskClient, worker: Worker, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = painted(client, worker)["images"][0]
    with monkeypatch.context() as killed:
        killed.setattr(type(parts.gallery), "clear", lambda *_: None)
        client.delete(f"/v1/images/{image['id']}")
    assert client.delete(f"/v1/images/{image['id']}").status_code == 204
    assert files_of(parts.settings) == []


def test_the_files_of_a_running_attempt_are_no_leftovers(
    client: FlaskClient, worker: Worker, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = type(parts.store.leases).finish

    def prune_first(self: Any, *ended: Any, **more: Any) -> Any:
        assert prune(parts.gallery, parts.store, parts.settings, 0, dry_run=False) == Pruned()
        return finish(self, *ended, **more)

    monkeypatch.setattr(type(parts.store.leases), "finish", prune_first)
    job = painted(client, worker)
    assert client.get(job["images"][0]["url"]).status_code == 200


def test_what_is_not_the_gallerys_own_stays(client: FlaskClient, worker: Worker, parts: Services) -> None:
    painted(client, worker)
    folder = parts.settings.data_dir / "images"
    for name in ("notes.txt", "family/holiday.jpeg", "2026/11/21/my cat.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"mine")
    age(parts, 9 * DAY_S)
    before = files_of(parts.settings)
    assert prune(parts.gallery, parts.store, parts.settings, 99 * DAY_S, dry_run=False) == Pruned()
    assert files_of(parts.settings) == before


@pytest.mark.parametrize("was_marked", [False, True])
def test_pictures_of_another_database_stay(
    client: FlaskClient, worker: Worker, parts: Services, settings: Settings, tmp_path: Path, was_marked: bool
) -> None:
    """As if the database were lost or restored under another address, or two servers had one folder."""
    painted(client, worker)
    age(parts, 9 * DAY_S)
    if was_marked:
        assert prune(parts.gallery, parts.store, settings, 99 * DAY_S, dry_run=False) == Pruned()
    other = open_store(settings.model_copy(update={"data_dir": tmp_path / "other"}))
    gallery = Gallery(parts.gallery.files, other, open_links(settings))
    if was_marked:
        gallery.add(stored_form(Image.new("RGB", (8, 8))), "local")
    before = files_of(settings)
    assert prune(gallery, other, settings, 99 * DAY_S, dry_run=False) == Pruned()
    assert files_of(settings) == before


# -- by age --------------------------------------------------------------------------------------------------------


def age(parts: Services, seconds: float) -> None:
    """Make everything that there is older."""
    with parts.store.database.engine.begin() as connection:
        for column in (jobs.c.created_at, jobs.c.finished_at, images.c.created_at):
            connection.execute(update(column.table).values({column: column - seconds}))
    for path in files_of(parts.settings):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


def test_prune_deletes_what_is_older_and_nothing_else(
    client: FlaskClient, worker: Worker, light: Worker, parts: Services
) -> None:
    adjusted(client, light)
    painted(client, worker)
    lonely = parts.gallery.add(stored_form(Image.new("RGB", (8, 8), "red")), "local")
    age(parts, 40 * DAY_S)
    waiting = submitted(client)
    young = adjusted(client, light)
    for dry_run in (True, False):
        pruned = prune(parts.gallery, parts.store, parts.settings, 30 * DAY_S, dry_run=dry_run)
        assert pruned == Pruned(jobs=2, uploads=1)
        assert bool(parts.store.forgetting.named_keys([lonely.key])) is dry_run
    assert {job["id"] for job in client.get("/v1/jobs").get_json()["data"]} == {waiting, young["id"]}
    assert client.get(young["images"][0]["url"]).status_code == 200
    assert len(files_of(parts.settings)) == 5
    assert prune(parts.gallery, parts.store, parts.settings, 30 * DAY_S, dry_run=False) == Pruned()


def test_prune_keeps_an_old_job_whose_image_is_waited_for(client: FlaskClient, worker: Worker, parts: Services) -> None:
    job = painted(client, worker)
    age(parts, 40 * DAY_S)
    submitted(client, operation="edit", prompt="red", image=job["images"][0]["id"])
    assert prune(parts.gallery, parts.store, parts.settings, DAY_S, dry_run=False) == Pruned(kept=1)
    assert client.get(job["images"][0]["url"]).status_code == 200


def test_the_command_prunes_and_counts(
    client: FlaskClient, worker: Worker, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted(client, worker)
    age(parts, 13 * 3600)
    monkeypatch.setenv("STUDIO_DATA_DIR", str(parts.settings.data_dir))
    told = [
        CliRunner().invoke(cli, ["prune", *options])
        for options in (["--older-than", "1d"], ["--older-than", "12h", "--dry-run"], ["--older-than", "12h"])
    ]
    assert [each.output for each in told] == [
        "Deleted: 0 jobs, 0 uploads, 0 leftover files.\n",
        "To delete: 1 jobs, 0 uploads, 0 leftover files.\n",
        "Deleted: 1 jobs, 0 uploads, 0 leftover files.\n",
    ]
    assert files_of(parts.settings) == []


@pytest.mark.parametrize("wrong", ["30", "d", "-1d", "1.5d", "30 d", "30w", ""])
def test_an_age_that_cannot_be_read_says_how_to_write_it(wrong: str) -> None:
    told = CliRunner().invoke(cli, ["prune", f"--older-than={wrong}"])
    assert told.exit_code == 2
    assert "such as 30d or 12h" in told.output


def test_the_light_worker_prunes_by_the_retention_setting(client: FlaskClient, worker: Worker, parts: Services) -> None:
    job = painted(client, worker)
    age(parts, 2 * DAY_S)
    never = Retention(parts.gallery, parts.store, parts.settings)
    never.work()
    assert view(client, job["id"])["state"] == "succeeded"
    after_a_day = parts.settings.model_copy(update={"retention_days": 1.0})
    retention = Retention(parts.gallery, parts.store, after_a_day)
    retention.work()
    assert refusal(client.get(f"/v1/jobs/{job['id']}")) == (404, "not_found")
    assert files_of(parts.settings) == []
    later = painted(client, worker)
    age(parts, 2 * DAY_S)
    retention.work()
    assert view(client, later["id"])["state"] == "succeeded", "the next round is an hour later"


@pytest.mark.parametrize(("value", "days"), [("", None), ("30", 30.0), ("0.5", 0.5)])
def test_retention_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, days: float | None
) -> None:
    monkeypatch.setenv("STUDIO_RETENTION_DAYS", value)
    assert Settings(_env_file=None).retention_days == days


def test_a_job_deleted_while_it_is_listed_is_not_listed(
    client: FlaskClient, worker: Worker, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, stays = painted(client, worker), painted(client, worker)
    tags = type(parts.store.jobs).tags

    def delete_first(self: Any, ids: Any) -> Any:
        parts.gallery.forget_job(gone["id"], "local")
        monkeypatch.undo()
        return tags(self, ids)

    monkeypatch.setattr(type(parts.store.jobs), "tags", delete_first)
    assert [job["id"] for job in client.get("/v1/jobs").get_json()["data"]] == [stays["id"]]


def test_the_stream_of_a_job_ends_when_the_job_is_deleted(app: Flask, client: FlaskClient, parts: Services) -> None:
    job_id = client.post("/v1/jobs", json=ASK).get_json()["id"]
    pieces = app.test_client().get(f"/v1/jobs/{job_id}/events").iter_encoded()
    assert job_id.encode() in next(pieces)
    parts.store.jobs.cancel(job_id, "local")  # by themselves, since a stream is open in this thread
    parts.gallery.forget_job(job_id, "local")
    assert list(pieces) == []
    assert client.get(f"/v1/jobs/{job_id}/events").status_code == 404
