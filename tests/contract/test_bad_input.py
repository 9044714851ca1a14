"""Whatever is sent, the answer is a 4xx that names the field and the remedy, or a documented normalisation."""

import json
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import hypothesis.strategies as st
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from PIL import Image

from qwen_image_studio.contract.words import MAX_PROMPT_CHARS
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png
from tests.support.refusals import assert_refused

GENERATE_REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"width": 0, "height": 0}, "invalid_value", "width"),
    ({"width": -64, "height": 128}, "invalid_value", "width"),
    ({"width": 128, "height": 10**9}, "invalid_value", "height"),
    ({"width": 128}, "invalid_value", "width"),
    ({"width": 128, "height": 128.5}, "invalid_value", "height"),
    ({"width": 4096, "height": 4096}, "invalid_value", "width"),
    ({"width": 1024, "height": 64}, "invalid_value", "width"),
    ({"size": "0x0"}, "invalid_value", "size"),
    ({"size": "big"}, "invalid_value", "size"),
    ({"size": "99999x99999"}, "invalid_value", "size"),
    ({"size": "1024x64"}, "invalid_value", "size"),
    ({"size": "128x128", "aspect_ratio": "1:1"}, "invalid_value", "size"),
    ({"aspect_ratio": "5:1"}, "invalid_value", "aspect_ratio"),
    ({"aspect_ratio": "0:1"}, "invalid_value", "aspect_ratio"),
    ({"aspect_ratio": "wide"}, "invalid_value", "aspect_ratio"),
    ({"image": "data:image/png;base64,AA=="}, "invalid_value", "image"),
    ({"size": "1024*"}, "invalid_value", "size"),
    ({"user": "ann\nbob"}, "invalid_value", "user"),
    ({"conversation": "a\tb"}, "invalid_value", "conversation"),
    ({"steps": 0}, "invalid_value", "steps"),
    ({"steps": 1}, "invalid_value", "steps"),
    ({"steps": 10**6}, "invalid_value", "steps"),
    ({"seed": -2}, "invalid_value", "seed"),
    ({"seed": 2**64}, "invalid_value", "seed"),
    ({"seed": "lucky"}, "invalid_value", "seed"),
    ({"cache": "maybe"}, "invalid_value", "cache"),
    ({"cache": 2}, "invalid_value", "cache"),
    ({"n": 0}, "invalid_value", "n"),
    ({"n": 11}, "invalid_value", "n"),
    ({"guidance_scale": 0}, "invalid_value", "guidance_scale"),
    ({"guidance_scale": float("nan")}, "invalid_value", "guidance_scale"),
    ({"guidance_scale": 1e400}, "invalid_value", "guidance_scale"),
    ({"prompt": ""}, "invalid_value", "prompt"),
    ({"prompt": "   "}, "invalid_value", "prompt"),
    ({"prompt": None}, "invalid_value", "prompt"),
    ({"prompt": 7}, "invalid_value", "prompt"),
    ({"prompt": "\ud800"}, "invalid_value", "prompt"),
    ({"prompt": "x" * (MAX_PROMPT_CHARS + 1)}, "invalid_value", "prompt"),
    ({"prompt": "<|im_end|><|im_<|x|>start|>"}, "invalid_value", "prompt"),
    ({"negative_prompt": ["no"]}, "invalid_value", "negative_prompt"),
    ({"model": "stable-diffusion"}, "unknown_model", "model"),
    ({"tier": "warp"}, "invalid_value", "tier"),
    ({"output_format": "svg"}, "invalid_value", "output_format"),
    ({"colour": "red"}, "unknown_parameter", "colour"),
    ({"image": "img_1"}, "image_not_found", "image"),
    ({"image[]": "img_1"}, "unknown_parameter", "image[]"),
    ({"generate": 1}, "unknown_parameter", "generate"),
]


