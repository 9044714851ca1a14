"""Names for the person and the conversation of a job, so that "now make the sky red" needs no file.

The server gets fingerprints, by which it can tell people and conversations apart, and nothing else.
"""

import hashlib
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]

from tools.errors import Refused


def person(tool: Tool) -> dict[str, Any]:
    """Return the parameter that names the person, so that nobody is shown the jobs of others; none if unknown."""
    return {"user": _fingerprint("person", tool.runtime.user_id)} if tool.runtime.user_id else {}


def remembered(tool: Tool, *, has_image: bool = True) -> dict[str, Any]:
    """Return the parameters that name this person and conversation; outside of conversations, as in a workflow, the
    conversation is that of this app's user.

    Raises :class:`Refused` where there is no image, and no conversation whose last image it could be.
    """
    session = tool.session
    # New Agents pass neither conversation nor app.
    known = [session.conversation_id] if session.conversation_id else [session.app_id, tool.runtime.user_id]
    if not known[-1]:
        if not has_image:
            raise Refused("Give the image: a file, or image_id with the id or URL of an image.")
        return {}
    kind = "conversation" if session.conversation_id else "user"
    return {"conversation": _fingerprint(kind, *known), **person(tool)}


def _fingerprint(*parts: str | None) -> str:
    """Return the first 40 hex digits of the SHA-256 of the parts, which are enough to be unique."""
    return hashlib.sha256("/".join(part or "" for part in parts).encode()).hexdigest()[:40]
