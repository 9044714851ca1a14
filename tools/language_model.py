"""Asking the workspace's language model, through Dify; the plugin has no key or address of any."""

import math
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.model.llm import LLMModelConfig  # type: ignore[import-untyped]
from dify_plugin.entities.model.message import (  # type: ignore[import-untyped]
    SystemPromptMessage,
    UserPromptMessage,
)

from tools.answers import MAX_ANSWER_CHARS, Ask, NoAnswer
from tools.dify import DifyFailed, from_dify
from tools.parameters import ChosenModel

LONGEST_S = 60.0
SHARE_OF_BUDGET = 0.2
"""Share of a call's time budget that a language model may take, 0 to 1."""

_KINDS_OF_FAILURE: Sequence[tuple[str, Sequence[str]]] = (
    ("may not be asked: the plugin has no permission to use models", ("enable llm access",)),
    ("was not found in this workspace, or is not set up", ("credentials is not initialized", "does not exist")),
    ("could not be asked: its provider refused the key", ("Incorrect model credentials", "InvokeAuthorizationError")),
    (
        "has been asked too often, or its quota is used up",
        ("Rate Limit Error", "InvokeRateLimitError", "quota exceeded"),
    ),
    (
        "could not be asked: its provider cannot be reached",
        ("Connection Error", "InvokeConnectionError", "Server Unavailable Error", "InvokeServerUnavailableError"),
    ),
    ("did not answer in time", ("exited without response",)),
)
"""Endings of the sentence "The language model …", each with texts in errors of Dify or its SDK that stand for it."""
_UNKNOWN = "could not be asked; the model's page in Dify, or its log, says why"


def seconds_for(time_budget_s: float) -> float:
    """Return how many seconds of a call a language model may take; painting needs most of the time."""
    return min(LONGEST_S, SHARE_OF_BUDGET * time_budget_s)


def asking(tool: Tool, chosen: ChosenModel | None, seconds: float) -> Ask:
    """Return the function that asks the chosen model within ``seconds``."""

    def ask(system: str, user: str) -> str:
        if chosen is None:
            raise NoAnswer("is not chosen, or not written as PROVIDER/MODEL such as langgenius/openai/openai/gpt-4o")
        try:
            return "".join(_chunks(tool, chosen, system, user, seconds))
        except DifyFailed as error:
            raise NoAnswer(_why(str(error))) from None

    return ask


def _chunks(tool: Tool, chosen: ChosenModel, system: str, user: str, seconds: float) -> Iterator[str]:
    """Yield the parts of the answer as they come. Raises :class:`NoAnswer` where it is too late or too long."""
    deadline, length = time.monotonic() + seconds, 0
    # The SDK ends a call after this many seconds of silence; the deadline here ends one that never stops talking.
    tool.session.max_invocation_timeout = max(1, math.ceil(seconds))
    asked: list[Any] = [SystemPromptMessage(content=system), UserPromptMessage(content=user)]
    config = LLMModelConfig(**chosen.model_dump())
    llm = tool.session.model.llm
    answer = from_dify(lambda: iter(llm.invoke(model_config=config, prompt_messages=asked, stream=True)))
    while (text := from_dify(lambda: _next_text(answer))) is not None:
        length += len(text)
        if time.monotonic() > deadline:
            raise NoAnswer(f"did not answer within {seconds:g} s")
        if length > MAX_ANSWER_CHARS:
            raise NoAnswer("did not come to an end")
        yield text


def _next_text(answer: Iterator[Any]) -> str | None:
    """The text of the next chunk; None where there is none left."""
    chunk = next(answer, None)
    return None if chunk is None else str(chunk.delta.message.get_text_content())


def _why(error: str) -> str:
    """Return the kind of failure, in our own words, since an error of Dify may hold keys, addresses and traces."""
    # Errors of models come as JSON with a type, or as "[provider] Rate Limit Error, " before the provider's own words.
    named = re.search(r'"error_type":\s*"(\w+)"|^\[[^\]]*\] ([^,:]*)', error)
    kind = named[named.lastindex or 0] if named else error
    return next((words for words, texts in _KINDS_OF_FAILURE if any(text in kind for text in texts)), _UNKNOWN)