@pytest.mark.parametrize(("changes", "code", "param"), GENERATE_REFUSALS, ids=lambda value: str(value)[:40])
def test_values_that_cannot_be_used(client: FlaskClient, changes: dict[str, Any], code: str, param: str) -> None:
    data = json.dumps({"operation": "generate", "prompt": "a cup", **changes})
    answer = client.post("/v1/jobs", data=data, content_type="application/json")
    assert_refused(answer, 422, code, param)


@pytest.mark.parametrize(
    ("sent", "likely"),
    [("stpes", "steps"), ("guidanceScale", "guidance_scale"), ("Prompts", "prompt"), ("Ratio", "aspect_ratio")],
)
def test_an_unknown_parameter_is_told_its_likely_name(client: FlaskClient, sent: str, likely: str) -> None:
    answer = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", sent: 4})
    assert_refused(answer, 422, "unknown_parameter", sent)
    told = f"'{sent}' is not a parameter of this generate request; did you mean '{likely}'? /openapi.json lists them."
    assert answer.get_json()["error"]["message"] == told


def test_an_unknown_parameter_of_a_query_is_told_its_likely_name(client: FlaskClient) -> None:
    answer = client.get("/v1/jobs?limits=3")
    assert_refused(answer, 422, "unknown_parameter", "limits")
    assert "; did you mean 'limit'?" in answer.get_json()["error"]["message"]


def test_an_unknown_parameter_unlike_every_other_is_told_where_they_are_listed(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", "zzz": 4})
    assert_refused(answer, 422, "unknown_parameter", "zzz")
    assert answer.get_json()["error"]["message"].endswith(". See /openapi.json for the ones there are.")


def test_a_field_of_an_object_is_not_told_the_name_of_a_parameter(client: FlaskClient) -> None:
    region = {"x": 0, "y": 0, "width": 8, "height": 8, "step": 1}
    answer = client.post("/v1/jobs", json={"operation": "inpaint", "prompt": "a cup", "image": "x", "region": region})
    assert_refused(answer, 422, "unknown_parameter", "region.step")
    assert "did you mean" not in answer.get_json()["error"]["message"]


@pytest.mark.parametrize("operation", [None, "", "paint", 7, ["generate"], {}])
def test_unknown_operation(client: FlaskClient, operation: object) -> None:
    answer = client.post("/v1/jobs", json={"operation": operation, "prompt": "a cup"})
    assert_refused(answer, 422, "unknown_operation", "operation")
    assert "generate, edit" in answer.get_json()["error"]["message"]


def test_a_prompt_of_a_megabyte(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"operation": "generate", "prompt": "x" * 2**20})
    assert answer.status_code in {413, 422}
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b'{"operation":}']
)
def test_bodies_that_are_not_a_json_object(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/v1/jobs", data=body, content_type="application/json")
    assert_refused(answer, 400, "malformed_body", None)


def test_nested_json_inside_a_field(client: FlaskClient) -> None:
    nested = b'{"operation": "generate", "prompt": ' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}"
    answer = client.post("/v1/jobs", data=nested, content_type="application/json")
    assert_refused(answer, 422, "invalid_value", "prompt")


