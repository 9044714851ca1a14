"""The plugin and the real server over a network that breaks at every bad moment: one job, one picture, plain words.

Both SDKs, through a proxy that cuts. Each test is an owner of its own at the server, so the owner's list tells how
many jobs there really are; each picture has a seed of its own, so the engine's log tells how often it was painted.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.faults.caller import Caller, FullQueue, assert_one_picture, assert_told, waits_at
from tests.faults.cutting_proxy import ALWAYS, Cut, CuttingProxy, Refusal
from tests.support import ROOT
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import dify_file
from tests.support.pictures import png
from tests.support.plugin import SDKS, python_of
from tests.support.scripted import Answer, ScriptedServer
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import PATIENCE_S

SUBMIT, POLL, CONTENT = "POST /v1/jobs", "GET /v1/jobs/job_[^/]+", "GET /v1/images/[^/]+/content"
LEAST_BUDGET_S = 30
"""The least that the credentials take."""


@pytest.fixture(scope="module")
def plugins() -> Iterator[Callable[[str], Daemon]]:
    """The plugin process of an SDK, started when it is first asked for."""
    with ExitStack() as running:
        started: dict[str, Daemon] = {}

        def plugin_of(sdk: str) -> Daemon:
            if sdk not in started:
                environment = {"NO_PROXY": "*", "no_proxy": "*"}
                started[sdk] = running.enter_context(Daemon(python_of(sdk), ROOT, environment=environment))
            return started[sdk]

        yield plugin_of
        for daemon in started.values():
            assert daemon.alive
            assert (daemon.noise, daemon.faults) == ([], [])
            assert set(daemon.ends.values()) <= {1}


@pytest.fixture(params=list(SDKS))
def plugin(plugins: Callable[[str], Daemon], request: pytest.FixtureRequest) -> Daemon:
    """The running plugin on each SDK."""
    return plugins(request.param)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """The real server with the scripted engine and keys."""
    with Studio(tmp_path_factory.mktemp("cut"), with_key=True, **SCRIPTED) as server:
        yield server


@pytest.fixture
def proxy(studio: Studio) -> Iterator[CuttingProxy]:
    """The way to the server."""
    with CuttingProxy(studio.port) as proxy:
        yield proxy


@pytest.fixture
def caller(plugin: Daemon, studio: Studio, proxy: CuttingProxy) -> Caller:
    """Somebody new, who reaches the server through the proxy."""
    return Caller(plugin, studio, proxy.url)


# -- cut ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "times"),
    [
        (Cut.BEFORE_ANSWER, 1),
        (Cut.BEFORE_ANSWER, 3),
        (Cut.WITHIN_ANSWER, 1),
        (Cut.AT_REQUEST, 2),
        (Cut.WITHIN_REQUEST, 1),
    ],
)
def test_a_submit_that_is_cut_gives_one_job(caller: Caller, proxy: CuttingProxy, where: Cut, times: int) -> None:
    proxy.cut(SUBMIT, where, times=times)
    outcome = caller.paint()
    assert [passage.act for passage in proxy.passed(SUBMIT)] == [where] * times + [None]
    assert_one_picture(caller, outcome)


@pytest.mark.parametrize("where", [Cut.BEFORE_ANSWER, Cut.WITHIN_REQUEST])
def test_an_edit_with_its_file_that_is_cut_gives_one_job(caller: Caller, proxy: CuttingProxy, where: Cut) -> None:
    proxy.cut(SUBMIT, where)
    with ScriptedServer(lambda call: Answer(200, png())) as dify:
        file = dify_file(f"{dify.url}/files/cup/file-preview?sign=s")
        outcome = caller.invoke("image_edit", prompt="make it green", images=[file], seed=caller.number, steps=2)
    assert [passage.act for passage in proxy.passed(SUBMIT)] == [where, None]
    assert_one_picture(caller, outcome)
    assert len(dify.calls) == 1


def test_a_batch_whose_answers_are_lost_has_one_job_for_each_row(caller: Caller, proxy: CuttingProxy) -> None:
    proxy.cut(SUBMIT, Cut.BEFORE_ANSWER, times=2)
    proxy.cut("GET /v1/jobs", Cut.WITHIN_ANSWER)  # the list of its rows
    table = "name\ncup\napple"
    outcome = caller.invoke("image_batch", prompt="a {{name}}", rows=table, seed=caller.number, steps=2)
    outcome.raise_on_error()
    [batch] = caller.jobs()
    assert (batch["id"], batch["operation"], batch["state"]) == (outcome.variables["job_id"], "batch", "succeeded")
    rows = caller.jobs(parent_id=batch["id"])
    assert [row["job_id"] for row in outcome.jsons[0]["rows"]] == [row["id"] for row in rows]
    assert [row["images"][0]["seed"] for row in rows] == [caller.number, caller.number + 1]
    assert [caller.painted(caller.number + position) for position in (0, 1)] == [1, 1]
    [sheet], [blob] = batch["images"], outcome.blobs
    assert hashlib.sha256(blob.content).hexdigest() == sheet["sha256"]
    assert [passage.act for passage in proxy.passed("GET /v1/jobs")] == [Cut.WITHIN_ANSWER, None]


@pytest.mark.parametrize("where", [Cut.WITHIN_ANSWER, Cut.WITHIN_ANSWER_ABRUPTLY, Cut.BEFORE_ANSWER])
def test_a_download_that_is_cut_comes_whole(caller: Caller, proxy: CuttingProxy, where: Cut) -> None:
    proxy.cut(CONTENT, where)
    outcome = caller.paint()
    assert [passage.act for passage in proxy.passed(CONTENT)] == [where, None]
    assert_one_picture(caller, outcome)


def test_polls_that_are_cut_lose_nothing(caller: Caller, proxy: CuttingProxy) -> None:
    for where in (Cut.AT_REQUEST, Cut.BEFORE_ANSWER, Cut.WITHIN_ANSWER):
        proxy.cut(POLL, where)
    outcome = caller.paint("pace=0.1", steps=10)
    assert [passage.act for passage in proxy.passed(POLL)][:3] == [Cut.AT_REQUEST, Cut.BEFORE_ANSWER, Cut.WITHIN_ANSWER]
    assert len(proxy.passed(SUBMIT)) == 1
    assert_one_picture(caller, outcome)


# -- refused for a while -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("route", "status"), [(SUBMIT, 503), (SUBMIT, 429), (POLL, 503), (CONTENT, 429)])
def test_a_load_balancers_retry_after_is_waited_out(
    caller: Caller, proxy: CuttingProxy, route: str, status: int
) -> None:
    proxy.refuse(route, status, retry_after=1)
    outcome = caller.paint("pace=0.05", steps=4)
    assert [passage.act for passage in proxy.passed(route)[:2]] == [Refusal(status, 1), None]
    assert_one_picture(caller, outcome)


@pytest.mark.parametrize(("status", "type_"), [(503, "InvokeServerUnavailableError"), (429, "InvokeRateLimitError")])
def test_a_retry_after_beyond_the_budget_is_told_at_once(
    caller: Caller, proxy: CuttingProxy, status: int, type_: str
) -> None:
    proxy.refuse(SUBMIT, status, retry_after=LEAST_BUDGET_S + 1, times=ALWAYS)
    outcome = caller.paint(budget=LEAST_BUDGET_S)
    assert outcome.error is not None
    assert outcome.error.type == type_
    assert "server" in outcome.error.message
    assert len(proxy.passed(SUBMIT)) == 1
    assert caller.jobs() == []


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server in whose queue two jobs may wait."""
    with Studio(tmp_path_factory.mktemp("small"), with_key=True, queue_limit=2, queue_share=1, **SCRIPTED) as server:
        yield server


