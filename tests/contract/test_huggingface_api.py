"""Hugging Face's Inference API: every body that its clients send, and every answer that they read."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Scope, WorkerState
from qwen_image_studio.jobs import Job, JobStore, WorkerReport
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.contract.test_openai_api import Caller
from tests.support.pictures import png
from tests.support.refusals import error_code
from tests.support.waiting import until
from tests.support.worker import working

PAINT = "/models/Qwen/Qwen-Image"
EDIT = "/models/Qwen/Qwen-Image-Edit-2509"
BOTH = "/models/miniature"
JPEG = {"output_format": "jpeg"}


def in_base64(data: bytes, *, padded: bool = True, lines: int = 0) -> str:
    text = base64.b64encode(data).decode()
    text = text if padded else text.rstrip("=")
    return "\n".join(text[start : start + lines] for start in range(0, len(text), lines)) if lines else text


PICTURE = png(64, 48)
TEXT = in_base64(PICTURE)
DATA_URL = f"data:image/png;base64,{TEXT}"


def opened(answer: Any) -> Image.Image:
    """The picture of an answer."""
    assert answer.status_code == 200, answer.text
    return Image.open(BytesIO(answer.data))


def said(answer: Any, status: int) -> str:
    """The sentence of a refusal, which is a text as the clients read it."""
    body = answer.get_json()
    assert answer.status_code == status, answer.text
    assert set(body) <= {"error", "error_type", "estimated_time"}
    assert isinstance(body["error"], str)
    assert len(body["error"]) > 20
    assert answer.headers["X-Request-Id"]
    return str(body["error"])


@pytest.fixture
def painting(worker: Worker) -> Iterator[None]:
    """A worker takes jobs in the background until the end of the test."""
    with working(worker):
        yield


Served = Callable[..., tuple[FlaskClient, JobStore]]


@pytest.fixture
def served(settings: Settings) -> Served:
    """Makes servers of these models that wait for nothing: a test sees by the job what was understood."""

    def serve(*names: str, **more: Any) -> tuple[FlaskClient, JobStore]:
        own = {"hf_wait_s": 0.0, "models": names or ("miniature",), "licences": ("qwen-research",)}
        chosen = settings.model_copy(update={**own, **more})
        app = create_app(chosen, configured_models(chosen, card_gib=0))
        parts: Services = app.extensions["qwen-image-studio"]
        return app.test_client(), parts.store

    return serve


def newest(store: JobStore) -> Job:
    found, _ = store.jobs.page("local", limit=1, after=None, state=None)
    return found[0]


def understood(served: tuple[FlaskClient, JobStore], path: str, **request: Any) -> Job:
    """The job that a request became; nobody paints it, so the client is told to come back."""
    client, store = served
    said(client.post(path, **request), 503)
    return newest(store)


# -- what is asked for ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("painting")
@pytest.mark.parametrize("prefix", ["", "/hf-inference"])
def test_a_prompt_is_answered_with_the_bytes_of_a_picture(client: FlaskClient, store: JobStore, prefix: str) -> None:
    parameters = {"width": 96, "height": 64, "num_inference_steps": 3, "seed": 7, "guidance_scale": 2.5}
    body = {"inputs": "a red apple", "parameters": {**parameters, "negative_prompt": "blue", "scheduler": "ddim"}}
    answer = client.post(f"{prefix}{PAINT}", json=body, headers={"Accept": "image/png"})
    assert (opened(answer).format, opened(answer).size) == ("PNG", (96, 64))
    assert answer.content_type == "image/png"
    job = store.jobs.get(answer.headers["X-Job-Id"])
    assert (answer.headers["X-Seed"], job.plan["steps"], job.plan["guidance_scale"]) == ("7", 3, 2.5)
    assert (job.operation, job.plan["negative_prompt"], job.plan["prompt"]) == ("generate", "blue", "a red apple")
    assert client.get(f"/v1/images/{answer.headers['X-Image-Id']}/content").data == answer.data
    assert any("scheduler" in each for each in answer.headers.getlist("X-HF-Warning"))


SENT_PICTURES: dict[str, dict[str, Any]] = {
    "base64": {"inputs": TEXT, "parameters": {"prompt": "make it green"}},
    "base64 without padding": {
        "inputs": in_base64(PICTURE, padded=False),
        "parameters": {"prompt": "make it green"},
    },
    "base64 in lines": {"inputs": in_base64(PICTURE, lines=76), "parameters": {"prompt": "make it green"}},
    "data URL": {"inputs": DATA_URL, "parameters": {"prompt": "make it green"}},
    "image and instruction": {"inputs": {"image": TEXT, "instruction": "make it green"}},
    "image and prompt": {"inputs": {"image": DATA_URL, "prompt": "make it green"}},
    "without inputs": {"image": TEXT, "instruction": "make it green"},
    "a list": {"inputs": {"images": [TEXT], "instruction": "make it green"}},
}


@pytest.mark.parametrize("body", SENT_PICTURES.values(), ids=SENT_PICTURES.keys())
@pytest.mark.parametrize("path", [EDIT, BOTH], ids=["edits", "does both"])
def test_a_picture_in_json_is_edited_however_it_is_written(served: Served, path: str, body: dict[str, Any]) -> None:
    server = served()
    job = understood(server, path, json=body)
    assert (job.operation, job.plan["prompt"]) == ("edit", "make it green")
    [image] = [server[1].images.get(each, "local") for each in job.inputs]
    assert (image.width, image.height) == (64, 48)


def test_several_pictures_keep_their_order(served: Served) -> None:
    server = served()
    body = {"inputs": {"image": [TEXT, in_base64(png(80, 48))], "instruction": "put the second into the first"}}
    job = understood(server, EDIT, json=body)
    assert [server[1].images.get(each, "local").width for each in job.inputs] == [64, 80]


@pytest.mark.parametrize(
    ("models", "path", "operation"),
    [
        (("miniature",), PAINT, "generate"),
        (("miniature",), BOTH, "generate"),
        (("miniature",), "/models/qwen-image", "generate"),
        (("Qwen-Image", "Qwen-Image-Edit-2509"), PAINT, "generate"),
        (("Qwen-Image", "Qwen-Image-Edit-2509"), "/models/Qwen-Image", "generate"),
        (("Qwen-Image-2.1",), "/models/Qwen/Qwen-Image-2.1", "generate"),
    ],
    ids=["stands in", "both", "bare and small", "repository", "bare", "both, large"],
)
def test_a_text_is_a_prompt_where_the_model_paints(
    served: Served, models: tuple[str, ...], path: str, operation: str
) -> None:
    job = understood(served(*models), path, json={"inputs": "a red apple on a table and nothing else beside it"})
    assert (job.operation, job.model) == (operation, models[0])


@pytest.mark.parametrize(
    ("models", "path"),
    [
        (("miniature",), EDIT),
        (("Qwen-Image", "Qwen-Image-Edit-2509"), EDIT),
        (("Qwen-Image-2.1",), "/models/Qwen-Image-2.1"),
    ],
    ids=["stands in", "edits", "both"],
)
def test_a_picture_goes_to_the_model_that_the_path_names(served: Served, models: tuple[str, ...], path: str) -> None:
    job = understood(served(*models), path, json={"inputs": TEXT, "parameters": {"prompt": "make it green"}})
    assert (job.operation, job.model) == ("edit", models[-1])


@pytest.mark.parametrize("name", ["Qwen-Image-Edit-2509", "Qwen/Qwen-Image-Edit-2509"])
def test_a_text_is_no_picture_where_the_model_only_edits(served: Served, name: str) -> None:
    client, store = served("Qwen-Image-Edit-2509")
    text = said(client.post(f"/models/{name}", json={"inputs": "make it green"}), 400)
    assert "picture in base64" in text
    assert "make it green" in text
    assert store.jobs.counts() == (0, 0)


@pytest.mark.parametrize("models", [("miniature",), ("Qwen-Image", "Qwen-Image-Edit-2509")], ids=["stands in", "large"])
def test_a_model_that_only_paints_does_so_in_the_pictures_likeness(served: Served, models: tuple[str, ...]) -> None:
    """As Hugging Face's own image-to-image does with such models."""
    body = {"inputs": TEXT, "parameters": {"prompt": "a green cup", "strength": 0.5}}
    job = understood(served(*models), PAINT, json=body)
    assert (job.operation, job.model, job.plan["strength"], len(job.inputs)) == ("generate", models[0], 0.5, 1)
    assert any("likeness" in each for each in job.warnings)