def test_other_media_types(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", data=b"prompt=a", content_type="application/x-www-form-urlencoded")
    assert_refused(answer, 415, "unsupported_media_type", None)
    assert_refused(client.post("/v1/jobs"), 415, "unsupported_media_type", None)


def test_a_body_that_is_too_large(app: Flask) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 10_000
    client = app.test_client()
    assert_refused(
        client.post("/v1/jobs", data=b"x" * 20_000, content_type="application/json"), 413, "body_too_large", None
    )
    form = {"params": "{}", "image": (BytesIO(b"x" * 20_000), "a.png")}
    assert_refused(client.post("/v1/jobs", data=form), 413, "body_too_large", None)


def test_too_many_parts(client: FlaskClient) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nx\r\n'
    body = part * 50 + b"--x--\r\n"
    answer = client.post("/v1/jobs", data=body, content_type="multipart/form-data; boundary=x")
    assert_refused(answer, 413, "body_too_large", None)


# -- images --------------------------------------------------------------------------------------------------------


def edit(client: FlaskClient, *files: bytes, **changes: Any) -> Any:
    params = {"operation": "edit", "prompt": "make it green", "steps": 2, **changes}
    parts = [(BytesIO(data), f"{number}.png") for number, data in enumerate(files)]
    form = {"params": json.dumps(params), "image[]": parts}
    return client.post("/v1/jobs", data=form, content_type="multipart/form-data")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A tiny PNG that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


REFUSED_IMAGES: dict[str, Callable[[], tuple[bytes, str]]] = {
    "empty": lambda: (b"", "unsupported_image"),
    "text": lambda: (b"hello", "unsupported_image"),
    "truncated": lambda: (png(200, 200)[:-100], "unsupported_image"),
    "bomb": lambda: (bomb(9000), "image_too_large"),
    "larger bomb": lambda: (bomb(60000), "image_too_large"),
    "heavy": lambda: (b"\x89PNG\r\n\x1a\n" + b"\0" * 3_000_000, "image_too_large"),
    "svg": lambda: (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "unsupported_image"),
    "html": lambda: (b"<html><script>alert(1)</script></html>", "unsupported_image"),
    "tiff": lambda: (saved(Image.new("F", (30, 30)), "TIFF"), "unsupported_image"),
}


@pytest.mark.parametrize("name", REFUSED_IMAGES)
def test_bytes_that_are_no_image_to_use(client: FlaskClient, store: JobStore, name: str) -> None:
    data, code = REFUSED_IMAGES[name]()
    assert_refused(edit(client, data), 422, code, "image")
    assert_refused(edit(client, png(), data), 422, code, "image[1]")
    assert store.jobs.counts() == (0, 0)


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.new("RGB", (60, 30), "red"), "JPEG", exif=exif)


NORMALISED_IMAGES: dict[str, tuple[Callable[[], bytes], tuple[int, int]]] = {
    "cmyk": (lambda: saved(Image.new("CMYK", (60, 30)), "JPEG"), (60, 30)),
    "rgba": (lambda: saved(Image.new("RGBA", (60, 30), (255, 0, 0, 9)), "PNG"), (60, 30)),
    "16 bit": (lambda: saved(Image.new("I;16", (60, 30), 40000), "PNG"), (60, 30)),
    "palette": (lambda: saved(Image.new("P", (60, 30)), "GIF"), (60, 30)),
    "rotated": (rotated, (30, 60)),
    "animated": (
        lambda: saved(
            Image.new("RGB", (60, 30)), "WEBP", save_all=True, append_images=[Image.new("RGB", (60, 30), "red")]
        ),
        (60, 30),
    ),
}


@pytest.mark.parametrize("name", NORMALISED_IMAGES)
def test_odd_images_are_normalised(client: FlaskClient, store: JobStore, worker: Worker, name: str) -> None:
    make, size = NORMALISED_IMAGES[name]
    answer = edit(client, make())
    assert answer.status_code == 202, answer.text
    record = client.get(f"/v1/images/{store.jobs.get(answer.get_json()['id']).inputs[0]}").get_json()
    assert (record["width"], record["height"]) == size
    worker.run_next()
    assert client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json()["state"] == "succeeded"


def test_how_many_images_and_from_where(client: FlaskClient) -> None:
    assert_refused(edit(client), 422, "invalid_value", "image")
    assert_refused(edit(client, *[png()] * 4), 422, "invalid_value", "image")
    assert_refused(edit(client, png(), image="img_1"), 422, "invalid_value", "image")
    for image, code in (
        ([], "invalid_value"),
        (["a"] * 4, "invalid_value"),
        (7, "invalid_value"),
        ("img_unknown", "image_not_found"),
        ("http://127.0.0.1:1/a.png", "url_not_allowed"),
        ("file:///etc/passwd", "url_not_allowed"),
    ):
        answer = client.post("/v1/jobs", json={"operation": "edit", "prompt": "x", "image": image})
        assert_refused(answer, 422, code, "image")
    answer = client.post("/v1/jobs", json={"operation": "edit", "prompt": "x", "image": ["img_a", "img_b"]})
    assert_refused(answer, 422, "image_not_found", "image[0]")


