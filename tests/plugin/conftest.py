"""Fixtures: the plugin on both ends of the SDK range, a studio that plays a script, a file server."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.dify import CANARY
from tests.support.plugin import plugin, sdk_python
from tests.support.scripted import Call, ScriptedStudio

__all__ = ["plugin", "sdk_python"]


@pytest.fixture(scope="session")
def facts(sdk_python: Path) -> dict[str, Any]:
    """What sdk_facts.py tells under each SDK."""
    command = [sdk_python, ROOT / "tests/plugin/sdk_facts.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
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