@pytest.mark.parametrize("name", ["file", "list", "inputs"])
def test_a_form_brings_files_and_fields(served: Served, name: str) -> None:
    field = {"file": "image", "list": "image[]", "inputs": "inputs"}[name]
    data = {field: (BytesIO(PICTURE), "a.png"), "instruction": "make it green", "num_inference_steps": "4"}
    data |= {"target_size": '{"width": 96, "height": 64}', "parameters": '{"seed": 9}', "colour": "any"}
    job = understood(served(), BOTH, data=data)
    assert (job.operation, job.plan["steps"], job.plan["seeds"]) == ("edit", 4, [9])
    assert (job.plan["width"], job.plan["height"]) == (96, 64)


def test_a_form_without_files_is_a_prompt(served: Served) -> None:
    """Also one in braces, which is no JSON."""
    form = {"content_type": "multipart/form-data"}
    job = understood(served(), BOTH, data={"inputs": "{a red apple}", "parameters": '{"seed": 9}'}, **form)
    assert (job.operation, job.plan["prompt"], job.plan["seeds"]) == ("generate", "{a red apple}", [9])
    answer = served()[0].post(BOTH, data={"inputs": "a cup", "parameters": "{x"}, **form)
    assert "parameters: takes an object" in said(answer, 400)


