"""Jobs over HTTP as a caller meets them: submit, look, wait, follow, cancel, list."""

import json
import threading
import time
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.contract.answers import JobView
from qwen_image_studio.imaging import read_origin
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png

ASK: dict[str, Any] = {"operation": "generate", "prompt": "红苹果", "steps": 2}


def submit(client: FlaskClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json={**ASK, **changes})
    assert answer.status_code == 202, answer.text
    return dict(answer.get_json())


def edit(client: FlaskClient, *files: bytes, field: str = "image[]", **changes: Any) -> Any:
    params = {"operation": "edit", "prompt": "make it green", "steps": 2, **changes}
    parts = {field: [(BytesIO(data), f"{number}.png") for number, data in enumerate(files)]}
    return client.post("/v1/jobs", data={"params": json.dumps(params), **parts})


def test_submit_answers_202_with_a_location(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json=ASK)
    job = answer.get_json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    JobView.model_validate(job)
    assert (job["state"], job["queue_position"], job["images"], job["error"]) == ("queued", 1, [], None)
    assert "红苹果" not in job["warnings"][0]
    assert "miniature" in job["warnings"][0]


def test_a_job_is_painted_and_its_picture_explains_itself(client: FlaskClient, worker: Worker) -> None:
    job = submit(client, n=2, size="100x70", seed=5)
    assert worker.run_next()
    done = client.get(f"/v1/jobs/{job['id']}").get_json()
    assert (done["state"], done["attempt"], done["queue_position"]) == ("succeeded", 1, None)
    assert [image["seed"] for image in done["images"]] == [5, 6]
    assert any("resized to 100x70" in warning for warning in done["warnings"])
    for image in done["images"]:
        answer = client.get(image["url"])
        assert (answer.status_code, answer.mimetype) == (200, "image/png")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert Image.open(BytesIO(answer.data)).size == (100, 70) == (image["width"], image["height"])
        facts = read_origin(answer.data)
        assert (facts["prompt"], facts["seed"], facts["model"]) == ("红苹果", image["seed"], "miniature")
        assert client.get(f"/v1/images/{image['id']}/content").data == answer.data
        record = client.get(f"/v1/images/{image['id']}").get_json()
        assert (record["job_id"], record["bytes"], record["sha256"]) == (job["id"], len(answer.data), image["sha256"])


