"""Fixtures: Dify's workflow engine with our plugin in a process of its own, our real server behind the plugin."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.studio import Studio

PYTHON = ROOT / ".venv-apps/bin/python"


@dataclass
class Engine:
    """Runs example apps; see engine.py for what a run tells."""

    process: subprocess.Popen[str]

    def run(self, app: str, **how: Any) -> dict[str, Any]:
        """Run one of examples/apps; fails the test where the run fails. ``how`` is as for :meth:`try_to_run`."""
        told = self.try_to_run(app, **how)
        assert told["error"] is None, told
        return told

    def try_to_run(
        self,
        app: str,
        *,
        conversation: str | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        kept: Mapping[str, Any] | None = None,
        watched: Path | None = None,
        credentials: Mapping[str, Any] | None = None,
        decided: Mapping[str, tuple[str, Mapping[str, str]]] | None = None,
        **inputs: Any,
    ) -> dict[str, Any]:
        """Run one of examples/apps; ``error`` tells why it failed.

        ``settings`` are chosen in the editor, by node and parameter; ``kept`` is what the conversation's variables hold
        already. Every piece of text goes to the file ``watched`` when it comes; ``credentials`` are for this run;
        ``decided`` is what people choose in forms, by node: an action and the fields. The rest is the form's values or,
        in a chat, ``query`` and ``files``.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked: dict[str, Any] = {
            "app": app,
            "inputs": inputs,
            "conversation": conversation,
            "settings": settings,
            "kept": kept,
        }
        asked |= {"watched": watched and str(watched), "credentials": credentials, "decided": decided}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the engine's process died; its stderr is above"
        told: dict[str, Any] = json.loads(line)
        return told


@pytest.fixture(scope="session")
def engine(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine, ready to run apps."""
    assert (ROOT / ".venv-plugin/bin/python").exists(), "the plugin's environment is missing; make setup builds it"
    credentials = {"server_url": studio.url, "api_key": studio.api_key, "time_budget": "120"}
    folder = tmp_path_factory.mktemp("apps")
    no_proxy = {"NO_PROXY": "*", "no_proxy": "*", "PYTHONPATH": str(ROOT)}
    command = [str(PYTHON), "-m", "tests.apps.engine", str(folder), json.dumps(credentials)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **no_proxy},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Engine(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0, "the plugin wrote something beside its protocol"
