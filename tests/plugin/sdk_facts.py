"""Run by the Python of an SDK environment, in the repository's root: prints what only that Python can tell, as JSON."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import yaml

PROVIDER = Path("provider/qwen_image.yaml")
TOOLS = tuple(Path(path).stem for path in yaml.safe_load(PROVIDER.read_text(encoding="utf-8"))["tools"])
SOURCES = {**{f"tools.{name}": "Tool" for name in TOOLS}, "provider.qwen_image": "ToolProvider"}


def imported_by_the_client() -> list[str]:
    """Modules that must not come along with the client; asked before anything else is imported."""
    for name in ("tools.client", "tools.inputs", "tools.parameters", "tools.enhancement"):
        importlib.import_module(name)
    return sorted(name for name in sys.modules if name.split(".")[0] in {"dify_plugin", "gevent", "server"})


def errors() -> dict[str, list[Any]]:
    """For each error of the client the one that Dify gets: its class, its sentence, whether the cause is left out."""
    tree, messages = importlib.import_module("tools.errors"), importlib.import_module("tools.messages")
    found = {}
    for name, kind in [*vars(tree).items(), ("KeyError", KeyError)]:
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                with messages.reported_errors():
                    raise kind("a sentence")
            except Exception as error:  # noqa: BLE001 - which one it is is the question
                found[name] = [type(error).__name__, str(error), error.__suppress_context__]
    return found


def classes() -> dict[str, list[str]]:
    """Subclasses that the SDK's loader sees in each source."""
    sdk, seen = importlib.import_module("dify_plugin"), {}
    for name, base_name in SOURCES.items():
        base, members = getattr(sdk, base_name), vars(importlib.import_module(name)).values()
        seen[name] = [m.__name__ for m in members if isinstance(m, type) and issubclass(m, base) and m is not base]
    return seen


def declaration() -> dict[str, Any]:
    """What the SDK's own models make of the YAML files."""
    setup = importlib.import_module("dify_plugin.core.entities.plugin.setup")
    entities = importlib.import_module("dify_plugin.entities.tool")
    load = importlib.import_module("dify_plugin.core.utils.yaml_loader").load_yaml_file
    provider = entities.ToolProviderConfiguration(**load("provider/qwen_image.yaml"))
    return {
        "name": setup.PluginConfiguration(**load("manifest.yaml")).name,
        "credentials": [entry.name for entry in provider.credentials_schema],
        "tools": {tool.identity.name: len(tool.parameters) for tool in provider.tools},
    }


if __name__ == "__main__":
    sys.path.insert(0, ".")
    facts = {"imported by the client": imported_by_the_client()}
    print(json.dumps({**facts, "errors": errors(), "classes": classes(), "declaration": declaration()}))
