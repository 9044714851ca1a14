"""Stand-ins for what Dify answers when a plugin calls back."""

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Hook = Callable[[dict[str, Any]], Iterable[Any]]
"""Answers a reverse call: takes its ``request``, gives the data of each answer; raising refuses the call."""


class MemoryStorage:
    """A hook for ``storage`` calls: what Dify keeps for a plugin (values travel as hex), kept in a dict here."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def __call__(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        key = asked["key"]
        match asked["opt"]:
            case "set":
                self.values[key] = asked["value"]
                return [{"data": "ok"}]
            case "get":
                return [{"data": self.values[key]}]  # Dify answers a missing key with an error, too
            case "exist":
                return [{"data": key in self.values}]
            case "del":
                self.values.pop(key, None)
                return [{"data": "ok"}]
        raise ValueError(f"no storage operation {asked['opt']}")


class StandInModel:
    """A hook for ``llm`` calls: no language model, but something that always says ``text``, in pieces as Dify streams
    them. ``asked`` keeps every request; ``error`` refuses instead; with ``gate`` each piece waits until it is set.
    """

    def __init__(
        self, text: str = "", *, pieces: int = 3, error: str = "", gate: threading.Event | None = None
    ) -> None:
        self.text, self.pieces, self.error, self.gate = text, pieces, error, gate
        self.asked: list[dict[str, Any]] = []

    def __call__(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append(asked)
        if self.error:
            raise RuntimeError(self.error)
        text = self.says(asked)
        size = max(1, -(-len(text) // self.pieces))
        parts = [text[start : start + size] for start in range(0, len(text), size)] or [""]
        for index, part in enumerate(parts):
            if self.gate is not None:
                self.gate.wait()
            yield self._chunk(asked["model"], index, part, last=index + 1 == len(parts))

    def says(self, asked: dict[str, Any]) -> str:
        """The whole answer to a request."""
        return self.text

    def _chunk(self, model: str, index: int, text: str, *, last: bool) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "name": "", "tool_calls": []}
        end = {"usage": _USAGE if last else None, "finish_reason": "stop" if last else None}
        delta = {"index": index, "message": message, **end}
        return {"model": model, "prompt_messages": [], "system_fingerprint": "", "delta": delta}


class StandInWriter(StandInModel):
    """A hook for ``llm`` calls of prompt_enhance and image_campaign, for tests alone; no model is behind it.

    Writes by rule: the wish on a yellow background, in the language that is asked for; for a campaign the headlines HOT
    and 特价 on yellow. A test knows by the yellow that the prompt came from here.
    """

    def says(self, asked: dict[str, Any]) -> str:
        system, user = (message["content"] for message in asked["prompt_messages"])
        told = dict(line.split(": ", 1) for line in user.splitlines())
        return self._campaign(system) if "brief" in told else self._prompt(system, told["wish"])

    def _campaign(self, system: str) -> str:
        """A campaign for the channels and languages that are asked for."""
        asked = [line for line in system.splitlines() if line.startswith(("Channels: ", "Languages: "))]
        channels, languages = (re.findall(r"(\w+) \(", line) for line in asked)
        headlines = {"en": {"headline": "HOT"}, "zh": {"headline": "特价", "subline": ""}}
        answer = {
            "style": "bold flat design",
            "palette": ["yellow", "red"],
            "negative_prompt": "blurred",
            "scenes": dict.fromkeys(channels, "the text {headline}, {background}"),
            "texts": {language: headlines[language] for language in languages},
        }
        return json.dumps(answer, ensure_ascii=False)

    def _prompt(self, system: str, wish: str) -> str:
        """A prompt in the language that is asked for."""
        in_chinese = "one prompt in Simplified Chinese" in system
        answer = {
            "prompt": f"黄色背景上的{wish}" if in_chinese else f"{wish} on a yellow background",
            "negative_prompt": "blurred",
            "reason": "A yellow background was added.",
        }
        return json.dumps(answer, ensure_ascii=False)


_USAGE = {
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 1),
    **dict.fromkeys(("prompt_unit_price", "prompt_price_unit", "prompt_price", "total_price"), "0"),
    **dict.fromkeys(("completion_unit_price", "completion_price_unit", "completion_price"), "0"),
    "currency": "USD",
    "latency": 0.1,
}
