"""What clients of OpenAI's images API send and read that its own does not: names, formats, figures, data URLs."""

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.jobs import JobStore
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png
from tests.support.refusals import assert_refused
from tests.support.worker import working


@pytest.fixture(autouse=True)
def _painting(worker: Worker) -> Iterator[None]:
    """A worker takes jobs in the background until the end of the test."""
    with working(worker):
        yield


def generated(client: FlaskClient, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/images/generations", json={"prompt": "a cup", "steps": 2, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.get_json())


def edited(client: FlaskClient, **more: Any) -> Any:
    return client.post("/v1/images/edits", json={"prompt": "make it green", "steps": 2, **more})


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def sizes(store: JobStore, answer: Any) -> list[tuple[int, int]]:
    """Width and height of the images that a job started from, in order."""
    assert answer.status_code == 200, answer.text
    job = store.jobs.get(answer.get_json()["job_id"])
    return [(image.width, image.height) for image in (store.images.get(each, job.owner) for each in job.inputs)]


def hole() -> bytes:
    mask = Image.new("RGBA", (64, 48), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 24))
    buffer = BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["gpt-image-1", "gpt-image-1-mini", "gpt-image-2", "chatgpt-image-latest", "dall-e-2", "DALL-E-3", "auto"]
)
def test_a_model_of_openais_is_painted_by_the_served_one_and_told(client: FlaskClient, name: str) -> None:
    """C: clients fix the name, and all of them were answered 422."""
    answer = generated(client, model=name)
    assert answer["model"] == "miniature"
    assert answer["warnings"][0] == f"model {name} is not on this server; miniature was taken instead."


def test_any_other_model_is_refused_with_400(client: FlaskClient) -> None:
    """C: clients catch a BadRequestError."""
    answer = client.post("/v1/images/generations", json={"prompt": "a cup", "model": "gpt-4o"})
    assert_refused(answer, 400, "unknown_model", "model")


@pytest.mark.parametrize(
    ("asked", "has"),
    [
        ({}, {"b64_json", "url"}),
        ({"model": "dall-e-3"}, {"b64_json", "url"}),
        ({"model": "Qwen-Image"}, {"b64_json", "url"}),
        ({"model": "gpt-image-1"}, {"b64_json"}),
        ({"model": "chatgpt-image-latest"}, {"b64_json"}),
        ({"model": "gpt-image-1", "response_format": "url"}, {"url"}),
        ({"response_format": "b64_json"}, {"b64_json"}),
        ({"response_format": "url"}, {"url"}),
    ],
)
def test_bytes_and_links_are_there_for_those_who_read_them(
    client: FlaskClient, asked: dict[str, str], has: set[str]
) -> None:
    """C: without response_format, LangChain reads `url`, and the AI SDK `b64_json`."""
    [item] = generated(client, **asked)["data"]
    assert item.keys() & {"b64_json", "url"} == has


def test_usage_counts_texts_inputs_and_what_was_painted(client: FlaskClient) -> None:
    """C: Dify's tool reads usage.total_tokens without a look, and lost the picture."""
    usage = generated(client, prompt="红苹果 on a plate", n=2, size="128x64")["usage"]
    assert usage["output_tokens"] == 2 * 8 * 4
    assert usage["input_tokens_details"] == {"text_tokens": usage["input_tokens"], "image_tokens": 0}
    assert 3 < usage["input_tokens"] < 20
    answer = edited(client, image=data_url(png(64, 48)), size="128x64").get_json()["usage"]
    assert answer["input_tokens_details"]["image_tokens"] == 4 * 3
    assert answer["total_tokens"] == answer["input_tokens"] + answer["output_tokens"]


@pytest.mark.parametrize("kind", ["generations", "edits"])
def test_usage_is_in_the_completed_events(client: FlaskClient, kind: str) -> None:
    """C: the client's type has it as required."""
    body = {"prompt": "a cup", "steps": 2, "stream": True, **({"image": data_url(png())} if kind == "edits" else {})}
    text = client.post(f"/v1/images/{kind}", json=body).get_data(as_text=True)
    [event] = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert event["type"].endswith(".completed")
    assert event["usage"]["total_tokens"] > 0


# -- pictures in JSON -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"image": data_url(png(64, 48))},
        {"image": [data_url(png(64, 48))]},
        {"images": [{"image_url": data_url(png(64, 48))}]},
        {"images": [{"image_url": {"url": data_url(png(64, 48))}}]},
        {"images": [data_url(png(64, 48), "image/png;charset=utf-8")]},
        {"image": data_url(png(64, 48)).replace("data:", "DATA:")},
    ],
)
def test_an_edit_takes_data_urls(client: FlaskClient, store: JobStore, body: dict[str, Any]) -> None:
    """A9: 422, once with "there is no image 'data:...' of yours"."""
    assert sizes(store, edited(client, **body)) == [(64, 48)]


def test_data_urls_may_be_larger_than_other_json_and_have_escaped_slashes(client: FlaskClient, store: JobStore) -> None:
    """A9: the limits of files hold for them."""
    noisy = BytesIO()
    Image.effect_noise((800, 700), 90).convert("RGB").save(noisy, "PNG")
    assert 1_000_000 < len(noisy.getvalue()) < 2_000_000
    body = {
        "prompt": "make it green",
        "steps": 2,
        "size": "64x64",
        "images": [{"image_url": data_url(noisy.getvalue())}],
    }
    data = json.dumps(body).replace("/", "\\/")
    answer = client.post("/v1/images/edits", data=data, content_type="application/json")
    assert sizes(store, answer) == [(800, 700)]
    too_large = data_url(noisy.getvalue() + b"x" * 1_000_000)
    assert_refused(edited(client, image=too_large), 400, "image_too_large", "image")


