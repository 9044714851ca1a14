"""The client alone, in this process: retries, budget, keys, proxies, and the check of the connection."""

import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.dify import CANARY
from tests.support.scripted import PNG, QUEUED, RUNNING, Answer, ScriptedServer, ScriptedStudio, error
from tools import client as client_module
from tools import exchange
from tools.client import StudioClient, Update
from tools.errors import (
    ClientError,
    KeyRefused,
    QueueFull,
    Refused,
    StillLoading,
    StillRunning,
    Unavailable,
    Unreachable,
    WrongServer,
)
from tools.views import InputFile, Job, Painted, Pause

PROMPT = {"operation": "generate", "prompt": "红苹果"}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FIRST_PAUSE_S", 0.02)


def paint(server: ScriptedServer, budget: float = 20, **params: Any) -> tuple[list[Update], Painted]:
    """Paint and return the updates and the result."""
    with StudioClient(server.url, CANARY, time_budget_s=budget) as studio:
        return drained(studio.paint({**PROMPT, **params}))


def drained(painting: Generator[Update, None, Painted]) -> tuple[list[Update], Painted]:
    """Run a generator to its end."""
    updates = []
    while True:
        try:
            updates.append(next(painting))
        except StopIteration as stop:
            return updates, stop.value


def test_paints_and_fetches_by_id_never_by_url(scripted: ScriptedStudio) -> None:
    _, painted = paint(scripted)
    assert painted.contents == [PNG]
    assert scripted.routes()[-1] == "GET /v1/images/img0/content"
    assert scripted.called("POST /v1/jobs")[0].json() == PROMPT


def test_one_idempotency_key_over_busy_answers_and_a_lost_answer(scripted: ScriptedStudio) -> None:
    scripted.script["POST /v1/jobs"] += [error(503, "Busy."), Answer(drop=True), error(429, "Full."), Answer(drop=True)]
    updates, painted = paint(scripted)
    posts = scripted.called("POST /v1/jobs")
    assert len(posts) == 5
    assert len({post.headers["Idempotency-Key"] for post in posts}) == 1
    assert len(posts[0].headers["Idempotency-Key"]) == 36
    assert (list(scripted.jobs.values()), painted.job.id) == (["job0"], "job0")
    assert len([update for update in updates if isinstance(update, Pause)]) == 4


def test_a_cancel_takes_back_the_submit_that_was_made_here_and_names_no_other(scripted: ScriptedStudio) -> None:
    with StudioClient(scripted.url, CANARY) as studio:
        [mine] = studio.submit(PROMPT)
        assert isinstance(mine, Job)
        for job_id in (mine.id, "job_of_another"):
            list(studio.cancel(job_id))
    [submit] = scripted.called("POST /v1/jobs")
    [own] = scripted.called(f"POST /v1/jobs/{mine.id}/cancel")
    [other] = scripted.called("POST /v1/jobs/job_of_another/cancel")
    assert own.headers["Idempotency-Key"] == submit.headers["Idempotency-Key"]
    assert "Idempotency-Key" not in other.headers


def test_files_and_text_are_the_same_over_retries(scripted: ScriptedStudio) -> None:
    scripted.script["POST /v1/jobs"].append(Answer(drop=True))
    with StudioClient(scripted.url, CANARY) as studio:
        drained(studio.paint({"operation": "edit", "prompt": "变红"}, [InputFile("image-1.png", "image/png", PNG)]))
    first, second = scripted.called("POST /v1/jobs")
    for post in (first, second):
        assert PNG in post.body
        assert "变红".encode() in post.body


def test_pauses_grow(scripted: ScriptedStudio) -> None:
    scripted.script["POST /v1/jobs"] += [error(503, "Busy.")] * 4
    updates, _ = paint(scripted)
    seconds = [update.seconds for update in updates if isinstance(update, Pause)]
    assert seconds == sorted(seconds)
    assert seconds[-1] > 2 * seconds[0]


def test_retry_after_is_honoured(scripted: ScriptedStudio) -> None:
    scripted.script["POST /v1/jobs"].append(error(503, "Busy.", retry_after=1))
    updates, _ = paint(scripted)
    assert [update.seconds for update in updates if isinstance(update, Pause)] == [1.0]


@pytest.mark.parametrize(("status", "kind"), [(429, QueueFull), (503, Unavailable)])
def test_a_retry_after_past_the_budget_ends_at_once(
    scripted: ScriptedStudio, status: int, kind: type[ClientError]
) -> None:
    scripted.script["POST /v1/jobs"].append(error(status, "Come back later.", retry_after=60))
    with pytest.raises(kind, match="Come back later"):
        paint(scripted, budget=30)
    assert len(scripted.called("POST /v1/jobs")) == 1


def test_what_cannot_help_is_not_tried_again(scripted: ScriptedStudio) -> None:
    scripted.script["POST /v1/jobs"].append(error(422, "steps: too many."))
    with pytest.raises(Refused, match="steps: too many"):
        paint(scripted)
    assert len(scripted.calls) == 1


