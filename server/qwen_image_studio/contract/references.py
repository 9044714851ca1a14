"""References: the pictures that a painting is shown, and what each of them is to it."""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from qwen_image_studio.contract.fields import entries_of
from qwen_image_studio.contract.words import MAX_INPUTS


class Role(StrEnum):
    """What a picture is to a painting that is shown it."""

    SUBJECT = "subject"
    """What is to be seen."""
    STYLE = "style"
    """How it is to look."""
    CONTROL = "control"
    """A map of edges, depth or a pose, which says where things are."""
    BACKGROUND = "background"
    """What is to lie behind it."""


class Derive(StrEnum):
    """The map that is made of a picture before it is shown."""

    EDGES = "edges"


class ReferenceRole(BaseModel):
    """What one picture is to the painting. Each field may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    role: Role | None = None
    """What it is; left out where the prompt says it."""
    derive: Derive | None = None
    """The map to show in its place, for the role control; left out where the picture is a map already."""

    @field_validator("derive")
    @classmethod
    def _only_of_a_control(cls, value: Derive | None, info: ValidationInfo) -> Derive | None:
        if value is not None and info.data.get("role", Role.CONTROL) is not Role.CONTROL:
            raise ValueError(f"a map is made for the role control alone; send {Role.CONTROL}:{value}, or leave it out")
        return value

    def __str__(self) -> str:
        """Return it as requests may write it: ``style``, ``control:edges``; empty for none."""
        return ":".join(filter(None, (self.role, self.derive)))


_EXAMPLE = f"{Role.SUBJECT}, {Role.STYLE}, {Role.CONTROL}:{Derive.EDGES}"
_UNLIKE = f"takes a role for each image, in their order; send {_EXAMPLE}, or a list of these"
_WRITTEN = re.compile(r"([^:：=]*)(?:[:：=](.*))?", re.DOTALL)


def written(roles: tuple[ReferenceRole, ...]) -> str:
    """Return roles as one text, as requests may write them: ``subject, , control:edges``."""
    return ", ".join(map(str, roles))


def _as_written(value: object) -> object:
    """Return the entries of a list that is written as a text, in JSON or with commas between; no empty one at its end.

    Raises ValueError.
    """
    if isinstance(value, str):
        value = entries_of(value.strip(), r"[,，、;；\n]", _EXAMPLE)
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list | tuple):
        raise ValueError(_UNLIKE)
    found = [_entry(each) for each in entries]
    while found and found[-1] == {}:
        found.pop()
    return found


def _entry(value: object) -> object:
    """Return an entry as an object also where it is written as ROLE or ROLE:MAP, or is empty. Raises ValueError."""
    if value is None:
        return {}
    if isinstance(value, dict | BaseModel):
        return value
    if not isinstance(value, str) or (match := _WRITTEN.fullmatch(value)) is None:
        raise ValueError(_UNLIKE)
    named = {"role": match[1], "derive": match[2]}
    return {name: text.strip().casefold() for name, text in named.items() if text and text.strip()}


ReferenceRoles = Annotated[list[ReferenceRole], BeforeValidator(_as_written), Field(max_length=MAX_INPUTS)]
"""What each image is to the painting: a list, or a text of JSON or of ROLE and ROLE:MAP with commas between, as forms
and tables have it."""
