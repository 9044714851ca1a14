"""What Dify and language models may send for a value, and what becomes of it.

Dify does not apply the defaults of the YAML files, sends numbers as strings, lists and objects in Python's notation,
and empty settings as None, "", [None] or not at all; language models write "none" or "auto" for what they leave out.
Here all of these become one thing.
"""

import ast
import json
import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from tools.errors import Refused

NOTHING = frozenset(("", "none", "null", "nil", "undefined", "n/a", "na", "unset", "无", "なし"))
"""Words that leave any parameter out."""
AS_USUAL = frozenset(("auto", "automatic", "default", "random", "自动", "默认", "随机", "自動"))
"""Words that leave a choice, a number or a name out; in a person's own text they may stand for themselves."""
QUOTES = " \t\r\n\"'`“”‘’"


def lowered(value: object) -> object:
    """A choice, whatever its letters' case."""
    return value.strip().lower() if isinstance(value, str) else value


def narrow(text: str) -> str:
    """Letters, digits and signs of full width as usual ones, without blanks at the ends."""
    return unicodedata.normalize("NFKC", text).strip()


def number(value: object) -> object:
    """A number in digits of any width; with a percent sign, the fraction."""
    if not isinstance(value, str):
        return value
    plain = narrow(value)
    if plain.endswith("%"):
        with suppress(ValueError):
            return float(plain[:-1]) / 100
    return plain


def whole(value: object) -> object:
    """A whole number in digits of any width, also as 7.0."""
    plain = narrow(value) if isinstance(value, str) else value
    return plain.split(".")[0] if isinstance(plain, str) and re.fullmatch(r"-?\d+\.0*", plain) else plain


Whole = Annotated[int, BeforeValidator(whole)]


def read_value(text: str) -> Any:
    """A value in JSON or in Python's notation. Raises ValueError where the text is neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise ValueError("is neither JSON nor Python's notation")


class Tolerant(BaseModel):
    """A set of parameters; what cannot be used raises :class:`Refused`."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    FREE_TEXTS: ClassVar[frozenset[str]] = frozenset()
    """Parameters in which a person's own words stand."""
    TABLES: ClassVar[frozenset[str]] = frozenset()
    """Parameters whose lists are taken as they are: a row left out without a word would be missed too late."""

    @model_validator(mode="before")
    @classmethod
    def _drop_blanks(cls, values: Any) -> Any:
        told = {}
        for name, given in dict(values).items():
            blanks = cls._blanks(name)
            value = [each for each in given if not _blank(each, blanks)] if isinstance(given, list | tuple) else given
            if not _blank(value, blanks):
                told[name] = given if name in cls.TABLES else value
        return cls.relevant(told)

    @classmethod
    def _blanks(cls, name: str) -> frozenset[str]:
        """The words that leave a parameter out."""
        return NOTHING if name in cls.FREE_TEXTS else NOTHING | AS_USUAL

    @classmethod
    def relevant(cls, told: dict[str, Any]) -> dict[str, Any]:
        """What counts of the told parameters, where one of them leaves another without a meaning.

        What the app sets cannot be seen or changed by the language model that calls the tool, so the two together must
        never be an error.
        """
        return told

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Read what Dify sent. Raises :class:`Refused` that names the parameter and what it takes."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise Refused(_complaint(error)) from None


_WORDS = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "takes a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "takes a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "takes true or false"),
}
"""In place of the library's words, by its kinds of errors."""


def _blank(value: object, blanks: frozenset[str]) -> bool:
    return value is None or value == [] or (isinstance(value, str) and value.strip(QUOTES).lower() in blanks)


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        return f"{name} is missing. Fill it in."
    said = _WORDS.get(first["type"]) or str(first["msg"]).removeprefix("Value error, ")
    sentence = f"{name}: {said[0].lower()}{said[1:]}" if name else said
    value = first["input"]
    # Only short scalars are quoted back: a prompt is the person's own, and a credential may be secret.
    quotable = isinstance(value, str | int | float) and len(str(value)) <= 40 and name not in {"api_key", "server_url"}
    return f"{sentence} (given: {value})." if quotable else f"{sentence.rstrip('.')}."
