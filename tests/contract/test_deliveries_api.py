"""Callbacks over HTTP, for operators."""

import time
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import Lane
from qwen_image_studio.jobs import JobStore, NewJob
from qwen_image_studio.jobs.outbox import Line

URL = "https://hooks.example/studio?token=secret"
LINE = Line("", "hooks.example")


@pytest.fixture
def end(store: JobStore) -> Callable[[int], list[str]]:
    """Let so many jobs end whose end is to be told; ids of their callbacks, the newest first."""

    def end(count: int) -> list[str]:
        for _ in range(count):
            job, _ = store.jobs.submit(
                NewJob("ann", "adjust", Lane.LIGHT, "", "quality", {}, webhook_url=URL), queue_limit=9
            )
            store.jobs.cancel(job.id, "ann")
        return [each.id for each in store.outbox.page(limit=100)[0]]

    return end


def test_an_operator_sees_what_has_become_of_each(
    client: FlaskClient, store: JobStore, end: Callable[[int], list[str]]
) -> None:
    ids = end(3)
    now = time.time()
    given_up, delivered = (store.outbox.claim(LINE, until=now + 60, now=now) for _ in range(2))
    assert given_up is not None
    assert delivered is not None
    store.outbox.failed(given_up, None, 410, "answered 410", now)
    store.outbox.delivered(delivered, 204, now)
    answer = client.get("/v1/deliveries")
    found = answer.get_json()["data"]
    assert [each["id"] for each in found] == ids
    assert {each["id"]: (each["state"], each["status"]) for each in found} == dict.fromkeys(ids, ("waiting", None)) | {
        given_up.id: ("dead", 410),
        delivered.id: ("delivered", 204),
    }
    assert "secret" not in answer.text
    dead = client.get("/v1/deliveries?dead=true").get_json()
    assert ([each["id"] for each in dead["data"]], dead["has_more"]) == ([given_up.id], False)
    assert {dead["data"][0][name] for name in ("event", "error", "host")} == {
        "job.cancelled", "answered 410", "hooks.example",
    }  # fmt: skip


def test_the_list_has_pages(client: FlaskClient, end: Callable[[int], list[str]]) -> None:
    ids = end(3)
    first = client.get("/v1/deliveries?limit=2").get_json()
    rest = client.get(f"/v1/deliveries?limit=2&after={ids[1]}").get_json()
    assert [each["id"] for each in (*first["data"], *rest["data"])] == ids
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert client.get("/v1/deliveries?after=evt_none").status_code == 404


def test_one_is_sent_again(client: FlaskClient, store: JobStore, end: Callable[[int], list[str]]) -> None:
    [delivery_id] = end(1)
    claimed = store.outbox.claim(LINE, until=time.time() + 60, now=time.time())
    assert claimed is not None
    store.outbox.failed(claimed, None, 500, "answered 500", time.time())
    answer = client.post(f"/v1/deliveries/{delivery_id}/resend").get_json()
    assert (answer["id"], answer["state"], answer["tries"]) == (delivery_id, "waiting", 0)
    assert store.outbox.due(time.time()) == [LINE]
    assert client.post("/v1/deliveries/evt_none/resend").status_code == 404
