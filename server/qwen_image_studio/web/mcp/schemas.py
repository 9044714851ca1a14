"""Schemas of parameters as the protocol's clients take them: without references and alternatives that say only null.

Some clients drop `enum`, `default` and limits, so each parameter's description says them, too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_DROPPED = frozenset({"title", "pattern", "propertyNames", "discriminator", "$defs", "maxLength"})
"""What models have no use for, and validators of other languages cannot always read."""
_MOST = 2**53 - 1
"""Largest number that JSON has the same everywhere; a limit above it is none."""


def plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with all that it refers to written out."""
    found: dict[str, Any] = _plain(schema, schema.get("$defs", {}))
    return found


def described(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter whose description says also which values there are, and the default."""
    said = [" ".join(str(schema.get("description", "")).split()), *_said(schema)]
    return {**schema, "description": " ".join(part for part in said if part)}


def _said(schema: Mapping[str, Any]) -> list[str]:
    values, default = schema.get("enum"), schema.get("default")
    least, most = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    said = []
    if values:
        said.append(f"One of: {', '.join(map(str, values))}.")
    if least is not None and most is not None:
        said.append(f"{'Above ' if 'exclusiveMinimum' in schema else ''}{least:g} to {most:g}.")
    if default is not None:
        said.append(f"Default: {str(default).lower() if isinstance(default, bool) else default}.")
    return said


def _plain(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_plain(each, definitions) for each in node]
    if not isinstance(node, Mapping):
        return node
    if "$ref" in node:
        named = definitions[str(node["$ref"]).rsplit("/", 1)[1]]
        node = {**named, **{key: value for key, value in node.items() if key != "$ref"}}
    kept = {key: value for key, value in node.items() if key not in {*_DROPPED, "anyOf", "oneOf", "properties"}}
    if not kept.get("default", True) and kept["default"] in (None, ""):
        del kept["default"]
    if isinstance(most := kept.get("maximum"), int) and most > _MOST:
        del kept["maximum"]
    found = {key: _plain(value, definitions) if key != "default" else value for key, value in kept.items()}
    if "properties" in node:
        found["properties"] = {name: _plain(each, definitions) for name, each in node["properties"].items()}
    return _with_options(found, _options(node, definitions))


def _options(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the alternatives of a schema without null, those of alternatives among them."""
    found = [_plain(each, definitions) for key in ("anyOf", "oneOf") for each in node.get(key, ())]
    flat = [inner for each in found for inner in each.get("anyOf", [each])]
    return [each for each in flat if each.get("type") != "null"]


def _with_options(schema: dict[str, Any], options: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if len(options) == 1:
        return {**options[0], **schema}
    return {**schema, "anyOf": list(options)} if options else schema