def test_a_mask_or_a_region_bounds_the_change(served: Served) -> None:
    server = served()
    mask = BytesIO()
    Image.new("L", (64, 48), 255).save(mask, "PNG")
    body = {"inputs": TEXT, "parameters": {"prompt": "a cat", "mask_image": in_base64(mask.getvalue())}}
    assert understood(server, EDIT, json=body).operation == "inpaint"
    region = {"x": 0, "y": 0, "width": 32, "height": 32}
    body = {"inputs": TEXT, "parameters": {"prompt": "a cat", "region": region, "strength": 1}}
    assert understood(server, EDIT, json=body).operation == "inpaint"
    data = {"image": (BytesIO(PICTURE), "a.png"), "mask": (BytesIO(mask.getvalue()), "m.png"), "prompt": "a cat"}
    assert understood(server, EDIT, data=data).operation == "inpaint"


def test_an_image_of_this_server_is_named_by_its_id(served: Served) -> None:
    server = served()
    kept = server[0].post("/v1/images", data={"image": (BytesIO(PICTURE), "a.png")}).get_json()
    for inputs in ({"image": kept["id"], "instruction": "make it green"}, kept["id"]):
        body = {"inputs": inputs, "parameters": {"prompt": "make it green"}}
        assert understood(server, EDIT, json=body).inputs == (kept["id"],)


# -- parameters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "planned"),
    [
        ({"target_size": {"width": 96, "height": 64}}, {"width": 96, "height": 64}),
        ({"target_size": None, "seed": None}, {"width": 128, "height": 128}),
        ({"size": "96x64", "output_format": "webp"}, {"width": 96, "height": 64, "output_format": "webp"}),
        ({"aspect_ratio": "16:9", "tier": "turbo"}, {"width": 176, "height": 96, "tier": "turbo"}),
        ({"true_cfg_scale": 3, "guidance_scale": 7.5}, {"guidance_scale": 3.0}),
        ({"guidance_scale": 0}, {"guidance_scale": 1.0}),
        ({"num_images_per_prompt": 4, "seed": 1}, {"seeds": [1]}),
        ({"n": 2, "seed": 1}, {"seeds": [1]}),
    ],
    ids=str,
)
def test_parameters_are_taken_by_their_names_and_by_ours(
    served: Served, parameters: dict[str, Any], planned: dict[str, Any]
) -> None:
    plan = understood(served(), PAINT, json={"inputs": "a cup", "parameters": parameters}).plan
    assert {name: plan[name] for name in planned} == planned


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"scheduler": "ddim", "clip_skip": 1}, "nothing here goes by it: scheduler"),
        ({"strength": 0.5, "clip_skip": 1}, "'clip_skip' is not a parameter here"),
        ({"num_images_per_prompt": 4}, "One picture was painted"),
        ({"guidance_scale": 0.5}, "guidance_scale 0.5 was taken as 1"),
    ],
    ids=str,
)
def test_what_has_no_effect_is_told_and_refuses_nothing(served: Served, parameters: dict[str, Any], word: str) -> None:
    job = understood(served(), PAINT, json={"inputs": "a cup", "parameters": parameters})
    assert any(word in each for each in job.warnings), job.warnings


