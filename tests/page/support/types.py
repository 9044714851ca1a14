"""The API as TypeScript, made from docs/openapi.json: what the type check of the page's scripts goes by."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_REF = "#/components/schemas/"

Schema = Mapping[str, Any]


def declarations(openapi: Schema) -> str:
    """Return a declaration of each schema, by its name. What is only answered has all its fields."""
    schemas: Mapping[str, Schema] = openapi["components"]["schemas"]
    routes = [route for path in openapi["paths"].values() for route in path.values() if isinstance(route, Mapping)]
    taken = _reached(schemas, [route.get("requestBody") for route in routes])
    whole = _reached(schemas, [route.get("responses") for route in routes]) - taken
    return "".join(
        f"export type {name} = {typed(_whole(schema) if name in whole else schema)};\n"
        for name, schema in sorted(schemas.items())
    )


def _reached(schemas: Mapping[str, Schema], begin: object) -> set[str]:
    """Return the names of all schemas that something refers to, and those refer to."""
    found: set[str] = set()
    ahead = [begin]
    while ahead:
        for name in set(_names(ahead.pop())) - found:
            found.add(name)
            ahead.append(schemas[name])
    return found


def _names(part: object) -> Iterator[str]:
    if isinstance(part, Mapping):
        if isinstance(ref := part.get("$ref"), str) and ref.startswith(_REF):
            yield ref.removeprefix(_REF)
        for value in part.values():
            yield from _names(value)
    elif isinstance(part, list):
        for value in part:
            yield from _names(value)


def _whole(schema: Schema) -> Schema:
    return {**schema, "required": list(schema["properties"])} if "properties" in schema else schema


def typed(schema: Schema | bool) -> str:
    """Return a schema of OpenAPI 3.1 as a type."""
    match schema:
        case bool():
            return "unknown" if schema else "never"
        case {"$ref": str(ref)}:
            return ref.removeprefix(_REF)
        case {"const": value}:
            return json.dumps(value)
        case {"enum": list(values)}:
            return _one_of(map(json.dumps, values))
        case {"anyOf": list(parts)} | {"oneOf": list(parts)}:
            return _one_of(map(typed, parts))
        case {"type": list(names)}:
            return _one_of(typed({**schema, "type": name}) for name in names)
        case {"type": "array"}:
            return f"({typed(schema.get('items', True))})[]"
        case {"type": "object"} | {"properties": _}:
            return _object(schema)
        case {"type": str(name)}:
            return _PLAIN[name]
    return "unknown"


def _object(schema: Schema) -> str:
    needed, further = set(schema.get("required", ())), schema.get("additionalProperties", False)
    fields = [
        f"{json.dumps(name)}{'' if name in needed else '?'}: {typed(part)}"
        for name, part in schema.get("properties", {}).items()
    ]
    if further is not False and not fields:
        fields = [f"[name: string]: {typed(further)}"]
    return "{" + "; ".join(fields) + "}"


def _one_of(types: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(types))
