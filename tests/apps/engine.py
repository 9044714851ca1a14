"""Run by the Python of ``.venv-apps`` in the repository's root: runs example apps in Dify's own workflow engine.

Each line on stdin is a run, ``{"app": "name.yml", "inputs": {...}, "conversation": "id"}``; the answer is one line of
JSON on stdout. A file among the inputs is ``{"path": "..."}``. What a chatflow keeps stays with its conversation, and
``kept`` adds to it. ``settings`` are what a person chose in the editor, by node and parameter; ``decided`` is what
people choose in forms, by node: an action and the fields. ``watched`` is a file to which every piece of text goes when
it comes, and ``credentials`` are others than those of the command line.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml
from graphon.dsl import importer, inspect, loads  # type: ignore[import-not-found]
from graphon.file.enums import FileTransferMethod  # type: ignore[import-not-found]
from graphon.file.models import File  # type: ignore[import-not-found]
from graphon.file.runtime import set_workflow_file_runtime  # type: ignore[import-not-found]
from graphon.graph_engine.filters import (  # type: ignore[import-not-found]
    GraphEventFilterContext,
    ResponseStreamFilter,
    filter_graph_events,
)
from graphon.graph_events.graph import (  # type: ignore[import-not-found]
    GraphRunFailedEvent,
    GraphRunSucceededEvent,
)
from graphon.graph_events.node import (  # type: ignore[import-not-found]
    NodeRunStreamChunkEvent,
    NodeRunSucceededEvent,
)
from graphon.variables.segments import ArrayFileSegment, Segment  # type: ignore[import-not-found]

from tests.apps.host import FileStore, Forms, Plugin, node_factory
from tests.support import ROOT
from tests.support.daemon import Daemon
from tests.support.hooks import StandInWriter

APPS = ROOT / "examples/apps"
MODELS = "langgenius/tongyi:0.1.0@" + "0" * 64


class Apps:
    """Example apps of one workspace, with what their conversations remember."""

    def __init__(self, plugin: Plugin, store: FileStore, forms: Forms, folder: Path) -> None:
        self._plugin, self._store, self._forms, self._folder = plugin, store, forms, folder
        self._conversations: dict[str, dict[str, Any]] = {}
        self._watched: Path | None = None

    def run(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Run an app once; what came of it as plain JSON."""
        text = (APPS / asked["app"]).read_text()
        assert inspect(text).loadable
        graph = configured(yaml.safe_load(text), asked.get("settings") or {})
        # An installation adds what it knows: the plugins that are there, and the variables of the conversation.
        graph["dependencies"] = [
            {"type": "package", "value": {"plugin_unique_identifier": name}}
            for name in (self._plugin.unique_identifier, MODELS)
        ]
        conversation = asked.get("conversation")
        kept = self._conversations.setdefault(conversation or "", {})
        kept.update(asked.get("kept") or {})
        for variable in graph["workflow"]["conversation_variables"]:
            variable["value"] = kept.get(variable["name"], variable["value"])
        self._watched = Path(asked["watched"]) if asked.get("watched") else None
        self._plugin.asked_credentials = asked.get("credentials")
        self._plugin.conversation_id = conversation
        self._plugin.calls.clear()
        self._forms.reset(graph, asked.get("decided") or {})
        engine = loads(yaml.safe_dump(graph, allow_unicode=True), start_inputs=self._start(graph, asked["inputs"]))
        engine.graph_runtime_state.variable_pool.add(("sys", "workflow_run_id"), "run-1")
        told = self._collect(engine)
        kept.update(
            {n: plain(v) for n, v in engine.graph_runtime_state.variable_pool.get_by_prefix("conversation").items()}
        )
        return {**told, "conversation": kept, "calls": plain(self._plugin.calls), "forms": self._forms.shown}

    def _start(self, graph: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
        """The form's values, each variable there as Dify has it, and what a chat adds."""
        nodes = graph["workflow"]["graph"]["nodes"]
        names = [variable["variable"] for variable in nodes[0]["data"]["variables"]]
        values = {**dict.fromkeys(names), **{name: self._value(value) for name, value in inputs.items()}}
        if graph["app"]["mode"] == "advanced-chat":
            values["files"] = ArrayFileSegment(value=values.get("files") or [])
        return values

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._value(one) for one in value]
        if not isinstance(value, dict):
            return value
        path = Path(value["path"])
        mime_type = {".png": "image/png", ".csv": "text/csv"}[path.suffix]
        stored = self._store.create_file_by_raw(file_binary=path.read_bytes(), mimetype=mime_type, filename=path.name)
        return self._store.reference(stored, FileTransferMethod.LOCAL_FILE)

    def _collect(self, engine: Any) -> dict[str, Any]:
        told: dict[str, Any] = {"error": None, "outputs": {}, "nodes": {}, "order": [], "chunks": []}
        events = filter_graph_events(
            engine.run(),
            context=GraphEventFilterContext.from_engine(engine),
            filters=[ResponseStreamFilter()],
        )
        try:
            for event in events:
                self._take(event, told)
        except RuntimeError:  # the engine raises once more what GraphRunFailedEvent told
            if told["error"] is None:
                raise
        return told

    def _take(self, event: Any, told: dict[str, Any]) -> None:
        if isinstance(event, NodeRunStreamChunkEvent) and event.chunk:
            told["chunks"].append([".".join(event.selector), event.chunk, len(told["order"])])
            if self._watched is not None:
                with self._watched.open("a") as file:
                    file.write(event.chunk)
        elif isinstance(event, NodeRunSucceededEvent):
            told["order"].append(event.node_id)
            told["nodes"][event.node_id] = self._plain(event.node_run_result.outputs)
        elif isinstance(event, GraphRunSucceededEvent):
            told["outputs"] = self._plain(event.outputs)
        elif isinstance(event, GraphRunFailedEvent):
            told["error"] = event.error

    def _plain(self, value: Any) -> Any:
        return plain(value, self._saved)

    def _saved(self, file: Any) -> dict[str, Any]:
        """A file as its metadata, its link and a copy on disk."""
        stored = self._store.files[file.related_id]
        path = self._folder / f"{stored.id}{file.extension}"
        path.write_bytes(stored.content)
        return {"path": str(path), "url": file.generate_url(), "mime_type": file.mime_type, "name": file.filename}


