"""The boundary at which a fault of the program ends: whatever one job does, the next one must run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from qwen_image_studio.contract.errors import AttemptOver, StudioError

_log = logging.getLogger(__name__)


@contextmanager
def contained(entry: str, *arguments: object, message: str) -> Iterator[None]:
    """Turn a fault within the block into StudioError ``engine_failed`` with that message; the log gets its cause.

    `entry` and `arguments` are the log's line. StudioError and AttemptOver pass as they are.
    """
    try:
        yield
    except (StudioError, AttemptOver):
        raise
    except Exception as fault:
        _log.exception(entry, *arguments)
        raise StudioError("engine_failed", message) from fault
