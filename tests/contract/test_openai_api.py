"""OpenAI's images API, called by OpenAI's own client; and what that client cannot send."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import hypothesis.strategies as st
import numpy as np
import openai
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from openai import OpenAI
from PIL import Image
from werkzeug.test import TestResponse

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.imaging.alpha_mask import white_mask
from qwen_image_studio.imaging.masks import open_mask
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.contract.test_bad_input import ANY_JSON
from tests.support.pictures import png
from tests.support.refusals import assert_refused
from tests.support.studio import Studio
from tests.support.waiting import until
from tests.support.worker import working

QUICK = {"steps": 4}


@pytest.fixture(scope="module")
def official(studio: Studio) -> Iterator[OpenAI]:
    """OpenAI's client, as its users make it for a server of their own."""
    with OpenAI(base_url=f"{studio.url}/v1", api_key=studio.api_key, max_retries=0) as client:
        yield client


def noise(width: int, height: int) -> Image.Image:
    """A picture that no model paints again by chance."""
    return Image.effect_noise((width, height), 90).convert("RGB")


def as_png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def decoded(b64_json: str | None) -> Image.Image:
    assert b64_json is not None
    return Image.open(BytesIO(base64.b64decode(b64_json)))


def hole(size: tuple[int, int], box: tuple[int, int, int, int]) -> bytes:
    """A mask as OpenAI wants it: transparent where the image may change."""
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), box)
    return as_png(mask)


# -- with the official client ---------------------------------------------------------------------------------------


def test_generate(official: OpenAI, studio: Studio) -> None:
    answer = official.images.generate(
        model="Qwen/Qwen-Image",
        prompt="a red apple",
        n=2,
        size="96x64",
        quality="low",
        style="vivid",
        user="someone",
        extra_body={"seed": 5, "negative_prompt": "blue", **QUICK},
    )
    assert answer.data is not None
    assert [decoded(image.b64_json).size for image in answer.data] == [(96, 64), (96, 64)]
    assert [image.seed for image in answer.data] == [5, 6]  # type: ignore[attr-defined]
    assert all(str(image.url).startswith("http") for image in answer.data)
    assert (answer.size, answer.output_format, answer.background) == ("96x64", "png", "opaque")
    assert answer.usage is not None
    assert (answer.usage.output_tokens, answer.usage.input_tokens_details.image_tokens) == (2 * 6 * 4, 0)
    assert abs(answer.created - time.time()) < 60
    extra = answer.model_extra or {}
    for word in ("miniature", "style", "Qwen/Qwen-Image is not on this server"):
        assert any(word in warning for warning in extra["warnings"]), word
    job = studio.job(extra["job_id"])
    assert (answer.quality, job["tier"]) == ("low", "draft")
    assert [image["id"] for image in job["images"]] == [image.id for image in answer.data]  # type: ignore[attr-defined]


def test_generate_by_link_in_a_chosen_format(official: OpenAI) -> None:
    answer = official.images.generate(
        prompt="红苹果", response_format="url", output_format="jpeg", output_compression=0, extra_body=QUICK
    )
    assert answer.data is not None
    assert (answer.output_format, answer.data[0].b64_json) == ("jpeg", None)
    coarse = requests.get(str(answer.data[0].url), timeout=60)
    assert (coarse.headers["Content-Type"], Image.open(BytesIO(coarse.content)).format) == ("image/jpeg", "JPEG")
    seed = answer.data[0].seed  # type: ignore[attr-defined]
    fine = official.images.generate(
        prompt="红苹果", output_format="jpeg", output_compression=100, extra_body={"seed": seed, **QUICK}
    )
    assert fine.data is not None
    assert len(base64.b64decode(fine.data[0].b64_json or "")) > len(coarse.content) * 1.5


