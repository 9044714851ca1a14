"""The OpenAPI document: derived from what stands beside each view, so that it cannot drift from the routes."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask
from openapi_pydantic.util import PydanticSchema, construct_open_api_with_schema_class
from openapi_pydantic.v3.v3_1 import (
    Components,
    Info,
    MediaType,
    OpenAPI,
    Operation,
    Parameter,
    PathItem,
    RequestBody,
    Response,
    Schema,
    SecurityScheme,
)
from pydantic import BaseModel, RootModel

from qwen_image_studio import __version__
from qwen_image_studio.contract.answers import ErrorBody
from qwen_image_studio.contract.errors import ERRORS
from qwen_image_studio.operations import JobRequest
from qwen_image_studio.web.auth import OPEN_ENDPOINTS

View = TypeVar("View", bound=Callable[..., Any])
_ATTRIBUTE = "openapi_facts"


class JobBody(RootModel[JobRequest]):
    """The parameters of one job; which ones there are is told by its operation."""


@dataclass(frozen=True)
class Facts:
    """What a view takes and gives."""

    returns: Mapping[int, type[BaseModel] | str | None]
    """By status: a model, the media type of bytes, or None where there is no body."""
    errors: tuple[str, ...] = ()
    query: type[BaseModel] | None = None
    takes_job: bool = False
    takes: type[BaseModel] | None = None
    """The JSON body of other routes."""
    files: tuple[str, ...] = ()
    """Names of the files that the same may also be sent with, as a multipart form."""
    streams: type[BaseModel] | None = None
    """What each event tells where the answer may also be text/event-stream."""
    headers: Mapping[str, str] = field(default_factory=dict)


def describe(facts: Facts) -> Callable[[View], View]:
    """Set beside a view what it takes and gives; its docstring is the summary."""

    def mark(view: View) -> View:
        setattr(view, _ATTRIBUTE, facts)
        return view

    return mark


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the application's routes."""
    paths: dict[str, PathItem] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        if rule.endpoint == "static":
            continue
        view = app.view_functions[rule.endpoint]
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        item = paths.setdefault(path, PathItem())
        for method in (rule.methods or set()) & {"GET", "POST", "DELETE"}:
            setattr(item, method.lower(), _operation(rule.endpoint, view, sorted(rule.arguments)))
    openapi = OpenAPI(
        openapi="3.1.1",
        info=Info(
            title="Qwen-Image Studio",
            version=__version__,
            description="Durable image jobs: generate and edit with Qwen-Image models.",
        ),
        paths=paths,
        components=Components(securitySchemes={"key": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"key": []}],
    )
    whole = construct_open_api_with_schema_class(openapi)
    return whole.model_dump(mode="json", by_alias=True, exclude_none=True)


def _operation(endpoint: str, view: Callable[..., Any], arguments: list[str]) -> Operation:
    facts: Facts = getattr(view, _ATTRIBUTE)
    summary, _, description = inspect.cleandoc(view.__doc__ or "").partition("\n")
    operation = Operation(
        operationId=endpoint.replace(".", "_"),
        summary=summary,
        description=description.strip() or None,
        parameters=[*_path_parameters(arguments), *_query_parameters(facts.query), *_headers(facts.headers)],
        requestBody=_job_body() if facts.takes_job else _body(facts),
        responses={
            **{str(status): _response(what, facts.streams) for status, what in facts.returns.items()},
            **_errors(facts.errors),
        },
    )
    if endpoint in OPEN_ENDPOINTS:
        operation.security = []
    return operation


def _path_parameters(names: list[str]) -> list[Parameter]:
    return [_parameter("path", name, {"type": "string"}, required=True) for name in names]


def _query_parameters(model: type[BaseModel] | None) -> list[Parameter]:
    if model is None:
        return []
    properties = model.model_json_schema(ref_template="#/components/schemas/{model}")["properties"]
    return [_parameter("query", name, _inlined(schema, model)) for name, schema in properties.items()]


def _inlined(schema: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The schema with an enum written out: parameters stand outside the components."""
    definitions = model.model_json_schema().get("$defs", {})
    options = [
        definitions[option["$ref"].rsplit("/", 1)[1]] if "$ref" in option else option
        for option in schema.get("anyOf", ())
    ]
    return {**schema, "anyOf": options} if options else schema


def _headers(headers: Mapping[str, str]) -> list[Parameter]:
    return [_parameter("header", name, {"type": "string", "description": text}) for name, text in headers.items()]


def _parameter(place: str, name: str, schema: dict[str, Any], *, required: bool = False) -> Parameter:
    text = schema.pop("description", None)
    return Parameter.model_validate(
        {"in": place, "name": name, "required": required, "schema": schema, "description": text}
    )


def _job_body() -> RequestBody:
    file = Schema(type="string", format="binary")
    form = Schema(
        type="object",
        properties={
            "params": PydanticSchema(schema_class=JobBody),
            "image": file,
            "image[]": Schema(type="array", items=file, maxItems=3),
            "mask": file,
            "rows": file,
        },
        required=["params"],
    )
    return RequestBody(
        required=True,
        content={
            "application/json": MediaType(media_type_schema=PydanticSchema(schema_class=JobBody)),
            "multipart/form-data": MediaType(media_type_schema=form),
        },
    )


def _body(facts: Facts) -> RequestBody | None:
    if facts.takes is None:
        return None
    content = {"application/json": MediaType(media_type_schema=PydanticSchema(schema_class=facts.takes))}
    if facts.files:
        whole = facts.takes.model_json_schema()
        fields = _without_references(whole["properties"], whole.get("$defs", {}))
        file = {"type": "string", "format": "binary"}
        files = {name: {"type": "array", "items": file} if name.endswith("[]") else file for name in facts.files}
        form = {"type": "object", "properties": {**fields, **files}}
        content["multipart/form-data"] = MediaType(media_type_schema=Schema.model_validate(form))
    return RequestBody(required=True, content=content)


def _without_references(node: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with what it refers to written out: a form has no component of its own."""
    if isinstance(node, list):
        return [_without_references(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    named = definitions[node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else {}
    return {key: _without_references(value, definitions) for key, value in {**named, **node}.items() if key != "$ref"}


def _response(what: type[BaseModel] | str | None, streams: type[BaseModel] | None = None) -> Response:
    if what is None:
        return Response(description="No body.")
    if isinstance(what, str):
        schema, media_type, text = Schema(type="string", format="binary"), what, "The bytes."
    else:
        schema, media_type = PydanticSchema(schema_class=what), "application/json"
        text = inspect.cleandoc(what.__doc__ or "").partition("\n")[0]
    content = {media_type: MediaType(media_type_schema=schema)}
    if streams is not None:
        content["text/event-stream"] = MediaType(media_type_schema=PydanticSchema(schema_class=streams))
    return Response(description=text, content=content)


def _errors(codes: tuple[str, ...]) -> dict[str, Response]:
    by_status: dict[str, list[str]] = {}
    for code in codes:
        by_status.setdefault(str(ERRORS[code].status), []).append(f"`{code}`: {ERRORS[code].meaning}")
    return {
        status: Response(
            description=" ".join(texts),
            content={"application/json": MediaType(media_type_schema=PydanticSchema(schema_class=ErrorBody))},
        )
        for status, texts in by_status.items()
    }
