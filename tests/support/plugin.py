"""The plugin in the environments that Dify's daemon would make, and it running there, for the tests of a session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.daemon import Daemon

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
