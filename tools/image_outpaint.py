"""The tool image_outpaint: a picture continued beyond its edges."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools import inputs, results
from tools.conversation import remembered
from tools.messages import Call
from tools.parameters import Credentials, OutpaintParameters


class ImageOutpaintTool(Tool):  # type: ignore[misc]
    """The tool that extends an image, given as a file or as an id or URL; the image's own pixels stay."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        call = Call(self, tool_parameters)
        with call.reported_errors():
            asked = OutpaintParameters.parse(tool_parameters)
            with Credentials.parse(self.runtime.credentials).client() as studio:
                files = inputs.fetch_all(asked.image, studio.deadline)
                body = asked.body() | remembered(self, has_image=asked.has_image)
                painted = yield from call.streamed(studio.paint(body, files, wait=asked.wait), studio)
            yield from results.of_images(call, painted)
