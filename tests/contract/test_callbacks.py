"""Callbacks: what a caller may name, what a receiver gets, and what becomes of a receiver that does not take it.

Real sockets on loopback, which the settings of these tests allow; signatures are verified by the library of Standard
Webhooks.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, update
from standardwebhooks.webhooks import WebhookVerificationError

from qwen_image_studio.contract.caller import LOCAL
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Review
from qwen_image_studio.database import sqlite
from qwen_image_studio.database.tables import deliveries, images
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.guard.post import Answer
from qwen_image_studio.guard.receivers import Receivers
from qwen_image_studio.jobs.outbox import Delivery, Line
from qwen_image_studio.jobs.review import Verdict
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from qwen_image_studio.worker.sender import AT_ONCE, JITTER, OF_KEY_AT_ONCE, PAUSES_S, Sender, pause_s, sending
from tests.support.database import with_tables
from tests.support.receiver import Receiver, status
from tests.support.waiting import until
from tests.support.worker import working

ASK = {"operation": "generate", "prompt": "a cup", "steps": 2}
DAY_S = 86400.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings that let callbacks go to this machine."""
    folder = tmp_path / "data"
    return with_tables(
        Settings(data_dir=folder, models="miniature", webhook_allow="127.0.0.1", webhook_timeout_s=10, queue_limit=200)
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes what it gets."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def sender(parts: Services) -> Sender:
    """The sender, which sends when the test says so."""
    return Sender(parts.settings, parts.store, parts.gallery)


def line_of(receiver: Receiver, key: str = "") -> Line:
    return Line(key, receiver.host)


def secret_of(parts: Services, key: str = "") -> str:
    return Receivers(parts.store.database).secret(key)


def only(parts: Services) -> Delivery:
    """The one delivery of the outbox."""
    [delivery], _ = parts.store.outbox.page(limit=10)
    return delivery


def painted(client: FlaskClient, worker: Worker, **more: Any) -> dict[str, Any]:
    """A job that has ended."""
    answer = client.post("/v1/jobs", json={**ASK, **more})
    assert answer.status_code == 202, answer.text
    while worker.run_next():
        pass
    return dict(client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json())


# -- what a caller may name ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://hooks.example/", "url_not_allowed"),
        ("hooks.example", "url_not_allowed"),
        ("http://user:password@hooks.example/", "url_not_allowed"),
        ("http://10.0.0.1/", "url_not_allowed"),
        ("http://169.254.169.254/latest/meta-data", "url_not_allowed"),
        ("http://localhost:8300/", "url_not_allowed"),
        ("https://hooks.example/" + "a" * 3000, "invalid_value"),
        (["https://hooks.example/"], "invalid_value"),
        (7, "invalid_value"),
    ],
)
def test_an_address_that_is_not_to_be_called_refuses_the_job(
    client: FlaskClient, parts: Services, url: object, code: str
) -> None:
    bodies: list[dict[str, Any]] = [ASK, {"operation": "batch", "rows": [{"a": "b"}], "job": ASK}]
    for body in bodies:
        answer = client.post("/v1/jobs", json={**body, "webhook_url": url})
        error = answer.get_json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (422, code, "webhook_url")
    answer = client.post("/v1/images/generations", json={"prompt": "a cup", "webhook_url": url})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, code)
    assert client.get("/v1/jobs").get_json()["data"] == []


def test_openais_routes_take_an_address_as_well(
    client: FlaskClient, worker: Worker, sender: Sender, receiver: Receiver
) -> None:
    with working(worker):
        answer = client.post("/v1/images/generations", json={"prompt": "a cup", "webhook_url": receiver.url})
    assert answer.status_code == 200, answer.text
    assert sender.send_next(line_of(receiver))
    assert receiver.calls[0].told["data"]["id"] == answer.get_json()["job_id"]


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_an_address_that_says_nothing_is_none(
    client: FlaskClient, parts: Services, worker: Worker, nothing: str | None
) -> None:
    assert painted(client, worker, webhook_url=nothing)["state"] == "succeeded"
    assert parts.store.outbox.page(limit=10) == ([], False)


