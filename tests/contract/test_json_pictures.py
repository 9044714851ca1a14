"""Pictures within JSON: read from where they lie in the body, and held in memory once."""

import base64
import json
import tracemalloc
from typing import Any

import hypothesis.strategies as st
import pytest
from flask import Flask, g
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_JSON_BYTES, MAX_REFERENCE_CHARS
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.bodies import receive_once
from qwen_image_studio.web.json_pictures import (
    LongText,
    begins_as_picture,
    is_picture,
    picture_bytes,
    read_with_pictures,
)
from tests.support.refusals import assert_refused

FILE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40 + b"."  # in base64 it needs padding
BASE64 = base64.b64encode(FILE).decode()
LONG = "x" * (MAX_REFERENCE_CHARS + 1)


def read(app: Flask, data: bytes, fields: tuple[str, ...] = ("image",)) -> dict[str, Any]:
    """A body as a route reads it."""
    with app.test_request_context("/", method="POST", data=data, content_type="application/json"):
        receive_once(50_000_000)
        body = read_with_pictures(fields, such_as="{}")
        assert "received" not in g, "nobody holds the body but who reads it"
        return body


def told(value: Any) -> Any:
    """A value with its long texts read out."""
    if isinstance(value, LongText):
        return value.text()
    if isinstance(value, dict):
        return {name: told(each) for name, each in value.items()}
    return [told(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "written",
    [
        f'"{BASE64}"',
        f'"data:image/png;base64,{BASE64}"',
        f'"DATA:application/octet-stream;name=a.png;BASE64,{BASE64}"',
        f'"{BASE64}"'.replace("/", "\\/"),
        json.dumps(base64.encodebytes(FILE).decode()),
        json.dumps("data:image/png;base64," + base64.encodebytes(FILE).decode().replace("\n", "\r\n")),
        '"data:image/png,' + "".join(f"%{byte:02x}" for byte in FILE) + '"',
        f'"{base64.b64encode(FILE[:60]).decode()}"',
        f'"{BASE64.rstrip("=")}"',
    ],
    ids=["bare", "data URL", "upper case", "slashes", "lines", "lines of a data URL", "percent", "short", "unpadded"],
)
def test_a_picture_is_read_however_it_was_written(app: Flask, written: str) -> None:
    image = read(app, b'{"prompt": "x", "image": %b}' % written.encode())["image"]
    assert is_picture(image)
    assert picture_bytes(image, "image") in {FILE, FILE[:60]}


@pytest.mark.parametrize("text", ["img_5f0c1a", "a red apple", "https://pictures.example/" + "a" * 5000, "", "x" * 63])
def test_what_is_no_picture_is_none(app: Flask, text: str) -> None:
    assert not is_picture(read(app, json.dumps({"image": text}).encode())["image"])
    assert not is_picture(None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.dictionaries(
        st.one_of(st.sampled_from(["image", "prompt", LONG]), st.text(max_size=9)),
        st.recursive(
            st.one_of(st.text(max_size=20), st.sampled_from([LONG, '\\"é\n' * 2000, BASE64]), st.integers()),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        ),
        max_size=4,
    ),
    plain=st.booleans(),
)
def test_nothing_else_of_the_json_changes(app: Flask, body: dict[str, Any], plain: bool) -> None:
    read_back = read(app, json.dumps(body, ensure_ascii=plain).encode())
    assert told(read_back) == body
    assert told({**read_back, "image": None}) == {**read_back, "image": None}, "elsewhere texts are texts"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'"' + b"x" * 2_000_000, "malformed_body"),
        (b'"' + b'\\"' * 1_000_000, "malformed_body"),
        (b'{"image": "' + b"\\", "malformed_body"),
        (b'{"image": "' + LONG.encode(), "malformed_body"),
        (b'{"prompt": "\\q' + LONG.encode() + b'"}', "malformed_body"),
        (b'{"prompt": "' + b"x" * MAX_JSON_BYTES + b'"}', "body_too_large"),
        (b'{"image": [' + b"1," * MAX_JSON_BYTES + b"1]}", "body_too_large"),
        (b'{"' + b"k" * MAX_JSON_BYTES + b'": 1}', "body_too_large"),
        (b'{"a": ["%b"], "b": %b' % (LONG.encode(), b"[" * 900 + b"]" * 900) + b"}", "malformed_body"),
    ],
    ids=[
        "no end",
        "escapes without end",
        "ends in one",
        "long without end",
        "escape",
        "prompt",
        "list",
        "name",
        "deep",
    ],
)
def test_what_cannot_be_read_is_refused(app: Flask, data: bytes, code: str) -> None:
    with pytest.raises(StudioError) as caught:
        read(app, data)
    assert caught.value.code == code


def test_a_picture_is_held_once_beside_the_body(app: Flask) -> None:
    """A copy of it would be as long as the body again."""
    file = FILE * 400
    data = b'{"prompt": "x", "image": "data:image/png;base64,%b"}' % base64.b64encode(file)
    with app.test_request_context("/", method="POST", data=data, content_type="application/json"):
        tracemalloc.start()
        try:
            receive_once(50_000_000)
            body = read_with_pictures(("image",), such_as="{}")
            assert picture_bytes(body.pop("image"), "image") == file
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(data) + len(file) < peak < 1.2 * len(data) + len(file)
    assert after < 0.1 * len(data)


def test_json_has_a_limit_of_its_own(client: FlaskClient, settings: Settings) -> None:
    assert Settings(max_json_mb=48, max_body_mb=7).max_json_bytes == 7_000_000
    data = b'{"prompt": "x", "image": "' + b"A" * (settings.max_json_mb * 10**6) + b'"}'
    answer = client.post("/v1/images/edits", data=data, content_type="application/json")
    assert_refused(answer, 413, "body_too_large", None)
    assert f"the {settings.max_json_mb} MB" in answer.get_json()["error"]["message"]


def test_the_limit_holds_without_a_length_too(app: Flask) -> None:
    environ = {"wsgi.input_terminated": True, "CONTENT_TYPE": "application/json"}
    with app.test_request_context("/", method="POST", data=b"x" * 2001, environ_overrides=environ) as context:
        del context.request.environ["CONTENT_LENGTH"]
        with pytest.raises(Exception, match="413"):
            receive_once(2000)


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        (BASE64, True),
        (base64.encodebytes(FILE).decode(), True),
        ("data:image/png;base64,", True),
        ("a red apple on a wooden table and nothing else beside it in the evening", False),
        (base64.b64encode(b"no picture at all" * 20).decode(), False),
        (BASE64[:20], False),
        ("\u82f9\u679c" * 60, False),
    ],
    ids=["base64", "lines", "data URL", "a sentence", "another file", "short", "Chinese"],
)
def test_a_picture_is_told_from_a_prompt_by_its_first_bytes(app: Flask, text: str, begins: bool) -> None:
    assert begins_as_picture(text) is begins
    escaped = json.dumps(text).replace("/", "\\/")
    image = read(app, b'{"image": %b}' % escaped.encode())["image"]
    assert begins_as_picture(image) is begins