def test_budget_end_names_the_job_and_cancels_nothing(scripted: ScriptedStudio) -> None:
    scripted.states = [QUEUED, RUNNING]
    with pytest.raises(StillRunning, match=r"job0.*goes on at the server.*image_job and job_id job0.*time_budget"):
        paint(scripted, budget=1.2)
    assert not [route for route in scripted.routes() if route.endswith("/cancel")]
    assert len(scripted.calls) < 12, "a server that answers at once was asked in a tight loop"


def test_long_polls_of_twenty_seconds_after_the_first_word(
    scripted: ScriptedStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(scripted, budget=300)
    paint(scripted, budget=8)
    monkeypatch.setattr(client_module, "QUIET_S", 0.0)
    paint(scripted, budget=300)
    waits = [float(call.query.removeprefix("wait=")) for call in scripted.calls if call.path.startswith("/v1/jobs/")]
    assert 0 < waits[0] <= 3.2, "the first word is due after three seconds"
    assert 0 < waits[2] <= 3.2
    assert waits[-1] == 20


def test_a_long_poll_ends_before_the_budget_so_that_its_answer_still_comes(
    scripted: ScriptedStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E2: a poll for all the time that is left times out at the very moment at which the budget ends."""
    monkeypatch.setattr(client_module, "QUIET_S", 0.0)
    paint(scripted, budget=15)
    waits = [float(call.query.removeprefix("wait=")) for call in scripted.calls if call.path.startswith("/v1/jobs/")]
    assert max(waits) <= 15 - 1.5


def test_a_job_that_is_queued_when_the_budget_ends_is_named_and_no_host_is_blamed(
    scripted: ScriptedStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E2: the server holds the poll as long as it was asked to."""
    monkeypatch.setattr(exchange, "LAST_BYTES_S", 0.1)
    monkeypatch.setattr(client_module, "QUIET_S", 0.0)
    scripted.states = [QUEUED]
    scripted.holds_polls = True
    with pytest.raises(StillRunning, match=r"job job0 was queued.*image_job and job_id job0"):
        paint(scripted, budget=4)


def test_a_server_that_is_silent_to_the_end_of_the_budget_is_told_so(scripted: ScriptedStudio) -> None:
    """E2: where the server's answer is missing beyond what it was asked, it was our budget that ended."""
    held = scripted.hold("GET /v1/jobs/job0")
    with pytest.raises(Unreachable, match=r"time budget ended before 127\.0\.0\.1:\d+ answered.*Job job0 goes on"):
        paint(scripted, budget=1)
    held.set()


def test_headers_that_drip_end_with_the_budget() -> None:
    """A server that sends a byte of its headers now and then does not hold a call for ever."""
    over = threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with contextlib.suppress(OSError), connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-More: ")
            while not over.wait(0.05):
                connection.sendall(b"1")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with StudioClient(url, time_budget_s=1) as studio, pytest.raises(Unreachable, match="time budget ended"):
            drained(studio.paint(PROMPT))
        over.set()
        thread.join()


def test_a_lost_poll_does_not_lose_the_job(scripted: ScriptedStudio) -> None:
    scripted.script["GET /v1/jobs/job0"] += [Answer(drop=True), error(503, "Restarting.")]
    _, painted = paint(scripted)
    assert painted.job.state == "succeeded"
    assert len(scripted.jobs) == 1


def test_an_image_that_came_broken_off_unnoticed_is_fetched_again(scripted: ScriptedStudio) -> None:
    scripted.script["GET /v1/images/img0/content"] += [Answer(200, PNG[:-4]), Answer(200, PNG + b"more")]
    updates, painted = paint(scripted)
    assert painted.contents == [PNG]
    assert len([update for update in updates if isinstance(update, Pause)]) == 2


def test_a_server_that_goes_away_while_it_paints_is_named_with_the_job(scripted: ScriptedStudio) -> None:
    scripted.script["GET /v1/jobs/job0"] += [Answer(drop=True)] * 99
    with pytest.raises(Unreachable, match="Job job0 goes on"):
        paint(scripted, budget=0.5)


def test_an_absent_server_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "UNREACHABLE_PATIENCE_S", 0.3)
    with ScriptedServer(lambda call: Answer()) as gone:
        pass
    updates: list[Update] = []
    with StudioClient(gone.url, time_budget_s=60) as studio, pytest.raises(Unreachable, match="refused the connection"):
        updates.extend(studio.paint(PROMPT))
    assert sum(update.seconds for update in updates if isinstance(update, Pause)) < 0.3


def test_an_image_larger_than_dify_takes(scripted: ScriptedStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_IMAGE_BYTES", 10)
    with pytest.raises(Refused, match="jpeg or webp"):
        paint(scripted)


def test_a_netrc_neither_replaces_nor_adds_a_key(
    scripted: ScriptedStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    paint(scripted)
    assert {call.headers["Authorization"] for call in scripted.calls} == {f"Bearer {CANARY}"}
    scripted.api_key = ""
    scripted.calls.clear()
    with StudioClient(scripted.url) as studio:
        drained(studio.paint(PROMPT))
    assert all("Authorization" not in call.headers for call in scripted.calls)


def test_the_proxy_of_the_environment_is_named_and_can_be_bypassed(
    scripted: ScriptedStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    with StudioClient(scripted.url, CANARY) as studio, pytest.raises(Unreachable) as caught:
        studio.check()
    assert "proxy 127.0.0.1:9" in str(caught.value)
    assert "add 127.0.0.1 to NO_PROXY" in str(caught.value)
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with StudioClient(scripted.url, CANARY) as studio:
        studio.check()


def _health(**changes: str) -> Callable[[ScriptedStudio], None]:
    return lambda studio: studio.health.update(changes)


def _script(route: str, answer: Answer) -> Callable[[ScriptedStudio], None]:
    return lambda studio: studio.script[route].append(answer)


def _other_key(studio: ScriptedStudio) -> None:
    studio.api_key = "another"


@pytest.mark.parametrize(
    ("arrange", "kind", "said"),
    [
        (_health(state="starting", message="Loading qwen-image."), StillLoading, "Loading qwen-image"),
        (_health(state="failed", message="No GPU was found."), Unavailable, "No GPU was found"),
        (_health(service="something"), WrongServer, "not as a Qwen-Image Studio"),
        (_script("GET /v1/health", Answer(200, b"<html>hello</html>")), WrongServer, "base address"),
        (_script("GET /v1/health", Answer(404, b"nothing")), WrongServer, "base address"),
        (_script("GET /v1/health", Answer(200, b"x" * (5 * 2**20))), Refused, "larger than"),
        (_script("GET /v1/health", Answer(502, b"<html>nginx</html>")), Unavailable, "gateway"),
        (_script("GET /v1/health", Answer(401, b"<html>log in</html>")), WrongServer, "base address"),
        (_script("GET /v1/health", Answer(301, b"", {"Location": "https://a/"})), WrongServer, "redirects"),
        (_other_key, KeyRefused, "Enter a valid api_key"),
        (_script("GET /v1/health", Answer(drop=True)), Unreachable, "broke off"),
    ],
)
def test_check_tells_apart(
    scripted: ScriptedStudio, arrange: Callable[[ScriptedStudio], None], kind: type[ClientError], said: str
) -> None:
    arrange(scripted)
    with StudioClient(scripted.url, CANARY) as studio, pytest.raises(kind, match=said) as caught:
        studio.check()
    assert type(caught.value) is kind
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("state", ["ready", "busy", "degraded"])
def test_check_accepts_and_paints_nothing(scripted: ScriptedStudio, state: str) -> None:
    scripted.health["state"] = state
    with StudioClient(f"{scripted.url}/", CANARY) as studio:
        studio.check()
    assert scripted.routes() == ["GET /v1/health", "GET /v1/models"]
    assert "Authorization" in scripted.calls[1].headers


def test_check_does_not_wait_for_a_silent_server(scripted: ScriptedStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CHECK_S", 0.3)
    scripted.script["GET /v1/health"].append(Answer(200, scripted.health, delay_s=1.0))
    with StudioClient(scripted.url) as studio, pytest.raises(Unreachable, match="did not answer in time"):
        studio.check()


def test_a_wrong_protocol_is_told_at_once(scripted: ScriptedStudio) -> None:
    scripted.url = scripted.url.replace("http://", "https://")
    with StudioClient(scripted.url) as studio, pytest.raises(Unreachable, match="should start with http://"):
        next(studio.paint(PROMPT))


def test_a_handshake_that_is_cut_off_is_tried_again() -> None:
    def cut() -> None:
        connection, _ = listening.accept()
        connection.recv(4096)  # the client's hello; closing before it is read would be another error
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        cutting = threading.Thread(target=cut)
        cutting.start()
        with StudioClient(f"https://127.0.0.1:{listening.getsockname()[1]}") as studio:
            painting = studio.paint(PROMPT)
            update = next(painting)
            painting.close()
        cutting.join()
    assert isinstance(update, Pause)
    assert "broke off" in update.reason


def test_an_address_that_cannot_be_is_told_with_one_that_can() -> None:
    with StudioClient("http://[abc") as studio, pytest.raises(Unreachable, match="write it like http://gpu-box:8300"):
        studio.check()


def test_an_unknown_host_is_named() -> None:
    with StudioClient("http://no-such-host.invalid") as studio, pytest.raises(Unreachable, match=r"no-such-host.*DNS"):
        studio.check()


def test_a_batch_that_outlasts_the_budget_names_itself_and_how_far_it_is(scripted: ScriptedStudio) -> None:
    scripted.operation = "batch"
    scripted.states = [{"state": "running", "rows": {"total": 40, "succeeded": 11, "failed": 1, "cancelled": 0}}]
    with pytest.raises(StillRunning, match="job job0 was running, with 12 of 40 rows done"):
        paint(scripted, budget=0.6)
