"""How long a picture takes on this server, by model, tier and operation: medians that are looked up once a minute."""

import threading
import time
from collections.abc import Mapping

from qwen_image_studio.jobs.calls import Calls
from qwen_image_studio.models.table import Model

FRESH_S = 60.0
"""Time for which the medians are kept, in seconds."""

Kind = tuple[str, str, str]
"""Model, tier and operation."""


class Speeds:
    """The measured speeds of the models that are offered."""

    def __init__(self, calls: Calls, models: Mapping[str, Model]) -> None:
        self._calls = calls
        self._kinds = [
            (model.name, tier.value, operation.value)
            for model in models.values()
            for tier in model.tiers
            for operation in model.operations
        ]
        self._guard = threading.Lock()
        self._found: Mapping[Kind, float] = {}
        self._until = 0.0

    def now(self) -> Mapping[Kind, float]:
        """Return the median seconds of each kind of which any was measured. Raises what the job store raises."""
        with self._guard:
            if time.monotonic() >= self._until:
                self._found = self._calls.seconds(self._kinds)
                self._until = time.monotonic() + FRESH_S
            return self._found

    def of_tier(self, model: Model, tier: str) -> float | None:
        """Return the seconds of the first operation of the model that was measured at a tier; None where none was."""
        found = self.now()
        of_operations = (found.get((model.name, tier, operation.value)) for operation in model.operations)
        return next((seconds for seconds in of_operations if seconds is not None), None)
