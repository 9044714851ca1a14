"""What a reviewer sends."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from qwen_image_studio.contract.fields import NamedUser
from qwen_image_studio.contract.words import Review

Reason = Annotated[str, Field(min_length=1, max_length=200)]


class VerdictRequest(BaseModel):
    """A reviewer's verdict on one image."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, str_strip_whitespace=True)

    state: Literal[Review.APPROVED, Review.REJECTED]
    reasons: list[Reason] = Field(default_factory=list, max_length=10)
    """Why, in a few words each; the owner of the image reads them."""
    note: str | None = Field(None, max_length=2000)
    """A note for the other reviewers."""
    user: NamedUser = None
    """A name of the caller's own for the person who decides; it is kept beside the name of the API key."""