@pytest.mark.parametrize(("output_format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_output_formats(client: FlaskClient, worker: Worker, output_format: str, kind: str) -> None:
    job = submit(client, output_format=output_format)
    worker.run_next()
    image = client.get(f"/v1/jobs/{job['id']}").get_json()["images"][0]
    assert image["mime_type"] == f"image/{output_format}"
    answer = client.get(image["url"])
    assert answer.mimetype == f"image/{output_format}"
    assert Image.open(BytesIO(answer.data)).format == kind


def test_the_seed_decides_the_bytes_also_among_several(client: FlaskClient, worker: Worker) -> None:
    jobs = [submit(client, cache=False, **asked) for asked in ({"seed": 9}, {"seed": 8, "n": 3}, {"seed": 9})]
    while worker.run_next():
        pass
    done = [client.get(f"/v1/jobs/{job['id']}").get_json()["images"] for job in jobs]
    assert done[0][0]["sha256"] == done[1][1]["sha256"] == done[2][0]["sha256"]
    assert len({image["sha256"] for image in done[1]}) == 3


def test_without_a_seed_each_job_draws_its_own(client: FlaskClient, store: JobStore) -> None:
    seeds = {store.jobs.get(submit(client, seed=None)["id"]).plan["seeds"][0] for _ in range(3)}
    assert len(seeds) == 3


def test_edit_with_files_ids_and_links(client: FlaskClient, worker: Worker, store: JobStore) -> None:
    uploaded = edit(client, png(40, 30), png(30, 40)).get_json()
    assert len(store.jobs.get(uploaded["id"]).inputs) == 2
    worker.run_next()
    made = client.get(f"/v1/jobs/{uploaded['id']}").get_json()["images"][0]
    assert made["width"] > made["height"]  # the first input decides the shape
    for reference in (made["id"], made["url"], [made["id"], made["url"]]):
        answer = client.post("/v1/jobs", json={"operation": "edit", "prompt": "again", "image": reference})
        assert answer.status_code == 202, answer.text
        worker.run_next()
        assert client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json()["state"] == "succeeded"


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_a_picture_of_any_format_is_edited_by_its_id(client: FlaskClient, worker: Worker, output_format: str) -> None:
    job = submit(client, output_format=output_format)
    worker.run_next()
    image = client.get(f"/v1/jobs/{job['id']}").get_json()["images"][0]
    again = client.post("/v1/jobs", json={"operation": "edit", "prompt": "again", "image": image["id"]}).get_json()
    worker.run_next()
    assert client.get(f"/v1/jobs/{again['id']}").get_json()["state"] == "succeeded"


def test_an_uploaded_image_can_be_seen_and_used_again(client: FlaskClient, store: JobStore) -> None:
    job = edit(client, png(40, 30), field="image").get_json()
    image_id = store.jobs.get(job["id"]).inputs[0]
    record = client.get(f"/v1/images/{image_id}").get_json()
    assert (record["width"], record["height"], record["seed"], record["job_id"]) == (40, 30, None, None)
    assert Image.open(BytesIO(client.get(record["url"]).data)).size == (40, 30)


def test_idempotency_key(client: FlaskClient) -> None:
    key = {"Idempotency-Key": "one"}
    first = client.post("/v1/jobs", json=ASK, headers=key)
    again = client.post("/v1/jobs", json=ASK, headers=key)
    other = client.post("/v1/jobs", json={**ASK, "seed": 6}, headers=key)
    assert (again.status_code, again.get_json()["id"]) == (202, first.get_json()["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert (other.status_code, other.get_json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert len(client.get("/v1/jobs").get_json()["data"]) == 1


def test_idempotency_key_covers_files(client: FlaskClient, store: JobStore) -> None:
    def send(colour: str) -> Any:
        data = {"params": json.dumps({"operation": "edit", "prompt": "x"}), "image": (BytesIO(png(colour=colour)), "a")}
        return client.post("/v1/jobs", data=data, headers={"Idempotency-Key": "k"})

    first, again, other = send("red"), send("red"), send("blue")
    assert first.get_json()["id"] == again.get_json()["id"]
    assert other.status_code == 422


def test_twenty_at_once_with_one_key(app: Flask) -> None:
    ids: list[str] = []

    def send() -> None:
        with app.test_client() as caller:
            answer = caller.post("/v1/jobs", json={**ASK, "seed": None}, headers={"Idempotency-Key": "k"})
            ids.append(answer.get_json()["id"])

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ids), len(set(ids))) == (20, 1)


def test_long_poll_waits_for_news_and_tells_it_at_once(app: Flask, client: FlaskClient, worker: Worker) -> None:
    job = submit(client, prompt="pace=0.2", steps=6)
    thread = threading.Timer(0.5, worker.run_next)
    thread.start()
    running = client.get(f"/v1/jobs/{job['id']}?wait=20").get_json()
    assert running["state"] == "running", "a wait that lasted twenty seconds would see its end"
    states = [running["state"]]
    while states[-1] == "running":
        states.append(client.get(f"/v1/jobs/{job['id']}?wait=20").get_json()["state"])
    assert states[-1] == "succeeded"
    assert len(states) <= 4  # a change of state or a second's worth of progress, not every step
    thread.join()


def test_long_poll_gives_up_in_time(client: FlaskClient) -> None:
    job = submit(client)
    assert client.get(f"/v1/jobs/{job['id']}?wait=0.3").get_json()["state"] == "queued"
    for bad in ("-1", "61", "nan", "soon"):
        answer = client.get(f"/v1/jobs/{job['id']}?wait={bad}")
        assert (answer.status_code, answer.get_json()["error"]["param"]) == (422, "wait")


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Server-sent events as (id, data)."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n") if block.startswith("id: ")]
    return [(lines[0][4:], json.loads(lines[2][6:])) for lines in blocks]


def test_events_follow_a_job_to_its_end_and_resume(client: FlaskClient, worker: Worker) -> None:
    job = submit(client, prompt="pace=0.15", steps=5)
    thread = threading.Timer(0.3, worker.run_next)
    thread.start()
    answer = client.get(f"/v1/jobs/{job['id']}/events")
    assert answer.mimetype == "text/event-stream"
    seen = events(answer.text)
    thread.join()
    states = [data["state"] for _, data in seen]
    assert states[-1] == "succeeded"
    assert "running" in states
    assert any(data["progress"]["step"] for _, data in seen)
    assert len({event_id for event_id, _ in seen}) == len(seen)
    again = client.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": seen[-2][0]})
    assert [data["state"] for _, data in events(again.text)] == ["succeeded"]
    assert client.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": seen[-1][0]}).status_code == 204


def test_a_running_job_shows_a_preview_that_goes_with_its_end(client: FlaskClient, worker: Worker, app: Flask) -> None:
    job = submit(client, prompt="preview pace=0.2", steps=10)
    thread = threading.Thread(target=worker.run_next)
    thread.start()
    seen: list[str] = []
    while client.get(f"/v1/jobs/{job['id']}").get_json()["state"] in {"queued", "running"}:
        url = client.get(f"/v1/jobs/{job['id']}").get_json()["progress"]["preview_url"]
        if url and url not in seen:
            answer = client.get(url)
            if answer.status_code == 200:  # it may just have ended
                seen.append(url)
                assert Image.open(BytesIO(answer.data)).format == "WEBP"
        time.sleep(0.05)
    thread.join()
    assert len(seen) >= 2
    assert client.get(f"/v1/jobs/{job['id']}").get_json()["progress"]["preview_url"] is None
    assert client.get(seen[-1]).status_code == 404
    folder = app.extensions["qwen-image-studio"].settings.data_dir / "images"
    assert not [path for path in folder.rglob("*preview*")]


