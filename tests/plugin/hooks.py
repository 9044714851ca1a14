"""Stand-ins for what Dify answers when a plugin calls back."""

from collections.abc import Callable, Iterable
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


def llm_answer(text: str) -> Hook:
    """A hook for ``llm`` calls that always says ``text``."""
    usage = {
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 1),
        **dict.fromkeys(("prompt_unit_price", "prompt_price_unit", "prompt_price", "total_price"), "0"),
        **dict.fromkeys(("completion_unit_price", "completion_price_unit", "completion_price"), "0"),
        "currency": "USD",
        "latency": 0.1,
    }

    def hook(asked: dict[str, Any]) -> list[dict[str, Any]]:
        message = {"role": "assistant", "content": text, "name": "", "tool_calls": []}
        delta = {"index": 0, "message": message, "usage": usage, "finish_reason": "stop"}
        return [{"model": asked["model"], "prompt_messages": [], "system_fingerprint": "", "delta": delta}]

    return hook