def test_a_row_of_a_batch_calls_nobody(client: FlaskClient) -> None:
    for row_url in ("https://hooks.example/", "{{url}}"):
        job = {**ASK, "webhook_url": row_url}
        rows = [{"url": "https://hooks.example/"}]
        answer = client.post("/v1/jobs", json={"operation": "batch", "rows": rows, "job": job})
        assert (answer.status_code, "webhook_url" in answer.get_json()["error"]["message"]) == (422, True)


def test_another_address_under_the_same_idempotency_key_is_another_request(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "order-1"}
    codes = [
        client.post("/v1/jobs", json={**ASK, "webhook_url": f"https://{name}.example/"}, headers=headers).status_code
        for name in ("a", "a", "b")
    ]
    assert codes == [202, 202, 422]


# -- what a receiver gets --------------------------------------------------------------------------------------------


def test_a_receiver_learns_of_the_job_and_gets_links_that_open(
    client: FlaskClient, parts: Services, worker: Worker, sender: Sender, receiver: Receiver
) -> None:
    url = f"{receiver.url}/hook?token=x"
    job = painted(client, worker, webhook_url=url, n=2, user="u1", conversation="c1")
    assert sender.send_next(line_of(receiver))
    [call] = receiver.calls
    told = call.verified(secret_of(parts))
    assert (call.path, call.headers["content-type"]) == ("/hook?token=x", "application/json")
    assert told["type"] == "job.succeeded"
    at = datetime.fromisoformat(told["timestamp"]).timestamp()
    assert at == pytest.approx(job["finished_at"], abs=0.01)
    data = told["data"]
    assert {name: data[name] for name in ("id", "state", "operation", "user", "conversation", "error", "deleted")} == {
        "id": job["id"],
        "state": "succeeded",
        "operation": "generate",
        "user": "u1",
        "conversation": "c1",
        "error": None,
        "deleted": False,
    }
    assert [image["id"] for image in data["images"]] == [image["id"] for image in job["images"]]
    for link in (*(image["url"] for image in data["images"]), data["archive_url"]):
        assert client.get(link).status_code == 200
    delivery = only(parts)
    assert (delivery.state, delivery.id, delivery.status) == ("delivered", call.id, 204)
    assert not sender.send_next(line_of(receiver)), "it is told once"


def test_a_changed_byte_or_an_old_message_is_not_genuine(
    client: FlaskClient, parts: Services, worker: Worker, sender: Sender, receiver: Receiver
) -> None:
    painted(client, worker, webhook_url=receiver.url)
    sender.send_next(line_of(receiver))
    [call] = receiver.calls
    secret = secret_of(parts)
    changed = call.body.replace(b"succeeded", b"succeedee", 1)
    with pytest.raises(WebhookVerificationError):
        type(call)(call.path, call.headers, changed).verified(secret)
    for name in ("webhook-id", "webhook-timestamp"):
        with pytest.raises(WebhookVerificationError):
            type(call)(call.path, {**call.headers, name: "1"}, call.body).verified(secret)
    old = Receivers(parts.store.database).signed("", call.id, call.body, now=time.time() - 360)
    with pytest.raises(WebhookVerificationError, match="old"):
        type(call)(call.path, dict(old), call.body).verified(secret)


def test_each_key_has_an_address_and_a_secret_of_its_own(
    client: FlaskClient, parts: Services, worker: Worker, sender: Sender, receiver: Receiver
) -> None:
    receivers = Receivers(parts.store.database)
    for name in ("shop", "desk"):
        key = parts.keys.add(name)
        receivers.set_address(name, f"{receiver.url}/{name}")
        client.post("/v1/jobs", json=ASK, headers={"Authorization": f"Bearer {key}"})
        worker.run_next()
        assert sender.send_next(line_of(receiver, name))
    assert [call.path for call in receiver.calls] == ["/shop", "/desk"]
    shop, desk = receiver.calls
    assert shop.verified(receivers.secret("shop"))["data"]["state"] == "succeeded"
    with pytest.raises(WebhookVerificationError):
        desk.verified(receivers.secret("shop"))


