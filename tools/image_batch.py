"""The tool image_batch: one picture for each row of a table."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools import inputs, results
from tools.conversation import remembered
from tools.errors import Refused
from tools.messages import Call
from tools.parameters import BatchParameters, Credentials


class ImageBatchTool(Tool):  # type: ignore[misc]
    """The tool that paints, edits or extends one image for each row; the common text holds {{column}}."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        call = Call(self, tool_parameters)
        with call.reported_errors():
            asked = BatchParameters.parse(tool_parameters)
            with Credentials.parse(self.runtime.credentials).client() as studio:
                table = asked.table(inputs.fetch_table(asked.rows_file, studio.deadline))
                body = asked.body() | remembered(self)
                try:
                    painted = yield from call.streamed(studio.paint(body, table=table, wait=asked.wait), studio)
                except Refused as refusal:
                    raise asked.in_words_of_the_form(refusal) from None
            yield from results.of_batch(call, painted)