def test_edit_one_file_and_a_list_of_files(official: OpenAI, studio: Studio) -> None:
    one = official.images.edit(image=png(64, 64), prompt="make it green", extra_body={"seed": 3, **QUICK})
    files: list[BytesIO | tuple[str, bytes, str]] = [BytesIO(png(64, 64)), ("2.png", png(64, 64, "blue"), "image/png")]
    two = official.images.edit(image=files, prompt="make it green", n=1, extra_body={"seed": 3, **QUICK})
    assert one.data is not None
    assert two.data is not None
    assert one.data[0].b64_json != two.data[0].b64_json
    assert studio.job((two.model_extra or {})["job_id"])["operation"] == "edit"


def test_a_template_with_slots_comes_through_a_form_and_is_told_as_the_revised_prompt(official: OpenAI) -> None:
    [template] = [one for one in templates(official) if one["operation"] == "edit" and "object" in one["slots"]][:1]
    slots = {name: "apple" for name, slot in template["slots"].items() if slot["type"] == "text"}
    answer = official.images.edit(
        image=png(64, 64), prompt="", extra_body={"template": template["id"], "slots": slots, "language": "en", **QUICK}
    )
    assert answer.data is not None
    assert "apple" in str(answer.data[0].revised_prompt)


def templates(official: OpenAI) -> list[dict[str, Any]]:
    answer = official.get("/templates", cast_to=object)
    assert isinstance(answer, dict)
    return list(answer["data"])


def test_a_mask_opens_what_is_transparent_and_nothing_else(official: OpenAI, studio: Studio) -> None:
    before, box = noise(200, 120), (40, 30, 100, 90)
    answer = official.images.edit(
        image=as_png(before), mask=hole(before.size, box), prompt="a red apple", size="1024x1024", extra_body=QUICK
    )
    assert answer.data is not None
    after = decoded(answer.data[0].b64_json)
    assert after.size == before.size
    changed = np.any(np.asarray(before) != np.asarray(after), axis=2)
    assert changed[30:90, 40:100].mean() > 0.9
    changed[30:90, 40:100] = False
    assert not changed.any(), "pixels outside the mask are not those of the input"
    extra = answer.model_extra or {}
    assert studio.job(extra["job_id"])["operation"] == "inpaint"
    assert any("size has no effect with a mask" in warning for warning in extra["warnings"])


def test_a_mask_that_is_transparent_all_over_opens_everything(official: OpenAI) -> None:
    before = noise(64, 64)
    answer = official.images.edit(
        image=as_png(before), mask=hole(before.size, (0, 0, 64, 64)), prompt="a red apple", extra_body=QUICK
    )
    assert answer.data is not None
    changed = np.any(np.asarray(before) != np.asarray(decoded(answer.data[0].b64_json)), axis=2)
    assert changed.mean() > 0.9


def test_streams(official: OpenAI) -> None:
    events = list(
        official.images.generate(prompt="a red apple", stream=True, partial_images=2, n=2, extra_body={"seed": 8})
    )
    *partial, first, second = events
    assert len(partial) <= 2
    for index, event in enumerate(partial):
        assert event.type == "image_generation.partial_image"
        assert event.partial_image_index == index
        assert decoded(event.b64_json).format == "WEBP"
    for event in (first, second):
        assert event.type == "image_generation.completed"
        assert event.usage.total_tokens > event.usage.output_tokens > 0
        assert "x".join(map(str, decoded(event.b64_json).size)) == event.size
    assert first.b64_json != second.b64_json
    [edited] = official.images.edit(image=png(64, 64), prompt="make it green", stream=True, extra_body=QUICK)
    assert edited.type == "image_edit.completed"
    assert decoded(edited.b64_json).format == "PNG"


