"""Ready: what has been prepared of a transformer follows the call at hand."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from qwen_image_studio.loading.preparing import prepared
from qwen_image_studio.painting.hooks import Call, Hook


class Ready(Hook):
    """A hook that has the modulation looked up by the call's schedule, and uses the attention kernel of its tier."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def begin(self, call: Call) -> Mapping[str, Any]:
        """Follow the scheduler of the call, which is its alone."""
        if (ready := prepared(call.pipeline.transformer)) is not None:
            self._open.enter_context(ready.calling(call.pipeline.scheduler, call.recipe.attention))
        return {}

    def end(self) -> None:
        """Go on with the call within whose step this one was made, or with none."""
        self._open.close()
