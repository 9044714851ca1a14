"""The plugin's version, and what to tell a person whose server is older and refuses what it does not know."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

VERSION = "0.3.0"
"""That of the manifest. A new minor version asks servers for more than the one before did."""
MORE_IMAGES = "more than 3 images"
"""What no server before this version takes in one edit."""
MOST_IMAGES_BEFORE = 3
_UPDATE = "Ask the server's operator for an update."
_MINOR = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\.|$)")


def words_for(params: Mapping[str, Any], files: int) -> dict[str, str]:
    """Return what a person calls the parts of a job that a server may be too old for, by the names that its refusal
    has for them; ``files`` is the number of images that are sent along.
    """
    inner = params.get("job")
    tool, job = ("image_batch with operation {}", inner) if isinstance(inner, Mapping) else ("image_{}", params)
    named = job.get("image")
    images = files or (len(named) if isinstance(named, Sequence) and not isinstance(named, str) else 0)
    more = {"image": MORE_IMAGES} if images > MOST_IMAGES_BEFORE else {}
    return {"operation": tool.format(job.get("operation")), **more}


def advice_for(server: str, what: str) -> str:
    """Return the sentence on what to upgrade where a server, such as ``0.1.0``, is too old for ``what`` was asked of
    it; empty where it is not older.
    """
    needed = _newer_than(server)
    said = f"This server is version {server}; {needed} or later is needed for {what or 'this call'}"
    return f"{said}: ask its operator to upgrade it, as docs/operations.md tells." if needed else ""


def advice_on_tables(server: str) -> str:
    """Return a sentence on which tables a server reads, where it is older than those that read more."""
    needed = _newer_than(server)
    said = (
        f"This server is version {server}, which reads rows only as CSV or as a JSON list; {needed} reads more forms."
    )
    return f" {said} {_UPDATE}" if needed else ""


def advice_on_tiers(server: str) -> str:
    """Return a sentence on the tiers that a server knows, where it is older than those that know more."""
    needed = _newer_than(server)
    said = f"This server is version {server}, which knows no other; leave the tier at auto, or use {needed}."
    return f" {said} {_UPDATE}" if needed else ""


def _newer_than(server: str) -> str:
    """Return the version of servers that this plugin is made for where the server is older; otherwise nothing."""
    theirs, own = _MINOR.match(server), _MINOR.match(VERSION)
    if theirs is None or own is None or tuple(map(int, theirs.groups())) >= tuple(map(int, own.groups())):
        return ""
    return f"{own[1]}.{own[2]}.0"
