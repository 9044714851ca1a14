"""The tools of agents, made from the table of operations: a parameter is described there and nowhere else."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from mcp_types import Tool, ToolAnnotations

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.mcp import CallOptions, JobCall, ToolAnswer
from qwen_image_studio.contract.words import Operation
from qwen_image_studio.operations.request import OPERATIONS
from qwen_image_studio.recipe import MASK
from qwen_image_studio.web.mcp.schemas import described, plain

HIDDEN = frozenset({"operation", "user", "webhook_url"})
"""Parameters that no model decides: the tool is the operation, a header names the person, and a model that was talked
into it would send news of jobs to strangers."""
UNLISTED = frozenset({"direction", "width", "height"})
"""Parameters that are taken and not listed, since `style` and `size` say the same in fewer words: a model reads the
whole list all the time."""
IMAGES = ("image", MASK)
"""Parameters that are pictures."""
MARKS = (MASK, "region")
"""Parameters that say which part may change."""
JOB_TOOL = "image_job"
_FIRST = ("prompt", *IMAGES, "region", "aspect_ratio", "size", "n", "seed")
"""Parameters in the order in which they are listed, before all others."""
_PICTURE = "An image id of an earlier answer, an http or https URL, or the picture itself as data URL or base64."
_OR_FILES = re.compile(r"[;.,]? or send .*", re.IGNORECASE | re.DOTALL)
"""What the table says of files, which come in the same place here."""
_LONG = (
    f"Painting takes a while: where the answer has a job_id and no image, call {JOB_TOOL} with it. The answer names "
    "the id of each image, for further calls, and a link that is shown to the user."
)


@dataclass(frozen=True)
class PaintTool:
    """A tool that makes a job of one operation, or of another where a part of the image is marked."""

    name: str
    operation: str
    says: str
    marked: str | None = None
    """The operation where a mask or a region is sent; None where neither is a parameter."""

    @property
    def operations(self) -> tuple[str, ...]:
        """All operations that it may ask for."""
        return (self.operation,) if self.marked is None else (self.operation, self.marked)

    def operation_of(self, sent: Mapping[str, Any]) -> str:
        """Return the operation that is meant by these parameters."""
        if self.marked is not None and any(sent.get(mark) not in (None, "") for mark in MARKS):
            return self.marked
        return self.operation

    def open_to(self, caller: Caller) -> bool:
        """Return whether the caller's key may use it."""
        scope = OPERATIONS[self.operation].SCOPE
        return scope is None or scope in caller.scopes

    @property
    def schema(self) -> dict[str, Any]:
        """The schema of its parameters, those of the answer left out."""
        properties: dict[str, Any] = {}
        for operation in self.operations:
            for name, each in plain(OPERATIONS[operation].model_json_schema())["properties"].items():
                properties.setdefault(name, self._noted(name, each))
        return {name: properties[name] for name in sorted(properties, key=_place) if name not in HIDDEN | UNLISTED}

    def _noted(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of a parameter with how a picture is written, and where it has a meaning."""
        said = str(schema.get("description", ""))
        if name in IMAGES:
            said = f"{_OR_FILES.split(said)[0]}. {_PICTURE}"
        having = [name in OPERATIONS[operation].model_fields for operation in self.operations]
        if not all(having):
            said = f"{said} {'Not with' if having[0] else 'Only with'} a mask or region."
        return {**schema, "description": said}


_TOOLS = (
    PaintTool("image_generation", Operation.GENERATE.value, "Paints images from a prompt."),
    PaintTool(
        "image_edit",
        Operation.EDIT.value,
        "Changes images by an instruction; with a mask or a region only there, and nothing else.",
        marked=Operation.INPAINT.value,
    ),
    PaintTool("image_outpaint", Operation.OUTPAINT.value, "Continues an image beyond its edges."),
    PaintTool("image_layers", Operation.LAYERS.value, "Takes an image apart into layers with transparency."),
)


PAINT_TOOLS: Mapping[str, PaintTool] = {tool.name: tool for tool in _TOOLS}
"""The tools that make jobs, by name."""


def tools_for(caller: Caller, models: Sequence[str], wait_s: float) -> list[Tool]:
    """Return the tools that a caller may use, with the names of the models and the time for which a call waits."""
    tools = [_listed(tool, tuple(models), wait_s) for tool in PAINT_TOOLS.values() if tool.open_to(caller)]
    return [*tools, _job_tool(wait_s)]


def no_such_tool(name: str) -> StudioError:
    """Return the error for a tool that is not there."""
    message = f"name: there is no tool '{name[:60]}'; there are {', '.join((*PAINT_TOOLS, JOB_TOOL))}."
    return StudioError("unknown_operation", message, param="name")


@cache
def _listed(tool: PaintTool, models: tuple[str, ...], wait_s: float) -> Tool:
    properties = dict(tool.schema)
    if "model" in properties:
        named = f"{properties['model']['description']} There are: {', '.join(models)}."
        properties["model"] = {**properties["model"], "description": named}
    return Tool(
        name=tool.name,
        title=tool.name.replace("_", " ").capitalize(),
        description=f"{tool.says} {_LONG}",
        input_schema=_whole({**properties, **_options(CallOptions, wait_s)}),
        output_schema=_answer(),
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False),
    )


@cache
def _job_tool(wait_s: float) -> Tool:
    return Tool(
        name=JOB_TOOL,
        title="Image job",
        description="Fetches the images of a job that another tool started, when its answer had a job_id and no image; "
        "or cancels it.",
        input_schema=_whole(_options(JobCall, wait_s), required=["job_id"]),
        output_schema=_answer(),
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False),
    )


def _options(model: type[CallOptions], wait_s: float) -> dict[str, Any]:
    """Return the schemas of the parameters that say how to answer, those of the tool itself first."""
    found = plain(model.model_json_schema())["properties"]
    found["wait"] = {**found["wait"], "default": wait_s}
    own = [name for name in found if name not in CallOptions.model_fields]
    return {name: found[name] for name in (*own, *CallOptions.model_fields)}


def _whole(properties: Mapping[str, dict[str, Any]], required: Sequence[str] = ()) -> dict[str, Any]:
    told = {name: described(each) for name, each in properties.items()}
    return {"type": "object", "properties": told, **({"required": [*required]} if required else {})}


@cache
def _answer() -> dict[str, Any]:
    return {key: value for key, value in plain(ToolAnswer.model_json_schema()).items() if key != "description"}


def _place(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)
