"""The tool image_review: a reviewer's verdict on one image that is held."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools import results
from tools.conversation import person
from tools.messages import Call
from tools.parameters import Credentials, ReviewParameters


class ImageReviewTool(Tool):  # type: ignore[misc]
    """The tool that approves or rejects an image. Dify tells who started the run, and not who answered a form in it."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        call = Call(self, tool_parameters)
        with call.reported_errors():
            asked = ReviewParameters.parse(tool_parameters)
            with Credentials.parse(self.runtime.credentials).client() as studio:
                verdict = asked.body() | person(self)
                image = yield from call.streamed(studio.review(asked.image_id, verdict))
            yield from results.of_verdict(call, image)
