"""What clients of other servers send to OpenAI's routes: other names for our parameters, and what there is not here."""

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.contract.words import MAX_PROMPT_CHARS
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.jobs import Job, JobStore
from qwen_image_studio.web.names import understood
from qwen_image_studio.web.openai.requests import VARIATION
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png
from tests.support.refusals import assert_refused
from tests.support.worker import working

BASE64 = base64.b64encode(png(64, 48)).decode()
DATA_URL = f"data:image/png;base64,{BASE64}"


@pytest.fixture(autouse=True)
def _painting(worker: Worker) -> Iterator[None]:
    """A worker takes jobs in the background until the end of the test."""
    with working(worker):
        yield


def done(store: JobStore, answer: Any) -> tuple[Job, list[str]]:
    """The job of an answer, and its warnings."""
    assert answer.status_code == 200, answer.text
    return store.jobs.get(answer.get_json()["job_id"]), answer.get_json()["warnings"]


def generated(client: FlaskClient, **more: Any) -> Any:
    return client.post("/v1/images/generations", json={"prompt": "a cup", "steps": 2, **more})


def edited(client: FlaskClient, **more: Any) -> Any:
    return client.post("/v1/images/edits", json={"prompt": "make it green", "steps": 2, "image": DATA_URL, **more})


def form(client: FlaskClient, path: str = "/v1/images/edits", /, **parts: Any) -> Any:
    """An edit as a form; bytes are files."""
    data = {
        name: [(BytesIO(each), "blob") if isinstance(each, bytes) else each for each in value]
        for name, value in {"prompt": ["make it green"], "steps": ["2"], **parts}.items()
    }
    return client.post(path, data=data, content_type="multipart/form-data")


# -- other names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ({"num_inference_steps": 7}, {"steps": 7}),
        ({"sampling_steps": "7"}, {"steps": "7"}),
        ({"steps": 7, "num_inference_steps": 9}, {"steps": 7}),
        ({"true_cfg_scale": 3.0}, {"guidance_scale": 3.0}),
        ({"cfg_scale": 4.5}, {"guidance_scale": 4.5}),
        ({"guidance_scale": 1.0, "true_cfg_scale": 4.0, "cfg_scale": 2}, {"guidance_scale": 4.0}),
        ({"guidance": 3.5}, {}),
        ({"size": "512x512", "width": 96, "height": 64}, {"width": 96, "height": 64}),
        ({"size": "512x512", "target_size": {"width": 96, "height": 64}}, {"width": 96, "height": 64}),
        ({"size": "512x512", "width": 96}, {"size": "512x512", "width": 96}),
        ({"kwargs": '{"num_inference_steps": 7, "n": 2, "colour": 1}', "n": 1}, {"steps": 7, "n": 1}),
        ({"kwargs": {"seed": 3}}, {"seed": 3}),
        ({"kwargs": ""}, {}),
        ({"extra_body": {"seed": 3, "n": 4}, "kwargs": {"n": 2}}, {"seed": 3, "n": 2}),
        ({"n": None, "negative_prompt": "", "size": "  ", "image": []}, {}),
        ({"seed": " 17 "}, {"seed": " 17 "}),
        ({"seed": 2**40}, {"seed": 2**40}),
    ],
    ids=str,
)
def test_other_names_for_a_parameter_are_understood(sent: dict[str, Any], taken: dict[str, Any]) -> None:
    """C: table 2."""
    known = {"steps", "guidance_scale", "size", "width", "height", "n", "seed", "negative_prompt", "image"}
    assert understood(sent, known).params == taken


def test_what_counts_among_several_names_is_told() -> None:
    found = understood({"guidance_scale": 1.0, "true_cfg_scale": 4.0, "cfg_scale": 4.0}, {"guidance_scale"})
    assert found.warnings == ["guidance_scale has no effect beside true_cfg_scale, which says the same."]
    size = {"size": "512x512", "width": 96, "height": 64}
    assert understood(size, size).warnings == ["size 512x512 has no effect beside width and height."]
    assert understood({**size, "size": "96*64"}, size).warnings == []


