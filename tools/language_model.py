"""Ask the workspace's own language model, through Dify: the plugin has no key and no address of one."""

import math
import time
from collections.abc import Iterator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.model.llm import LLMModelConfig  # type: ignore[import-untyped]
from dify_plugin.entities.model.message import (  # type: ignore[import-untyped]
    SystemPromptMessage,
    UserPromptMessage,
)

from tools.enhancement import MAX_ANSWER_CHARS, Ask, NoAnswer
from tools.parameters import ChosenModel

LONGEST_S = 60.0
SHARE_OF_BUDGET = 0.2
_LONGEST_REASON = 300


def seconds_for(time_budget_s: float) -> float:
    """How long a language model may take of a call's time: the painting needs the most of it."""
    return min(LONGEST_S, SHARE_OF_BUDGET * time_budget_s)


def asking(tool: Tool, chosen: ChosenModel | None, seconds: float, *, setting: str) -> Ask:
    """How to ask the chosen model within ``seconds``; ``setting`` is where it is chosen."""

    def ask(system: str, user: str) -> str:
        if chosen is None:
            raise NoAnswer(f"is not chosen in the setting {setting}")
        try:
            return "".join(_chunks(tool, chosen, system, user, seconds))
        except NoAnswer:
            raise
        except Exception as error:  # noqa: BLE001 - the SDK raises plain exceptions; a prompt by rules beats none
            said = " ".join(str(error).split())[:_LONGEST_REASON].rstrip(".")
            raise NoAnswer(f"could not be asked ({said or type(error).__name__})") from None

    return ask


def _chunks(tool: Tool, chosen: ChosenModel, system: str, user: str, seconds: float) -> Iterator[str]:
    """The parts of the answer as they come."""
    deadline, length = time.monotonic() + seconds, 0
    # The SDK ends a call after so many seconds of silence; the deadline here, one that goes on and on.
    tool.session.max_invocation_timeout = max(1, math.ceil(seconds))
    asked: list[Any] = [SystemPromptMessage(content=system), UserPromptMessage(content=user)]
    config = LLMModelConfig(**chosen.model_dump())
    for chunk in tool.session.model.llm.invoke(model_config=config, prompt_messages=asked, stream=True):
        text = chunk.delta.message.get_text_content()
        length += len(text)
        if time.monotonic() > deadline:
            raise NoAnswer(f"did not answer within {seconds:g} s")
        if length > MAX_ANSWER_CHARS:
            raise NoAnswer("did not come to an end")
        yield text
