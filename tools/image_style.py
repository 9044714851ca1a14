"""The tool image_style: art directions that are saved by name, so that a team keeps one style."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools import results
from tools.client import StudioClient, Update
from tools.messages import Call
from tools.parameters import Credentials, StyleParameters
from tools.views import Style


class ImageStyleTool(Tool):  # type: ignore[misc]
    """The tool that lists the saved art directions, or shows, saves or deletes one."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        call = Call(self, tool_parameters)
        with call.reported_errors():
            asked = StyleParameters.parse(tool_parameters)
            with Credentials.parse(self.runtime.credentials).client() as studio:
                styles = yield from call.streamed(_styles(asked, studio))
            yield from results.of_styles(call, styles, asked.action)


def _styles(asked: StyleParameters, studio: StudioClient) -> Generator[Update, None, list[Style]]:
    """Do what was asked for, and return the styles that the answer is about."""
    match asked.action:
        case "list":
            return (yield from studio.styles())
        case "show":
            return [(yield from studio.style(asked.about))]
        case "save":
            return [(yield from studio.save_style(asked.about, asked.direction()))]
        case "delete":
            yield from studio.delete_style(asked.about)
            return [Style(name=asked.about)]
