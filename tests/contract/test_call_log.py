"""The call log: a row per job that ended and per request that was refused or changed something, outside of requests."""

import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.commands.log import log
from qwen_image_studio.commands.usage import usage
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.gallery.pruning import Retention
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.jobs.calls import Call, Calls, Sought
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import close_app, create_app
from qwen_image_studio.web.call_log import MOST_STRANGERS, CallLog
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.database import with_tables
from tests.support.pictures import png
from tests.support.waiting import until
from tests.support.worker import scripted_worker

ASK = {"operation": "generate", "prompt": "a red apple", "steps": 2, "width": 128, "height": 128, "seed": 7}


def rows(app: Flask) -> list[Call]:
    """All rows, oldest first, once what waits is written."""
    close_app(app)
    parts: Services = app.extensions["qwen-image-studio"]
    return parts.store.calls.page(Sought(), 1000)[0][::-1]


def bearer(parts: Services, name: str, *scopes: Scope) -> dict[str, str]:
    """The header of a new key."""
    return {"Authorization": f"Bearer {parts.keys.add(name, 'shop', scopes)}"}


def test_a_job_that_succeeded_is_one_row_that_says_who_what_and_how_long(
    app: Flask, client: FlaskClient, parts: Services, worker: Worker
) -> None:
    headers = {**bearer(parts, "web", Scope.GENERATE), "X-Request-Id": "req-1"}
    sent = client.post("/v1/jobs", json={**ASK, "n": 2, "user": "ann"}, headers=headers).get_json()
    assert rows(app) == []
    assert worker.run_next()
    [row] = rows(app)
    job = parts.store.jobs.get(sent["id"])
    images = parts.store.images.of_jobs([job.id])[job.id]
    assert (row.key, row.owner, row.person, row.peer, row.request_id) == ("web", "shop", "ann", "127.0.0.1", "req-1")
    assert (row.job_id, row.operation, row.model, row.tier) == (job.id, "generate", "miniature", "quality")
    assert (row.variant, row.seed, row.prompt) == (job.variant, 7, "a red apple")
    assert (row.outcome, row.attempt, row.cached, row.images) == ("succeeded", 1, False, 2)
    assert row.bytes == sum(image.bytes for image in images)
    assert job.measured is not None
    assert row.phases == job.measured.phases
    assert (row.took_ms or 0) >= job.measured.phases["denoising"]


@pytest.mark.parametrize(("prompt", "outcome"), [("bug@1 always", "failed:engine_failed")])
def test_a_job_that_failed_says_why(app: Flask, client: FlaskClient, worker: Worker, prompt: str, outcome: str) -> None:
    client.post("/v1/jobs", json={**ASK, "prompt": prompt})
    assert worker.run_next()
    assert [row.outcome for row in rows(app)] == [outcome]


def test_a_cancelled_job_has_a_row_and_so_has_the_cancel(app: Flask, client: FlaskClient) -> None:
    job_id = client.post("/v1/jobs", json=ASK).get_json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    job, cancel = sorted(rows(app), key=lambda row: row.method != "job")
    assert (job.outcome, job.job_id, job.phases, job.images) == ("cancelled", job_id, None, 0)
    assert (cancel.method, cancel.route, cancel.status) == ("POST", f"/v1/jobs/{job_id}/cancel", 200)
    assert (cancel.outcome, cancel.job_id) == ("succeeded", job_id)


def test_a_batch_and_each_of_its_rows_have_rows_that_say_where_it_came_from(
    app: Flask, client: FlaskClient, light: Worker, worker: Worker
) -> None:
    body = {"operation": "batch", "job": {**ASK, "prompt": "a {{what}}"}, "rows": [{"what": "cat"}, {"what": "dog"}]}
    client.post("/v1/jobs", json=body, headers={"X-Request-Id": "req-b"})
    while light.run_next() or worker.run_next():
        pass
    found = rows(app)
    assert sorted(row.prompt or "" for row in found) == ["a cat", "a dog", "a {{what}}"]
    assert {(row.request_id, row.peer, row.outcome) for row in found} == {("req-b", "127.0.0.1", "succeeded")}


def test_rows_that_a_cancel_of_their_batch_ends_are_in_the_log(app: Flask, client: FlaskClient, light: Worker) -> None:
    body = {"operation": "batch", "job": {**ASK, "prompt": "a {{what}}"}, "rows": [{"what": "cat"}, {"what": "dog"}]}
    job_id = client.post("/v1/jobs", json=body).get_json()["id"]
    assert light.run_next()
    client.post(f"/v1/jobs/{job_id}/cancel")
    assert [row.outcome for row in rows(app) if row.method == "job"] == ["cancelled"] * 3