def test_what_other_servers_have_is_ignored_and_named(client: FlaskClient, store: JobStore) -> None:
    """C: table 2, as Dify's gpustack tools and the tests of vLLM-Omni send it."""
    job, warnings = done(
        store,
        generated(client, steps=None, sampling_steps=3, cfg_scale=4.5, guidance=3.5, sample_method="euler", seed=None,
                  schedule_method="discrete", negative_prompt="", size="96*64", input_fidelity="high", strength=0.75),
    )  # fmt: skip
    assert (job.plan["steps"], job.plan["guidance_scale"]) == (3, 4.5)
    assert (job.plan["width"], job.plan["height"]) == (96, 64)
    assert (
        "Ignored, since nothing here goes by it: guidance, sample_method, schedule_method, input_fidelity." in warnings
    )
    assert "strength has no effect without an image." in warnings


@pytest.mark.parametrize("route", ["generations", "edits"])
def test_an_unknown_parameter_is_ignored_and_told_its_likely_name(client: FlaskClient, route: str) -> None:
    """C: the misspelt name of one of ours would go unseen."""
    answer = (generated if route == "generations" else edited)(client, qualty="low", zzz=[1], promt="x", ratio="16:9")
    assert answer.status_code == 200, answer.text
    told = "\n".join(answer.get_json()["warnings"])
    assert "'qualty' is not a parameter here and was ignored; did you mean 'quality'?" in told
    assert "'ratio' is not a parameter here and was ignored; did you mean 'aspect_ratio'?" in told
    assert "'promt' is not a parameter here and was ignored; did you mean 'prompt'?" in told
    assert "'zzz' is not a parameter here and was ignored; /openapi.json lists those there are." in told


def test_many_unknown_parameters_are_counted(client: FlaskClient) -> None:
    answer = generated(client, **{f"zz{'y' * 70}{index}": index for index in range(40)})
    warnings = answer.get_json()["warnings"]
    assert sum("is not a parameter" in each for each in warnings) == 12
    assert "So were 28 more parameters." in warnings
    assert all(len(each) < 200 for each in warnings)


