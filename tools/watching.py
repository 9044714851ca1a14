"""Noticing in the new Agent app that nobody waits for a job any more, since Dify tells a plugin nothing of a stop.

Everywhere else Dify reads a call to its end, whoever stopped it. The new Agent drops the connection; its plugin daemon
then forgets the session, and answers no question that comes from it.
"""

import time

from dify_plugin import Tool  # type: ignore[import-untyped]

from tools.client import StudioClient, Update
from tools.delivery import is_shown_by_dify
from tools.dify import DifyFailed, from_dify
from tools.errors import JobCancelled
from tools.views import Job

PACE_S = 5.0
"""Least time between two questions, in seconds."""
PATIENCE_S = 5
"""Time for the daemon to answer, in seconds; it takes a few milliseconds, be it with a refusal."""


class Watch:
    """Looks now and then whether the session of a call still lives."""

    def __init__(self, tool: Tool, studio: StudioClient) -> None:
        self._tool, self._studio = tool, studio
        self._watching = not is_shown_by_dify(tool)
        self._looked_at = time.monotonic()
        if self._watching:
            studio.longest_poll_s = PACE_S

    def look(self, update: Update) -> None:
        """Cancel the job where the session is gone. Raises JobCancelled, which nobody hears."""
        due = time.monotonic() >= self._looked_at + PACE_S
        if not (self._watching and due and isinstance(update, Job)) or update.ended:
            return
        if self._is_gone():
            list(self._studio.cancel(update.id))
            raise JobCancelled(f"Job {update.id} was cancelled, since nobody waits for it any more.")
        self._looked_at = time.monotonic()

    def _is_gone(self) -> bool:
        session = self._tool.session
        session.max_invocation_timeout = PATIENCE_S
        try:
            from_dify(lambda: session.storage.exist("-"))
        except DifyFailed as error:  # a refusal is an answer as well, so no permission is asked for
            return "without response" in str(error)
        return False