def test_an_image_is_edited_by_its_id_as_json(official: OpenAI, studio: Studio) -> None:
    painted = official.images.generate(prompt="a red apple", extra_body=QUICK)
    assert painted.data is not None
    body = {"prompt": "make it green", "image": painted.data[0].id, **QUICK}  # type: ignore[attr-defined]
    for more in ({}, {"region": {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}}):
        answer = studio.request("POST", "/v1/images/edits", json={**body, **more})
        assert answer.status_code == 200, answer.text
        job = studio.job(answer.json()["job_id"])
        assert job["operation"] == ("inpaint" if more else "edit")


Call = Callable[[OpenAI], object]
REFUSED: list[tuple[Call, type[openai.APIStatusError], str, str]] = [
    (lambda one: one.images.generate(prompt="x", model="some-other-model"), openai.BadRequestError, "model", "has"),
    (lambda one: one.images.generate(prompt="x", size="big"), openai.BadRequestError, "size", "WIDTHxHEIGHT"),
    (lambda one: one.images.edit(prompt="x", image=b""), openai.BadRequestError, "image", "empty"),
    (
        lambda one: one.images.edit(prompt="x", image=png(), mask=png()),
        openai.BadRequestError,
        "mask",
        "alpha 0",
    ),
    (
        lambda one: one.images.edit(prompt="x", image=[png()] * 4),
        openai.BadRequestError,
        "image",
        "miniature takes 3",
    ),
    (
        lambda one: one.images.edit(prompt="x", image=[png()] * 11),
        openai.BadRequestError,
        "image",
        "1 to 10 images",
    ),
    (
        lambda one: one.with_options(api_key="wrong").images.generate(prompt="x"),
        openai.AuthenticationError,
        "",
        "API key",
    ),
    (
        lambda one: one.post("/images/generations", body=None, cast_to=object, options={"headers": {"Content-Type": "application/json"}}),  # noqa: E501
        openai.BadRequestError,
        "",
        "JSON",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "param", "said"), REFUSED)
def test_refusals_reach_the_user(
    official: OpenAI, call: Call, kind: type[openai.APIStatusError], param: str, said: str
) -> None:
    with pytest.raises(kind) as caught:
        call(official)
    assert (caught.value.param or "") == param
    assert said in caught.value.message
    assert str(caught.value.request_id).startswith("req_")


def test_models_are_listed(official: OpenAI) -> None:
    [listed] = official.models.list()
    assert (listed.id, listed.object, abs(listed.created - time.time()) < 86400) == ("miniature", "model", True)
    for name in ("miniature", "Qwen/Qwen-Image"):
        assert official.models.retrieve(name) == listed
    with pytest.raises(openai.NotFoundError):
        official.models.retrieve("some-other-model")


def test_a_client_that_goes_away_leaves_a_job_that_is_painted(official: OpenAI, studio: Studio) -> None:
    def jobs() -> set[str]:
        return {job["id"] for job in studio.request("GET", "/v1/jobs", params={"limit": 100}).json()["data"]}

    before = jobs()
    with pytest.raises(openai.APITimeoutError):
        official.with_options(timeout=0.3).images.generate(prompt="a red apple", extra_body={"seed": 77, "steps": 50})
    new = until(lambda: jobs() - before)  # the client may have gone before its job was written down
    done = studio.finished(new.pop())
    assert (done["state"], done["images"][0]["seed"]) == ("succeeded", 77)


# -- without a model: what becomes of the job -----------------------------------------------------------------------


def generate(client: FlaskClient, prompt: str = "a cup", headers: dict[str, str] | None = None, **more: Any) -> Any:
    return client.post("/v1/images/generations", json={"prompt": prompt, "steps": 2, **more}, headers=headers)


def jobs(client: FlaskClient) -> list[dict[str, Any]]:
    return list(client.get("/v1/jobs").get_json()["data"])


