"""What Dify's API adds around its engine, for tests: stored files with links, and tool nodes served by our plugin.

Runs in the environment of the engine (``.venv-apps``, Python 3.12). The plugin is the real one, a process of its own on
the real SDK, behind the line protocol of Dify's daemon.
"""

import queue
import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml
from graphon.dsl import SlimDslNodeFactory  # type: ignore[import-not-found]
from graphon.dsl.tool_runtime import SlimToolNodeRuntime  # type: ignore[import-not-found]
from graphon.enums import BuiltinNodeTypes  # type: ignore[import-not-found]
from graphon.file.enums import FileTransferMethod  # type: ignore[import-not-found]
from graphon.file.file_factory import standardize_file_type  # type: ignore[import-not-found]
from graphon.file.models import File  # type: ignore[import-not-found]
from graphon.nodes.human_input.entities import (  # type: ignore[import-not-found]
    Completed,
    Expired,
    HITLContext,
    HITLDecision,
    HumanInputNodeData,
)
from graphon.nodes.human_input.human_input_node import HumanInputNode  # type: ignore[import-not-found]
from graphon.nodes.tool.entities import ToolNodeData  # type: ignore[import-not-found]
from graphon.nodes.tool.exc import ToolNodeError  # type: ignore[import-not-found]
from graphon.nodes.tool.tool_node import ToolNode  # type: ignore[import-not-found]
from graphon.variables.segments import StringSegment  # type: ignore[import-not-found]

from tests.support import ROOT
from tests.support.daemon import Daemon, Outcome
from tests.support.scripted import Answer, Call, ScriptedServer

TIMEOUT_S = 120.0
_REFERENCE = re.compile(r"\{\{#([^#$]+)#\}\}")
TESTED_WITH = {"seed": 7, "steps": 8}
"""Sent with every call that names none of its own, so that a test sees the same pictures in every run, and soon; a fast
tier has steps of its own."""
FAST = {"turbo", "draft"}


@dataclass(frozen=True)
class Stored:
    """One file that Dify keeps."""

    id: str
    name: str
    mime_type: str
    content: bytes


class FileStore(ScriptedServer):
    """Files and their links, as Dify's API has them; ``with`` ends the serving of the links."""

    def __init__(self) -> None:
        self.files: dict[str, Stored] = {}
        super().__init__(self._stored)

    def _stored(self, call: Call) -> Answer:
        stored = self.files.get(Path(call.path).stem)
        return Answer(200, stored.content, {"Content-Type": stored.mime_type}) if stored else Answer(404)

    def create_file_by_raw(self, *, file_binary: bytes, mimetype: str, filename: str | None = None) -> Stored:
        """Keep what a tool returned."""
        stored = Stored(uuid.uuid4().hex, filename or "file.bin", mimetype, file_binary)
        self.files[stored.id] = stored
        return stored

    def reference(self, stored: Stored, method: Any) -> Any:
        """The file as a value of the graph."""
        return File(
            file_type=standardize_file_type(extension=Path(stored.name).suffix, mime_type=stored.mime_type),
            transfer_method=method,
            related_id=stored.id,
            filename=stored.name,
            extension=Path(stored.name).suffix,
            mime_type=stored.mime_type,
            size=len(stored.content),
        )

    def resolve_file_url(self, *, file: Any, for_external: bool = True) -> str:
        """The link that stands in an answer, and that a tool gets to download the file."""
        return f"{self.url}/files/tools/{file.related_id}{file.extension}?sign=s"


