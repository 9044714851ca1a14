"""Stop in the new Agent app, the one place in which a plugin can notice it."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER
from tests.support.scripted import RUNNING, SUCCEEDED, ScriptedStudio
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")
CANCEL = "POST /v1/jobs/job0/cancel"


def asked_whether_it_lives(plugin: Daemon, before: int) -> bool:
    """Whether the plugin has asked the daemon about its session since."""
    return any(b'"exist"' in line for line in plugin.lines[before:])


def begun(
    pool: ThreadPoolExecutor, plugin: Daemon, credentials: dict[str, object], app_id: str | None
) -> Future[Outcome]:
    """A call for a picture that goes on."""
    return pool.submit(lambda: plugin.invoke(PROVIDER, "image_generation", {"prompt": "x"}, credentials, app_id=app_id))


def test_a_job_for_which_nobody_waits_any_more_is_cancelled(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    """D6: the daemon has forgotten the session, and answers nothing."""
    scripted.states = [RUNNING]
    over = threading.Event()

    def silent(_: dict[str, Any]) -> Iterator[dict[str, Any]]:
        over.wait(60)
        yield {"data": False}

    plugin.hooks["storage"] = silent
    try:
        with ThreadPoolExecutor(1) as pool:
            call = begun(pool, plugin, credentials, None)
            until(lambda: CANCEL in scripted.routes())
            outcome = call.result()
    finally:
        over.set()
        del plugin.hooks["storage"]
    assert outcome.error is not None
    assert "nobody waits" in outcome.error.message
    [cancel], [submit] = scripted.called(CANCEL), scripted.called("POST /v1/jobs")
    assert cancel.headers["Idempotency-Key"] == submit.headers["Idempotency-Key"], "another one's run goes on"


def test_a_job_for_which_somebody_waits_goes_on_though_the_question_is_refused(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    """D6: the plugin has no permission to store anything, and asks for none."""
    scripted.states = [RUNNING]
    before = len(plugin.lines)
    with ThreadPoolExecutor(1) as pool:
        call = begun(pool, plugin, credentials, None)
        until(lambda: asked_whether_it_lives(plugin, before))
        scripted.states = [SUCCEEDED]
        call.result().raise_on_error()
    assert CANCEL not in scripted.routes()


def test_where_dify_reads_to_the_end_it_is_not_asked(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    """D6: in workflows, chatflows and the classic agent a question would tell nothing."""
    scripted.states = [RUNNING]
    before = len(plugin.lines)
    with ThreadPoolExecutor(1) as pool:
        call = begun(pool, plugin, credentials, "app-1")
        until(lambda: len(scripted.called("GET /v1/jobs/job0")) > 30)  # six seconds' worth of looks
        scripted.states = [SUCCEEDED]
        call.result().raise_on_error()
    assert not asked_whether_it_lives(plugin, before)
