"""Call a server as one client does: ``run MODULE TASK…`` prints a line of JSON for each task, with why it failed."""

import asyncio
import importlib
import inspect
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Run the tasks that the command line names."""
    name, *tasks = sys.argv[1:]
    module = importlib.import_module(f"tests.clients.python.{name}")
    for task in tasks:
        print(json.dumps({"task": task, "failed": failure(getattr(module, task))}), flush=True)


def failure(task: Callable[[], Any]) -> str:
    """Return why a task failed, or nothing."""
    try:
        done = task()
        if inspect.iscoroutine(done):
            asyncio.run(done)
    except Exception as error:  # noqa: BLE001 - whatever a client raises is told
        line = traceback.extract_tb(error.__traceback__)[-1].line if isinstance(error, AssertionError) else ""
        return f"{type(error).__name__}: {str(error) or line}"
    return ""


if __name__ == "__main__":
    main()
