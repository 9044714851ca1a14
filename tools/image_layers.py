"""The tool image_layers: a picture taken apart into layers, and a file of them for a designer."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools import inputs, results
from tools.conversation import remembered
from tools.delivery import with_archive
from tools.messages import Call
from tools.parameters import Credentials, LayersParameters


class ImageLayersTool(Tool):  # type: ignore[misc]
    """The tool that takes a picture, given as a file or as an id or URL, apart into pictures with transparency."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        call = Call(self, tool_parameters)
        with call.reported_errors():
            asked = LayersParameters.parse(tool_parameters)
            with Credentials.parse(self.runtime.credentials).client() as studio:
                files = inputs.fetch_all(asked.image, studio.deadline)  # first, before their links expire
                body = asked.body() | remembered(self, has_image=asked.has_image)
                painted = yield from call.streamed(studio.paint(body, files, wait=asked.wait), studio)
                painted = yield from call.streamed(with_archive(self, painted, studio, asked.format))
            yield from results.of_layers(call, painted)
