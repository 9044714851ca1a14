"""The tool image_edit: pictures changed by an instruction, or only a part of one."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools import inputs, results
from tools.conversation import remembered
from tools.messages import Call
from tools.parameters import Credentials, EditParameters


class ImageEditTool(Tool):  # type: ignore[misc]
    """The tool that changes images, given as files or as ids and URLs, by an instruction."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        call = Call(self, tool_parameters)
        with call.reported_errors():
            asked = EditParameters.parse(tool_parameters)
            with Credentials.parse(self.runtime.credentials).client() as studio:
                files = inputs.fetch_all(asked.images, studio.deadline)  # first, before their links expire
                mask = inputs.fetch_mask(asked.mask, studio.deadline)
                body = asked.body() | remembered(self, has_image=asked.has_image)
                painted = yield from call.streamed(studio.paint(body, files, mask, wait=asked.wait), studio)
            yield from results.of_images(call, painted)
