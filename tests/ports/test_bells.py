"""What every bell promises, run against each kind; and a toy that is put into the table of bells and rings a server."""

import os
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.contract.words import Lane, Operation, State
from qwen_image_studio.jobs import NewJob, Tag
from qwen_image_studio.jobs.events import JobEvent
from qwen_image_studio.jobs.news import BELLS, CANCELS, DEAF_LOOK_S, JOBS, QUEUE, Announcer, Bell, Ear, Pipes, work
from qwen_image_studio.jobs.news.lines import SPREAD_S
from qwen_image_studio.jobs.news.port import HEARING_LOOK_S
from qwen_image_studio.jobs.states import Progress
from qwen_image_studio.jobs.store import JobStore, open_store
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.web.waiting import Changes, Sees
from tests.support.database import runs_on_postgresql, with_tables
from tests.support.waiting import PATIENCE_S, until
from tests.support.worker import scripted_worker

SOON = 10.0
"""Longest wait for a word that comes, in seconds."""
SERVERS = ("postgresql", "redis", "rabbitmq")
"""Kinds of bells that need a server; the job store is on PostgreSQL then."""
PAINTING = NewJob("ann", Operation.GENERATE, Lane.PAINT, "small", "quality", plan={}, variant="small")


class Toy:
    """A bell within one process."""

    def __init__(self, look_s: float = 3600.0) -> None:
        """By default nothing is found by looking: who is not told would be late for every wait of a test."""
        self.look_s = look_s
        self.ears: list[ToyEar] = []
        self.rung: list[tuple[str, frozenset[str]]] = []

    def ring(self, topic: str, words: Collection[str]) -> None:
        self.rung.append((topic, frozenset(words)))
        for ear in self.ears:
            ear.tell(topic, words)

    def listen(self, *topics: str) -> Ear:
        self.ears.append(ToyEar(self, topics))
        return self.ears[-1]

    def close(self) -> None:
        """Nothing to close."""


class ToyEar:
    """What was rung under some topics since the last look."""

    def __init__(self, toy: Toy, topics: Collection[str]) -> None:
        self._toy, self._topics = toy, topics
        self.look_s, self.spread_s = toy.look_s, 0.0
        self._news = threading.Condition()
        self._words: set[str] = set()

    def tell(self, topic: str, words: Collection[str]) -> None:
        if topic in self._topics:
            with self._news:
                self._words.update(words)
                self._news.notify()

    def wait(self, timeout: float) -> frozenset[str]:
        with self._news:
            self._news.wait_for(lambda: self._words, timeout)
            words, self._words = frozenset(self._words), set()
            return words

    def close(self) -> None:
        self._toy.ears.remove(self)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is: an ear hears from the start, and no word is given up."""
    monkeypatch.setattr("qwen_image_studio.jobs.news.lines.FIRST_TRY_S", PATIENCE_S)
    monkeypatch.setattr("qwen_image_studio.jobs.news.broker.TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr("qwen_image_studio.jobs.news.broker.ECHO_S", PATIENCE_S)
    monkeypatch.setattr("qwen_image_studio.jobs.news.postgresql.ECHO_S", PATIENCE_S)


@pytest.fixture(params=["pipes", "toy", *SERVERS])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of bell; those over a network where the tests have the servers."""
    if request.param in SERVERS:
        request.getfixturevalue("postgresql")
    return str(request.param)


@pytest.fixture
def bell(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bell]:
    """One bell of the kind."""
    if kind in SERVERS:
        with store_with(kind, tmp_path / "data", request) as store:
            yield store.bell
    else:
        yield Pipes(tmp_path / "bells") if kind == "pipes" else Toy()


