"""``litellm``: one call for every provider, here OpenAI's and Azure's."""

import asyncio
from typing import Any

import litellm

from tests.clients.python import server
from tests.clients.python.server import KEY, MASK, PICTURE, URL, V1, masked, opened, refused, same, seen

OPENAI: dict[str, Any] = {"model": "openai/Qwen-Image", "api_base": V1, "api_key": KEY}
EDITS: dict[str, Any] = {"model": "openai/Qwen-Image-Edit", "api_base": V1, "api_key": KEY}


def shown(answer: Any, size: tuple[int, int] = (128, 128)) -> list[Any]:
    """Return the pictures of an answer."""
    return [seen(image.b64_json, size) for image in answer.data]


def generate() -> None:
    answer = litellm.image_generation(prompt="a red apple", n=2, size="160x112", **OPENAI)
    assert len(shown(answer, (160, 112))) == 2
    assert answer.usage.total_tokens > 0


def link() -> None:
    answer = litellm.image_generation(prompt="a red apple", **{**OPENAI, "model": "openai/dall-e-3"})
    opened(answer.data[0].url)


def extra() -> None:
    one, other = [
        shown(litellm.image_generation(prompt="a red apple", extra_body={"seed": 7}, **OPENAI))[0] for _ in range(2)
    ]
    assert same(one, other)


def azure() -> None:
    answer = litellm.image_generation(
        model="azure/Qwen-Image", api_base=URL, api_key=KEY, api_version="2025-04-01-preview", prompt="a red apple"
    )
    shown(answer)


def edit() -> None:
    shown(litellm.image_edit(image=PICTURE, prompt="add a star", **EDITS))
    answer = litellm.image_edit(image=[PICTURE], mask=MASK, prompt="a cat", **EDITS)
    masked(shown(answer)[0])


def variation() -> None:
    answer = litellm.image_variation(image=PICTURE, **{**OPENAI, "model": "openai/dall-e-2"})
    opened(answer.data[0].url)


async def at_once() -> None:
    painted, edited = await asyncio.gather(
        litellm.aimage_generation(prompt="a red apple", **OPENAI),
        litellm.aimage_edit(image=PICTURE, prompt="add a star", **EDITS),
    )
    shown(painted)
    shown(edited)


def bad_values() -> None:
    with refused(litellm.BadRequestError, "size"):
        litellm.image_generation(prompt="a red apple", size="enormous", **OPENAI)


def wrong_key() -> None:
    with refused(litellm.AuthenticationError, "key"):
        litellm.image_generation(prompt="a red apple", **{**OPENAI, "api_key": server.WRONG})