def test_a_job_in_review_has_its_row_with_the_last_verdict(app: Flask, client: FlaskClient, worker: Worker) -> None:
    job_id = client.post("/v1/jobs", json={**ASK, "hold": True}).get_json()["id"]
    assert worker.run_next()
    assert client.get(f"/v1/jobs/{job_id}").get_json()["state"] == "review"
    assert rows(app) == []
    parts: Services = app.extensions["qwen-image-studio"]
    [image] = parts.store.images.of_jobs([job_id])[job_id]
    assert client.post(f"/v1/images/{image.id}/review", json={"state": "approved"}).status_code == 200
    job, verdict = sorted(rows(app), key=lambda row: row.method != "job")
    assert (job.job_id, job.outcome, job.images) == (job_id, "succeeded", 1)
    assert job.phases is not None
    assert (verdict.method, verdict.route) == ("POST", f"/v1/images/{image.id}/review")


def test_nothing_of_a_plain_read_is_in_the_log(app: Flask, client: FlaskClient, worker: Worker) -> None:
    job = client.post("/v1/jobs", json=ASK).get_json()
    assert worker.run_next()
    [image] = client.get(f"/v1/jobs/{job['id']}").get_json()["images"]
    before = len(rows(app))
    for path in ("/v1/jobs", "/v1/models", "/v1/health", "/v1/health/ready", image["url"], "/metrics", "/v1/calls"):
        client.get(path)
    client.get(image["url"], headers={"Range": "bytes=99999999-"})
    client.head(image["url"])
    assert len(rows(app)) == before


def test_a_replayed_submit_is_no_row(app: Flask, client: FlaskClient) -> None:
    for _ in range(2):
        assert client.post("/v1/jobs", json=ASK, headers={"Idempotency-Key": "k"}).status_code == 202
    assert rows(app) == []


@pytest.mark.parametrize(
    ("method", "path", "options", "outcome"),
    [
        ("GET", "/v1/jobs/job_x", {}, "refused:not_found"),
        ("GET", "/nowhere", {}, "refused:not_found"),
        ("DELETE", "/v1/images/img_x", {}, "refused:not_found"),
        ("POST", "/v1/jobs", {"json": {**ASK, "steps": 9999}}, "refused:invalid_value"),
        ("POST", "/v1/jobs", {"json": {**ASK, "model": "gpt"}}, "refused:unknown_model"),
        ("POST", "/v1/jobs", {"data": b"{", "content_type": "application/json"}, "refused:malformed_body"),
        ("PUT", "/v1/jobs", {}, "refused:method_not_allowed"),
        ("POST", "/v1/images/generations", {"json": {"prompt": "x", "n": 99}}, "refused:invalid_value"),
        ("POST", "/v1/images", {"data": {"image": (BytesIO(png()), "a.png")}}, "succeeded"),
    ],
)
def test_what_is_refused_or_changes_something_has_a_row(
    app: Flask, client: FlaskClient, method: str, path: str, options: dict[str, Any], outcome: str
) -> None:
    answer = client.open(path, method=method, **options)
    [row] = rows(app)
    assert (row.method, row.route, row.status, row.outcome) == (method, path, answer.status_code, outcome)
    assert row.request_id == answer.headers["X-Request-Id"]


def test_a_refused_submit_says_who_asked_for_what(app: Flask, client: FlaskClient, parts: Services) -> None:
    headers = bearer(parts, "web", Scope.GENERATE)
    client.post("/v1/jobs", json={**ASK, "model": "gpt", "user": "ann"}, headers=headers)
    [row] = rows(app)
    assert (row.key, row.owner, row.person, row.operation, row.model) == ("web", "shop", "ann", "generate", "gpt")
    assert row.prompt == "a red apple"


def test_openais_route_is_the_jobs_row_however_the_job_ends(app: Flask, client: FlaskClient, worker: Worker) -> None:
    done = threading.Event()

    def paint() -> None:
        while not worker.run_next() and not done.wait(0.01):
            pass

    thread = threading.Thread(target=paint)
    thread.start()
    answer = client.post("/v1/images/generations", json={"prompt": "bug@1 always", "size": "128x128"})
    done.set()
    thread.join()
    assert answer.status_code == 500
    assert [(row.method, row.outcome) for row in rows(app)] == [("job", "failed:engine_failed")]