def test_images_by_id_may_stand_in_openais_list(client: FlaskClient, store: JobStore) -> None:
    """A9."""
    first = generated(client, size="96x64")["data"][0]["id"]
    assert sizes(store, edited(client, images=[{"file_id": first}])) == [(96, 64)]


def test_a_mask_may_be_a_data_url(client: FlaskClient, store: JobStore) -> None:
    """A9."""
    answer = edited(client, image=data_url(png(64, 48)), mask={"image_url": data_url(hole())})
    assert store.jobs.get(answer.get_json()["job_id"]).operation == "inpaint"


def test_several_data_urls_keep_their_order(client: FlaskClient, store: JobStore) -> None:
    """A9."""
    answer = edited(client, images=[{"image_url": data_url(png(64 + 16 * step, 64))} for step in range(3)])
    assert sizes(store, answer) == [(64, 64), (80, 64), (96, 64)]


@pytest.mark.parametrize(
    ("body", "code", "param", "said"),
    [
        ({"image": "data:image/png;base64,"}, "unsupported_image", "image", "empty"),
        ({"image": "data:image/png;base64,é"}, "invalid_value", "image", "base64"),
        ({"image": "data:image/png;base64,abcde"}, "invalid_value", "image", "base64"),
        ({"image": "data:image/png;base64"}, "invalid_value", "image", "data URL"),
        ({"image": data_url(b"no picture")}, "unsupported_image", "image", "not a picture"),
        ({"image": [data_url(png()), "img_1"]}, "invalid_value", "image", "not both"),
        ({"image": data_url(png()), "images": [data_url(png())]}, "invalid_value", "images", "not both"),
        ({"images": [{"image_url": data_url(png())}] * 4}, "invalid_value", "image", "there are 4"),
        ({"images": [data_url(png())] * 40}, "invalid_value", "image", "more than 16"),
        ({"images": [{"colour": "red"}]}, "invalid_value", "image[0]", ""),
        ({"images": "nothing"}, "image_not_found", "image", "nothing"),
    ],
)
def test_data_urls_that_cannot_be_used_say_why(
    client: FlaskClient, body: dict[str, Any], code: str, param: str, said: str
) -> None:
    """A9."""
    answer = edited(client, **body)
    assert_refused(answer, 400, code, param)
    assert said in answer.get_json()["error"]["message"]


def test_a_data_url_in_a_prompt_stays_text(client: FlaskClient, store: JobStore) -> None:
    answer = generated(client, prompt="data:image/png;base64,AAAA")
    assert store.jobs.get(answer["job_id"]).plan["prompt"] == "data:image/png;base64,AAAA"


def test_a_data_url_elsewhere_is_refused_by_its_name(client: FlaskClient) -> None:
    """A20: it was called an image that is not there."""
    answer = client.post("/v1/jobs", json={"operation": "edit", "prompt": "x", "image": data_url(png())})
    assert_refused(answer, 422, "invalid_value", "image")
    assert "is a data URL; send the image as a file" in answer.get_json()["error"]["message"]


# -- forms ----------------------------------------------------------------------------------------------------------


def form(client: FlaskClient, path: str, parts: list[tuple[str, Any]]) -> Any:
    """A form with its parts in that order."""
    boundary = "----parts"
    data = b""
    for name, value in parts:
        file = '; filename="a.png"\r\nContent-Type: image/png' if isinstance(value, bytes) and value else ""
        data += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        data += (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    whole = data + f"--{boundary}--\r\n".encode()
    return client.post(path, data=whole, content_type=f"multipart/form-data; boundary={boundary}")


def test_images_of_a_form_are_taken_in_the_order_of_their_numbers(client: FlaskClient, store: JobStore) -> None:
    """A10: they were taken as they came."""
    parts: list[tuple[str, Any]] = [("image[10]", png(96, 64)), ("image[2]", png(80, 64)), ("image[0]", png(64, 64))]
    answer = form(client, "/v1/images/edits", [*parts, ("prompt", "make it green"), ("steps", "2")])
    assert sizes(store, answer) == [(64, 64), (80, 64), (96, 64)]
    params = json.dumps({"operation": "edit", "prompt": "make it green", "steps": 2})
    job = store.jobs.get(form(client, "/v1/jobs", [*parts, ("params", params)]).get_json()["id"])
    found = [store.images.get(each, job.owner).width for each in job.inputs]
    assert found == [64, 80, 96]


def test_images_without_a_number_stay_as_they_came(client: FlaskClient, store: JobStore) -> None:
    parts: list[tuple[str, Any]] = [("image[]", png(96, 64)), ("image[]", png(80, 64)), ("prompt", "green")]
    assert sizes(store, form(client, "/v1/images/edits", [*parts, ("steps", "2")])) == [(96, 64), (80, 64)]


def test_empty_fields_of_a_form_are_left_out(client: FlaskClient, store: JobStore) -> None:
    """A14: `size=""` and a mask without name and bytes were refused."""
    empty = [(name, "") for name in ("size", "quality", "n", "user", "seed", "mask", "background", "response_format")]
    parts: list[tuple[str, Any]] = [("image", png(64, 48)), ("prompt", "make it green"), ("steps", "2"), *empty]
    assert sizes(store, form(client, "/v1/images/edits", parts)) == [(64, 48)]
    nameless = (BytesIO(b""), "")
    data = {"image": (BytesIO(png(64, 48)), "a.png"), "mask": nameless, "prompt": "green", "steps": "2"}
    assert sizes(store, client.post("/v1/images/edits", data=data)) == [(64, 48)]
    params = json.dumps({"operation": "edit", "prompt": "make it green"})
    whole = form(client, "/v1/jobs", [("params", params), ("image", png(64, 48)), ("mask", "")])
    assert whole.status_code == 202, whole.text
