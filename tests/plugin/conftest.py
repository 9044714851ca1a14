"""Fixtures: the plugin on both ends of the SDK range, a studio that plays a script, a file server."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.daemon import Daemon
from tests.plugin.scripted import Call, ScriptedStudio

ROOT = Path(__file__).parents[2]
CANARY = "canary-key-7b1f"
SDKS = {"newest": ROOT / ".venv-plugin/bin/python", "oldest": ROOT / ".venv-plugin-oldest/bin/python"}


def python_of(sdk: str) -> Path:
    """The Python of an SDK's environment; skips the test where it is missing, and fails it in CI."""
    python = SDKS[sdk]
    if not python.exists():
        message = f"the environment {python.parent.parent.name} is missing; make setup builds it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return python


@pytest.fixture(autouse=True)
def _no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session", params=list(SDKS))
def sdk_python(request: pytest.FixtureRequest) -> Path:
    """The Python of each SDK environment."""
    return python_of(request.param)


@pytest.fixture(scope="session")
def plugin(sdk_python: Path) -> Iterator[Daemon]:
    """The running plugin, one process per SDK. Whatever a test did, the protocol must have been kept."""
    with Daemon(
        sdk_python, ROOT, environment={"HEARTBEAT_INTERVAL": "0.5", "NO_PROXY": "*", "no_proxy": "*"}
    ) as daemon:
        yield daemon
        assert daemon.alive
        assert daemon.noise == []
        assert daemon.faults == []
        assert daemon.longest_line < 1_000_000
        assert set(daemon.ends.values()) <= {1}


@pytest.fixture(scope="session")
def facts(sdk_python: Path) -> dict[str, Any]:
    """What sdk_facts.py tells under each SDK."""
    command = [sdk_python, ROOT / "tests/plugin/sdk_facts.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def calls() -> list[Call]:
    """The calls of all scripted servers of a test, in their order."""
    return []


@pytest.fixture
def scripted(calls: list[Call]) -> Iterator[ScriptedStudio]:
    """A studio that plays a script and wants the canary key."""
    with ScriptedStudio(CANARY, calls) as server:
        yield server


@pytest.fixture
def credentials(scripted: ScriptedStudio) -> dict[str, object]:
    """Credentials for the scripted studio."""
    return {"server_url": scripted.url, "api_key": CANARY, "verify_tls": True, "time_budget": "60"}
