"""LlamaIndex's tool for OpenAI's images. It has no parameter for the address; the client under it reads a variable."""

import os

from llama_index.tools.openai.image_generation.base import OpenAIImageGenerationToolSpec

from tests.clients.python.server import FOLDER, KEY, V1, opened, seen

os.environ["OPENAI_BASE_URL"] = V1


def link() -> None:
    opened(OpenAIImageGenerationToolSpec(api_key=KEY).image_generation("a red apple"), (1024, 1024))


def download() -> None:
    tool = OpenAIImageGenerationToolSpec(api_key=KEY, cache_dir=str(FOLDER))
    [path] = tool.image_generation("a red apple", model="dall-e-2", size="256x256", download=True)
    with open(path, "rb") as file:
        seen(file.read(), (256, 256))
