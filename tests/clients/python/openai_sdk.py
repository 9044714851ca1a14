"""``openai``: OpenAI's own client for Python."""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import openai
from openai import AsyncOpenAI, OpenAI

from tests.clients.python import server
from tests.clients.python.server import KEY, MASK, PATH, PICTURE, V1, masked, opened, refused, seen

WIDE = (160, 112)


def client(key: str = KEY) -> OpenAI:
    """Return the client as people make it."""
    return OpenAI(base_url=V1, api_key=key)


def first(answer: Any) -> Any:
    """Return the only image of an answer."""
    [image] = answer.data
    return image


def models() -> None:
    listed = list(client().models.list())
    assert listed, "the list is empty"
    for name in (listed[0].id, "Qwen/Qwen-Image"):
        assert client().models.retrieve(name).created > 0


def generate() -> None:
    answer = client().images.generate(model="Qwen-Image", prompt="a red apple", size="160x112")
    seen(first(answer).b64_json, WIDE)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    assert answer.size == "160x112"


def options() -> None:
    answer = client().images.generate(
        model="Qwen-Image",
        prompt="a red apple",
        n=2,
        background="opaque",
        moderation="low",
        output_compression=60,
        output_format="jpeg",
        quality="high",
        size="160x112",
        style="vivid",
        user="anna",
        response_format="b64_json",
        extra_body={"seed": 7, "negative_prompt": "a cat", "num_inference_steps": 4, "true_cfg_scale": 2.0},
    )
    one, other = [seen(image.b64_json, WIDE, "JPEG") for image in answer.data or []]
    assert not server.same(one, other)


def link() -> None:
    opened(first(client().images.generate(prompt="a red apple", response_format="url")).url)


def names() -> None:
    for name in ("gpt-image-1", "gpt-image-1-mini", "gpt-image-2", "dall-e-3"):
        answer = client().images.generate(model=name, prompt="a red apple", extra_body={"steps": 2})
        seen(first(answer).b64_json)
        assert name in cast(Any, answer).warnings[0]


def transparent() -> None:
    answer = client().images.generate(model="gpt-image-1", prompt="a red apple", background="transparent")
    seen(first(answer).b64_json)
    assert "transparent" in " ".join(cast(Any, answer).warnings)


def long_prompt() -> None:
    seen(first(client().images.generate(prompt="a red apple " * 2666)).b64_json)


def streamed(events: Iterable[Any], kind: str) -> None:
    """Look at the events of a stream."""
    *partial, last = events
    assert partial, "there is no partial image"
    assert {event.type for event in partial} == {f"{kind}.partial_image"}
    assert [event.partial_image_index for event in partial] == list(range(len(partial)))
    for event in partial:
        assert event.b64_json
    assert last.type == f"{kind}.completed"
    assert last.usage.total_tokens > 0
    seen(last.b64_json)


def stream() -> None:
    events = client().images.generate(prompt="a red apple", stream=True, partial_images=2, extra_body={"steps": 100})
    streamed(events, "image_generation")


def edit() -> None:
    for image in (PICTURE, ("apple.png", PICTURE), PATH, [PICTURE] * 3):
        answer = client().images.edit(image=image, prompt="make the background green", model="Qwen-Image-Edit")
        seen(first(answer).b64_json)


def mask() -> None:
    answer = client().images.edit(image=PICTURE, mask=MASK, prompt="a cat", size="1024x1024", n=1)
    masked(seen(first(answer).b64_json))


def edit_stream() -> None:
    events = client().images.edit(
        image=PICTURE, prompt="add a star", stream=True, partial_images=1, extra_body={"steps": 100}
    )
    streamed(events, "image_edit")


def variation() -> None:
    answer = client().images.create_variation(image=PICTURE, n=2, size="256x256", response_format="url")
    assert len(answer.data or []) == 2
    for image in answer.data or []:
        opened(image.url, (256, 256))


def raw_response() -> None:
    answer = client().images.with_raw_response.generate(prompt="a red apple")
    assert answer.headers["x-request-id"]
    seen(first(answer.parse()).b64_json)
    with client().images.with_streaming_response.generate(prompt="a red apple") as read:
        seen(first(read.parse()).b64_json)


async def at_once() -> None:
    async with AsyncOpenAI(base_url=V1, api_key=KEY) as calling:
        painted, edited, listed = await asyncio.gather(
            calling.images.generate(prompt="a red apple"),
            calling.images.edit(image=PICTURE, prompt="add a star"),
            calling.models.list(),
        )
    seen(first(painted).b64_json)
    seen(first(edited).b64_json)
    assert listed.data


def bad_values() -> None:
    with refused(openai.BadRequestError, "size") as refusal:
        client().images.generate(prompt="a red apple", size="enormous")
    assert (refusal.error.code, refusal.error.param) == ("invalid_value", "size")
    assert refusal.error.request_id
    with refused(openai.BadRequestError, "image"):
        client().images.edit(image=b"no picture", prompt="add a star")


def unknown_model() -> None:
    with refused(openai.BadRequestError, "no-such-model", "miniature"):
        client().images.generate(model="no-such-model", prompt="a red apple")


def wrong_key() -> None:
    with refused(openai.AuthenticationError, "key"):
        client(server.WRONG).images.generate(prompt="a red apple")


def forbidden() -> None:
    with refused(openai.PermissionDeniedError, "edit"):
        client(server.PAINTER).images.edit(image=PICTURE, prompt="add a star")


def used_up() -> None:
    with refused(openai.RateLimitError, "0 images a day") as refusal:
        client(server.SPENT).images.generate(prompt="a red apple")
    assert refusal.error.request.headers["x-stainless-retry-count"] == "0"
