"""Fields that several requests and queries share, with their limits."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from qwen_image_studio.contract.words import MAX_SIDE, MIN_SIDE

Cell = str | int | float | bool | None
"""One value of a row."""
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]


def _named(value: object) -> object:
    """Return a name without the spaces around it. Raises ValueError where nothing is left."""
    if isinstance(value, str) and not (value := value.strip()):
        raise ValueError("is empty; send a name, or leave it out")
    return value


_NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"
UserName = Annotated[str, Field(max_length=1000, pattern=_NO_CONTROL)] | None
"""A caller's own name for a person."""
NamedUser = Annotated[UserName, BeforeValidator(_named)]
"""The same in a query, where an empty one would mean everybody and is refused."""
ConversationName = Annotated[str, Field(min_length=1, max_length=128, pattern=_NO_CONTROL)] | None
"""A caller's own name for a conversation."""