@contextmanager
def store_with(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[JobStore]:
    """A job store with a bell that needs a server."""
    url = "" if kind == "postgresql" else request.getfixturevalue(kind).url
    with open_store(with_tables(Settings(_env_file=None, data_dir=folder, broker_url=url))) as store:
        yield store


def heard(ear: Ear, count: int = 1) -> set[str]:
    """The next words, however many pieces they come in."""
    words: set[str] = set()

    def enough() -> bool:
        words.update(ear.wait(SOON))
        return len(words) >= count

    until(enough)
    return words


def test_only_those_hear_who_listen_to_the_topic(bell: Bell) -> None:
    painter, page = bell.listen(work(Lane.PAINT), CANCELS), bell.listen(JOBS)
    bell.ring(work(Lane.LIGHT), {Lane.LIGHT})
    bell.ring(JOBS, {"job_1", QUEUE})
    bell.ring(CANCELS, {"job_2"})
    assert heard(page, 2) == {"job_1", QUEUE}
    assert heard(painter) == {"job_2"}
    assert painter.wait(0) == page.wait(0) == frozenset()


def test_every_ear_hears_each_word(bell: Bell) -> None:
    ears = [bell.listen(JOBS) for _ in range(3)]
    words = {f"job_{number:024x}" for number in range(500)}
    bell.ring(JOBS, words)
    assert [heard(ear, 500) for ear in ears] == [words] * 3


def test_what_was_rung_before_is_not_heard_and_a_closed_ear_is_left_alone(bell: Bell) -> None:
    first = bell.listen(JOBS)
    bell.ring(JOBS, {"early"})
    assert heard(first) == {"early"}
    closed, ear = bell.listen(JOBS), bell.listen(JOBS)
    closed.close()
    bell.ring(JOBS, {"late"})
    assert heard(ear) == {"late"}


def test_an_ear_sleeps_until_it_is_rung(bell: Bell) -> None:
    ear, words = bell.listen(JOBS), list[set[str]]()
    sleeper = threading.Thread(target=lambda: words.append(heard(ear)))
    sleeper.start()
    bell.ring(JOBS, {"job_1"})
    sleeper.join()
    assert words == [{"job_1"}]


def test_nobody_waits_for_an_ear_that_does_not_listen(bell: Bell) -> None:
    ear = bell.listen(JOBS)
    for _ in range(400):  # more than a pipe holds
        bell.ring(JOBS, {f"job_{number:024x}" for number in range(20)})

    def hears_again() -> bool:
        bell.ring(JOBS, {"last"})
        return "last" in ear.wait(1.0)

    until(hears_again)


def test_where_words_come_over_a_network_looks_are_seldom_and_spread(bell: Bell, kind: str) -> None:
    ear = bell.listen(JOBS)
    if kind in SERVERS:
        assert (ear.look_s, ear.spread_s) == (HEARING_LOOK_S, SPREAD_S)
    elif kind == "pipes":
        assert (ear.look_s, ear.spread_s) == (DEAF_LOOK_S, 0.0)


@pytest.mark.parametrize("kind", SERVERS, indirect=True)
def test_two_servers_over_one_do_not_hear_each_other(
    bell: Bell, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with store_with(kind, tmp_path / "another", request) as another:
        ear, strangers = bell.listen(JOBS), another.bell.listen(JOBS)
        bell.ring(JOBS, {"ours"})
        another.bell.ring(JOBS, {"theirs"})
        assert heard(ear) == {"ours"}
        assert heard(strangers) == {"theirs"}
        assert ear.wait(0) == strangers.wait(0) == frozenset()


# -- PostgreSQL ----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    """A job store on PostgreSQL, whose transactions ring."""
    request.getfixturevalue("postgresql")
    with store_with("postgresql", tmp_path / "data", request) as store:
        yield store


def test_a_job_is_told_of_within_the_transaction_that_submits_it(store: JobStore) -> None:
    """NOTIFY costs a statement, and neither a transaction nor a commit."""
    ear, ends, said = store.bell.listen(JOBS, work(Lane.PAINT)), [], []
    event.listen(store.database.engine, "commit", lambda _: ends.append("commit"))
    event.listen(store.database.engine, "before_cursor_execute", lambda *its: said.append(its[2]))
    job = store.jobs.submit(PAINTING, queue_limit=1)[0]
    assert heard(ear, 3) == {job.id, QUEUE, Lane.PAINT}
    ringing = [statement for statement in said if "pg_notify" in statement]
    assert len(ringing) == 1
    lease = store.leases.claim("worker", Lane.PAINT, ["small"])
    assert lease is not None
    heard(ear)
    ends.clear()
    store.leases.renew(lease, Progress("painting", 1, 2))
    assert heard(ear) == {job.id}
    assert ends == ["commit"]


def test_progress_of_a_moment_later_is_written_and_not_told(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each NOTIFY wakes all who listen in the database, whatever they listen to."""
    monkeypatch.setattr("qwen_image_studio.jobs.news.announcer.PROGRESS_S", 3600.0)
    store.jobs.submit(PAINTING, queue_limit=1)
    lease = store.leases.claim("worker", Lane.PAINT, ["small"])
    assert lease is not None
    said: list[str] = []
    event.listen(store.database.engine, "before_cursor_execute", lambda *its: said.append(its[2]))
    for step in range(3):
        store.leases.renew(lease, Progress("painting", step, 3))
    assert len([statement for statement in said if "pg_notify" in statement]) == 1
    assert store.jobs.get(lease.job.id).progress.step == 2


def test_what_is_rolled_back_is_not_told(store: JobStore) -> None:
    ear = store.bell.listen(JOBS)
    with store.database.writing() as connection:
        Announcer(store.bell).changing(connection, [JobEvent("never", None, Lane.PAINT, State.QUEUED, False)])
        connection.rollback()
    store.bell.ring(JOBS, {"after"})
    assert heard(ear) == {"after"}


def test_more_words_than_a_payload_holds_come_in_pieces(store: JobStore) -> None:
    ear, events = (
        store.bell.listen(JOBS),
        [JobEvent(f"job_{number:024x}", None, Lane.PAINT, State.SUCCEEDED, False) for number in range(2000)],
    )
    with store.database.writing() as connection:
        Announcer(store.bell).changing(connection, events)
    assert heard(ear, 2000) == {event.job_id for event in events}


# -- pipes ---------------------------------------------------------------------------------------------------------


def test_a_pipe_whose_process_was_killed_is_removed_by_the_next_ring(tmp_path: Path) -> None:
    folder = tmp_path / "bells"
    script = (
        "import os, sys; from pathlib import Path; from qwen_image_studio.jobs.news import Pipes\n"
        "ear = Pipes(Path(sys.argv[1])).listen('jobs'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert len(os.listdir(folder / JOBS)) == 1
    Pipes(folder).ring(JOBS, {"job_1"})
    assert os.listdir(folder / JOBS) == []


def test_words_go_from_one_process_to_another(tmp_path: Path) -> None:
    ear = Pipes(tmp_path / "bells").listen(JOBS)
    script = (
        "import sys; from pathlib import Path; from qwen_image_studio.jobs.news import Pipes\n"
        "Pipes(Path(sys.argv[1])).ring('jobs', {'job_1'})"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "bells")], check=True)
    assert heard(ear) == {"job_1"}


def test_without_pipes_an_ear_is_deaf_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "bells").write_text("not a folder")
    bell = Pipes(tmp_path / "bells")
    ear = bell.listen(JOBS)
    bell.ring(JOBS, {"job_1"})
    assert ear.wait(0.0) == frozenset()
    assert caplog.text.count("no pipe can be made") == 1


def test_who_cannot_open_a_pipe_leaves_it_to_its_owner(tmp_path: Path) -> None:
    ear = Pipes(tmp_path / "bells").listen(JOBS)
    script = (
        "import os, resource, sys; from pathlib import Path; from qwen_image_studio.jobs.news import Pipes\n"
        "bell, names = Pipes(Path(sys.argv[1])), os.listdir(sys.argv[1] + '/jobs')\n"
        "os.listdir = lambda _: names\n"  # it needs a descriptor too, and has given it back by then
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "bell.ring('jobs', {'job_1'})"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "bells")], check=True)
    Pipes(tmp_path / "bells").ring(JOBS, {"job_2"})
    assert heard(ear) == {"job_2"}


def test_what_is_no_pipe_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "bells" / JOBS / "mine.txt"
    other.parent.mkdir(parents=True)
    other.mkdir()
    Pipes(tmp_path / "bells").ring(JOBS, {"job_1"})
    assert other.is_dir()


# -- the seam ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "nats://here",
            "there is no bell of the kind 'nats'; leave it empty or use redis://, rediss://, amqp://, amqps://",
        ),
        ("here:6379", "there is no bell"),
        ("just words", "there is no bell"),
        ("redis://", "redis:// is no address of a broker"),
        ("redis://:secret@here:port/0", "redis://here:port/0 is no address of a broker"),
        ("redis://here/first", "redis://here/first is no address of a broker"),
        ("amqp://guest:secret/place", "amqp://guest:***/place is no address of a broker"),
        ("amqp://guest:secret@:5672//", "is no address of a broker"),
        ("amqp://a:secret@one;amqp://b:secret@two:0x", "is no address of a broker"),
    ],
)
def test_a_bell_that_there_is_not_is_said_at_the_start(tmp_path: Path, url: str, told: str) -> None:
    settings = with_tables(Settings(_env_file=None, data_dir=tmp_path, broker_url=url))
    with pytest.raises(CannotServe) as refused:
        open_store(settings)
    assert told in str(refused.value)
    assert str(refused.value).startswith("STUDIO_BROKER_URL: ")
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(runs_on_postgresql(), reason="of SQLite alone: PostgreSQL rings for itself")
def test_postgresql_rings_for_its_own_job_store_alone(tmp_path: Path) -> None:
    settings = with_tables(Settings(_env_file=None, data_dir=tmp_path, broker_url="postgresql://here/studio"))
    with pytest.raises(CannotServe, match="PostgreSQL rings for a job store that it keeps itself"):
        open_store(settings)


def test_without_kombu_the_extra_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['kombu'] = None\n"
        "from qwen_image_studio.settings import Settings; from qwen_image_studio.jobs.store import open_store\n"
        "open_store(Settings(_env_file=None, data_dir=sys.argv[1], broker_url='redis://here'))"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "STUDIO_BROKER_URL needs libraries" in ended.stderr
    assert "pip install 'qwen-image-studio[broker]'" in ended.stderr


def test_a_word_that_was_lost_is_made_good_however_much_else_is_rung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy(look_s=0.5)
    monkeypatch.setitem(BELLS, "toy", lambda *_: toy)
    monkeypatch.setitem(BELLS, "mute", lambda *_: Toy())
    settings = with_tables(Settings(_env_file=None, data_dir=tmp_path, broker_url="toy://"))
    mute = settings.model_copy(update={"broker_url": "mute://"})
    with open_store(settings) as here, open_store(mute) as elsewhere:
        job = here.jobs.submit(PAINTING, queue_limit=1)[0]
        ended = threading.Event()

        def chatter() -> None:
            while not ended.wait(0.05):
                toy.ring(JOBS, {"job_of_another"})

        others = threading.Thread(target=chatter)
        with Changes(here).watching(job.id, sees=Sees.STATE) as watch:
            others.start()
            elsewhere.jobs.cancel(job.id, "ann")
            assert watch.wait(Tag(job.version), PATIENCE_S)
        ended.set()
        others.join()


def test_a_toy_bell_rings_a_server_from_submit_to_cancel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy()
    monkeypatch.setitem(BELLS, "toy", lambda *_: toy)
    monkeypatch.setattr("qwen_image_studio.worker.keeper.PROGRESS_S", 3600.0)
    settings = Settings(_env_file=None, data_dir=tmp_path, models="miniature", broker_url="toy://")
    app = create_app(settings, configured_models(settings, card_gib=0))
    parts: Services = app.extensions["qwen-image-studio"]
    worker = scripted_worker(parts)
    loop = threading.Thread(target=worker.run, daemon=True)
    loop.start()
    client = app.test_client()

    def submitted(**ask: object) -> str:
        return str(client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", **ask}).get_json()["id"])

    def ended(job_id: str) -> str:
        while (job := client.get(f"/v1/jobs/{job_id}?wait=20").get_json())["state"] in {"queued", "running"}:
            pass
        return str(job["state"])

    assert ended(submitted(steps=2)) == "succeeded"
    long = submitted(prompt="forever")
    until(lambda: client.get(f"/v1/jobs/{long}").get_json()["state"] == "running")
    client.post(f"/v1/jobs/{long}/cancel")
    assert ended(long) == "cancelled"
    worker.stop(0, None)
    loop.join()
    assert (CANCELS, frozenset({long})) in toy.rung
    assert not (tmp_path / "bells").exists()
    # A word about work wakes those who work, and no word about a job does.
    assert {words for topic, words in toy.rung if topic == work(Lane.PAINT)} == {frozenset({Lane.PAINT})}
    assert work(Lane.LIGHT) not in {topic for topic, _ in toy.rung}