def events(answer: TestResponse) -> list[tuple[str, dict[str, Any]]]:
    """Names and contents of a stream's events."""
    found = []
    for block in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_partial_images_are_spread_over_the_steps(client: FlaskClient, worker: Worker) -> None:
    with working(worker):
        answer = generate(client, "preview pace=0.15", steps=12, stream=True, partial_images=2)
        seen = events(answer)
    assert [name for name, _ in seen] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    reds = [decoded(event["b64_json"]).convert("RGB").getpixel((0, 0)) for _, event in seen[:2]]
    assert reds[0] != reds[1]
    assert [event.get("partial_image_index") for _, event in seen] == [0, 1, None]
    assert {event["job_id"] for _, event in seen} == {jobs(client)[0]["id"]}
    assert seen[0][1]["size"] == "64x48"


def test_no_partial_images_unless_asked(client: FlaskClient, worker: Worker) -> None:
    with working(worker):
        answer = generate(client, "preview pace=0.1", steps=4, stream=True)
        assert [name for name, _ in events(answer)] == ["image_generation.completed"]
    assert answer.mimetype == "text/event-stream"


def test_a_failed_job_is_an_error_that_is_not_worth_a_second_try(client: FlaskClient, worker: Worker) -> None:
    with working(worker):
        answer = generate(client, "memory@1 always")
        assert_refused(answer, 500, "out_of_memory", None)
        streamed = events(generate(client, "memory@1 always", stream=True))
    assert answer.headers["X-Should-Retry"] == "false"
    first, second = reversed(jobs(client))
    assert first["id"] in answer.get_json()["error"]["message"]
    [(name, event)] = streamed
    assert (name, event["error"]["code"], event["error"]["type"]) == ("error", "out_of_memory", "job_error")
    assert second["id"] in event["error"]["message"]


