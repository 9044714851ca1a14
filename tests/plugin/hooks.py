"""Stand-ins for what Dify answers when a plugin calls back."""

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
        size = max(1, -(-len(self.text) // self.pieces))
        parts = [self.text[start : start + size] for start in range(0, len(self.text), size)] or [""]
        for index, part in enumerate(parts):
            if self.gate is not None:
                self.gate.wait()
            yield self._chunk(asked["model"], index, part, last=index + 1 == len(parts))

    def _chunk(self, model: str, index: int, text: str, *, last: bool) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "name": "", "tool_calls": []}
        end = {"usage": _USAGE if last else None, "finish_reason": "stop" if last else None}
        delta = {"index": index, "message": message, **end}
        return {"model": model, "prompt_messages": [], "system_fingerprint": "", "delta": delta}


_USAGE = {
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 1),
    **dict.fromkeys(("prompt_unit_price", "prompt_price_unit", "prompt_price", "total_price"), "0"),
    **dict.fromkeys(("completion_unit_price", "completion_price_unit", "completion_price"), "0"),
    "currency": "USD",
    "latency": 0.1,
}