@pytest.mark.usefixtures("painting")
def test_warnings_are_headers_in_ascii(client: FlaskClient) -> None:
    """huggingface_hub logs each, once for each topic."""
    body = {"inputs": "红苹果", "parameters": {"num_inference_steps": 2, "种子": 1}}
    warnings = client.post(PAINT, json=body).headers.getlist("X-HF-Warning")
    assert any("miniature" in each for each in warnings)
    assert len({each.split(";")[0] for each in warnings}) == len(warnings)
    assert all(each.isascii() for each in warnings)


@pytest.mark.usefixtures("painting")
@pytest.mark.parametrize(
    ("accept", "parameters", "found"),
    [
        ("image/png", {}, "PNG"),
        ("image/jpeg", {}, "JPEG"),
        ("image/webp, */*;q=0.5", {}, "WEBP"),
        ("*/*", {}, "PNG"),
        ("", {}, "PNG"),
        ("application/json", {}, "PNG"),
        ("image/png", JPEG, "JPEG"),
    ],
    ids=["png", "jpeg", "webp", "any", "none", "json", "the parameter wins"],
)
def test_the_accept_header_chooses_the_format(
    client: FlaskClient, accept: str, parameters: dict[str, Any], found: str
) -> None:
    body = {"inputs": "a cup", "parameters": {"num_inference_steps": 2, **parameters}}
    answer = client.post(PAINT, json=body, headers={"Accept": accept})
    assert opened(answer).format == found
    assert answer.content_type == f"image/{found.lower()}"


def test_json_is_known_without_its_type(served: Served) -> None:
    """curl says that it sends a form, and other clients say nothing."""
    for content_type in ("application/x-www-form-urlencoded", "text/plain", None):
        job = understood(served(), PAINT, data=json.dumps({"inputs": "a cup"}), content_type=content_type)
        assert job.plan["prompt"] == "a cup"


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inputs", "parameters"])
def test_so_many_parameters_are_taken(client: FlaskClient, name: str) -> None:
    body = {"inputs": "a cup", name: {f"p{number}": 1 for number in range(101)}}
    answer = client.post("/models/Qwen/Qwen-Image", json=body)
    assert answer.status_code == 400
    assert answer.get_json()["error"] == f"{name}: has 101 fields; at most 100 are taken."


