"""How attempts end: their last word is written to the table, and what they leave behind is cleared away."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from qwen_image_studio.contract.errors import EndUnwritten, StudioError
from qwen_image_studio.contract.words import State
from qwen_image_studio.jobs import Lease

Result = TypeVar("Result")
_log = logging.getLogger(__name__)

OUTAGE_S = 600.0
"""Time for which an end is kept until a database server is back, in seconds: a picture took long to paint, and nobody
else can have claimed its job meanwhile."""
LAST_CLAIMS = 16
"""Number of a batch's last claims that may have left a contact sheet behind; earlier ones have cleared theirs away."""


def settled(write: Callable[[], Result], patience_s: float) -> Result:
    """Write how an attempt ended; where the database is busy or gone, try again for `patience_s` seconds.

    Raises EndUnwritten after that.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return write()
        except StudioError as error:
            if error.code not in {"database_busy", "storage_failed"}:
                raise
            if time.monotonic() > deadline:
                raise EndUnwritten(error.message) from error
            _log.warning("%s", error)
            time.sleep(0.2)


def attempts_to_clear(lease: Lease, state: State) -> range:
    """Return the tokens of the attempts that may have left files behind: earlier ones, and this one where its images
    do not count. A batch is claimed again and again for its rows, and stores nothing before its last claims.
    """
    is_batch = lease.job.rows is not None
    if state is State.QUEUED:
        return range(lease.token, lease.token + (not is_batch))
    first = max(1, lease.token - LAST_CLAIMS) if is_batch else 1
    return range(first, lease.token + (state not in {State.SUCCEEDED, State.REVIEW}))
