"""What operators see and steer: the queue of all owners, health with devices, failures and speeds, measured seconds."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import Lane, Scope, State
from qwen_image_studio.jobs import JobStore, Lease
from qwen_image_studio.jobs.calls import Call
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker

ASK = {"operation": "generate", "prompt": "a secret apple", "steps": 2, "width": 128, "height": 128}
Header = dict[str, str]


@pytest.fixture
def header(parts: Services) -> Callable[..., Header]:
    """The header of a new key."""

    def made(owner: str, *scopes: Scope) -> Header:
        return {"Authorization": f"Bearer {parts.keys.add(f'{owner}-key', owner, scopes)}"}

    return made


def submit(client: FlaskClient, header: Header, **more: Any) -> str:
    """A job, by its id."""
    answer = client.post("/v1/jobs", json={**ASK, **more}, headers=header)
    assert answer.status_code == 202, answer.text
    return str(answer.get_json()["id"])


def claim(store: JobStore) -> Lease:
    """A running job."""
    lease = store.leases.claim("w1", Lane.PAINT, ["miniature"])
    assert lease is not None
    return lease


def batch(client: FlaskClient, header: Header, rows: int) -> str:
    """A batch, by its id."""
    table = [{"what": str(number)} for number in range(rows)]
    job = {**ASK, "prompt": "a secret {{what}}"}
    body = {"operation": "batch", "job": job, "rows": table}
    return str(client.post("/v1/jobs", json=body, headers=header).get_json()["id"])


# -- the queue -----------------------------------------------------------------------------------------------------


def test_operators_see_the_jobs_of_all_owners_without_what_they_say(
    client: FlaskClient, store: JobStore, light: Worker, header: Callable[..., Header]
) -> None:
    ann, bob, op = header("ann", Scope.GENERATE), header("bob", Scope.GENERATE), header("op", Scope.OPERATE)
    first, second = submit(client, ann, user="anna"), submit(client, bob)
    claim(store)
    of_batch = batch(client, bob, 2)
    assert light.run_next()
    answer = client.get("/v1/queue", headers=op)
    assert "secret" not in answer.text
    queue = answer.get_json()
    assert (queue["waiting"], queue["running"], queue["has_more"]) == (3, 1, False)
    running, waiting, whole, *rows = queue["data"]
    assert (running["id"], running["owner"], running["key"], running["person"]) == (first, "ann", "ann-key", "anna")
    assert (running["state"], running["queue_position"], running["attempt"]) == ("running", None, 1)
    assert (running["worker"], waiting["worker"]) == ("w1", None)
    assert (waiting["id"], waiting["owner"], waiting["state"]) == (second, "bob", "queued")
    assert (whole["id"], whole["rows"], whole["model"], whole["queue_position"]) == (of_batch, 2, "cv", None)
    assert [row["parent_id"] for row in rows] == [of_batch, of_batch]
    assert sorted([waiting["queue_position"], *(row["queue_position"] for row in rows)]) == [1, 2, 3]
    assert all(each["age_s"] >= 0 for each in queue["data"])


def test_what_has_ended_is_not_in_the_queue_and_pages_follow_each_other(
    client: FlaskClient, worker: Worker, header: Callable[..., Header]
) -> None:
    op = header("op", Scope.OPERATE, Scope.GENERATE)
    ids = [submit(client, op) for _ in range(5)]
    assert worker.run_next()
    seen: list[str] = []
    more = True
    while more:
        after = f"&after={seen[-1]}" if seen else ""
        page = client.get(f"/v1/queue?limit=2{after}", headers=op).get_json()
        seen += [each["id"] for each in page["data"]]
        more = page["has_more"]
    assert seen == ids[1:]
    assert client.get("/v1/queue?after=job_x", headers=op).status_code == 404


def test_waiting_jobs_and_batches_are_cancelled_and_running_ones_go_on(
    client: FlaskClient, store: JobStore, light: Worker, header: Callable[..., Header]
) -> None:
    ann, bob, op = header("ann", Scope.GENERATE), header("bob", Scope.GENERATE), header("op", Scope.OPERATE)
    running = submit(client, ann)
    claim(store)
    waiting, whole = submit(client, bob), batch(client, ann, 3)
    assert light.run_next()  # two rows of it wait now
    answer = client.post("/v1/queue/cancel", json={"scope": "waiting"}, headers=op)
    assert (answer.status_code, answer.get_json()) == (200, {"cancelled": 2})
    assert store.jobs.get(running).cancel_requested is False
    assert {store.jobs.get(each).state for each in (waiting, whole)} == {State.CANCELLED}
    assert {row.state for row in store.rows.of_batch(whole)} == {State.CANCELLED}
    assert client.post("/v1/queue/cancel", json={"scope": "waiting"}, headers=op).get_json() == {"cancelled": 0}


def test_all_jobs_are_cancelled_also_more_than_fit_in_one_transaction(
    client: FlaskClient, store: JobStore, header: Callable[..., Header]
) -> None:
    owners, op = [header(name, Scope.GENERATE) for name in ("ann", "bob", "cid")], header("op", Scope.OPERATE)
    ids = [submit(client, owners[number % 3]) for number in range(22)]
    running = claim(store).job.id
    assert client.post("/v1/queue/cancel", json={"scope": "all"}, headers=op).get_json() == {"cancelled": 22}
    assert store.jobs.get(running).cancel_requested is True
    assert {store.jobs.get(each).state for each in ids if each != running} == {State.CANCELLED}
    assert client.get("/v1/queue", headers=op).get_json()["waiting"] == 0


def test_one_job_of_anybody_is_cancelled_by_its_id(
    client: FlaskClient, store: JobStore, header: Callable[..., Header]
) -> None:
    ann, op = header("ann", Scope.GENERATE), header("op", Scope.OPERATE)
    running, waiting, other = (submit(client, ann) for _ in range(3))
    claim(store)
    for job, cancelled in ((waiting, 1), (waiting, 0), (running, 1), (running, 0)):
        answer = client.post("/v1/queue/cancel", json={"job_id": job}, headers=op)
        assert (answer.status_code, answer.get_json()) == (200, {"cancelled": cancelled})
    assert store.jobs.get(waiting).state is State.CANCELLED
    assert store.jobs.get(running).cancel_requested is True
    assert store.jobs.get(other).state is State.QUEUED
    gone = client.post("/v1/queue/cancel", json={"job_id": "job_x"}, headers=op)
    assert (gone.status_code, gone.get_json()["error"]["code"]) == (404, "not_found")


def test_what_has_ended_is_not_cancelled_by_its_id(
    client: FlaskClient, worker: Worker, header: Callable[..., Header]
) -> None:
    op = header("op", Scope.OPERATE, Scope.GENERATE)
    job = submit(client, op)
    assert worker.run_next()
    answer = client.post("/v1/queue/cancel", json={"job_id": job}, headers=op)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (409, "job_finished")


NOT_ONE = [{}, {"scope": "some"}, {"scope": "all", "owner": "ann"}, {"scope": "all", "job_id": "job_x"}, {"job_id": ""}]


@pytest.mark.parametrize("body", NOT_ONE)
def test_a_cancel_says_which(client: FlaskClient, body: dict[str, str]) -> None:
    assert client.post("/v1/queue/cancel", json=body).status_code == 422
    assert client.post("/v1/queue/cancel", data="all", content_type="text/plain").status_code == 415


# -- health --------------------------------------------------------------------------------------------------------


def test_health_tells_operators_alone_of_devices_failures_and_speeds(
    client: FlaskClient, worker: Worker, header: Callable[..., Header]
) -> None:
    op, ann = header("op", Scope.OPERATE, Scope.GENERATE), header("ann", Scope.GENERATE)
    submit(client, ann)
    submit(client, ann, prompt="bug@1 always")
    while worker.run_next():
        pass
    for headers in ({}, ann, {"Authorization": "Bearer wrong"}):
        answer = client.get("/v1/health", headers=headers)
        assert (answer.status_code, answer.get_json()["operator"]) == (200, None)
    seen = client.get("/v1/health", headers=op).get_json()["operator"]
    [device] = seen["devices"]
    assert (device["device"], bool(device["name"])) == ("cpu", True)
    assert 0 < device["memory_used"] < device["memory_total"]
    [failure] = seen["failures"]
    assert (failure["code"], failure["owner"], failure["model"]) == ("engine_failed", "ann", "miniature")
    [speed] = seen["speeds"]
    assert (speed["model"], speed["tier"], speed["operation"]) == ("miniature", "quality", "generate")
    assert speed["seconds"] > 0
    assert seen["calls_dropped"] == 0


def test_without_keys_health_tells_this_machine_and_no_page_that_points_its_name_at_it(client: FlaskClient) -> None:
    assert client.get("/v1/health").get_json()["operator"] is not None
    assert client.get("/v1/health", headers={"Host": "evil.example"}).get_json()["operator"] is None


# -- measured seconds ----------------------------------------------------------------------------------------------


def measured(seconds: float, images: int = 1, **more: Any) -> Call:
    """The row of a job that worked for so long."""
    kind = {"operation": "generate", "model": "miniature", "tier": "quality", "outcome": "succeeded", **more}
    phases = {"waiting": 1e9, "claiming": 1e9, "denoising": seconds * 900, "storing": seconds * 100}
    return Call(1.0, "r", "job", "", phases=phases, images=images, **kind)


def test_a_model_tells_the_median_seconds_of_a_picture_that_were_measured_here(
    client: FlaskClient, store: JobStore
) -> None:
    store.calls.write(
        [
            *(measured(1000) for _ in range(60)),  # too long ago
            *(measured(seconds) for seconds in (1, 2, 3)),
            *(measured(8, images=4) for _ in range(45)),
            *(measured(9) for _ in range(2)),
            measured(500, outcome="failed:engine_failed"),
            measured(500, operation="edit"),
            measured(500, model="other"),
            Call(1.0, "r", "job", "", "succeeded", operation="generate", model="miniature", tier="quality"),
        ]
    )
    [model] = client.get("/v1/models").get_json()["data"]
    assert [tier["seconds"] for tier in model["tiers"]] == [2.0, None, None, None]


def test_a_model_of_which_nothing_was_measured_tells_none(client: FlaskClient) -> None:
    [model] = client.get("/v1/models").get_json()["data"]
    assert [tier["seconds"] for tier in model["tiers"]] == [None] * 4
