"""The tool image_campaign: a set of pictures in one style from one sentence, or one piece of such a set again."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools import inputs, language_model, results
from tools.campaigns import Directed, directed
from tools.conversation import remembered
from tools.delivery import with_pieces
from tools.messages import Call
from tools.parameters import CampaignParameters, Credentials


class ImageCampaignTool(Tool):  # type: ignore[misc]
    """The tool that paints a campaign: a language model directs it, or the server's rules do."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        call = Call(self, tool_parameters)
        with call.reported_errors():
            asked = CampaignParameters.parse(tool_parameters)
            credentials = Credentials.parse(self.runtime.credentials)
            with credentials.client() as studio:
                files = inputs.fetch_all(asked.image, studio.deadline)  # first, before their links expire
                made = Directed()
                if asked.asks_a_model:
                    if asked.enhance_model is not None:
                        yield from call.noted("writing the campaign")
                    seconds = language_model.seconds_for(credentials.time_budget)
                    made = directed(asked.wish(), language_model.asking(self, asked.enhance_model, seconds))
                body = asked.body() | made.body() | remembered(self)
                painted = yield from call.streamed(studio.paint(body, files, wait=asked.wait), studio)
                painted = yield from call.streamed(with_pieces(self, painted, studio))
            yield from results.of_campaign(call, painted, made.warnings)
