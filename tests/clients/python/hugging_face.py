"""``huggingface_hub``: the client of Hugging Face's inference."""

import asyncio
from typing import Any

from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError
from PIL import Image

from tests.clients.python import server
from tests.clients.python.server import EDITOR, KEY, MODEL, PATH, PICTURE, URL, refused, same

GREEN = "make the background green"


def looked_at(image: Image.Image, size: tuple[int, int] = (128, 128)) -> Image.Image:
    """Return the picture after a look at its size."""
    assert image.size == size, f"{image.size} came, not {size}"
    return image.convert("RGB")


def client(model: str = MODEL, key: str = KEY) -> InferenceClient:
    """Return the client as people make it."""
    return InferenceClient(model=model, token=key)


def text_to_image() -> None:
    looked_at(client().text_to_image("a red apple"))


def parameters() -> None:
    given: dict[str, Any] = {
        "negative_prompt": "a cat",
        "width": 160,
        "height": 112,
        "num_inference_steps": 4,
        "guidance_scale": 3.5,
        "scheduler": "euler",
        "seed": 7,
        "extra_body": {"output_format": "webp"},
    }
    one, other = [client().text_to_image("a red apple", **given) for _ in range(2)]
    assert one.format == "WEBP"
    assert same(looked_at(one, (160, 112)), looked_at(other, (160, 112)))


def image_to_image() -> None:
    for image in (PICTURE, PATH, str(PATH)):
        looked_at(client(EDITOR).image_to_image(image, prompt=GREEN))


def target_size() -> None:
    answer = client(EDITOR).image_to_image(
        PICTURE,
        prompt=GREEN,
        negative_prompt="a cat",
        num_inference_steps=4,
        guidance_scale=3.5,
        target_size={"width": 160, "height": 112},  # type: ignore[arg-type]
        seed=7,
    )
    looked_at(answer, (160, 112))


def hf_inference() -> None:
    address = f"{URL}/hf-inference/models/Qwen/Qwen-Image"
    looked_at(InferenceClient(token=KEY).text_to_image("a red apple", model=address))
    looked_at(InferenceClient(provider="hf-inference", model=address, api_key=KEY).text_to_image("a red apple"))


async def at_once() -> None:
    painter, editor = (AsyncInferenceClient(model=address, token=KEY) for address in (MODEL, EDITOR))
    painted, edited = await asyncio.gather(
        painter.text_to_image("a red apple"), editor.image_to_image(PICTURE, prompt=GREEN)
    )
    looked_at(painted)
    looked_at(edited)


def no_prompt() -> None:
    with refused(BadRequestError, "prompt"):
        client(EDITOR).image_to_image(PICTURE)


def bad_values() -> None:
    with refused(BadRequestError, "width"):
        client().text_to_image("a red apple", width=7)


def wrong_address() -> None:
    with refused(HfHubHTTPError, "404", "/models/"):
        InferenceClient(base_url=server.V1, token=KEY).text_to_image("a red apple")


def wrong_key() -> None:
    with refused(HfHubHTTPError, "401") as refusal:
        client(key=server.WRONG).text_to_image("a red apple")
    assert "key" in (refusal.error.server_message or "")


def used_up() -> None:
    with refused(HfHubHTTPError, "429") as refusal:
        client(key=server.SPENT).text_to_image("a red apple")
    assert "0 images a day" in (refusal.error.server_message or "")
