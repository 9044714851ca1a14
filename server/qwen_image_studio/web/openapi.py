"""The OpenAPI document, made from the declaration of each route, so that it always agrees with what is read."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from flask import Flask
from openapi_pydantic.util import PydanticSchema, construct_open_api_with_schema_class
from openapi_pydantic.v3.v3_1 import (
    Components,
    Header,
    Info,
    MediaType,
    OpenAPI,
    Operation,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    Response,
    Schema,
    SecurityScheme,
    Server,
)
from pydantic import BaseModel
from werkzeug.routing import Rule

from qwen_image_studio import __version__
from qwen_image_studio.contract.answers import ErrorBody
from qwen_image_studio.contract.callbacks import Callback
from qwen_image_studio.contract.errors import ERRORS
from qwen_image_studio.contract.huggingface import InferenceError
from qwen_image_studio.web.auth import AZURE_HEADER
from qwen_image_studio.web.huggingface.errors import reads_texts
from qwen_image_studio.web.limits import LIMIT_HEADERS
from qwen_image_studio.web.routing import URLENCODED, Body, Form, Route, Shape

_TEXT = {"type": "string"}
_FILE = {"type": "string", "format": "binary"}
_BYTES = Schema.model_validate(_FILE)
_KEYS: dict[str, SecurityScheme | Reference] = {
    "key": SecurityScheme(type="http", scheme="bearer"),
    "azure_key": SecurityScheme.model_validate({"type": "apiKey", "name": AZURE_HEADER, "in": "header"}),
}
"""Ways to send the API key."""
_NUMBERED = r"^image\[[0-9]{1,4}\]$"
"""Names of fields for images in a chosen order."""
_CLOSED = {"additionalProperties": False}
_PARTS = r"^(slots|region)\[\w{1,64}\]$"
"""Names of fields for the parts of an object, as OpenAI's client writes them."""


def document(app: Flask, address: str = "/") -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the application's routes, which are found at the address."""
    paths: dict[str, PathItem] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = app.view_functions[rule.endpoint]
        if isinstance(view, Route) and not view.in_contract:
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        item = paths.setdefault(path, PathItem())
        for method in (rule.methods or set()) & {"GET", "POST", "PUT", "DELETE"}:
            setattr(item, method.lower(), _operation(rule, view))
    openapi = OpenAPI(
        openapi="3.1.1",
        info=Info(
            title="Qwen-Image Studio",
            version=__version__,
            description="Durable image jobs: generate and edit with Qwen-Image models.",
        ),
        servers=[Server(url=address)],
        paths=paths,
        webhooks={"callback": PathItem(post=_callback())},
        components=Components(securitySchemes=_KEYS),
        security=[{name: []} for name in _KEYS],
    )
    whole = construct_open_api_with_schema_class(openapi)
    return whole.model_dump(mode="json", by_alias=True, exclude_none=True)


def _callback() -> Operation:
    """Return what the server sends to `webhook_url`, and which answers it takes for what."""
    headers = {
        "webhook-id": "Id of the event; it is the same in every try.",
        "webhook-timestamp": "When it was sent, in Unix seconds.",
        "webhook-signature": "Signatures of Standard Webhooks, separated by spaces: v1,BASE64.",
    }
    return Operation(
        operationId="callback",
        summary="The end of a job, told to its `webhook_url` or to the address of its API key.",
        description="Signed as Standard Webhooks has it; at least once, in no promised order.",
        parameters=[_parameter("header", name, {**_TEXT, "description": text}) for name, text in headers.items()],
        requestBody=RequestBody(
            required=True,
            content={"application/json": MediaType(media_type_schema=PydanticSchema(schema_class=Callback))},
        ),
        responses={
            "2XX": Response(description="The receiver has it."),
            "410": Response(description="The receiver wants nothing more of it; it is not tried again."),
            "default": Response(description="It is tried again, for more than a day."),
        },
        security=[],
    )


def _operation(rule: Rule, view: object) -> Operation:
    route = view if isinstance(view, Route) else None
    summary, _, description = inspect.cleandoc((route.view if route else view).__doc__ or "").partition("\n")
    operation = Operation(
        operationId=rule.endpoint.replace(".", "_"),
        summary=summary,
        description=description.strip() or None,
        parameters=[_parameter("path", name, {**_TEXT}, required=True) for name in sorted(rule.arguments)],
    )
    if route is not None:
        _describe(operation, route, InferenceError if reads_texts(rule.rule) else ErrorBody)
    return operation


