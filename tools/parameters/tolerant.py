"""What Dify may send for a value, and what becomes of it.

Dify does not apply the defaults of the YAML files, sends numbers as strings, and empty settings as None, "",
[None] or not at all; here all of these become one thing.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from tools.errors import Refused


def lowered(value: object) -> object:
    """A choice, whatever its letters' case."""
    return value.strip().lower() if isinstance(value, str) else value


def whole(value: object) -> object:
    """A whole number that came as 7.0 or "7.0" is 7."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\.0*\s*", value):
        return value.strip().split(".")[0]
    return value


Whole = Annotated[int, BeforeValidator(whole)]


class Tolerant(BaseModel):
    """A set of parameters; what cannot be used raises :class:`Refused`."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_blanks(cls, values: Any) -> Any:
        return {name: value for name, given in dict(values).items() if not _blank(value := _without_blanks(given))}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Read what Dify sent. Raises :class:`Refused` that names the parameter and what it takes."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise Refused(_complaint(error)) from None


def _without_blanks(given: object) -> object:
    if isinstance(given, list | tuple):
        return [value for value in given if not _blank(value)]
    return given


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, list) and not value)


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        return f"{name} is missing. Fill it in."
    said = str(first["msg"]).removeprefix("Value error, ")
    sentence = f"{name}: {said[0].lower()}{said[1:]}" if name else said
    value = first["input"]
    # Only short scalars are quoted back: a prompt is the person's own, and a credential may be secret.
    quotable = isinstance(value, str | int | float) and len(str(value)) <= 40 and name not in {"api_key", "server_url"}
    return f"{sentence} (given: {value})." if quotable else f"{sentence.rstrip('.')}."