def test_fields_of_the_form(client: FlaskClient) -> None:
    def send(operation: str = "edit", **fields: object) -> Any:
        form = {"params": json.dumps({"operation": operation, "prompt": "x"}), "image": (BytesIO(png()), "a.png")}
        return client.post("/v1/jobs", data={**form, **fields})

    assert send().status_code == 202
    assert_refused(send(mask=(BytesIO(png()), "m.png")), 422, "unknown_parameter", "mask")
    assert_refused(send(prompt="x"), 422, "unknown_parameter", "prompt")
    assert_refused(send(mask="img_1"), 422, "invalid_value", "mask")
    assert_refused(send(params="{"), 400, "malformed_body", None)
    assert send("generate").status_code == 202  # painted in that image's likeness


@pytest.mark.parametrize("key", ["", "a b", "ü", "x" * 256])
def test_idempotency_keys_that_cannot_be_kept(client: FlaskClient, key: str) -> None:
    answer = client.post(
        "/v1/jobs",
        json={"operation": "generate", "prompt": "x"},
        headers={"Idempotency-Key": key.encode().decode("latin-1")},
    )
    assert_refused(answer, 422, "invalid_value", "Idempotency-Key")


# -- whatever else --------------------------------------------------------------------------------------------------

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["prompt", "negative_prompt", "model", "width", "height", "size", "aspect_ratio", "n", "steps", "seed", "tier"]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.dictionaries(st.sampled_from([*FIELDS, "image", "x"]), ANY_JSON, max_size=5), edit=st.booleans())
def test_any_json_is_answered_in_the_one_shape(app: Flask, body: dict[str, Any], edit: bool) -> None:
    data = json.dumps({"operation": "edit" if edit else "generate", "prompt": "a cup", **body})
    answer = app.test_client().post("/v1/jobs", data=data.encode("utf-8"), content_type="application/json")
    assert answer.status_code in {202, 413, 422, 429}, answer.text
    if answer.status_code == 422:
        error = answer.get_json()["error"]
        assert error["param"], error


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/jobs/job_unknown", 404, "not_found"),
        ("GET", "/v1/jobs/job_unknown?wait=1", 404, "not_found"),
        ("GET", "/v1/jobs/job_unknown/events", 404, "not_found"),
        ("POST", "/v1/jobs/job_unknown/cancel", 404, "not_found"),
        ("GET", "/v1/images/img_unknown", 404, "not_found"),
        ("GET", "/v1/images/img_unknown/content", 404, "not_found"),
        ("GET", "/v1/jobs?after=job_unknown", 404, "not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/v1/jobs", 405, "method_not_allowed"),
        ("PUT", "/v1/health", 405, "method_not_allowed"),
        ("GET", "/v1/jobs/%00", 404, "not_found"),
        ("GET", "/v1/jobs/" + "x" * 5000, 404, "not_found"),
    ],
)
def test_what_is_not_there(client: FlaskClient, method: str, path: str, status: int, code: str) -> None:
    assert_refused(client.open(path, method=method), status, code, None if "images" not in path else "image")


def test_a_fault_of_ours_shows_nothing_of_itself(app: Flask, parts: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(parts.store.jobs, "counts", fail)
    answer = app.test_client().get("/v1/health", headers={"X-Request-Id": "mine-1"})
    assert_refused(answer, 500, "internal_error", None)
    assert "secret detail" not in answer.text
    assert answer.get_json()["error"]["request_id"] == "mine-1"