def test_while_a_secret_is_changed_both_sign(
    client: FlaskClient, parts: Services, worker: Worker, sender: Sender, receiver: Receiver
) -> None:
    receivers = Receivers(parts.store.database)
    old = receivers.secret("")
    new = receivers.rotate("", 3600)
    assert (receivers.secret(""), new.startswith("whsec_"), new == old) == (new, True, False)
    painted(client, worker, webhook_url=receiver.url)
    sender.send_next(line_of(receiver))
    [call] = receiver.calls
    assert call.verified(old) == call.verified(new)
    later = time.time() + 3601
    assert len(receivers.signed("", "evt_1", b"{}", now=later)["webhook-signature"].split()) == 1
    assert receivers.rotate("", 0) != new
    painted(client, worker, webhook_url=receiver.url)
    sender.send_next(line_of(receiver))
    with pytest.raises(WebhookVerificationError):
        receiver.calls[1].verified(new)


def test_a_batch_is_told_of_with_the_counts_of_its_rows(
    client: FlaskClient, worker: Worker, light: Worker, sender: Sender, receiver: Receiver
) -> None:
    rows = [{"thing": "cup"}, {"thing": "star"}]
    body = {"operation": "batch", "rows": rows, "job": {**ASK, "prompt": "a {{thing}}"}, "webhook_url": receiver.url}
    batch = client.post("/v1/jobs", json=body).get_json()["id"]
    while light.run_next() or worker.run_next():
        pass
    assert sender.send_next(line_of(receiver))
    assert not sender.send_next(line_of(receiver))
    [call] = receiver.calls
    data = call.told["data"]
    assert (data["id"], data["operation"], data["state"], len(data["images"])) == (batch, "batch", "succeeded", 1)
    assert (data["rows"]["total"], data["rows"]["succeeded"]) == (2, 2)
    assert client.get(data["archive_url"]).status_code == 200


def test_a_failure_is_told_with_its_reason(
    client: FlaskClient, worker: Worker, sender: Sender, receiver: Receiver
) -> None:
    job = painted(client, worker, prompt="memory@1 always", webhook_url=receiver.url)
    assert sender.send_next(line_of(receiver))
    told = receiver.calls[0].told
    assert (told["type"], told["data"]["error"], told["data"]["images"]) == ("job.failed", job["error"], [])
    assert told["data"]["archive_url"] is None


