"""kill -9 of sender, painter, web process and supervisor at random: each end of a job is told at least once, and
genuinely.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler

import requests
from sqlalchemy import func, select

from qwen_image_studio.database.connection import open_database
from qwen_image_studio.database.tables import deliveries
from qwen_image_studio.guard.receivers import Receivers
from qwen_image_studio.settings import Settings
from qwen_image_studio.worker.sender import JITTER, PAUSES_S
from tests.support.database import looking
from tests.support.receiver import Call, Receiver, status
from tests.support.studio import Studio
from tests.support.waiting import PATIENCE_S, until

KILLS, JOBS = 12, 30
VICTIMS = {"light": 12, "worker": 6, "web": 2, "serve": 2}
"""How often each process is killed, in proportion; the sender lives in the light worker."""
LONGEST_PAUSE_S = 0.4
FAILURES = 2
"""Largest number of calls for one event at which the receiver fails."""
TOLD_S = PATIENCE_S + (1 + JITTER) * sum(PAUSES_S[: FAILURES + 1])
"""How long the last event may take, in seconds: with the pauses after those, and after one call that a loaded machine
makes too slow.
"""
ENDS = {"a cup": "job.succeeded", "memory@1 always": "job.failed"}
"""Prompts, and what is told of their end."""


def allowing(receiver: Receiver) -> dict[str, object]:
    """Settings of a server that may call the receiver."""
    return {"webhook_allow": receiver.host, "webhook_timeout_s": 1, "max_attempts": 10, "queue_limit": JOBS}


def secret_of(studio: Studio) -> str:
    """The secret by which the server signs."""
    return Receivers(open_database(Settings(_env_file=None, data_dir=studio.folder / "data"))).secret("")


def moody(chance: random.Random) -> Callable[[BaseHTTPRequestHandler], None]:
    """A receiver that takes most of what it gets, some of it slowly, and fails at the rest; of one event it fails at a
    few calls at most, since each makes the sender wait far longer than the one before.
    """
    failed: Counter[str] = Counter()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(chance.choice([0, 0, 0.05, 0.3]))
        event, fails = handler.headers["webhook-id"], chance.choices([False, True], [9, 1])[0]
        if fails and failed[event] < FAILURES:
            failed[event] += 1
            status(500)(handler)
        else:
            status(204)(handler)

    return answer


def test_every_end_is_told_whatever_is_killed(make_scripted: Callable[..., Studio]) -> None:
    seed = int(os.environ.get("KILLS_SEED", random.randrange(10**6)))
    print(f"KILLS_SEED={seed} repeats these kills, though not the moments at which they come")
    chance = random.Random(seed)
    with Receiver(moody(random.Random(seed))) as receiver:
        studio = make_scripted(**allowing(receiver)).start()
        secret = secret_of(studio)
        jobs = [
            studio.submit(prompt=f"{prompt} pace=0.05", steps=2, webhook_url=receiver.url)["id"]
            for prompt in (list(ENDS) * JOBS)[:JOBS]
        ]
        kill_some(studio, chance)
        ended = {job_id: studio.finished(job_id)["state"] for job_id in jobs}
        until(
            lambda: set(jobs) <= {call.told["data"]["id"] for call in receiver.calls} and not waiting(studio),
            patience_s=TOLD_S,
        )
    genuine = [call.verified(secret) for call in receiver.calls]
    assert {each["data"]["id"]: each["type"] for each in genuine} == {
        job_id: f"job.{state}" for job_id, state in ended.items()
    }
    ids = {call.id: call.told["data"]["id"] for call in receiver.calls}
    assert sorted(ids.values()) == sorted(jobs), "one event for each job, however often it was told"
    told = Counter(call.id for call in receiver.calls)
    print(f"{len(receiver.calls)} calls for {len(told)} events")


def waiting(studio: Studio) -> int:
    """How many deliveries the server still has to make."""
    with looking(studio.folder / "data") as connection:
        count = connection.scalar(select(func.count()).where(deliveries.c.delivered_at.is_(None)))
    return int(count or 0)


def kill_some(studio: Studio, chance: random.Random) -> None:
    """Kill processes of a server, which stands up again each time."""
    for _ in range(KILLS):
        studio.wait_for_state("ready", "busy", "degraded")
        time.sleep(chance.uniform(0, LONGEST_PAUSE_S))
        studio.kill_one(*chance.choices(list(VICTIMS), list(VICTIMS.values())))


def test_a_sender_that_dies_with_a_call_in_hand_makes_it_again(make_scripted: Callable[..., Studio]) -> None:
    with Receiver() as receiver:
        studio = make_scripted(**allowing(receiver) | {"webhook_timeout_s": 2}).start()
        for command in ("light", "serve"):
            job = studio.submit(steps=2, webhook_url=receiver.url)["id"]
            calls = called_again(studio, receiver, command)
            assert {call.told["data"]["id"] for call in calls} == {job}
            assert len({call.id for call in calls}) == 1


def called_again(studio: Studio, receiver: Receiver, command: str) -> Sequence[Call]:
    """The calls for the next end of a job, where a process is killed with the first of them in hand."""
    receiver.calls, receiver.answer = [], partial(until_called_again, receiver)
    until(lambda: receiver.calls)
    assert studio.kill_one(command)
    until(lambda: len(receiver.calls) > 1)
    receiver.answer = status(204)
    until(lambda: not waiting(studio))
    return receiver.calls


def answered(studio: Studio) -> bool:
    """Whether the web process answers."""
    try:
        return studio.request("GET", "/v1/health/live").ok
    except requests.ConnectionError:
        return False


def until_called_again(receiver: Receiver, _: BaseHTTPRequestHandler) -> None:
    """Answer nothing while this is the only call."""
    until(lambda: len(receiver.calls) > 1)


def test_what_ended_while_no_sender_ran_is_told_at_the_next_start(make_scripted: Callable[..., Studio]) -> None:
    with Receiver() as receiver:
        studio = make_scripted(**allowing(receiver)).start()
        assert studio.process is not None
        running = studio.submit(prompt="forever", webhook_url=receiver.url)["id"]
        waits = studio.submit(steps=2, webhook_url=receiver.url)["id"]
        until(lambda: studio.job(running)["state"] == "running")
        studio.kill()
        studio.process.wait()
        studio.process = studio.spawn("web")
        until(lambda: answered(studio))
        studio.request("POST", f"/v1/jobs/{waits}/cancel")
        studio.kill()
        assert (receiver.calls, waiting(studio)) == ([], 1)
        studio.start()
        until(lambda: receiver.calls)
        assert receiver.calls[0].verified(secret_of(studio))["data"]["id"] == waits
        studio.request("POST", f"/v1/jobs/{running}/cancel")
        until(lambda: len(receiver.calls) == 2)
        assert [call.told["type"] for call in receiver.calls] == ["job.cancelled"] * 2