@pytest.mark.parametrize("content_type", [None, "image/png", "application/octet-stream", "text/plain"])
def test_a_raw_picture_lacks_a_prompt(client: FlaskClient, content_type: str | None) -> None:
    """What image_to_image sends where it is given nothing but the picture."""
    text = said(client.post(EDIT, data=PICTURE, content_type=content_type), 400)
    assert text.startswith("prompt: is missing")
    assert "image_to_image" in text


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "broken JSON": ({"data": b'{"inputs": ', "content_type": "application/json"}, 400, "not JSON"),
    "nothing": ({"data": b""}, 400, "empty"),
    "neither": ({"data": b"a red apple", "content_type": "text/plain"}, 400, "neither JSON"),
    "a list": ({"json": [1]}, 400, "JSON object"),
    "no prompt": ({"json": {"parameters": {}}}, 400, "inputs: is missing"),
    "empty prompt": ({"json": {"inputs": ""}}, 400, "inputs: is missing; send what to paint"),
    "a number": ({"json": {"inputs": 5}}, 400, "inputs: takes one text"),
    "several": ({"json": {"inputs": ["a cup", "a hat"]}}, 400, "inputs: takes one text"),
    "parameters": ({"json": {"inputs": "a cup", "parameters": []}}, 400, "parameters: takes an object"),
    "options": ({"json": {"inputs": "a cup", "options": True}}, 400, "options: takes an object"),
    "an option": ({"json": {"inputs": "a cup", "options": {"wait_for_model": "no"}}}, 400, "wait_for_model"),
    "steps": ({"json": {"inputs": "a cup", "parameters": {"num_inference_steps": 1}}}, 400, "num_inference_steps: "),
    "one side": ({"json": {"inputs": "a cup", "parameters": {"width": 128}}}, 400, "width and height go together"),
    "a size": ({"json": {"inputs": "a cup", "parameters": {"target_size": 5}}}, 400, "target_size: is no size"),
    "no picture": ({"json": {"inputs": {"image": "a", "prompt": "x"}}}, 400, "image: holds no base64"),
    "no base64 text": ({"json": {"inputs": {"image": 5, "prompt": "x"}}}, 400, "image: takes a picture"),
    "other bytes": ({"json": {"inputs": {"image": in_base64(b"x" * 90), "prompt": "x"}}}, 400, "not a picture"),
    "two masks": ({"json": {"image": TEXT, "mask": TEXT, "mask_image": TEXT, "prompt": "x"}}, 400, "more than once"),
    "a stranger's id": ({"json": {"inputs": {"image": "img_1", "prompt": "x"}}}, 400, "no image 'img_1'"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "word"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_refused_in_a_text(
    client: FlaskClient, request_: dict[str, Any], status: int, word: str
) -> None:
    assert word in said(client.post(BOTH, **request_), status)


@pytest.mark.parametrize("name", ["gpt-image-1", "openai/dall-e-3", "black-forest-labs/FLUX.1-dev", "x" * 300])
def test_a_model_of_another_is_not_there(client: FlaskClient, name: str) -> None:
    assert "it has: /models/miniature" in said(client.post(f"/models/{name}", json={"inputs": "a cup"}), 404)


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("DELETE", PAINT, 405, "POST /models/Qwen/Qwen-Image"),
        ("PUT", f"/hf-inference{PAINT}", 405, "POST /models/Qwen/Qwen-Image"),
        ("POST", "/models", 404, "has to name one"),
        ("POST", "/models/", 404, "has to name one"),
        ("POST", "/v1", 404, "POST /models/Qwen/Qwen-Image"),
        ("POST", "/v1/", 404, "POST /models/Qwen/Qwen-Image"),
    ],
    ids=str,
)
def test_an_address_beside_is_answered_with_the_right_one(
    client: FlaskClient, method: str, path: str, status: int, word: str
) -> None:
    """`base_url=…/v1` makes the client post to /v1 itself."""
    assert word in said(client.open(path, method=method, json={"inputs": "a cup"}), status)


@pytest.mark.parametrize("prefix", ["", "/hf-inference"])
def test_a_model_is_looked_at_at_its_address(client: FlaskClient, store: JobStore, prefix: str) -> None:
    """The client's get_endpoint_info asks for /info below it, and health_check for /health."""
    for path in (BOTH, f"{BOTH}/info", EDIT, f"{PAINT}/info"):
        assert client.get(f"{prefix}{path}").get_json() == client.get("/v1/models/miniature").get_json()
    assert "no worker is ready" in said(client.get(f"{prefix}{EDIT}/health"), 503)
    store.workers.note(WorkerReport("far/cuda:0", "cuda:0", WorkerState.READY, None, "", time.time()))
    assert client.get(f"{prefix}{EDIT}/health").status_code == 200
    for path in ("/models/other/model", "/models/info", "/models/other/health"):
        assert "it has: /models/miniature" in said(client.get(f"{prefix}{path}"), 404)


