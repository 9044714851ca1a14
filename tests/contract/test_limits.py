"""Every field of every request has a limit, so that what the dearest request costs can be told."""

from collections.abc import Iterator
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_ROWS
from qwen_image_studio.operations.batch import MAX_FILLED_TOTAL
from qwen_image_studio.web.routing import Route
from tests.support.refusals import assert_refused

FREE = {"job": "counted value by value in prompts/filling.py", "properties": "the content of an OpenAPI document"}
"""Fields that hold anything, and where their limit stands."""


def unlimited(schema: dict[str, Any], definitions: dict[str, Any], place: str) -> Iterator[str]:
    """Places in a JSON schema at which a text, a list or an object may be as long as one likes."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    for inner in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from unlimited(inner, definitions, place)
    kind = schema.get("type")
    if kind == "string" and not schema.keys() & {"maxLength", "enum", "const"}:
        yield place
    if kind == "array":
        if "maxItems" not in schema:
            yield f"{place}[]"
        yield from unlimited(schema["items"], definitions, f"{place}[]")
    if kind == "object":
        if "maxProperties" not in schema and "properties" not in schema and place.rpartition(".")[2] not in FREE:
            yield f"{place}{{}}"
        for name, part in schema.get("properties", {}).items():
            yield from unlimited(part, definitions, f"{place}.{name}")
        for part in (schema.get("additionalProperties"), schema.get("propertyNames")):
            if isinstance(part, dict):
                yield from unlimited(part, definitions, f"{place}{{}}")


def test_every_text_list_and_object_of_the_contract_has_a_limit(app: Flask) -> None:
    """B3: no field without a limit."""
    routes = [view for view in app.view_functions.values() if isinstance(view, Route)]
    models = {view.query for view in routes if view.query is not None}
    models |= {view.body.schema for view in routes if view.body is not None}
    assert len(models) >= 5
    found: list[str] = []
    for model in sorted(models, key=lambda each: each.__name__):
        schema = model.model_json_schema()
        found += unlimited(schema, schema.get("$defs", {}), model.__name__)
    assert found == []


def test_a_walk_finds_what_has_no_limit() -> None:
    text = {"type": "string"}
    schema = {"type": "object", "properties": {"a": text, "b": {"type": "array", "items": text}, "c": {"const": "x"}}}
    assert list(unlimited(schema, {}, "M")) == ["M.a", "M.b[]", "M.b[]"]
    assert list(unlimited({"type": "object", "additionalProperties": text}, {}, "M")) == ["M{}", "M{}"]


def test_the_texts_of_all_rows_together_have_a_limit(client: FlaskClient) -> None:
    """B3: a prompt of nested brackets in 500 rows took 53 s."""
    job = {"operation": "generate", "prompt": "<|" * 1900 + "|>" * 1900 + "{{a}}", "negative_prompt": "x" * 8000}
    answer = client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": [{"a": "x"}] * MAX_ROWS})
    assert_refused(answer, 422, "invalid_value", "rows")
    assert f"more than {MAX_FILLED_TOTAL} characters" in answer.get_json()["error"]["message"]


def test_an_error_of_a_store_says_when_to_try_again() -> None:
    """B16: the image store's 503 had no Retry-After, and the job store's had."""
    assert StudioError("storage_failed", "x").retry_after == 5
    assert StudioError("database_busy", "x", retry_after=1).retry_after == 1
    assert StudioError("not_found", "x").retry_after is None
