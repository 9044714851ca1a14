"""The tool image_job: the result of a job that was started before, a list of jobs, or the cancelling of one."""

import time
from collections.abc import Generator
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]

from tools import results
from tools.conversation import person
from tools.delivery import with_archive, with_pieces
from tools.errors import Refused
from tools.messages import Call
from tools.parameters import Credentials, JobParameters


class ImageJobTool(Tool):  # type: ignore[misc]
    """The tool that waits for a job and returns what its own tool would have, lists the latest jobs, or cancels one."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Generator[ToolInvokeMessage, None, None]:
        call = Call(self, tool_parameters)
        with call.reported_errors():
            asked = JobParameters.parse(tool_parameters)
            with Credentials.parse(self.runtime.credentials).client() as studio:
                if asked.action == "list":
                    jobs = yield from call.streamed(studio.recent(_person(self), asked.limit))
                    found = results.of_list(call, jobs, time.time())
                elif asked.action == "cancel":
                    found = results.of_cancelled(call, (yield from call.streamed(studio.cancel(asked.about))))
                else:
                    painted = yield from call.streamed(studio.fetch(asked.about, wait=asked.wait))
                    painted = yield from call.streamed(with_pieces(self, painted, studio))
                    painted = yield from call.streamed(with_archive(self, painted, studio, asked.format))
                    found = results.of_any(call, painted)
            yield from found


def _person(tool: Tool) -> str:
    """Return the name of the person whose jobs are listed. Raises :class:`Refused` where Dify does not tell it, since
    nobody may see the jobs of all.
    """
    if not (asking := person(tool)):
        raise Refused("Dify does not say who asks, so there is no list of your jobs. Give job_id with action result.")
    return str(asking["user"])