@dataclass
class Plugin:
    """Serves the actions of tool nodes (the engine's tool-action seam) from the plugin process."""

    daemon: Daemon
    credentials: Mapping[str, Any]
    conversation_id: str | None = None
    asked_credentials: Mapping[str, Any] | None = None
    """Credentials of this run alone."""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Tools and their parameters, as they went to the plugin."""

    @property
    def unique_identifier(self) -> str:
        """As Dify names an installed plugin; the checksum is made up, since this one was never packed."""
        told = self.daemon.declaration
        return f"{told['author']}/{told['name']}:{told['version']}@{'0' * 64}"

    def act(self, plugin_id: str, action: str, data: Mapping[str, Any]) -> Iterator[Any]:
        """Answer one action of a tool node."""
        assert plugin_id == self.unique_identifier
        if action == "get_tool_runtime_parameters":
            yield {"parameters": list(declared(str(data["tool"])).values())}
        else:
            yield from self._invoke(data)

    def _invoke(self, data: Mapping[str, Any]) -> Iterator[Any]:
        tool = str(data["tool"])
        given = {name: as_sent(declared(tool)[name], value) for name, value in data["tool_parameters"].items()}
        self.calls.append((tool, given))
        usual = {name: value for name, value in TESTED_WITH.items() if name != "steps" or given.get("tier") not in FAST}
        inbox: queue.Queue[str | Outcome | Exception] = queue.Queue()
        provider, conversation = str(data["provider"]), self.conversation_id
        credentials = self.asked_credentials or self.credentials

        def call() -> None:
            try:
                outcome = self.daemon.invoke(
                    provider,
                    tool,
                    {**usual, **given},
                    credentials,
                    conversation_id=conversation,
                    timeout=TIMEOUT_S,
                    on_progress=inbox.put,
                )
            except Exception as error:  # noqa: BLE001 - it is raised in the engine's thread
                inbox.put(error)
            else:
                inbox.put(outcome)

        threading.Thread(target=call, daemon=True).start()
        while isinstance(told := inbox.get(), str):
            message = {"variable_name": "progress", "variable_value": told, "stream": True}
            yield {"type": "variable", "message": message}
        if isinstance(told, Exception):
            raise ToolNodeError(str(told))
        if told.error is not None:
            raise ToolNodeError(told.error.message)
        yield from rest(told)


class Forms:
    """Answers forms as people would: the engine has the node alone, and Dify the form, its texts and its fields."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        """The text of each form, by node, as it was rendered."""
        self._nodes: Mapping[str, Mapping[str, Any]] = {}
        self._decided: Mapping[str, tuple[str, Mapping[str, str]]] = {}

    def reset(self, graph: Mapping[str, Any], decided: Mapping[str, tuple[str, Mapping[str, str]]]) -> None:
        """Take the forms of an app, and what people choose in them: an action and the fields, or nothing in time."""
        self.shown, self._decided = {}, decided
        self._nodes = {node["id"]: node["data"] for node in graph["workflow"]["graph"]["nodes"]}

    def answer(self, asked: HITLContext) -> HITLDecision:
        """Return what a person decides. Every field is sent on every action, as Dify asks for it."""
        form = self._nodes[asked.node_id]
        self.shown[asked.node_id] = _REFERENCE.sub(
            lambda found: _text_of(asked.variable_pool, found[1]), form["form_content"]
        )
        action, fields = self._decided.get(asked.node_id, ("__timeout__", {}))
        if action == "__timeout__":
            return Expired(action, {})
        assert action in {each["id"] for each in form["user_actions"]}
        names = [field["output_variable_name"] for field in form["inputs"]]
        assert set(fields) == set(names)
        sent = {name: StringSegment(value=fields[name]) for name in names}
        return Completed(action, sent, sent)


def _text_of(pool: Any, reference: str) -> str:
    """A variable as Dify writes it into a form's text."""
    found = pool.get(reference.split("."))
    assert found is not None, f"the form names {reference}, which is not there"
    return str(found.text)


def rest(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """All messages of a call but the progress that was streamed already, in their order."""
    blobs, others = iter(outcome.blobs), iter(outcome.raw)
    for kind in outcome.kinds:
        if kind == "blob":
            blob = next(blobs)
            yield {"type": "blob", "message": {"blob": blob.content}, "meta": blob.meta}
            continue
        told = (message := next(others))["message"]
        if not (told.get("variable_name") == "progress" and told.get("stream")):
            yield message


def declared(tool: str) -> dict[str, dict[str, Any]]:
    """A tool's parameters by name, from its YAML, which is what the real daemon reads too."""
    parameters = yaml.safe_load((ROOT / f"tools/{tool}.yaml").read_text())["parameters"]
    return {parameter["name"]: parameter for parameter in parameters}


def as_sent(parameter: Mapping[str, Any], value: Any) -> Any:
    """A value as Dify's API sends it to a plugin: files as mappings, one or several as the parameter's type wants."""
    if parameter["type"] not in {"file", "files"}:
        return value
    if value is None:
        return [None] if parameter["type"] == "files" else None
    files = value if isinstance(value, list) else [value]
    sent = [file.to_plugin_parameter() for file in files]
    if parameter["type"] == "files":
        return sent
    if len(sent) != 1:
        raise ToolNodeError("This parameter only accepts one file but got multiple files while invoking.")
    return sent[0]


def node_factory(plugin: Plugin, store: FileStore, forms: Forms) -> Any:
    """The engine's own factory, except that tool nodes call the plugin and keep the files that come back, and that
    people answer forms.
    """

    class Runtime(SlimToolNodeRuntime):  # type: ignore[misc]
        def build_file_reference(self, *, mapping: Mapping[str, Any]) -> Any:
            return store.reference(store.files[mapping["tool_file_id"]], FileTransferMethod.TOOL_FILE)

    class Factory(SlimDslNodeFactory):  # type: ignore[misc]
        def _create_tool(self, request: Any) -> Any:
            data = ToolNodeData.model_validate(request.data_payload)
            runtime = Runtime(
                config=self.slim_client_config,
                plugin_id=plugin.unique_identifier,
                provider=data.provider_id.split("/")[-1],
                provider_id=data.provider_id,
                tool_name=data.tool_name,
                credentials={},
                action_invoker=plugin.act,
            )
            return ToolNode(
                node_id=request.node_id,
                data=data,
                graph_init_params=self.graph_init_params,
                graph_runtime_state=self.graph_runtime_state,
                tool_file_manager=store,
                runtime=runtime,
            )

        def _create_form(self, request: Any) -> Any:
            return HumanInputNode(
                node_id=request.node_id,
                data=HumanInputNodeData.model_validate(request.data_payload),
                graph_init_params=self.graph_init_params,
                graph_runtime_state=self.graph_runtime_state,
                hitl_callback=forms.answer,
            )

        NODE_BUILDERS: ClassVar[Mapping[Any, Any]] = {
            **SlimDslNodeFactory.NODE_BUILDERS,
            BuiltinNodeTypes.TOOL: _create_tool,
            BuiltinNodeTypes.HUMAN_INPUT: _create_form,
        }

    return Factory