def test_a_full_queue_is_waited_out(plugins: Callable[[str], Daemon], small: Studio) -> None:
    callers = [Caller(plugins(sdk), small, small.url) for sdk in SDKS]
    told = threading.Barrier(len(callers) + 1)
    with FullQueue(small) as queue, ThreadPoolExecutor(len(callers)) as threads:
        calls = [
            threads.submit(caller.paint, on_progress=waits_at(told, "Waiting, the queue is full")) for caller in callers
        ]
        told.wait(PATIENCE_S)
        assert [caller.jobs() for caller in callers] == [[], []]
        queue.drain()
        outcomes = [call.result() for call in calls]
    for caller, outcome in zip(callers, outcomes, strict=True):
        assert_one_picture(caller, outcome)
        assert_told(outcome, "waiting, the queue is full")


# -- past the budget ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outlasting:
    """Calls that use up their budget, by SDK."""

    refused: dict[str, tuple[Caller, Future[Outcome]]]
    """The queue stays full."""
    lost: dict[str, tuple[Caller, Future[Outcome]]]
    """Once the job is queued, the server cannot be reached."""


@pytest.fixture(scope="module")
def outlasting(plugins: Callable[[str], Daemon], studio: Studio, small: Studio) -> Iterator[Outlasting]:
    """All of them at the same time, because each takes half a minute."""
    with CuttingProxy(studio.port) as cut, FullQueue(small), ThreadPoolExecutor(2 * len(SDKS)) as threads:
        cut.cut(POLL, Cut.AT_REQUEST, times=ALWAYS)

        def begun(server: Studio, url: str) -> dict[str, tuple[Caller, Future[Outcome]]]:
            callers = {sdk: Caller(plugins(sdk), server, url) for sdk in SDKS}
            return {
                sdk: (caller, threads.submit(caller.paint, budget=LEAST_BUDGET_S)) for sdk, caller in callers.items()
            }

        yield Outlasting(begun(small, small.url), begun(studio, cut.url))


