"""Hugging Face's own client, unchanged, against a running server."""

import asyncio
import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, InferenceTimeoutError
from PIL import Image

from tests.support.pictures import png
from tests.support.studio import Studio
from tests.support.waiting import until

QUICK = {"steps": 4}
PAINT, EDIT = "/models/Qwen/Qwen-Image", "/models/Qwen/Qwen-Image-Edit-2509"


def client(studio: Studio, path: str) -> InferenceClient:
    """The client as its users make it for a server of their own."""
    return InferenceClient(model=f"{studio.url}{path}", token=studio.api_key)


@pytest.mark.parametrize("prefix", ["", "/hf-inference"])
def test_text_to_image(studio: Studio, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "huggingface_hub"):
        image = client(studio, f"{prefix}{PAINT}").text_to_image(
            "a red apple",
            negative_prompt="blue",
            width=96,
            height=64,
            num_inference_steps=4,
            guidance_scale=2.5,
            scheduler="euler",
            seed=5,
            extra_body={"user": f"hf{prefix}"},
        )
    assert (image.size, image.format) == ((96, 64), "PNG")
    [job] = studio.request("GET", "/v1/jobs", params={"user": f"hf{prefix}"}).json()["data"]
    assert (job["operation"], job["images"][0]["seed"]) == ("generate", 5)
    if not prefix:
        assert "nothing here goes by it: scheduler" in caplog.text  # it logs a warning once in its life


def test_a_seed_paints_the_same_whoever_asks(studio: Studio) -> None:
    """By a URL for each call, and with nothing but a base URL."""
    ask: dict[str, Any] = {"seed": 8, "num_inference_steps": 3}
    one = InferenceClient(token=studio.api_key).text_to_image("a cup", model=f"{studio.url}{PAINT}", **ask)
    two = InferenceClient(base_url=f"{studio.url}{PAINT}", token=studio.api_key).text_to_image("a cup", **ask)
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("kind", ["bytes", "path", "address"])
def test_image_to_image(studio: Studio, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(64, 48))
    kept = studio.request("POST", "/v1/images", files={"image": png(64, 48)}).json()
    sent = {"bytes": path.read_bytes(), "path": path, "address": kept["url"]}[kind]
    image = client(studio, EDIT).image_to_image(
        sent,
        prompt="make it green",
        target_size={"width": 96, "height": 64},  # type: ignore[arg-type]
        num_inference_steps=4,
        user=f"edit-{kind}",
    )
    assert image.size == (96, 64)
    [job] = studio.request("GET", "/v1/jobs", params={"user": f"edit-{kind}"}).json()["data"]
    assert job["operation"] == "edit"


def test_a_picture_alone_is_refused_with_a_sentence(studio: Studio, tmp_path: Path) -> None:
    """The client sends its bytes with no Content-Type, or with that of the path."""
    (tmp_path / "a.png").write_bytes(png())
    for sent in (png(), tmp_path / "a.png"):
        with pytest.raises(BadRequestError, match="prompt: is missing"):
            client(studio, EDIT).image_to_image(sent)


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # of its own, for httpx
def test_the_async_client(studio: Studio) -> None:
    async def both() -> tuple[Image.Image, Image.Image]:
        async with AsyncInferenceClient(model=f"{studio.url}{EDIT}", token=studio.api_key) as asked:
            painted = asked.text_to_image("a cup", model=f"{studio.url}{PAINT}", num_inference_steps=3)
            edited = asked.image_to_image(png(64, 48), prompt="make it green", num_inference_steps=3)
            one, two = await asyncio.gather(painted, edited)
            return one, two

    painted, edited = asyncio.run(both())
    assert (painted.size, edited.size) == ((128, 128), (144, 112))


def test_refusals_reach_people_as_sentences(studio: Studio) -> None:
    for path, token, kind, words in (
        (PAINT, "wrong", HfHubHTTPError, "API key is missing or wrong"),
        ("/models/black-forest-labs/FLUX.1-dev", studio.api_key, HfHubHTTPError, "it has: /models/miniature"),
        ("/v1", studio.api_key, HfHubHTTPError, "POST /models/Qwen/Qwen-Image"),
    ):
        with pytest.raises(kind, match=words) as caught:
            InferenceClient(model=f"{studio.url}{path}", token=token).text_to_image("a cup")
        assert str(caught.value.request_id).startswith("req_")
    with pytest.raises(BadRequestError, match="num_inference_steps: "):
        client(studio, PAINT).text_to_image("a cup", num_inference_steps=1)


def test_a_plain_call_with_image_and_instruction(studio: Studio) -> None:
    data = {"instruction": "make it green", "num_inference_steps": "3"}
    answer = studio.request("POST", EDIT, data=data, files={"image": png(64, 48)}, headers={"Accept": "image/webp"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/webp")
    assert Image.open(BytesIO(answer.content)).size == (144, 112)


def test_the_endpoint_is_looked_at(studio: Studio) -> None:
    asked = InferenceClient(model=f"{studio.url}{EDIT}", provider="hf-inference", token=studio.api_key)
    assert asked.health_check()
    assert "edit" in asked.get_endpoint_info()["operations"]
    assert asked.image_to_image(png(64, 48), prompt="rotate it 90 degrees", prefer="cv").size == (48, 64)


def test_who_gives_up_and_asks_again_gets_the_picture_of_the_first_job(studio: Studio) -> None:
    ask: dict[str, Any] = {"num_inference_steps": 150, "extra_body": {"user": "impatient"}}

    def jobs() -> list[dict[str, Any]]:
        found = studio.request("GET", "/v1/jobs", params={"user": "impatient"}).json()["data"]
        return [dict(each) for each in found]

    with pytest.raises(InferenceTimeoutError):
        InferenceClient(model=f"{studio.url}{PAINT}", token=studio.api_key, timeout=0.5).text_to_image("a cup", **ask)
    until(jobs)
    assert client(studio, PAINT).text_to_image("a cup", **ask).size == (128, 128)
    [job] = jobs()
    assert job["state"] == "succeeded"
