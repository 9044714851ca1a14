"""The tool prompt_enhance: a short wish written out as a prompt for Qwen-Image."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools import language_model, results
from tools.enhancement import enhanced
from tools.messages import Call
from tools.parameters import Credentials, EnhanceParameters


class PromptEnhanceTool(Tool):  # type: ignore[misc]
    """The tool that has the workspace's language model write a prompt; it paints nothing and asks no server."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        call = Call(self, tool_parameters)
        with call.reported_errors():
            asked = EnhanceParameters.parse(tool_parameters)
            seconds = language_model.seconds_for(Credentials.parse(self.runtime.credentials).time_budget)
            ask = language_model.asking(self, asked.chosen, seconds)
            yield from results.of_prompt(call, enhanced(asked.wish(), ask))
