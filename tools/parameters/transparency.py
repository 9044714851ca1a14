"""What lies behind what is painted: the parameter ``background``, and the files that can hold transparency."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator

from tools.parameters.tolerant import lowered

Background = Literal["auto", "opaque", "transparent"]

_BACKGROUNDS: Mapping[object, Background] = {
    **dict.fromkeys(("transparency", "alpha", "透明", "透明背景"), "transparent"),
    **dict.fromkeys(("solid", "不透明"), "opaque"),
}
"""Backgrounds by the names that the form gives them, and by similar words."""


def named_background(value: object) -> object:
    """Return a background by its name. Raises ValueError for what is none."""
    word = lowered(value)
    word = _BACKGROUNDS.get(word, word) if isinstance(word, str) else word
    if word not in get_args(Background):
        raise ValueError(f"must be one of {', '.join(get_args(Background))}")
    return word


Behind = Annotated[Background | str, BeforeValidator(named_background)]
"""What lies behind what is painted; ``auto`` leaves it to the model."""


def check_file(background: str, output_format: str) -> None:
    """Raise ValueError where a transparent picture is asked for in a file that has no transparency."""
    if background == "transparent" and output_format == "jpeg":
        raise ValueError(
            "background: transparent needs output_format png or webp; jpeg, as it is set, has no transparency."
        )


def said_background(background: str) -> dict[str, Any]:
    """Return the part of the body that says it; empty where it is left to the model."""
    return {} if background == "auto" else {"background": background}
