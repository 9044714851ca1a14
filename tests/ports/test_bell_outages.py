"""Bells whose server is frozen, killed, away from the start or emptied: that costs log lines and time, and no job."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.database.connection import open_database
from qwen_image_studio.jobs.news import DEAF_LOOK_S, JOBS, Bell, Ear
from qwen_image_studio.jobs.news.port import HEARING_LOOK_S
from qwen_image_studio.jobs.store import JobStore, open_store
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import close_app, create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.database import with_tables
from tests.support.engine import ScriptedEngine
from tests.support.servers.fixtures import need_servers
from tests.support.servers.postgresql import PostgreSQL
from tests.support.servers.rabbitmq import RabbitMQ
from tests.support.servers.redis import Redis
from tests.support.waiting import until

BROKERS: dict[str, type[Redis] | type[RabbitMQ]] = {"redis": Redis, "rabbitmq": RabbitMQ}
Broken = PostgreSQL | Redis | RabbitMQ
SERVERS: dict[str, type[Broken]] = {"postgresql": PostgreSQL, **BROKERS}
ASK = {"operation": "generate", "steps": 2}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Broken]:
    """A server of each kind, to be broken; each test leaves it running."""
    need_servers(request.param)
    with SERVERS[request.param]() as server:
        yield server


@contextmanager
def opened(server: Broken, folder: Path) -> Iterator[JobStore]:
    """A job store that this server rings for."""
    if isinstance(server, PostgreSQL):
        settings = Settings(_env_file=None, data_dir=folder, database_url=server.url)
        open_database(settings, "migrate").close()
    else:
        settings = with_tables(Settings(_env_file=None, data_dir=folder, broker_url=server.url))
    with open_store(settings) as store:
        yield store


@pytest.fixture
def bell(server: Broken, tmp_path: Path) -> Iterator[Bell]:
    """A bell of that server's."""
    with opened(server, tmp_path) as store:
        yield store.bell


def until_heard(bell: Bell, ear: Ear) -> None:
    """Wait until a word that is rung now is heard, or one after it."""

    def is_heard() -> bool:
        bell.ring(JOBS, {"fresh"})
        return "fresh" in ear.wait(1.0)

    until(is_heard)


def assert_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """An outage has one line, however often and for whom a line was tried; a loaded machine may make one more."""
    told = [text for _, _, text in caplog.record_tuples if "is not heard" in text or "is heard again" in text]
    assert ["is not heard" in text for text in told] == [number % 2 == 0 for number in range(len(told))], told


def test_nobody_waits_for_a_frozen_server_and_words_come_again_after_it(bell: Bell, server: Broken) -> None:
    ear = bell.listen(JOBS)
    until_heard(bell, ear)
    server.freeze()
    try:
        for number in range(2000):  # if a word waited for a second, these would be late for the end of the test
            bell.ring(JOBS, {f"job_{number}"})
    finally:
        server.thaw()
    until_heard(bell, ear)


