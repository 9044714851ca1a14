"""Times as people write them on the command line, 30d or 12h, and as they are shown to them."""

import re
import time

import click


def age(_context: click.Context, _option: click.Parameter, value: str) -> float:
    """Return a time such as ``30d`` or ``12h`` in seconds."""
    if not (match := re.fullmatch(r"([0-9]{1,6})([dh])", value)):
        raise click.BadParameter("write days or hours, such as 30d or 12h")
    return int(match[1]) * {"d": 86400.0, "h": 3600.0}[match[2]]


def shown(at: float) -> str:
    """Return a time (Unix seconds) as date and time in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
