"""What each picture of an edit is to the painting, as people and models write it: ``subject, style, control:edges``."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator

from tools.parameters.tolerant import NOTHING, QUOTES, narrow, unlisted

MAX_INPUTS = 10
"""Largest number of pictures in one edit; a model may take fewer, which the server says."""

Role = Literal["subject", "style", "control", "background"]
Derive = Literal["edges"]

_ROLES: Mapping[str, Role] = {
    **{role: role for role in get_args(Role)},
    **dict.fromkeys(("主体", "主角", "object", "product", "person"), "subject"),
    **dict.fromkeys(("风格", "look"), "style"),
    **dict.fromkeys(("控制", "控制图", "map", "pose", "depth"), "control"),
    **dict.fromkeys(("背景", "scene"), "background"),
}
_MAPS: Mapping[str, Derive] = {**{each: each for each in get_args(Derive)}, "edge": "edges", "边缘": "edges"}
_HOW = "write a role for each image, in their order, such as subject, style, control:edges, and nothing for none"
_NUMBERED = re.compile(r"<?(?:image|picture|photo|图片?)?\s*(\d{1,2})>?\s*[:=.]\s*(.*)", re.IGNORECASE | re.DOTALL)


def some_roles(value: object) -> list[str]:
    """Return the roles in a text or a list, in the order of the images, each as the server takes it: a role, with the
    map that is made of the image behind a colon, or an empty text. Raises ValueError for what cannot be read.
    """
    read = unlisted(value)
    if isinstance(read, str):
        plain = re.sub(r"[、;\n]", ",", narrow(read)).strip("[]()")
        read = plain.split(",")
    entries = [read] if isinstance(read, Mapping) else read
    if not isinstance(entries, list | tuple):
        raise ValueError(_HOW)
    found = _placed([_said(entry) for entry in entries])
    while found and not found[-1]:
        found.pop()
    if len(found) > MAX_INPUTS:
        raise ValueError(f"takes at most {MAX_INPUTS}, one for each image; not {len(found)}")
    return found


def _said(entry: object) -> str:
    """Return an entry as a text; an object with ``role`` and ``derive`` as they are written in one."""
    if isinstance(entry, Mapping):
        entry = ":".join(str(entry[name]) for name in ("role", "derive") if entry.get(name))
    if entry is not None and not isinstance(entry, str):
        raise ValueError(_HOW)
    text = narrow(entry or "").strip(QUOTES).lower()
    return "" if text in NOTHING else text


def _placed(entries: Sequence[str]) -> list[str]:
    """Return the roles in the order of the images, also where each entry names the number of its own."""
    numbered = [_NUMBERED.fullmatch(entry) for entry in entries if entry]
    if not numbered or None in numbered:
        return [_role(entry) for entry in entries]
    named = {int(match[1]): _role(match[2]) for match in numbered if match is not None}
    if len(named) < len(numbered) or 0 in named or max(named) > MAX_INPUTS:
        raise ValueError(f"names an image twice, or one that cannot be; {_HOW}")
    return [named.get(number, "") for number in range(1, max(named) + 1)]


def _role(entry: str) -> str:
    if not entry:
        return ""
    role, _, derive = (part.strip(QUOTES) for part in entry.replace("=", ":").partition(":"))
    if role not in _ROLES or (derive and (derive not in _MAPS or _ROLES[role] != "control")):
        known = ", ".join(get_args(Role))
        raise ValueError(f"takes {known}, and control:edges for a map of the image's edges; not {entry[:40]}")
    return f"{_ROLES[role]}:{_MAPS[derive]}" if derive else _ROLES[role]


Roles = Annotated[list[str], BeforeValidator(some_roles)]
"""What each image is, in their order; empty texts for those of which nothing is said."""
