"""A stand-in for a language model, for tests alone; no model is behind it.

Dify's engine starts ``dify-plugin-daemon-slim -id PLUGIN -action ACTION``, writes ``{"data": ...}`` to its stdin and
reads one event per line. This file takes that program's place (``SLIM_BINARY_PATH``) and reads the same out of every
brief, so that a test knows what follows from it; in a greeting it finds none. Standard library only. The model that the
plugin itself asks through Dify has a stand-in of its own, in ``tests/support/hooks.py``.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

FREE = {
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 1),
    **dict.fromkeys(("prompt_unit_price", "prompt_price_unit", "prompt_price", "total_price"), "0"),
    **dict.fromkeys(("completion_unit_price", "completion_price_unit", "completion_price"), "0"),
    "currency": "USD",
    "latency": 0.1,
}
"""What a call costs."""
BRIEF = {
    "headline_en": "HOT",
    "headline_zh": "特价",
    "scene_en": "on a yellow background",
    "scene_zh": "黄色背景",
}
"""What is read out of every brief."""
GREETING = "hello there"
"""What a message without a brief says."""


def main() -> int:
    """Answer one call of the engine."""
    action = sys.argv[sys.argv.index("-action") + 1]
    asked = json.loads(sys.stdin.read())["data"]
    for data in answers(action, asked):
        print(json.dumps({"event": "chunk", "data": data}))
    print(json.dumps({"event": "done"}))
    return 0


def answers(action: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The data of each event."""
    if action == "get_ai_model_schemas":
        yield {"model_schema": schema(asked["model"])}
    elif action == "get_llm_num_tokens":
        yield {"num_tokens": 100}
    elif action == "invoke_llm":
        words = f"```json\n{json.dumps(BRIEF, ensure_ascii=False)}\n```"
        if GREETING in json.dumps(asked["prompt_messages"]):
            words = "I am sorry, there is no brief in this text."
        half = len(words) // 2
        yield from (chunk(asked["model"], words[:half], None), chunk(asked["model"], words[half:], "stop"))
    else:
        raise SystemExit(f"the stand-in knows no action {action}")


def chunk(model: str, words: str, finish: str | None) -> dict[str, Any]:
    """One piece of an answer, as a model plugin streams it."""
    message = {"role": "assistant", "content": words, "name": "", "tool_calls": []}
    delta = {"index": 0, "message": message, "usage": FREE if finish else None, "finish_reason": finish}
    return {"model": model, "prompt_messages": [], "system_fingerprint": "", "delta": delta}


def schema(model: str) -> dict[str, Any]:
    """What a model plugin declares about a chat model."""
    return {
        "model": model,
        "label": {"en_US": model},
        "model_type": "llm",
        "fetch_from": "predefined-model",
        "features": [],
        "model_properties": {"mode": "chat", "context_size": 32000},
        "parameter_rules": [],
        "deprecated": False,
    }


if __name__ == "__main__":
    sys.exit(main())
