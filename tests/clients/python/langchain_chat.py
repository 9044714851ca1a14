"""``langchain-openai``: it chats, and has no call for images."""

import openai
from langchain_openai import ChatOpenAI

from tests.clients.python.server import KEY, V1, refused


def chat() -> None:
    model = ChatOpenAI(model="Qwen-Image", base_url=V1, api_key=KEY)
    for calling in (model, model.bind_tools([{"type": "image_generation"}])):
        with refused(openai.NotFoundError, "/openapi.json"):
            calling.invoke("paint a red apple")
