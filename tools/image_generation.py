"""The tool image_generation: a picture from a prompt, and from another picture if there is one."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools import inputs, language_model, results
from tools.conversation import remembered
from tools.enhancement import enhanced
from tools.messages import Call
from tools.parameters import Credentials, GenerationParameters
from tools.wishes import Written


class ImageGenerationTool(Tool):  # type: ignore[misc]
    """The tool that paints one to four images from a prompt, which a language model or rules may write out first."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        call = Call(self, tool_parameters)
        with call.reported_errors():
            asked = GenerationParameters.parse(tool_parameters)
            credentials = Credentials.parse(self.runtime.credentials)
            with credentials.client() as studio:
                files = inputs.fetch_all(asked.image, studio.deadline)
                written = Written(asked.prompt)
                if asked.enhance != "off":
                    if asked.enhance == "llm":
                        yield from call.noted("writing the prompt")
                    seconds = language_model.seconds_for(credentials.time_budget)
                    ask = language_model.asking(self, asked.enhance_model, seconds)
                    written = enhanced(asked.wish(), ask if asked.enhance == "llm" else None)
                    asked = asked.written(written)
                body = asked.body() | remembered(self)
                painted = yield from call.streamed(studio.paint(body, files, wait=asked.wait), studio)
            yield from results.of_images(call, painted, written)