def test_an_ear_comes_back_after_its_server_was_killed_and_says_that_words_may_be_lost(
    bell: Bell, server: Broken, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ears = [bell.listen(JOBS) for _ in range(2)]
    for ear in ears:
        until_heard(bell, ear)
    server.kill()
    until(lambda: all(ear.look_s == DEAF_LOOK_S for ear in ears))
    for ear in ears:
        bell.ring(JOBS, {"lost"})
        ear.wait(0)
    server.start()
    until(lambda: all(ear.look_s == HEARING_LOOK_S for ear in ears))
    for ear in ears:
        assert ear.wait(3600) == frozenset()
        until_heard(bell, ear)
    until(lambda: "is heard again" in caplog.text)
    assert_told_once(caplog)


def test_a_server_that_is_emptied_is_rung_again(bell: Bell, server: Broken) -> None:
    if isinstance(server, PostgreSQL):
        pytest.skip("it holds the jobs themselves")
    ears = [bell.listen(JOBS) for _ in range(2)]
    until_heard(bell, ears[0])
    server.empty()
    for ear in ears:
        until_heard(bell, ear)


def test_a_broker_that_is_away_at_the_start_is_waited_for(
    server: Broken, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if isinstance(server, PostgreSQL):
        pytest.skip("nothing starts without the job store")
    caplog.set_level("INFO")
    server.stop()
    with opened(server, tmp_path) as store:
        ear = store.bell.listen(JOBS)
        store.bell.ring(JOBS, {"lost"})
        assert ear.look_s == DEAF_LOOK_S
        assert ear.wait(0) == frozenset()
        server.start()
        until_heard(store.bell, ear)
        until(lambda: "is heard again" in caplog.text)
    assert_told_once(caplog)


def test_an_ear_that_no_notify_reaches_is_deaf(
    postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As behind a pooler that hands out its connections by transaction."""
    monkeypatch.setattr("qwen_image_studio.jobs.news.postgresql.ECHO_S", 0.5)
    elsewhere = postgresql.url.removesuffix("postgres") + "template1"  # LISTEN hears its own database alone
    with open_store(with_tables(Settings(_env_file=None, data_dir=tmp_path, broker_url=elsewhere))) as store:
        ear = store.bell.listen(JOBS)
        until(lambda: "name the database's own address in STUDIO_BROKER_URL" in caplog.text)
        assert ear.look_s == DEAF_LOOK_S
    with open_store(Settings(_env_file=None, data_dir=tmp_path, broker_url=postgresql.url)) as store:
        ear = store.bell.listen(JOBS)
        until(lambda: ear.look_s == HEARING_LOOK_S)


# -- two workers -----------------------------------------------------------------------------------------------------


class Painted:
    """A web application and two workers, each with a store of its own."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings, configured_models(settings, card_gib=0))
        self.client: FlaskClient = self.app.test_client()
        self.notes = settings.data_dir / "painted.log"
        parts: Services = self.app.extensions["qwen-image-studio"]
        self.stores = [open_store(settings) for _ in range(2)]
        self.workers = [self._worker(store, list(parts.models)) for store in self.stores]
        self._loops = [threading.Thread(target=worker.run, daemon=True) for worker in self.workers]
        for loop in self._loops:
            loop.start()

    def _worker(self, store: JobStore, models: list[str]) -> Worker:
        engine = ScriptedEngine("miniature", "cpu", self.notes)
        parts: Services = self.app.extensions["qwen-image-studio"]
        return Worker(parts.settings, "cpu", engine, models, store)

    def submitted(self, **asked: Any) -> str:
        answer = self.client.post("/v1/jobs", json={**ASK, **asked})
        assert answer.status_code == 202, answer.text
        return str(answer.get_json()["id"])

    def state(self, job_id: str, wait: float = 0) -> str:
        return str(self.client.get(f"/v1/jobs/{job_id}?wait={wait}").get_json()["state"])

    def ended(self, job_id: str) -> str:
        return until(lambda: state if (state := self.state(job_id, 20)) not in {"queued", "running"} else "")

    def close(self) -> None:
        for worker in self.workers:
            worker.stop(0, None)
        for loop in self._loops:
            loop.join()
        for store in self.stores:
            store.close()
        close_app(self.app)


@contextmanager
def painting(folder: Path, broker_url: str) -> Iterator[Painted]:
    """Have two workers paint until the end of the block."""
    settings = Settings(_env_file=None, data_dir=folder, models="miniature", broker_url=broker_url)
    made = Painted(with_tables(settings))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("break_it", ["kill", "freeze", "empty"])
def test_every_job_is_painted_once_whatever_happens_to_the_broker(
    server: Broken, tmp_path: Path, break_it: str
) -> None:
    if isinstance(server, PostgreSQL):
        pytest.skip("it holds the jobs themselves")
    with painting(tmp_path, server.url) as studio:
        jobs = [studio.submitted(prompt=f"cup {number} pace=0.1") for number in range(10)]
        studio.ended(jobs[1])
        getattr(server, break_it)()
        jobs += [studio.submitted(prompt=f"late cup {number}") for number in range(4)]
        assert {studio.ended(job) for job in jobs} == {"succeeded"}
        if break_it == "kill":
            server.start()
        server.thaw()
        jobs.append(studio.submitted(prompt="the last cup"))
        assert studio.ended(jobs[-1]) == "succeeded"
    painted = Counter(studio.notes.read_text().splitlines())
    assert len(painted) == len(jobs)
    assert set(painted.values()) == {1}, painted


@pytest.fixture(params=["pipes", *SERVERS])
def rung(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Painted]:
    """A server where nothing is found by looking: who is not told is late for every wait of a test."""
    for name in (
        *("jobs.news.pipes.PipeEar.look_s", "jobs.news.lines.HEARING_LOOK_S", "jobs.news.lines.DEAF_LOOK_S"),
        *("worker.loop.LISTEN_S", "worker.keeper.PROGRESS_S"),
    ):
        monkeypatch.setattr(f"qwen_image_studio.{name}", 3600.0)
    if request.param != "pipes":
        request.getfixturevalue("postgresql")
    with painting(tmp_path, request.getfixturevalue(request.param).url if request.param in BROKERS else "") as studio:
        yield studio


def test_a_bell_rings_a_server_from_submit_to_cancel(rung: Painted) -> None:
    assert rung.ended(rung.submitted(prompt="a cup")) == "succeeded"
    long = rung.submitted(prompt="forever")
    until(lambda: rung.state(long) == "running")
    rung.client.post(f"/v1/jobs/{long}/cancel")
    assert rung.ended(long) == "cancelled"
    assert [rung.ended(rung.submitted(prompt=f"cup {number}")) for number in range(5)] == ["succeeded"] * 5