def test_an_unknown_parameter_of_a_job_is_refused_as_before(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", "num_inference_steps": 2})
    assert_refused(answer, 422, "unknown_parameter", "num_inference_steps")


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"num_inference_steps": "many"}, "num_inference_steps"),
        ({"num_inference_steps": 100_000}, "num_inference_steps"),
        ({"true_cfg_scale": 0.5}, "true_cfg_scale"),
        ({"true_cfg_scale": "high", "guidance_scale": 2}, "true_cfg_scale"),
        ({"kwargs": '{"steps": 1}'}, "steps"),
        ({"kwargs": "not JSON"}, "kwargs"),
        ({"kwargs": [1]}, "kwargs"),
        ({"target_size": {"width": 96}}, "target_size"),
        ({"width": 96}, "width"),
        ({"response_format": "file"}, "response_format"),
        ({"seed": -2}, "seed"),
        ({"seed": "-2"}, "seed"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"mask": "img_1"}, "mask"),
        ({"mask": DATA_URL}, "mask"),
        ({"image": [DATA_URL] * 4}, "image"),
        ({"extra_body": "x"}, "extra_body"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_value_is_an_error_under_the_name_that_was_sent(
    client: FlaskClient, sent: dict[str, Any], param: str
) -> None:
    answer = generated(client, **{"steps": None, **sent})
    assert_refused(answer, 400, "invalid_value", param)
    assert answer.get_json()["error"]["message"].startswith(f"{param}: ")


def test_a_seed_of_letters_stands_for_a_number(client: FlaskClient, store: JobStore) -> None:
    """C: Dify's azuredalle draws eight letters."""
    seeds = set()
    for seed in ("aB3xY9zQ", "aB3xY9zQ", "other"):
        job, warnings = done(store, generated(client, seed=seed))
        seeds.add(job.plan["seeds"][0])
        assert f"seed {seed} is no number; it stands for {job.plan['seeds'][0]}." in warnings
    assert len(seeds) == 2


# -- values that are taken ------------------------------------------------------------------------------------------


def test_a_transparent_background_is_painted_opaque_and_told(client: FlaskClient, store: JobStore) -> None:
    """C: it is an option of Dify's form."""
    answer = generated(client, background="transparent")
    assert answer.get_json()["background"] == "opaque"
    assert any("background transparent was painted opaque" in each for each in done(store, answer)[1])


@pytest.mark.parametrize("param", ["prompt", "negative_prompt"])
def test_a_long_prompt_is_cut_and_told(client: FlaskClient, store: JobStore, param: str) -> None:
    """C: OpenAI takes 32,000 characters."""
    job, warnings = done(store, generated(client, **{param: "红苹果 " * 8000}))
    assert 0 < len(job.plan[param]) <= MAX_PROMPT_CHARS
    assert f"{param}: of its 31999 characters the first {MAX_PROMPT_CHARS} were taken." in warnings


def test_strength_is_idle_without_a_mask_and_width_with_one(client: FlaskClient, store: JobStore) -> None:
    """C: Dify's gpustack always sends a strength of 0.75."""
    job, warnings = done(store, form(client, image=[png(64, 48)], strength=["0.75"], feather=["3"]))
    assert job.operation == "edit"
    assert "feather and strength: no effect without a mask or region." in warnings
    region = '{"x": 0, "y": 0, "width": 32, "height": 24}'
    sent = {"region": [region], "strength": ["0.75"], "width": ["96"], "height": ["64"], "prefer": ["model"]}
    job, warnings = done(store, form(client, image=[png(64, 48)], **sent))
    assert (job.operation, job.plan["strength"]) == ("inpaint", 0.75)
    assert "height and prefer and width: no effect with a mask or region." in warnings


def test_a_style_is_a_saved_one_or_openais(client: FlaskClient, store: JobStore) -> None:
    """OpenAI's own are sent by every client of DALL-E 3; another has to be one that somebody saved."""
    for style in ("vivid", "natural"):
        for answer in (generated(client, style=style), edited(client, style=style)):
            assert f"style {style} has no effect; say it in the prompt." in done(store, answer)[1]
    assert client.put("/v1/styles/spring", json={"style": "watercolour"}).status_code == 201
    job, _ = done(store, generated(client, style="spring"))
    assert "watercolour" in job.plan["prompt"]
    assert_refused(generated(client, style="autumn"), 400, "unknown_style", "style")


# -- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]", "images", "images[]", "images[3]"])
def test_a_file_may_come_under_any_name_of_an_image(client: FlaskClient, store: JobStore, name: str) -> None:
    job, _ = done(store, form(client, **{name: [png(64, 48)]}))
    assert len(job.inputs) == 1


@pytest.mark.parametrize("name", ["url", "url[]", "image", "images[]"])
@pytest.mark.parametrize("kind", ["multipart", "urlencoded"])
def test_an_edit_by_a_url_alone_may_come_in_any_form(
    client: FlaskClient, store: JobStore, name: str, kind: str
) -> None:
    """C: vLLM-Omni and SGLang take no file at all then, and OpenAI's client has an empty list of images."""
    fields = {"prompt": "make it green", "steps": "2", "image[]": "", name: DATA_URL}
    if kind == "urlencoded":
        sent: dict[str, Any] = {"data": urlencode(fields), "content_type": "application/x-www-form-urlencoded"}
    else:
        sent = {"data": fields, "content_type": "multipart/form-data"}
    job, _ = done(store, client.post("/v1/images/edits", **sent))
    [image] = [store.images.get(each, job.owner) for each in job.inputs]
    assert (image.width, image.height) == (64, 48)


@pytest.mark.parametrize("data", [b"a=b&" * 100_000, b"&" * 1_000_000], ids=["fields", "empty ones"])
def test_a_form_of_very_many_fields_is_refused_before_it_is_read(client: FlaskClient, data: bytes) -> None:
    answer = client.post("/v1/images/edits", data=data, content_type="application/x-www-form-urlencoded")
    assert_refused(answer, 413, "body_too_large", None)
    assert "more than 60 fields" in answer.get_json()["error"]["message"]


def test_a_url_is_fetched_or_refused_as_any_other(client: FlaskClient) -> None:
    answer = form(client, url=["http://127.0.0.1:1/x.png"])
    assert_refused(answer, 400, "url_not_allowed", "image")


@pytest.mark.parametrize("body", [{"image": BASE64}, {"images": [BASE64]}, {"image": {"b64_json": BASE64}}], ids=list)
def test_base64_needs_no_start_of_a_data_url(client: FlaskClient, store: JobStore, body: dict[str, Any]) -> None:
    job, _ = done(store, edited(client, **{"image": None, **body}))
    assert len(job.inputs) == 1


def test_a_mask_may_be_bare_base64(client: FlaskClient, store: JobStore) -> None:
    mask = BytesIO()
    Image.new("RGBA", (64, 48), (0, 0, 0, 0)).save(mask, "PNG")
    job, _ = done(store, edited(client, mask=base64.b64encode(mask.getvalue()).decode()))
    assert job.operation == "inpaint"


def test_a_generation_may_start_from_a_picture_in_its_json(client: FlaskClient, store: JobStore) -> None:
    job, warnings = done(store, generated(client, image=DATA_URL, strength=0.5, size="96x64"))
    assert (len(job.inputs), job.plan["strength"]) == (1, 0.5)
    assert not any("strength" in each for each in warnings)


def test_a_picture_in_a_form_may_be_longer_than_its_other_texts(client: FlaskClient, store: JobStore) -> None:
    """The test server takes pictures of 2 MB; texts beside them may have 1 MB."""
    noisy = BytesIO()
    Image.effect_noise((800, 700), 90).convert("RGB").save(noisy, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(noisy.getvalue()).decode()}"
    job, _ = done(store, form(client, url=[url], size=["64x64"]))
    assert len(job.inputs) == 1
    assert_refused(form(client, url=[url], colour=["x" * 1_000_001]), 413, "body_too_large", None)


def test_a_generation_from_several_images_is_an_edit(client: FlaskClient, store: JobStore) -> None:
    """Dify's openai-api-compatible-image sends the pictures of an edit so."""
    job, _ = done(store, generated(client, image=[DATA_URL, DATA_URL], size="96x64", style="vivid"))
    assert (job.operation, len(job.inputs)) == ("edit", 2)


# -- variations -----------------------------------------------------------------------------------------------------


def test_a_variation_is_an_edit_with_an_instruction_of_its_own(client: FlaskClient, store: JobStore) -> None:
    """C: OpenAI's clients have a method for it."""
    data = {"image": (BytesIO(png(64, 48)), "a.png"), "n": "2", "size": "96x64", "steps": "2", "model": "dall-e-2"}
    answer = client.post("/v1/images/variations", data=data)
    job, _ = done(store, answer)
    assert (job.operation, job.plan["prompt"], len(job.plan["seeds"])) == ("edit", VARIATION, 2)
    body = answer.get_json()
    assert [image.keys() & {"url", "b64_json"} for image in body["data"]] == [{"url", "b64_json"}] * 2
    assert body["usage"]["input_tokens_details"]["image_tokens"] == 4 * 3
    assert "revised_prompt" not in body["data"][0]


def test_a_variation_with_a_prompt_or_template_is_an_edit_by_it(client: FlaskClient, store: JobStore) -> None:
    """C: Xinference's client uses the path so."""
    job, _ = done(store, form(client, "/v1/images/variations", image=[png(64, 48)], kwargs=['{"steps": 3}']))
    assert (job.plan["prompt"], job.plan["steps"]) == ("make it green", 2)
    listed = client.get("/v1/templates").get_json()["data"]
    [template] = [one for one in listed if one["operation"] == "edit" and "object" in one["slots"]][:1]
    slots = {name: "apple" for name, slot in template["slots"].items() if slot["type"] == "text"}
    sent = {"image": DATA_URL, "template": template["id"], "slots": slots, "language": "en", "steps": 2}
    job, _ = done(store, client.post("/v1/images/variations", json=sent))
    assert job.plan["prompt"] != VARIATION


def test_a_variation_needs_an_image(client: FlaskClient) -> None:
    answer = client.post("/v1/images/variations", data={"n": "1"}, content_type="multipart/form-data")
    assert_refused(answer, 400, "invalid_value", "image")


# -- the answer -----------------------------------------------------------------------------------------------------


def test_the_id_of_an_answer_is_that_of_its_first_image(client: FlaskClient) -> None:
    """C: SGLang's tests ask for /v1/images/{id}/content."""
    answer = generated(client, n=2).get_json()
    assert answer["id"] == answer["data"][0]["id"]
    content = client.get(f"/v1/images/{answer['id']}/content")
    assert (content.status_code, content.data) == (200, base64.b64decode(answer["data"][0]["b64_json"]))


# -- Azure ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["/openai", "", "/v1"])
@pytest.mark.parametrize(
    ("deployment", "body", "model", "warned"),
    [
        ("miniature", {}, "miniature", False),
        ("Qwen/Qwen-Image", {}, "miniature", True),
        ("dall-e-3", {"seed": "aB3xY9zQ"}, "miniature", True),
        ("anything", {"model": "gpt-image-1"}, "miniature", True),
        ("gpt-image-1", {"model": ""}, "miniature", True),
    ],
    ids=["served", "with a slash", "OpenAI's", "of the body", "empty in the body"],
)
def test_azures_paths_name_the_model(
    client: FlaskClient, base: str, deployment: str, body: dict[str, Any], model: str, warned: bool
) -> None:
    """C: Dify's azuredalle, and AzureOpenAI with and without a base URL of its own."""
    path = f"{base}/deployments/{deployment}/images/generations?api-version=2024-02-01"
    answer = client.post(path, json={"prompt": "a cup", "steps": 2, **body})
    assert answer.status_code == 200, answer.text
    assert answer.get_json()["model"] == model
    assert any("is not on this server" in each for each in answer.get_json()["warnings"]) is warned


def test_azures_edits_and_errors_are_those_of_openais(client: FlaskClient) -> None:
    answer = form(client, "/openai/deployments/gpt-image-1/images/edits?api-version=1", image=[png(64, 48)])
    assert (answer.status_code, answer.get_json()["data"][0].keys() & {"url", "b64_json"}) == (200, {"b64_json"})
    path = "/openai/deployments/nobody/images/generations?api-version=1"
    assert_refused(client.post(path, json={"prompt": "x"}), 400, "unknown_model", "model")
    failed = client.post("/v1/deployments/auto/images/generations", json={"prompt": "memory@1 always", "steps": 2})
    assert (failed.status_code, failed.headers["X-Should-Retry"]) == (500, "false")


def test_azures_header_carries_the_key(client: FlaskClient, parts: Services) -> None:
    keys: KeyStore = parts.keys
    key = keys.add("ann")
    path, body = "/openai/deployments/dall-e-3/images/generations", {"prompt": "a cup", "steps": 2}
    assert client.post(path, json=body, headers={"api-key": key}).status_code == 200
    assert client.post(path, json=body, headers={"api-key": "wrong"}).status_code == 401
    other = {"Authorization": "Bearer wrong", "api-key": key}
    assert client.post(path, json=body, headers=other).status_code == 401, "a wrong key is not passed over"
    assert key not in json.dumps(client.get("/v1/jobs", headers={"api-key": key}).get_json())
