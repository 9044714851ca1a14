"""``openai`` with Azure's addresses and its way to send a key."""

from openai import AsyncAzureOpenAI, AuthenticationError, AzureOpenAI

from tests.clients.python import server
from tests.clients.python.openai_sdk import first
from tests.clients.python.server import KEY, MASK, PICTURE, URL, masked, refused, seen

VERSION = "2025-04-01-preview"


def client(key: str = KEY) -> AzureOpenAI:
    """Return the client as people make it."""
    return AzureOpenAI(azure_endpoint=URL, api_key=key, api_version=VERSION)


def generate() -> None:
    answer = client().images.generate(model="Qwen-Image", prompt="a red apple", size="160x112")
    seen(first(answer).b64_json, (160, 112))


def deployment() -> None:
    calling = AzureOpenAI(azure_endpoint=URL, azure_deployment="gpt-image-1", api_key=KEY, api_version=VERSION)
    seen(first(calling.images.generate(prompt="a red apple")).b64_json)


def edit() -> None:
    seen(first(client().images.edit(model="gpt-image-1", image=PICTURE, prompt="add a star")).b64_json)
    answer = client().images.edit(model="gpt-image-1", image=PICTURE, mask=MASK, prompt="a cat")
    masked(seen(first(answer).b64_json))


async def at_once() -> None:
    async with AsyncAzureOpenAI(azure_endpoint=URL, api_key=KEY, api_version=VERSION) as calling:
        seen(first(await calling.images.generate(model="Qwen-Image", prompt="a red apple")).b64_json)


def wrong_key() -> None:
    with refused(AuthenticationError, "key"):
        client(server.WRONG).images.generate(model="Qwen-Image", prompt="a red apple")