def configured(graph: dict[str, Any], settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The app with settings of its nodes written as Dify's editor writes a value that somebody chose."""
    for node in graph["workflow"]["graph"]["nodes"]:
        for name, value in settings.get(node["id"], {}).items():
            node["data"]["tool_configurations"][name] = {"type": "constant", "value": value}
    return graph


def plain(value: Any, of_file: Any = None) -> Any:
    """A value of the graph as JSON has it."""
    if isinstance(value, Segment):
        value = value.value
    if isinstance(value, File):
        return of_file(value) if of_file else value.filename
    if hasattr(value, "items"):
        return {name: plain(one, of_file) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, of_file) for one in value]
    return value


def program(path: Path, source: Path) -> Path:
    """A program that runs a Python file with the Python that runs this one."""
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{source}" "$@"\n')
    path.chmod(0o700)
    return path


def main() -> int:
    """Serve runs until stdin ends."""
    folder, credentials = Path(sys.argv[1]), json.loads(sys.argv[2])
    os.environ["SLIM_BINARY_PATH"] = str(program(folder / "language-model", ROOT / "tests/apps/language_model.py"))
    answers, store = os.fdopen(os.dup(1), "w"), FileStore()
    os.dup2(2, 1)  # whatever the libraries print must not be taken for an answer
    set_workflow_file_runtime(store)
    plugin_python, hooks = ROOT / ".venv-plugin/bin/python", {"llm": StandInWriter()}
    with Daemon(plugin_python, ROOT, hooks=hooks) as daemon, store:
        plugin = Plugin(daemon, credentials)
        forms = Forms()
        factory = importer.SlimDslNodeFactory = node_factory(plugin, store, forms)
        importer.SUPPORTED_DEFAULT_FACTORY_NODE_TYPES = frozenset(factory.NODE_BUILDERS)
        apps = Apps(plugin, store, forms, folder)
        for line in sys.stdin:
            answers.write(json.dumps(apps.run(json.loads(line))) + "\n")
            answers.flush()
        return int(bool(daemon.noise or daemon.faults))


if __name__ == "__main__":
    sys.exit(main())