def test_the_log_and_the_body_have_no_secret(
    client: FlaskClient,
    parts: Services,
    worker: Worker,
    sender: Sender,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", logger="qwen_image_studio")
    receiver.answer = status(500)
    painted(client, worker, webhook_url=f"{receiver.url}/canary-path?token=canary-token", prompt="canary-prompt")
    sender.send_next(line_of(receiver))
    assert receiver.host in caplog.text
    for canary in ("canary-path", "canary-token", secret_of(parts)):
        assert canary not in caplog.text
    assert b"canary" not in receiver.calls[0].body, "neither the address nor the prompt"


def test_a_try_that_cannot_be_noted_is_made_again(
    client: FlaskClient,
    parts: Services,
    worker: Worker,
    sender: Sender,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 100)
    painted(client, worker, webhook_url=receiver.url)
    now = time.time()
    with parts.store.database.engine.connect() as writer:  # keeps the others from writing, from the answer on
        receiver.answer = partial(_answered_under_lock, writer)
        with pytest.raises(StudioError, match="busy"):
            sender.send_next(line_of(receiver), now)
        writer.rollback()
    assert only(parts).state == "waiting"
    receiver.answer = status(204)
    assert not sender.send_next(line_of(receiver), now + 1), "it is claimed still"
    assert sender.send_next(line_of(receiver), now + 60)
    assert len({call.id for call in receiver.calls}) == 1


def _answered_under_lock(writer: Connection, handler: BaseHTTPRequestHandler) -> None:
    """Take the lock of the database's one writer, and then answer."""
    writer.begin()
    status(204)(handler)


@pytest.mark.parametrize("review", [Review.HELD, Review.REJECTED])
def test_what_is_withheld_is_not_told(
    client: FlaskClient, parts: Services, worker: Worker, sender: Sender, receiver: Receiver, review: Review
) -> None:
    job = painted(client, worker, webhook_url=receiver.url, n=2)
    withheld = job["images"][0]["id"]
    with parts.store.database.writing() as writing:
        writing.execute(update(images).where(images.c.id == withheld).values(review=review))
    sender.send_next(line_of(receiver))
    assert withheld.encode() not in receiver.calls[0].body
    assert [image["id"] for image in receiver.calls[0].told["data"]["images"]] == [job["images"][1]["id"]]


@pytest.mark.parametrize("verdicts", [(Review.APPROVED, Review.REJECTED), (Review.REJECTED, Review.REJECTED)])
def test_a_job_in_review_is_told_of_with_its_last_verdict(
    client: FlaskClient,
    parts: Services,
    worker: Worker,
    sender: Sender,
    receiver: Receiver,
    verdicts: tuple[Review, Review],
) -> None:
    job = painted(client, worker, webhook_url=receiver.url, n=2, hold=True)
    assert job["state"] == "review"
    held = [image.id for image in parts.store.images.of_jobs([job["id"]])[job["id"]]]
    for image_id, verdict in zip(held, verdicts, strict=True):
        assert parts.store.outbox.page(limit=10) == ([], False)
        parts.store.reviews.decide(image_id, Verdict(verdict), LOCAL)
    assert sender.send_next(line_of(receiver))
    told = receiver.calls[0].told
    approved = [image for image, verdict in zip(held, verdicts, strict=True) if verdict is Review.APPROVED]
    assert [image["id"] for image in told["data"]["images"]] == approved
    assert told["type"] == ("job.succeeded" if approved else "job.failed")


def test_a_job_that_was_deleted_is_told_of_by_its_id(
    client: FlaskClient, worker: Worker, sender: Sender, receiver: Receiver
) -> None:
    job = painted(client, worker, webhook_url=receiver.url)
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert sender.send_next(line_of(receiver))
    data = receiver.calls[0].told["data"]
    assert (data["id"], data["state"], data["deleted"], data["images"]) == (job["id"], "succeeded", True, [])


# -- receivers that do not take it -----------------------------------------------------------------------------------


def test_a_receiver_that_fails_gets_the_same_event_again_after_ever_longer_pauses(
    client: FlaskClient, parts: Services, worker: Worker, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer = status(500)
    painted(client, worker, webhook_url=receiver.url)
    now = time.time()
    for tries, pause in enumerate(PAUSES_S, start=1):
        assert not sender.send_next(line_of(receiver), now)
        delivery = only(parts)
        assert (delivery.state, delivery.tries, delivery.status) == ("waiting", tries, 500)
        assert delivery.next_at is not None
        assert pause <= delivery.next_at - now <= pause * (1 + JITTER)
        assert parts.store.outbox.due(delivery.next_at - 1) == []
        now = delivery.next_at
    assert not sender.send_next(line_of(receiver), now)
    assert (only(parts).state, parts.store.outbox.counts()) == ("dead", (0, 1))
    assert "a word?[2J of the receiver" in (only(parts).error or ""), "it cannot command the operator's terminal"
    assert len({call.id for call in receiver.calls}) == 1
    assert len(receiver.calls) == len(PAUSES_S) + 1
    receiver.answer = status(200)
    parts.store.outbox.resend_dead(0, now)
    assert sender.send_next(line_of(receiver), now)
    assert receiver.calls[-1].id == receiver.calls[0].id, "a receiver can tell that it is the same"


def test_a_receiver_that_is_down_gets_it_once_it_is_back(
    client: FlaskClient, parts: Services, worker: Worker, sender: Sender
) -> None:
    with Receiver() as receiver:
        painted(client, worker, webhook_url=receiver.url)
    now = time.time()
    for _ in range(3):
        assert not sender.send_next(line_of(receiver), now)
        delivery = only(parts)
        assert (delivery.status, delivery.error) == (None, "its host does not answer")
        now = delivery.next_at or 0
    with Receiver() as back:
        with parts.store.database.writing() as writing:
            # It has a port of its own, since the old one may be taken.
            writing.execute(update(deliveries).values(url=back.url, host=back.host))
        assert sender.send_next(line_of(back), now)
        assert back.calls[0].id == delivery.id


def test_gone_means_that_nothing_more_is_wanted(
    client: FlaskClient, parts: Services, worker: Worker, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer = status(410)
    painted(client, worker, webhook_url=receiver.url)
    assert not sender.send_next(line_of(receiver))
    assert (only(parts).state, only(parts).status) == ("dead", 410)


def test_a_redirect_to_a_private_address_is_not_followed(
    client: FlaskClient, parts: Services, worker: Worker, sender: Sender, receiver: Receiver
) -> None:
    with Receiver() as canary:
        receiver.answer = status(307, Location=f"{canary.url}/")
        painted(client, worker, webhook_url=receiver.url)
        assert not sender.send_next(line_of(receiver))
        assert (only(parts).status, canary.calls) == (307, [])


def test_a_receiver_that_asks_for_time_gets_it(
    client: FlaskClient, parts: Services, worker: Worker, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer = status(503, Retry_After="1000")
    painted(client, worker, webhook_url=receiver.url)
    now = time.time()
    assert not sender.send_next(line_of(receiver), now)
    assert (only(parts).next_at or 0) >= now + 1000


@given(
    tries=st.integers(1, len(PAUSES_S)),
    asked=st.none() | st.floats(0, 1e9),
    chance=st.floats(0, 1),
)
def test_every_pause_has_its_bounds(tries: int, asked: float | None, chance: float) -> None:
    pause = pause_s(tries, Answer(503, retry_after_s=asked), chance)
    assert pause is not None
    assert PAUSES_S[tries - 1] <= pause <= DAY_S
    assert pause_s(tries, Answer(410, retry_after_s=asked), chance) is None
    assert pause_s(len(PAUSES_S) + 1, Answer(503, retry_after_s=asked), chance) is None


def test_a_delivery_is_tried_for_more_than_a_day() -> None:
    assert DAY_S < sum(PAUSES_S) < 2 * DAY_S


# -- nobody is held up by another ------------------------------------------------------------------------------------


def _hang(receiver: Receiver, _: object) -> None:
    """Answer nothing until the test is over."""
    receiver.closing.wait()


@pytest.fixture
def many() -> Iterator[list[Receiver]]:
    """More receivers that hang than are served at once."""
    with ExitStack() as stack:
        found = []
        for _ in range(OF_KEY_AT_ONCE + 2):
            receiver = stack.enter_context(Receiver())
            receiver.answer = partial(_hang, receiver)
            found.append(receiver)
        yield found
        for receiver in found:
            receiver.closing.set()


def test_receivers_that_hang_hold_up_neither_another_host_nor_another_key(
    client: FlaskClient, parts: Services, worker: Worker, sender: Sender, many: list[Receiver], receiver: Receiver
) -> None:
    for slow in many:
        painted(client, worker, webhook_url=slow.url)
    sender.start_due()
    until(lambda: sum(len(slow.calls) for slow in many) == OF_KEY_AT_ONCE)
    key = KeyStore(parts.store.database).add("desk")
    for _ in range(3):
        client.post("/v1/jobs", json={**ASK, "webhook_url": receiver.url}, headers={"Authorization": f"Bearer {key}"})
        worker.run_next()
    sender.start_due()
    until(lambda: len(receiver.calls) == 3)
    assert sum(len(slow.calls) for slow in many) == OF_KEY_AT_ONCE, "one key has its share of the threads alone"
    assert OF_KEY_AT_ONCE < AT_ONCE


def test_a_sender_that_runs_delivers_by_itself_and_stops(
    client: FlaskClient, parts: Services, worker: Worker, receiver: Receiver
) -> None:
    with sending(parts.settings, parts.store, parts.gallery):
        jobs = {painted(client, worker, webhook_url=receiver.url)["id"] for _ in range(30)}
        until(lambda: len(receiver.calls) == 30)
        until(lambda: parts.store.outbox.counts().waiting == 0)
    secret = secret_of(parts)
    assert {call.verified(secret)["data"]["id"] for call in receiver.calls} == jobs
    painted(client, worker, webhook_url=receiver.url)
    assert parts.store.outbox.counts().waiting == 1, "a stopped one begins nothing more"