def test_other_addresses_keep_their_errors(client: FlaskClient) -> None:
    for path in ("/modelsx", "/v1/models/x", "/v1x"):
        assert isinstance(client.post(path).get_json()["error"], dict), path


def test_keys_and_scopes_are_asked_for_in_a_text(client: FlaskClient, parts: Services) -> None:
    """Also where the refusal comes before the view."""
    key = parts.keys.add("painter", "shop", [Scope.GENERATE])
    headers = {"Authorization": f"Bearer {key}"}
    body = {"inputs": TEXT, "parameters": {"prompt": "make it green"}}
    assert "API key is missing" in said(client.post(EDIT, json=body), 401)
    answer = client.post(EDIT, json=body, headers=headers)
    assert "lacks the scope edit" in said(answer, 403)
    assert error_code(answer) == "scope_missing"
    reviewer = {"Authorization": f"Bearer {parts.keys.add('reviewer', 'shop', [Scope.REVIEW])}"}
    assert "lacks the scope" in said(client.post(EDIT, data=b"{", headers=reviewer), 403)


def test_a_body_that_is_too_large_is_refused_in_a_text(served: Served) -> None:
    client, _ = served(max_body_mb=1)
    large = b"x" * 1_100_000
    said(client.post(EDIT, data=large), 413)
    said(client.post(EDIT, json={"inputs": in_base64(large), "parameters": {"prompt": "x"}}), 413)
    said(client.post(EDIT, data={"image": (BytesIO(large), "a.png"), "prompt": "x"}), 413)


def test_a_full_queue_says_when_to_come_back(served: Served) -> None:
    client, _ = served(queue_limit=1)
    said(client.post(PAINT, json={"inputs": "a cup"}), 503)
    answer = client.post(PAINT, json={"inputs": "a hat"})
    said(answer, 429)
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.usefixtures("painting")
def test_a_job_that_fails_is_told_in_a_text(client: FlaskClient) -> None:
    answer = client.post(PAINT, json={"inputs": "memory@1 always", "parameters": {"steps": 2}})
    assert "too little memory" in said(answer, 500)
    assert error_code(answer) == "out_of_memory"