def test_strangers_cannot_fill_the_log(
    app: Flask, client: FlaskClient, parts: Services, caplog: pytest.LogCaptureFixture
) -> None:
    bearer(parts, "web")
    for _ in range(MOST_STRANGERS + 5):
        assert client.get("/v1/jobs").status_code == 401
    assert len(rows(app)) == MOST_STRANGERS
    assert parts.call_log.dropped == 5
    assert "too many requests come without a valid key" in caplog.text


# -- outside of requests -------------------------------------------------------------------------------------------


class Stuck(Calls):
    """A log whose database waits until the test lets it."""

    def __init__(self, calls: Calls) -> None:
        self.calls, self.free, self.asked = calls, threading.Event(), threading.Event()

    def write(self, rows: Any) -> None:
        """Wait, and write."""
        self.asked.set()
        self.free.wait(60)
        self.calls.write(rows)


def call(number: int = 0) -> Call:
    """A row of a request."""
    return Call(float(number), f"req_{number}", "POST", "/v1/x", "succeeded", owner="shop")


def test_a_full_queue_drops_counts_and_says_so(store: JobStore, caplog: pytest.LogCaptureFixture) -> None:
    stuck = Stuck(store.calls)
    written = CallLog(stuck, most=3)
    written.add(call(0))
    assert stuck.asked.wait(60)
    for number in range(1, 6):  # three wait, and nobody waits for them
        written.add(call(number))
    assert written.dropped == 2
    assert "1 rows of the call log were dropped so far" in caplog.text
    stuck.free.set()
    written.close()
    assert [row.request_id for row in store.calls.page(Sought(), 9)[0]] == ["req_3", "req_2", "req_1", "req_0"]


def test_a_process_ends_although_the_queue_is_full_and_its_database_stuck(store: JobStore) -> None:
    stuck = Stuck(store.calls)
    written = CallLog(stuck, most=1)
    written.add(call(0))
    assert stuck.asked.wait(60)
    written.add(call(1))
    ending = threading.Thread(target=written.close, daemon=True)
    ending.start()
    ending.join(30)
    assert not ending.is_alive()
    stuck.free.set()


def test_rows_wait_for_a_busy_database_and_are_written_then(store: JobStore) -> None:
    class Busy(Calls):
        tries = 0

        def __init__(self) -> None:
            pass

        def write(self, rows: Any) -> None:
            self.tries += 1
            if self.tries < 3:
                raise StudioError("database_busy", "The job store is busy.")
            store.calls.write(rows)

    written = CallLog(Busy())
    written.add(call())
    until(lambda: store.calls.page(Sought(), 9)[0])
    assert written.dropped == 0


# -- reading it ----------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(store: JobStore) -> JobStore:
    """Three jobs and two requests."""
    job: dict[str, Any] = {
        "method": "job",
        "route": "",
        "operation": "generate",
        "model": "miniature",
        "tier": "quality",
    }
    done: dict[str, Any] = {"phases": {"denoising": 2000.0, "waiting": 9e9}, "images": 2, "took_ms": 2000.0, "bytes": 5}
    done["cached"] = True
    store.calls.write(
        [
            Call(1.0, "r1", outcome="succeeded", key="web", owner="ann", person="p", prompt="cat", **job, **done),
            Call(2.0, "r2", outcome="failed:worker_lost", key="app", owner="bob", person="", job_id="job_2", **job),
            Call(3.0, "r3", outcome="cancelled", key="web", owner="ann", person="q", prompt="=cmd|'/C calc'!A0", **job),
            Call(4.0, "r4", "GET", "/v1/x", "refused:invalid_api_key", status=401, peer="192.0.2.1"),
            Call(5.0, "r5", "DELETE", "/v1/y", "succeeded", owner="bob", key="app", status=204),
        ]
    )
    return store


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "54321"),
        ("?since=2&until=4", "32"),
        ("?key=web", "31"),
        ("?owner=bob", "52"),
        ("?person=q", "3"),
        ("?operation=generate&model=miniature", "321"),
        ("?outcome=failed", "2"),
        ("?outcome=failed:worker_lost", "2"),
        ("?outcome=refused", "4"),
        ("?job_id=job_2", "2"),
        ("?q=CAT", "1"),
        ("?q=%25", ""),
        ("?limit=2", "54"),
        ("?limit=2&after=4", "32"),
    ],
)
def test_the_log_is_listed_newest_first_by_what_is_sought(
    client: FlaskClient, logged: JobStore, query: str, found: str
) -> None:
    answer = client.get(f"/v1/calls{query}").get_json()
    assert "".join(row["request_id"][1] for row in answer["data"]) == found
    assert answer["has_more"] is ("limit" in query)


