"""For whom a job is, and under which name the server remembers its image: so that "now make the sky red" needs no file.

The server gets fingerprints: it can tell people and conversations apart and nothing else.
"""

import hashlib
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]

from tools.errors import Refused


def person(tool: Tool) -> dict[str, Any]:
    """The parameter that names who asks, so that nobody is shown another one's jobs; none where Dify does not say."""
    return {"user": _fingerprint("person", tool.runtime.user_id)} if tool.runtime.user_id else {}


def remembered(tool: Tool, *, has_image: bool = True) -> dict[str, Any]:
    """The parameters that name this person and conversation; outside of one, as in a workflow, this app's user.

    Raises :class:`Refused` where there is neither image nor anybody whose last image it could be.
    """
    session = tool.session
    # Agents of the new kind carry neither conversation nor app.
    known = [session.conversation_id] if session.conversation_id else [session.app_id, tool.runtime.user_id]
    if not known[-1]:
        if not has_image:
            raise Refused("Give the image: a file, or image_id with the id or URL of an image.")
        return {}
    kind = "conversation" if session.conversation_id else "user"
    return {"conversation": _fingerprint(kind, *known), **person(tool)}


def _fingerprint(*parts: str | None) -> str:
    """SHA-256, of which so much is enough to be unique."""
    return hashlib.sha256("/".join(part or "" for part in parts).encode()).hexdigest()[:40]
