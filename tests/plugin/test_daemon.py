"""The harness itself: what it must notice, and the reverse calls that it answers."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.plugin.test_package import packaged
from tests.support import ROOT
from tests.support.daemon import Daemon, DaemonError, MemoryStorage, StandInModel

CALLING = """
from dify_plugin import Tool
from dify_plugin.entities.model.llm import LLMModelConfig
from dify_plugin.entities.model.message import UserPromptMessage


class CallingTool(Tool):
    def _invoke(self, tool_parameters):
        prompt = tool_parameters["prompt"]
        if prompt == "noise":
            print("said to nobody")
        elif prompt == "storage":
            self.session.storage.set("k", "值".encode())
            yield self.create_text_message(self.session.storage.get("k").decode())
        elif prompt == "llm":
            model = LLMModelConfig(provider="p", model="m", mode="chat", completion_params={})
            asked = [UserPromptMessage(content="a cat")]
            answer = self.session.model.llm.invoke(model_config=model, prompt_messages=asked, stream=False)
            yield self.create_text_message(answer.message.content)
        elif prompt == "blob":
            yield self.create_blob_message(b"x" * 20_000, meta={"mime_type": "image/png"})
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The package with one tool exchanged for one that calls back."""
    for path in packaged():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    (tmp_path / "tools/image_edit.py").write_text(CALLING)
    return tmp_path


def test_reverse_calls_blobs_and_noise(sdk_python: Path, root: Path) -> None:
    storage = MemoryStorage()
    with Daemon(sdk_python, root, hooks={"storage": storage, "llm": StandInModel("a fluffy cat")}) as daemon:
        said = {
            prompt: daemon.invoke("qwen_image", "image_edit", {"prompt": prompt}, {})
            for prompt in ("storage", "llm", "blob", "noise")
        }
        assert [outcome.error for outcome in said.values()] == [None] * 4
        assert said["storage"].texts == ["值"]
        assert list(storage.values.values()) == ["值".encode().hex()]
        assert said["llm"].texts == ["a fluffy cat"]
        assert [len(blob.content) for blob in said["blob"].blobs] == [20_000]
        assert daemon.noise == ["said to nobody"]
        assert set(daemon.ends.values()) == {1}
        daemon.hooks.clear()
        refused = daemon.invoke("qwen_image", "image_edit", {"prompt": "llm"}, {})
        assert refused.error is not None
        assert "permission denied" in refused.error.message


def test_death_is_noticed(sdk_python: Path) -> None:
    with Daemon(sdk_python, ROOT) as daemon:
        os.killpg(daemon.pid, signal.SIGKILL)
        with pytest.raises(DaemonError):
            daemon.validate("qwen_image", {}, timeout=10)
        daemon.stop()
        assert not daemon.alive


def test_a_plugin_that_does_not_start_is_shown_with_its_words(sdk_python: Path, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("raise SystemExit('no such thing')")
    with pytest.raises(DaemonError, match="no such thing"), Daemon(sdk_python, tmp_path):
        pass
