"""Ask the workspace's own language model, through Dify: the plugin has no key and no address of one."""

import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
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

_STATUS = r"(?:code|status|http|error)\W{1,3}"
_KINDS_OF_FAILURE: Sequence[tuple[str, str]] = (
    (r"enable llm access", "may not be asked: the plugin has no permission to use models"),
    (
        r"\b(?:model|provider|credentials?)(?: [^\s,;]+)?(?: (?:is|are|was|were|has|have|does|do))?(?: not|n't)"
        r"(?: been| be)? (?:found|exist|initiali[sz]ed|configured)"
        r"|no such model|not found the model|model_?not_?found|TokenNotInit",
        "was not found in this workspace, or is not set up",
    ),
    (
        r"authori[sz]|authentication|incorrect (?:model credentials|api key)|credentials ?validate ?failed"
        rf"|invalid[ _](?:x-)?(?:(?:api|access|secret)[ _-]?)?key|{_STATUS}40[13]\b",
        "could not be asked: its provider refused the key",
    ),
    (rf"rate.?limit|too many requests|quota|{_STATUS}429\b", "has been asked too often, or its quota is used up"),
    (r"timed?[ -]?out|exited without response|deadline", "did not answer in time"),
)
_UNKNOWN = "could not be asked; the model's page in Dify, or its log, says why"


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
            raise NoAnswer(_why(str(error))) from None

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


def _why(error: str) -> str:
    """What kind of failure it was, in our words alone: an error of Dify may hold keys, addresses and traces."""
    told = [error]
    with suppress(ValueError, RecursionError):
        about, _ = json.JSONDecoder(strict=False).raw_decode(error, max(error.find("{"), 0))
        if isinstance(about, dict) and "error_type" in about:
            given = about.get("args")
            description = given.get("description") if isinstance(given, dict) else None
            told = [str(about["error_type"]), str(description or about.get("message"))]
    told = [one.partition("Traceback")[0] for one in told]
    kinds = (words for one in told for kind, words in _KINDS_OF_FAILURE if re.search(kind, one, re.IGNORECASE))
    return next(kinds, _UNKNOWN)
