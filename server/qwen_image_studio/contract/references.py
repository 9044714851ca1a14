"""References: the pictures that a painting is shown, and what each of them is to it."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


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