def test_a_cancelled_job_is_told_as_such(client: FlaskClient, app: Flask) -> None:
    other = app.test_client()
    stop = threading.Timer(0.3, lambda: other.post(f"/v1/jobs/{jobs(other)[0]['id']}/cancel"))
    stop.start()
    answer = generate(client)
    stop.join()
    assert_refused(answer, 409, "job_finished", None)
    assert answer.headers["X-Should-Retry"] == "false"


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers are told at once that their job goes on."""
    monkeypatch.setattr("qwen_image_studio.web.waiting.WAIT_S", 0.0)


@pytest.mark.usefixtures("short_waits")
def test_who_waits_too_long_is_told_the_job(client: FlaskClient, worker: Worker) -> None:
    answer = generate(client)
    [job] = jobs(client)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (504, "still_working", "server_error")
    assert f"/v1/jobs/{job['id']}" in error["message"]
    [(name, event)] = events(generate(client, "another", stream=True))
    assert (name, event["error"]["code"]) == ("error", "still_working")
    assert worker.run_next()
    assert client.get(f"/v1/jobs/{job['id']}").get_json()["state"] == "succeeded"


@pytest.mark.usefixtures("short_waits")
def test_a_request_sent_again_joins_the_job_that_goes_on(client: FlaskClient, worker: Worker) -> None:
    again = {"X-Stainless-Retry-Count": "1"}
    generate(client)
    generate(client, headers=again)
    assert len(jobs(client)) == 1
    generate(client, "another", headers=again)
    generate(client)  # the same once more, by a caller who wants it: another picture
    assert len(jobs(client)) == 3
    while worker.run_next():
        pass
    generate(client, headers=again)
    assert len(jobs(client)) == 4


def test_an_idempotency_key_gives_the_same_images(client: FlaskClient, worker: Worker) -> None:
    key = {"Idempotency-Key": "one"}
    with working(worker):
        first, second = (generate(client, headers=key).get_json() for _ in range(2))
    assert (first["job_id"], first["data"]) == (second["job_id"], second["data"])
    assert_refused(generate(client, "another", headers=key), 400, "idempotency_key_reused", "Idempotency-Key")


def test_nobody_waits_on_who_has_left(app: Flask, client: FlaskClient, worker: Worker) -> None:
    parts: Services = app.extensions["qwen-image-studio"]
    with working(worker):
        assert generate(client).status_code == 200
        assert generate(client, model="none").status_code == 400
        assert generate(client, "bug@1 always").status_code == 500
        unread = client.post("/v1/images/generations", json={"prompt": "a", "stream": True}, buffered=False)
        assert parts.changes.watches == 1
        unread.close()
    assert parts.changes.watches == 0


def test_a_full_queue_is_429(client: FlaskClient, store: JobStore) -> None:
    for _ in range(30):
        client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup"})
    answer = generate(client)
    assert_refused(answer, 429, "queue_full", None)
    assert int(answer.headers["Retry-After"]) > 0


# -- bad input ------------------------------------------------------------------------------------------------------


def form(client: FlaskClient, **parts: Any) -> Any:
    """An edit as a form; bytes are files."""
    data = {
        name: [(BytesIO(each), "upload") if isinstance(each, bytes) else str(each) for each in value]
        if isinstance(value, list)
        else (BytesIO(value), "upload")
        if isinstance(value, bytes)
        else value
        for name, value in {"prompt": "make it green", **parts}.items()
    }
    return client.post("/v1/images/edits", data=data, content_type="multipart/form-data")


BOX = (0, 0, 8, 8)
FORMS: list[tuple[dict[str, Any], str, str, str]] = [
    ({}, "invalid_value", "image", "1 to 10 images"),
    ({"image": png(), "image[]": [png(), png(), png()]}, "invalid_value", "image", "there are 4"),
    ({"image": [png(), "img_1"]}, "invalid_value", "image", "not both"),
    ({"image": "img_1"}, "image_not_found", "image", "img_1"),
    ({"image": png(), "mask": png()}, "invalid_value", "mask", "white may change"),
    ({"image": png(), "mask": b"no picture"}, "unsupported_image", "mask", "not a picture"),
    ({"image": b"no picture", "mask": hole((8, 8), BOX)}, "unsupported_image", "image", "not a picture"),
    ({"image": png(), "mask": hole((64, 48), BOX)}, "invalid_value", "mask", "64x48 pixels and the first image 32x24"),
    ({"image": png(), "mask": hole((32, 24), (0, 0, 0, 0))}, "invalid_value", "mask", "nothing may change"),
    ({"image": png(), "mask": [hole((32, 24), BOX)] * 2}, "invalid_value", "mask", "either"),
    ({"image": png(), "mask": "img_1"}, "invalid_value", "mask", "as a file"),
    ({"mask": hole((32, 24), BOX)}, "invalid_value", "image", "there are 0"),
    ({"image": png(), "mask": hole((32, 24), BOX), "region": '{"x": 0, "y": 0, "width": 1, "height": 1}'},
     "invalid_value", "mask", "either"),
    ({"image": png(), "region": "left"}, "invalid_value", "region", ""),
    ({"image": png(), "strength": "5"}, "invalid_value", "strength", "less than or equal to 1"),
    ({"image": png(), "num_inference_steps": "many"}, "invalid_value", "num_inference_steps", "integer"),
    ({"image": png(), "kwargs": "[1]"}, "invalid_value", "kwargs", "object"),
    ({"image": png(), "kwargs": "{"}, "invalid_value", "kwargs", "JSON"),
    ({"image": png(), "target_size": "big"}, "invalid_value", "target_size", "width"),
    ({"image": png(), "url": "data:image/png;base64,é"}, "invalid_value", "image", "base64"),
    ({"image": png(), "background": "red"}, "invalid_value", "background", "transparent"),
    ({"image": png(), "prompt": "x" * 32_001}, "invalid_value", "prompt", "32000"),
    ({"image": png(), "n": "many"}, "invalid_value", "n", "many"),
    ({"image": png(), "n": ["1", "2"]}, "invalid_value", "n", "more than once"),
    ({"image": png(), "slots": "{}", "slots[x]": "y"}, "invalid_value", "slots", "more than once"),
    ({"image": png(), "stream": "perhaps"}, "invalid_value", "stream", "perhaps"),
    ({"image": png(), "partial_images": "4"}, "invalid_value", "partial_images", "3"),
    ({"image": png(), "markup": png()}, "unknown_parameter", "markup", "image[]"),
    ({"image": png(), "slots[x]": "y"}, "invalid_value", "slots", "template"),
    ({"image": png(), "prompt": ""}, "invalid_value", "prompt", "missing"),
    ({"image": png(), "operation": "generate"}, "invalid_value", "operation", "edit"),
    ({"image": png(), "output_compression": "5", "output_quality": "5"}, "invalid_value", "output_compression", ""),
]  # fmt: skip


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize(("parts", "code", "param", "said"), FORMS)
def test_forms_that_cannot_be_used(
    client: FlaskClient, parts: dict[str, Any], code: str, param: str, said: str
) -> None:
    answer = form(client, **parts)
    assert_refused(answer, 400, code, param)
    assert said in answer.get_json()["error"]["message"]
    assert jobs(client) == []


@pytest.mark.usefixtures("short_waits")
def test_every_parameter_fits_into_one_form(client: FlaskClient) -> None:
    taken = {"n": "1", "size": "auto", "quality": "auto", "response_format": "url", "output_format": "webp"}
    taken |= {"output_compression": "50", "background": "auto", "moderation": "low", "input_fidelity": "high"}
    taken |= {"user": "a", "safety_identifier": "b", "stream": "false", "partial_images": "0", "seed": "1"}
    taken |= {"steps": "2", "guidance_scale": "2.5", "negative_prompt": "x", "tier": "quality", "prefer": "model"}
    files = {"image[0]": png(), "image[1]": png(), "image[2]": png()}
    assert form(client, **taken, **files).status_code == 504
    [job] = jobs(client)
    assert job["operation"] == "edit"


@pytest.mark.parametrize(
    ("path", "options", "status", "code"),
    [
        ("generations", {"data": b"{", "content_type": "application/json"}, 400, "malformed_body"),
        ("generations", {"data": b"[]", "content_type": "application/json"}, 400, "malformed_body"),
        ("edits", {"data": b"[" * 100_000, "content_type": "application/json"}, 400, "malformed_body"),
        (
            "generations",
            {"data": b'{"x": "' + b"x" * 2**20 + b'"}', "content_type": "application/json"},
            413,
            "body_too_large",
        ),
        ("generations", {"data": {"prompt": "x"}}, 415, "unsupported_media_type"),
        ("edits", {}, 415, "unsupported_media_type"),
        ("edits", {"data": {"prompt": "x" * 2_000_000, "image": (BytesIO(b"x"), "x")}}, 413, "body_too_large"),
    ],
)
def test_bodies_that_cannot_be_read(
    client: FlaskClient, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    assert_refused(client.post(f"/v1/images/{path}", **options), status, code, None)


NAMES = ["prompt", "n", "size", "quality", "stream", "seed", "image", "slots", "region", "background", "mask", "x"]


@pytest.mark.usefixtures("short_waits")
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.dictionaries(st.sampled_from(NAMES), ANY_JSON, max_size=5), edit=st.booleans())
def test_any_json_is_answered_in_the_one_shape(app: Flask, body: dict[str, Any], edit: bool) -> None:
    data = json.dumps({"prompt": "a cup", **body})
    path = f"/v1/images/{'edits' if edit else 'generations'}"
    answer = app.test_client().post(path, data=data.encode(), content_type="application/json")
    assert answer.status_code in {200, 400, 429, 504}, answer.text
    if answer.status_code == 400:
        assert answer.get_json()["error"]["param"], answer.text
    elif answer.status_code == 200:
        assert events(answer)[0][0] == "error", "only a stream, which had begun, can have been told so"


@pytest.mark.usefixtures("short_waits")
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(fields=st.dictionaries(st.sampled_from([*NAMES, "slots[a]", "region[x]"]), st.text(max_size=12), max_size=4))
def test_any_form_is_answered_in_the_one_shape(app: Flask, fields: dict[str, str]) -> None:
    data = {"prompt": "a cup", **fields, "image[]": (BytesIO(png()), "a.png")}
    answer = app.test_client().post("/v1/images/edits", data=data)
    assert answer.status_code in {200, 400, 429, 504}, answer.text
    if answer.status_code == 400:
        assert answer.get_json()["error"]["message"], answer.text


# -- the mask -------------------------------------------------------------------------------------------------------


LIMITS = {"max_bytes": 10**6, "max_pixels": 10**5}


@settings(max_examples=60, deadline=None)
@given(
    alpha=st.integers(8, 20).flatmap(
        lambda width: st.lists(st.lists(st.sampled_from([0, 1, 128, 255]), min_size=width, max_size=width), min_size=8,
                               max_size=16)
    ),
    mode=st.sampled_from(["RGBA", "LA"]),
)  # fmt: skip
def test_white_is_exactly_where_alpha_is_zero(alpha: list[list[int]], mode: str) -> None:
    values = np.array(alpha, np.uint8)
    picture = Image.new(mode, (values.shape[1], values.shape[0]))
    picture.putalpha(Image.fromarray(values))
    data = as_png(picture)
    if not (values == 0).any():
        with pytest.raises(StudioError, match="nothing may change"):
            white_mask(data, None, **LIMITS)
        return
    mask = open_mask(white_mask(data, None, **LIMITS), picture.size, **LIMITS)
    assert np.array_equal(np.asarray(mask.image) == 255, values == 0)
    assert mask.warnings == ()


def test_a_palette_with_a_transparent_colour_is_a_mask() -> None:
    picture = Image.new("P", (16, 16), 1)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.paste(0, (0, 0, 8, 16))
    buffer = BytesIO()
    picture.save(buffer, "PNG", transparency=0)
    assert open_mask(white_mask(buffer.getvalue(), None, **LIMITS), (16, 16), **LIMITS).box == (0, 0, 8, 16)


def test_a_mask_belongs_to_the_image_as_it_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    buffer = BytesIO()
    Image.new("RGB", (24, 32)).save(buffer, "JPEG", exif=exif)
    white_mask(hole((32, 24), BOX), buffer.getvalue(), **LIMITS)
    with pytest.raises(StudioError, match="30x30 pixels and the first image 32x24"):
        white_mask(hole((30, 30), BOX), buffer.getvalue(), **LIMITS)


def test_a_mask_has_the_limits_of_an_image() -> None:
    with pytest.raises(StudioError) as caught:
        white_mask(hole((400, 300), BOX), None, **LIMITS)
    assert (caught.value.code, caught.value.param) == ("image_too_large", "mask")


class Caller:
    """A connection as the web server shows it, whose caller has left or not."""

    def __init__(self, *, left: bool) -> None:
        self._left = left

    def has_left(self) -> bool:
        """Whether the caller has closed it."""
        return self._left


def test_a_caller_that_is_gone_is_not_waited_for(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker runs here: whoever stays would wait for minutes."""
    monkeypatch.setattr("qwen_image_studio.web.waiting.LOOK_S", 0.05)
    body = {"prompt": "a cup"}
    gone = {"gunicorn.socket": Caller(left=True)}
    answer: Any = client.post("/v1/images/generations", json=body, environ_overrides=gone)
    assert (answer.status_code, answer.json["error"]["code"]) == (504, "still_working")
    monkeypatch.setattr("qwen_image_studio.web.waiting.WAIT_S", 0.3)
    staying = {"gunicorn.socket": Caller(left=False)}
    answer = client.post("/v1/images/generations", json=body, environ_overrides=staying)
    assert "within 0.3 seconds" in answer.json["error"]["message"]
