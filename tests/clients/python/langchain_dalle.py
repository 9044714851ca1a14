"""``langchain-community``: the wrapper for DALL·E, and the tool made of it."""

import openai
from langchain_community.tools.openai_dalle_image_generation import OpenAIDALLEImageGenerationTool
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

from tests.clients.python.server import KEY, V1, opened, refused


def run() -> None:
    links = DallEAPIWrapper(base_url=V1, api_key=KEY, n=2, size="256x256").run("a red apple").split("\n")
    assert len(links) == 2
    for link in links:
        opened(link, (256, 256))


def tool() -> None:
    wrapper = DallEAPIWrapper(base_url=V1, api_key=KEY, size="256x256")
    opened(OpenAIDALLEImageGenerationTool(api_wrapper=wrapper).invoke("a red apple"), (256, 256))


def bad_values() -> None:
    with refused(openai.BadRequestError, "size"):
        DallEAPIWrapper(base_url=V1, api_key=KEY, size="enormous").run("a red apple")
