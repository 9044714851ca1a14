"""Under which name the server remembers the last image, so that "now make the sky red" needs no file."""

import hashlib
from typing import Any

from dify_plugin import Tool  # type: ignore[import-untyped]

from tools.errors import Refused


def remembered(tool: Tool, *, has_image: bool = True) -> dict[str, Any]:
    """The parameter that names this conversation, or where there is none, as in a workflow, this app's user.

    The server gets a fingerprint: it can tell conversations apart and nothing else. Raises :class:`Refused` where there
    is neither image nor anybody whose last image it could be.
    """
    session = tool.session
    # Agents of the new kind carry neither conversation nor app.
    known = [session.conversation_id] if session.conversation_id else [session.app_id, tool.runtime.user_id]
    if not known[-1]:
        if not has_image:
            raise Refused("Give the image: a file, or image_id with the id or URL of an image.")
        return {}
    kind = "conversation" if session.conversation_id else "user"
    return {"conversation": hashlib.sha256("/".join([kind, *(part or "" for part in known)]).encode()).hexdigest()[:40]}
