"""Python sleeps until a moment of the steady clock, which Debian's faketime (0.9.10) refuses; this sleeps by select.

Python imports it at its start wherever this folder is on its path (`tests.support.fleet.ahead`).
"""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    """Do as `time.sleep`."""
    select.select([], [], [], float(seconds))


time.sleep = sleep