def _describe(operation: Operation, route: Route, error: type[BaseModel]) -> None:
    """Add to an operation what its route declares, and the shape of its errors."""
    operation.parameters = [
        *(operation.parameters or ()),
        *_query_parameters(route.query),
        *(_parameter("header", name, {**_TEXT, "description": text}) for name, text in route.headers.items()),
    ]
    operation.requestBody = _body(route.body) if route.body else None
    operation.responses = {
        **{str(status): _response(shape, route) for status, shape in route.returns.items()},
        **_errors(route, error),
    }
    if not route.needs_key:
        operation.security = []
    elif route.scope:
        operation.security = [{name: [scope.value]} for scope in route.scope for name in _KEYS]


# -- what is read --------------------------------------------------------------------------------------------------


def _query_parameters(model: type[BaseModel] | None) -> list[Parameter]:
    if model is None:
        return []
    properties = model.model_json_schema(ref_template="#/components/schemas/{model}")["properties"]
    return [_parameter("query", name, _inlined(schema, model)) for name, schema in properties.items()]


def _inlined(schema: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema with its enums written out, since parameters cannot refer to the model's definitions."""
    inlined: dict[str, Any] = _without_references(schema, model.model_json_schema().get("$defs", {}))
    return inlined


def _parameter(place: str, name: str, schema: dict[str, Any], *, required: bool = False) -> Parameter:
    text = schema.pop("description", None)
    return Parameter.model_validate(
        {"in": place, "name": name, "required": required, "schema": schema, "description": text}
    )


def _body(body: Body[Any]) -> RequestBody:
    whole = MediaType(media_type_schema=PydanticSchema(schema_class=body.schema))
    content = {"application/json": whole}
    if body.form is not None:
        content["multipart/form-data"] = MediaType(media_type_schema=_form(body.schema, body.form))
        if body.form.as_text:
            content[URLENCODED] = whole
    return RequestBody(required=True, content=content)


def _form(model: type[BaseModel], form: Form) -> Schema:
    several = {"type": "array", "items": _FILE} | ({"maxItems": form.max_files} if form.max_files else {})
    files = {name: Schema.model_validate(several if name.endswith("[]") else _FILE) for name in form.files}
    if form.params is not None:
        return Schema(
            type="object",
            properties={form.params: PydanticSchema(schema_class=model), **files},
            required=[form.params],
            additionalProperties=False,
            patternProperties={_NUMBERED: _BYTES},
        )
    if form.only_files:
        return Schema.model_validate({"type": "object", "properties": files, "required": [*files], **_CLOSED})
    whole = model.model_json_schema()
    fields = _without_references(whole["properties"], whole.get("$defs", {}))
    numbered = {_NUMBERED: _FILE, _PARTS: _TEXT}
    shape = {"type": "object", "patternProperties": numbered, **({} if form.is_open else _CLOSED)}
    return Schema.model_validate({**shape, "properties": {**fields, **files}})


def _without_references(node: Any, definitions: Mapping[str, Any]) -> Any:
    """Return the schema with all references replaced by their definitions, since a form has no component of its own."""
    if isinstance(node, list):
        return [_without_references(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    named = definitions[node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else {}
    return {key: _without_references(value, definitions) for key, value in {**named, **node}.items() if key != "$ref"}


# -- what is answered ----------------------------------------------------------------------------------------------


def _response(shape: Shape, route: Route) -> Response:
    if shape is None:
        return Response(description="No body.")
    if isinstance(shape, str | tuple):
        kinds, text = (shape,) if isinstance(shape, str) else shape, "The bytes."
        content = {kind: MediaType(media_type_schema=Schema(type="string", format="binary")) for kind in kinds}
    else:
        content = {"application/json": MediaType(media_type_schema=PydanticSchema(schema_class=shape))}
        text = inspect.cleandoc(shape.__doc__ or "").partition("\n")[0]
    if route.streams is not None:
        content["text/event-stream"] = MediaType(media_type_schema=PydanticSchema(schema_class=route.streams))
    if route.also is not None:
        content[route.also] = MediaType(media_type_schema=_BYTES)
    return Response(description=text, content=content, headers=_limit_headers(route))


def _limit_headers(route: Route) -> dict[str, Header | Reference] | None:
    """Return the headers that tell what is left, for a route that submits jobs."""
    if not route.submits:
        return None
    schema = Schema.model_validate(_TEXT)
    return {name: Header(description=text, param_schema=schema) for name, text in LIMIT_HEADERS.items()}


def _errors(route: Route, shape: type[BaseModel]) -> dict[str, Response]:
    by_status: dict[str, list[str]] = {}
    for code in route.all_errors:
        by_status.setdefault(str(route.status_of(code)), []).append(f"`{code}`: {ERRORS[code].meaning}")
    return {
        status: Response(
            description=" ".join(texts),
            content={"application/json": MediaType(media_type_schema=PydanticSchema(schema_class=shape))},
            headers=_limit_headers(route) if status == "429" else None,
        )
        for status, texts in by_status.items()
    }