def test_a_fault_of_the_server_is_told_in_a_text(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("qwen_image_studio.intake.Intake.accept", fail)
    assert "server failed" in said(client.post(PAINT, json={"inputs": "a cup"}), 500)


# -- waiting -------------------------------------------------------------------------------------------------------

CUP = {"inputs": "a cup", "parameters": {"num_inference_steps": 2}}


def jobs(store: JobStore, owner: str = "local") -> list[Job]:
    """All jobs of an owner, newest first."""
    found, _ = store.jobs.page(owner, limit=100, after=None, state=None)
    return found


def test_who_cannot_wait_is_told_when_to_come_back_and_gets_that_picture(served: Served, worker: Worker) -> None:
    """Also from another web process, and once: whoever asks a third time wants another picture."""
    (one, store), (two, _) = served(), served()
    answer = one.post(PAINT, json=CUP)
    assert "currently loading" in said(answer, 503)
    assert answer.get_json()["estimated_time"] == float(answer.headers["Retry-After"]) >= 1
    said(two.post(PAINT, json=CUP), 503)
    [job] = jobs(store)
    assert worker.run_next()
    answer = two.post(PAINT, json=CUP)
    assert opened(answer).format == "PNG"
    assert answer.headers["X-Job-Id"] == job.id
    said(one.post(PAINT, json=CUP), 503)
    assert len(jobs(store)) == 2


def test_two_people_with_one_wish_get_a_picture_each(served: Served, worker: Worker) -> None:
    """Without a seed they want two, and each comes back for one."""
    client, store = served()
    store.promises.make(understood((client, store), PAINT, json=CUP))
    first = store.promises.take("local", None, newest(store).fingerprint)
    assert first is not None
    said(client.post(PAINT, json=CUP), 503)
    store.promises.make(first)
    assert len(jobs(store)) == 2
    while worker.run_next():
        pass
    found = [client.post(PAINT, json=CUP).headers["X-Job-Id"] for _ in range(2)]
    assert set(found) == {job.id for job in jobs(store)}


def test_no_more_than_ten_equal_requests_are_promised_a_picture(served: Served) -> None:
    _, store = served()
    client, _ = served()
    taken = []
    for _ in range(12):
        said(client.post(PAINT, json=CUP), 503)
        taken.append(store.promises.take("local", None, newest(store).fingerprint))
    for job in taken:
        assert job is not None
        store.promises.make(job)
    assert sum(job.idempotency_key is not None for job in jobs(store)) == 10


def test_another_request_another_owner_and_another_key_get_nothing_of_it(
    served: Served, parts: Services, worker: Worker
) -> None:
    ann, bob = ({"Authorization": f"Bearer {parts.keys.add(name)}"} for name in ("ann", "bob"))
    client, store = served()
    said(client.post(PAINT, json=CUP, headers=ann), 503)
    assert worker.run_next()
    for headers, body in ((bob, CUP), (ann, {"inputs": "a hat"}), (ann, {**CUP, "parameters": {"steps": 3}})):
        said(client.post(PAINT, json=body, headers=headers), 503)
    said(client.post(PAINT, json=CUP, headers={**ann, "Idempotency-Key": "mine"}), 503)
    assert opened(client.post(PAINT, json=CUP, headers=ann))
    assert store.jobs.counts()[0] == 4


def test_an_api_key_gets_nothing_that_it_may_not_ask_for_itself(
    served: Served, parts: Services, worker: Worker
) -> None:
    """Keys of one owner may have other scopes, and other policies."""
    mine, strict = ({"Authorization": f"Bearer {parts.keys.add(name, 'shop')}"} for name in ("mine", "strict"))
    edits = {"Authorization": f"Bearer {parts.keys.add('edits', 'shop', scopes=(Scope.EDIT,))}"}
    client, store = served()
    said(client.post(PAINT, json=CUP, headers=mine), 503)
    assert worker.run_next()
    assert "lacks the scope" in said(client.post(PAINT, json=CUP, headers=edits), 403)
    said(client.post(PAINT, json=CUP, headers=strict), 503)
    assert opened(client.post(PAINT, json=CUP, headers=mine))
    assert len(jobs(store, "shop")) == 2


def test_an_idempotency_key_gives_the_same_picture_each_time(served: Served, worker: Worker) -> None:
    client, _ = served()
    headers = {"Idempotency-Key": "mine"}
    said(client.post(PAINT, json=CUP, headers=headers), 503)
    assert worker.run_next()
    found = {client.post(PAINT, json=CUP, headers=headers).headers["X-Job-Id"] for _ in range(2)}
    assert len(found) == 1


def test_a_caller_that_is_gone_ends_no_job_and_finds_it_again(
    client: FlaskClient, worker: Worker, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen_image_studio.web.waiting.LOOK_S", 0.05)
    client.post(PAINT, json=CUP, environ_overrides={"gunicorn.socket": Caller(left=True)})
    assert worker.run_next()
    assert client.post(PAINT, json=CUP).headers["X-Job-Id"] == newest(store).id
    assert len(jobs(store)) == 1


class Leaving(Caller):
    """A connection whose caller leaves when it is told to."""

    def __init__(self) -> None:
        super().__init__(left=False)
        self.gone = threading.Event()

    def has_left(self) -> bool:
        """Whether it has."""
        return self.gone.is_set()


def test_who_gives_up_and_asks_again_at_once_goes_on_with_the_same_job(
    app: Flask, worker: Worker, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the server has looked whether the first connection is still there; and who stays, has a job to himself."""
    monkeypatch.setattr("qwen_image_studio.web.waiting.LOOK_S", 60.0)
    leaving, staying = Leaving(), Leaving()
    found: dict[str, str] = {}

    def ask(name: str, connection: Caller) -> threading.Thread:
        def post() -> None:
            answer = app.test_client().post(PAINT, json=CUP, environ_overrides={"gunicorn.socket": connection})
            found[name] = answer.headers.get("X-Job-Id", "")

        thread = threading.Thread(target=post)
        thread.start()
        return thread

    def waiting(number: int) -> None:
        until(lambda: app.extensions["qwen-image-studio"].changes.watches == number)

    threads = [ask("left", leaving)]
    waiting(1)
    threads.append(ask("stayed", staying))
    waiting(2)
    leaving.gone.set()
    threads.append(ask("again", Leaving()))
    waiting(3)
    assert len(jobs(store)) == 2
    while worker.run_next():
        pass
    for thread in threads:
        thread.join()
    first, second = reversed(jobs(store))
    assert (found["again"], found["stayed"]) == (first.id, second.id)
    assert all(job.idempotency_key is None for job in jobs(store)), "nothing of it is promised to a fourth"


def test_what_failed_meanwhile_is_told_once_and_then_painted_anew(served: Served, worker: Worker) -> None:
    client, store = served()
    body = {"inputs": "memory@1 always", "parameters": {"steps": 2}}
    said(client.post(PAINT, json=body), 503)
    while worker.run_next():
        pass
    assert "too little memory" in said(client.post(PAINT, json=body), 500)
    said(client.post(PAINT, json=body), 503)
    assert len(jobs(store)) == 2


def test_a_held_picture_is_refused_until_it_is_approved(served: Served, worker: Worker) -> None:
    client, store = served()
    body = {"inputs": "a cup", "parameters": {"steps": 2, "hold": True}}
    said(client.post(PAINT, json=body), 503)
    assert worker.run_next()
    for _ in range(2):
        answer = client.post(PAINT, json=body)
        assert "reviewer" in said(answer, 403)
        assert error_code(answer) == "held_for_review"
    [job] = jobs(store)
    [image] = store.images.of_jobs([job.id])[job.id]
    assert client.post(f"/v1/images/{image.id}/review", json={"state": "approved"}).status_code == 200
    assert client.post(PAINT, json=body).headers["X-Image-Id"] == image.id


@pytest.mark.parametrize(
    ("headers", "options"),
    [({"X-Wait-For-Model": "true"}, {}), ({}, {"wait_for_model": True})],
    ids=["header", "option"],
)
def test_who_wants_to_wait_waits(
    served: Served, worker: Worker, headers: dict[str, str], options: dict[str, bool]
) -> None:
    client, _ = served()
    with working(worker):
        assert opened(client.post(PAINT, json={**CUP, "options": options}, headers=headers))


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({"X-Use-Cache": "false"}, {}),
        ({}, {"options": {"use_cache": False}}),
        ({"X-Use-Cache": "true"}, {"options": {"use_cache": False}}),
    ],
    ids=["header", "option", "the body wins"],
)
def test_who_wants_nothing_of_the_past_gets_a_new_picture(
    served: Served, headers: dict[str, str], more: dict[str, Any]
) -> None:
    job = understood(served(), PAINT, json={**CUP, **more}, headers=headers)
    assert (job.request or {})["cache"] is False
    job = understood(served(), PAINT, json={"inputs": "a hat", "parameters": {"cache": True}})
    assert (job.request or {})["cache"] is True


def test_the_estimate_grows_with_the_queue(served: Served) -> None:
    client, _ = served()
    answers = [client.post(PAINT, json={"inputs": f"a cup {number}"}) for number in range(3)]
    times = [answer.get_json()["estimated_time"] for answer in answers]
    assert times == sorted(set(times))


def test_limits_are_told_as_on_the_other_routes(served: Served, parts: Services) -> None:
    key = parts.keys.add("ann", limits=KeyLimits(key=Limits(requests_per_minute=1)))
    headers = {"Authorization": f"Bearer {key}"}
    client, _ = served()
    said(client.post(PAINT, json=CUP, headers=headers), 503)
    answer = client.post(PAINT, json={"inputs": "a hat"}, headers=headers)
    assert "1 jobs a minute" in said(answer, 429)
    assert answer.headers["Retry-After"]
    assert "r=0" in answer.headers["RateLimit"]
