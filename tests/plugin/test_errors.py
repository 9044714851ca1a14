"""What a person reads when something is wrong, on both SDKs: a class of error that Dify shows as it is, what to do."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.plugin.test_tools import BAD, BUSY, DOWN, KEY, LOST
from tests.support import ROOT
from tests.support.daemon import Daemon, Failure
from tests.support.dify import CANARY, PROVIDER, dify_file
from tests.support.plugin import SDKS, python_of
from tests.support.scripted import PNG, RUNNING, Answer, ScriptedServer, ScriptedStudio, error

SIGNATURE = "signature-canary-91"


@dataclass
class Trouble:
    """One condition: what is arranged for a call, and what the person must read."""

    type: str
    says: list[str]
    arrange: Callable[[ScriptedStudio], None] = lambda studio: None
    credentials: dict[str, object] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    tool: str = "image_generation"


def scripted(answer: Answer) -> Callable[[ScriptedStudio], None]:
    """The submission is answered so."""
    return lambda studio: studio.script["POST /v1/jobs"].append(answer)


def failing(code: str, message: str) -> Callable[[ScriptedStudio], None]:
    """The job runs and fails so."""
    states = [RUNNING, {"state": "failed", "error": {"code": code, "message": message}}]
    return lambda studio: setattr(studio, "states", states)


def going_on(studio: ScriptedStudio) -> None:
    """The job runs and runs."""
    studio.states = [RUNNING]


LOADING = error(503, "The model is still loading, 40 % so far.", retry_after=9999)
NOT_PAINTED = "prompt: this server does not paint 'gun'. Say it otherwise; ask its operator."
QUOTA = (
    "Each person of the API key 'dify' may make 50 images a day, of which 0 are left; this asks for 1. Ask for fewer, "
    "again after 2026-11-30 00:00 UTC, or the operator for more."
)
RATE = "The API key 'dify' may submit 60 jobs a minute, and has. Send it again in 99 seconds."
SCOPE = (
    "The API key 'dify' lacks the scope edit that this needs; it has generate. The operator gives it with "
    "'qwen-image-studio keys scopes dify generate,edit'."
)
MEMORY = "64x64 does not fit into the memory of cuda:0; ask for 32x32 or smaller."
TROUBLES = {
    "wrong key": Trouble(KEY, ["Enter a valid api_key"], credentials={"api_key": f"{CANARY}-2"}),
    "queue full": Trouble(
        BUSY, ["200 jobs wait; try again"], scripted(error(429, "200 jobs wait; try again later.", retry_after=9999))
    ),
    "person's images used up": Trouble(
        BUSY,
        ["may make 50 images a day, of which 0 are left", "again after 2026-11-30 00:00 UTC"],
        scripted(error(429, QUOTA, code="quota_exceeded", retry_after=9999)),
    ),
    "in Chinese, person's images used up": Trouble(
        BUSY,
        ["API 密钥“dify”的每位用户每天最多生成 50 张图片，还剩 0 张", "在 2026-11-30 00:00（UTC）之后再试"],
        scripted(error(429, QUOTA, code="quota_exceeded", retry_after=9999)),
        parameters={"prompt": "一个红苹果"},
    ),
    "too many jobs a minute": Trouble(
        BUSY, ["60 jobs a minute", "in 99 seconds"], scripted(error(429, RATE, code="rate_limited", retry_after=99))
    ),
    "scope missing": Trouble(
        KEY,
        ["lacks the scope edit", "keys scopes dify generate,edit"],
        scripted(error(403, SCOPE, code="scope_missing")),
    ),
    "in Chinese, scope missing": Trouble(
        KEY,
        ["缺少所需的权限 edit；它有：generate", "qwen-image-studio keys scopes dify generate,edit"],
        scripted(error(403, SCOPE, code="scope_missing")),
        parameters={"prompt": "一个红苹果"},
    ),
    "model loading": Trouble(DOWN, ["still loading, 40 %"], scripted(LOADING)),
    "out of memory": Trouble(DOWN, ["job0", "32x32 or smaller"], failing("out_of_memory", MEMORY)),
    "blocked at once": Trouble(BAD, ["'gun'", "Say it otherwise"], scripted(error(422, NOT_PAINTED))),
    "blocked later": Trouble(BAD, ["job0", "Say it otherwise"], failing("content_blocked", NOT_PAINTED)),
    "FILES_URL unset": Trouble(
        BAD,
        ["Image 1 has no complete address", "FILES_URL", "http://api:5001"],
        tool="image_edit",
        parameters={"images": [dify_file(f"/files/abc/file-preview?sign={SIGNATURE}")]},
    ),
}
WAITED_OUT = {
    "server down": Trouble(
        LOST, ["127.0.0.1:9", "server_url", "refused the connection"], credentials={"server_url": "http://127.0.0.1:9"}
    ),
    "time budget over": Trouble(DOWN, ["job0", "goes on", "image_job", "raise time_budget"], going_on),
}
"""Told only when the time budget, here the shortest that there is, has ended."""


def failed(plugin: Daemon, studio: ScriptedStudio, trouble: Trouble) -> Failure:
    """The error of a call in that trouble."""
    trouble.arrange(studio)
    known = {"server_url": studio.url, "api_key": CANARY, "time_budget": "30", **trouble.credentials}
    asked = {"prompt": "make it blue", **trouble.parameters}
    outcome = plugin.invoke(PROVIDER, trouble.tool, asked, known)
    assert outcome.error is not None
    assert not {"blob", "text", "json"} & set(outcome.kinds), "a later node would take a failure for a success"
    return outcome.error


def assert_readable(found: Failure, trouble: Trouble) -> None:
    """The right class, all that must be said, in sentences, and nothing that must not be."""
    assert found.type == trouble.type
    for part in trouble.says:
        assert part in found.message
    assert found.message.endswith((".", "。"))
    told = found.message + json.dumps(found.args)
    for secret in (CANARY, SIGNATURE):
        assert secret not in told
    assert "Traceback" not in found.message


@pytest.fixture(scope="module")
def waited_out() -> dict[tuple[str, str], Failure]:
    """The errors of those that take the whole time budget, by SDK and trouble; all at once, since each takes long."""
    both = [(sdk, name) for sdk in SDKS for name in WAITED_OUT]
    with ExitStack() as running, ThreadPoolExecutor(len(both)) as pool:
        environment = {"NO_PROXY": "*"}
        plugins = {sdk: running.enter_context(Daemon(python_of(sdk), ROOT, environment=environment)) for sdk in SDKS}

        def called(sdk: str, name: str) -> Failure:
            with ScriptedStudio(CANARY) as studio:
                return failed(plugins[sdk], studio, WAITED_OUT[name])

        return dict(zip(both, pool.map(called, *zip(*both, strict=True)), strict=True))


@pytest.mark.parametrize("name", list(TROUBLES))
def test_every_trouble_says_what_to_do(plugin: Daemon, scripted: ScriptedStudio, name: str) -> None:
    assert_readable(failed(plugin, scripted, TROUBLES[name]), TROUBLES[name])


def test_a_limit_that_outlasts_the_time_budget_is_told_at_once_and_never_sent_again(
    plugin: Daemon, scripted: ScriptedStudio
) -> None:
    failed(plugin, scripted, TROUBLES["person's images used up"])
    assert scripted.routes() == ["POST /v1/jobs"]


def test_a_limit_that_passes_within_the_time_budget_is_waited_for(plugin: Daemon, scripted: ScriptedStudio) -> None:
    scripted.script["POST /v1/jobs"].append(error(429, RATE, code="rate_limited", retry_after=1))
    known = {"server_url": scripted.url, "api_key": CANARY, "time_budget": "30"}
    outcome = plugin.invoke(PROVIDER, "image_generation", {"prompt": "a cup"}, known)
    outcome.raise_on_error()
    assert scripted.routes().count("POST /v1/jobs") == 2


@pytest.mark.parametrize("name", list(WAITED_OUT))
@pytest.mark.parametrize("sdk", list(SDKS))
def test_trouble_that_may_pass_is_told_when_the_budget_ends(
    waited_out: dict[tuple[str, str], Failure], sdk: str, name: str
) -> None:
    assert_readable(waited_out[sdk, name], WAITED_OUT[name])


def test_a_file_that_is_too_large_says_how_large_one_may_be(plugin: Daemon, scripted: ScriptedStudio) -> None:
    with ScriptedServer(lambda call: Answer(200, PNG + bytes(20_000_000))) as dify:
        files = [dify_file(f"{dify.url}/files/abc?sign={SIGNATURE}")]
        trouble = Trouble(BAD, ["Image 1 is larger than 20 MB", "Send a smaller one"], tool="image_edit")
        trouble.parameters = {"images": files}
        assert_readable(failed(plugin, scripted, trouble), trouble)
    assert scripted.routes() == []
