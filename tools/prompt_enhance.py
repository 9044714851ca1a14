"""The tool prompt_enhance: a short wish written out as a prompt for Qwen-Image."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools import language_model, messages, results
from tools.enhancement import enhanced
from tools.parameters import Credentials, EnhanceParameters


class PromptEnhanceTool(Tool):  # type: ignore[misc]
    """The tool that has the workspace's language model write a prompt; it paints nothing and asks no server."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        with messages.reported_errors():
            asked = EnhanceParameters.parse(tool_parameters)
            seconds = language_model.seconds_for(Credentials.parse(self.runtime.credentials).time_budget)
            ask = language_model.asking(self, asked.model, seconds)
            yield from results.of_prompt(self, enhanced(asked.wish(), ask))