def test_cancel_queued_and_ended(client: FlaskClient, worker: Worker) -> None:
    job, other = submit(client), submit(client)
    assert client.post(f"/v1/jobs/{job['id']}/cancel").get_json()["state"] == "cancelled"
    assert client.post(f"/v1/jobs/{job['id']}/cancel").get_json()["state"] == "cancelled"
    worker.run_next()
    assert not worker.run_next()
    assert client.get(f"/v1/jobs/{job['id']}").get_json()["images"] == []
    answer = client.post(f"/v1/jobs/{other['id']}/cancel")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (409, "job_finished")
    assert len(client.get(f"/v1/jobs/{other['id']}").get_json()["images"]) == 1


def test_cancel_running_stops_within_a_step_and_stores_nothing(client: FlaskClient, worker: Worker, app: Flask) -> None:
    job = submit(client, prompt="forever", steps=100)
    thread = threading.Thread(target=worker.run_next)
    thread.start()
    while client.get(f"/v1/jobs/{job['id']}").get_json()["progress"]["step"] < 1:
        time.sleep(0.02)
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200
    thread.join()
    done = client.get(f"/v1/jobs/{job['id']}").get_json()
    assert (done["state"], done["images"]) == ("cancelled", [])
    folder = app.extensions["qwen-image-studio"].settings.data_dir / "images"
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_list_pages(client: FlaskClient) -> None:
    ids = [submit(client)["id"] for _ in range(5)]
    page = client.get("/v1/jobs?limit=2").get_json()
    assert ([job["id"] for job in page["data"]], page["has_more"]) == (ids[:2:-1], True)
    rest = client.get(f"/v1/jobs?limit=10&after={ids[3]}").get_json()
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == (ids[2::-1], False)
    assert client.get("/v1/jobs?state=failed").get_json()["data"] == []
    for query, param in (("limit=0", "limit"), ("state=lost", "state"), ("colour=red", "colour")):
        answer = client.get(f"/v1/jobs?{query}")
        assert (answer.status_code, answer.get_json()["error"]["param"]) == (422, param)


def test_a_full_queue_is_429_and_keeps_no_files(client: FlaskClient, app: Flask) -> None:
    for _ in range(30):
        submit(client)
    for answer in (client.post("/v1/jobs", json=ASK), edit(client, png())):
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (429, "queue_full")
        assert int(answer.headers["Retry-After"]) >= 1
    folder = app.extensions["qwen-image-studio"].settings.data_dir / "images"
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_a_queue_that_fills_up_meanwhile_keeps_no_files(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(30):
        submit(client)
    store = app.extensions["qwen-image-studio"].store
    monkeypatch.setattr(type(store.jobs), "check_room", lambda *_: None)  # as if there had been room a moment ago
    answer = edit(client, png())
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (429, "queue_full")
    folder = app.extensions["qwen-image-studio"].settings.data_dir / "images"
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_queue_positions(client: FlaskClient) -> None:
    jobs = [submit(client) for _ in range(3)]
    assert [client.get(f"/v1/jobs/{job['id']}").get_json()["queue_position"] for job in jobs] == [1, 2, 3]


def test_a_list_of_one_users_jobs(client: FlaskClient) -> None:
    asked = {"operation": "generate", "prompt": "a cup"}
    ids = {
        user: client.post("/v1/jobs", json=asked | ({"user": user} if user else {})).get_json()["id"]
        for user in ("ann", "bob", "")
    }
    rows = {"operation": "batch", "job": asked, "rows": [{"a": 1}], "user": "ann"}
    batch = client.post("/v1/jobs", json=rows).get_json()["id"]

    def listed(query: str) -> list[str]:
        return [job["id"] for job in client.get(f"/v1/jobs{query}").get_json()["data"]]

    assert listed("?user=ann") == [batch, ids["ann"]]
    assert listed("?user=bob") == [ids["bob"]]
    assert listed("?user=nobody") == []
    assert listed("") == [batch, ids[""], ids["bob"], ids["ann"]]
    assert listed(f"?user=ann&after={batch}") == [ids["ann"]]
    for name, status in (("x" * 1000, 202), ("x" * 1001, 422), ("", 202), (" ann ", 202), (7, 422), ("a\0b", 422)):
        assert client.post("/v1/jobs", json=asked | {"user": name}).status_code == status
    assert len(listed("?user=ann")) == len(listed("?user=%20ann%20")) == 3
    for query in ("x" * 1001, "a%00b", "", "%20"):
        answer = client.get(f"/v1/jobs?user={query}")
        assert (answer.status_code, answer.get_json()["error"]["param"]) == (422, "user"), query
    assert "leave it out" in client.get("/v1/jobs?user=").get_json()["error"]["message"]