def test_a_row_tells_a_job_from_a_request(client: FlaskClient, logged: JobStore) -> None:
    _, request, job, *_ = client.get("/v1/calls").get_json()["data"]
    assert (request["kind"], request["method"], request["status"]) == ("request", "GET", 401)
    assert (job["kind"], job["method"], job["route"], job["status"]) == ("job", None, None, None)


@pytest.mark.parametrize(("accept", "query"), [("text/csv", ""), ("*/*", "?format=csv")])
def test_a_sheet_of_the_log_runs_no_formula(client: FlaskClient, logged: JobStore, accept: str, query: str) -> None:
    answer = client.get(f"/v1/calls{query}", headers={"Accept": accept})
    assert answer.mimetype == "text/csv"
    header, *lines = answer.text.splitlines()
    assert header.startswith("seq,at,kind,request_id,key,owner,person,peer")
    assert len(lines) == 5
    assert "'=cmd|'/C calc'!A0" in answer.text
    assert ",=cmd" not in answer.text


@pytest.mark.parametrize(
    "query",
    ["?limit=0", "?after=x", "?since=nan", "?outcome=" + "x" * 99, "?outcome=fail", "?format=xml", "?colour=red"],
)
def test_a_wrong_query_is_refused_by_name(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/v1/calls{query}")
    assert answer.status_code == 422
    assert answer.get_json()["error"]["param"] == query[1:].partition("=")[0]


@pytest.fixture
def shell(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """The shell, for the same server."""
    monkeypatch.setenv("STUDIO_DATA_DIR", str(settings.data_dir))
    return CliRunner()


def test_the_command_shows_the_log(shell: CliRunner, logged: JobStore) -> None:
    lines = shell.invoke(log, []).output.splitlines()
    assert [line.split("\t")[3].split()[0] for line in lines] == ["generate", "generate", "generate", "GET", "DELETE"]
    assert lines[1].split("\t")[2:] == ["app", "generate miniature job_2", "failed:worker_lost", "0.00 s"]
    assert lines[0].endswith("\tcached")
    assert len(shell.invoke(log, ["--limit", "2"]).output.splitlines()) == 2


def test_the_command_has_the_filters_of_the_route(shell: CliRunner, logged: JobStore) -> None:
    asked = ["--key", "web", "--since", "1970-01-01T00:00:02", "--until", "1970-01-02", "--json"]
    [line] = shell.invoke(log, asked).output.splitlines()
    assert '"request_id":"r3"' in line
    assert shell.invoke(log, ["--since", "12h", "--csv"]).output.count("\n") == 1
    assert "write an age such as 30d" in shell.invoke(log, ["--since", "soon"]).output


def test_no_name_of_a_person_steers_the_terminal(shell: CliRunner, client: FlaskClient, worker: Worker) -> None:
    ask = {"operation": "generate", "prompt": "a cup", "steps": 2, "user": "\x9b2Jann\u202e"}
    assert client.post("/v1/jobs", json=ask).status_code == 202
    assert worker.run_next()
    for command in (usage, log):
        [line] = shell.invoke(command, []).output.splitlines()
        assert "\\x9b2Jann\\u202e" in line


# -- how long it is kept -------------------------------------------------------------------------------------------


def test_rows_are_deleted_by_age_and_the_young_stay(parts: Services, logged: JobStore) -> None:
    logged.calls.write([Call(time.time(), "new", "POST", "/v1/z", "succeeded")])
    assert [logged.calls.prune(4.5, most=3) for _ in range(3)] == [3, 1, 0]
    Retention(parts.gallery, logged, parts.settings).work()
    assert [row.request_id for row in logged.calls.page(Sought(), 9)[0]] == ["new"]


def test_a_deleted_job_leaves_no_prompt_in_the_log(app: Flask, client: FlaskClient, worker: Worker) -> None:
    job_id = client.post("/v1/jobs", json=ASK).get_json()["id"]
    assert worker.run_next()
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    job, deletion = rows(app)
    assert (job.job_id, job.prompt, job.outcome) == (job_id, None, "succeeded")
    assert deletion.method == "DELETE"


def test_without_days_nothing_is_logged(tmp_path: Path) -> None:
    settings = with_tables(Settings(data_dir=tmp_path, models="miniature", calls_days=0))
    app = create_app(settings, configured_models(settings, card_gib=0))
    client = app.test_client()
    client.post("/v1/jobs", json=ASK)
    client.get("/v1/jobs/job_x")
    assert scripted_worker(app.extensions["qwen-image-studio"]).run_next()
    assert rows(app) == []
    assert "studio_jobs_total" in client.get("/metrics").text
