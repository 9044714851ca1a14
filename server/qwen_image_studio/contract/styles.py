"""Art directions that are kept by name."""

from typing import Literal

from pydantic import Field

from qwen_image_studio.contract.view import View


class StyleView(View):
    """One saved art direction."""

    object: Literal["style"] = "style"
    name: str
    style: str
    palette: list[str]
    negative_prompt: str
    seed: int | None
    reference: str | None
    """Id of the picture of the product."""
    created_at: float
    """Unix seconds, as all times."""
    changed_at: float


class StyleList(View):
    """All art directions of the owner, by name."""

    object: Literal["list"] = "list"
    data: list[StyleView] = Field(default_factory=list)