# -- restarted ---------------------------------------------------------------------------------------------------------


def stopped(studio: Studio) -> None:
    """SIGTERM, as an operator restarts it; what is in hand is given back."""
    assert studio.stop() == 0


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server with a worker for each SDK, which tests end and start again."""
    settings = {**SCRIPTED, "devices": "cpu:0,cpu:1", "shutdown_grace_s": 0.3}
    with Studio(tmp_path_factory.mktemp("mortal"), with_key=True, **settings) as server:
        yield server


@pytest.mark.usefixtures("outlasting")  # the half minute of the tests below passes meanwhile
@pytest.mark.parametrize(
    ("end", "balanced", "attempt", "said"),
    [(Studio.kill, False, 2, "no answer from the server"), (stopped, True, 1, "the server takes no jobs yet")],
)
def test_a_restart_in_the_middle_of_a_job_is_survived(
    plugins: Callable[[str], Daemon],
    mortal: Studio,
    end: Callable[[Studio], None],
    balanced: bool,
    attempt: int,
    said: str,
) -> None:
    """Killed and reached directly; stopped and reached through a load balancer, which says 502 meanwhile."""
    painting = threading.Barrier(len(SDKS) + 1)
    with CuttingProxy(mortal.port) as proxy, ThreadPoolExecutor(len(SDKS)) as threads:
        callers = [Caller(plugins(sdk), mortal, proxy.url if balanced else mortal.url) for sdk in SDKS]
        calls = [
            threads.submit(caller.paint, "pace=0.1", steps=80, on_progress=waits_at(painting, "Painting"))
            for caller in callers
        ]
        painting.wait(PATIENCE_S)
        end(mortal)
        mortal.start()
        outcomes = [call.result() for call in calls]
    for caller, outcome in zip(callers, outcomes, strict=True):
        assert_one_picture(caller, outcome, attempt=attempt)
        assert_told(outcome, said)


# -- what became of those past the budget ------------------------------------------------------------------------------


@pytest.mark.parametrize("sdk", list(SDKS))
def test_a_queue_that_stays_full_is_told_and_leaves_no_job(outlasting: Outlasting, sdk: str) -> None:
    caller, call = outlasting.refused[sdk]
    outcome = call.result()
    assert outcome.error is not None
    assert outcome.error.type == "InvokeRateLimitError"
    assert outcome.error.message == "The queue is full (jobs that wait: 2). Send it again later."
    assert_told(outcome, "waiting, the queue is full")
    assert caller.jobs() == []
    assert (outcome.blobs, outcome.texts) == ([], [])


@pytest.mark.parametrize("sdk", list(SDKS))
def test_what_was_lost_is_fetched_by_the_id_that_the_error_names(outlasting: Outlasting, sdk: str) -> None:
    caller, call = outlasting.lost[sdk]
    outcome = call.result()
    assert outcome.error is not None
    assert outcome.error.type == "InvokeConnectionError"
    [job] = caller.jobs()
    assert f"Job {job['id']} goes on at the server; image_job fetches its result later." in outcome.error.message
    caller.server_url = caller.studio.url
    assert_one_picture(caller, caller.invoke("image_job", job_id=job["id"]))
