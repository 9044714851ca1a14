"""Tolerant reading of what Dify and language models send for a value.

Dify does not apply the defaults of the YAML files, sends numbers as strings, lists and objects in Python's notation,
and empty settings as None, "", [None] or not at all; language models write "none" or "auto" for what they leave out.
All forms of a value become the same here.
"""

import ast
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from tools.errors import Refused

NOTHING = frozenset(("", "none", "null", "nil", "undefined", "n/a", "na", "unset", "无", "なし"))
"""Words that mean, for any parameter, that it is left out."""
AS_USUAL = frozenset(("auto", "automatic", "default", "random", "自动", "默认", "随机", "自動"))
"""Words that mean that a choice, a number or a name is left out; in a free text they are taken literally."""
QUOTES = " \t\r\n\"'`“”‘’"


_UNFILLED = re.compile(r"(?:\{\{|｛｛)#[^{}｛｝]*#(?:\}\}|｝｝)")
"""Pattern of a variable of Dify's that Dify did not fill in, such as ``{{#llm.text#}}``."""


def _texts(value: object) -> Iterator[str]:
    """Yield the texts in a parameter: itself, or those in its list or object."""
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
    yield from (text for text in inside if isinstance(text, str))


def lowered(value: object) -> object:
    """Return a choice in lower case."""
    return value.strip().lower() if isinstance(value, str) else value


def narrow(text: str) -> str:
    """Return the text with full-width letters, digits and signs as usual ones, without blanks at the ends."""
    return unicodedata.normalize("NFKC", text).strip()


def number(value: object) -> object:
    """Return a number without full-width digits; a percentage becomes a fraction."""
    if not isinstance(value, str):
        return value
    plain = narrow(value)
    if plain.endswith("%"):
        with suppress(ValueError):
            return float(plain[:-1]) / 100
    return plain


def whole(value: object) -> object:
    """Return a whole number without full-width digits; 7.0 becomes 7."""
    plain = narrow(value) if isinstance(value, str) else value
    return plain.split(".")[0] if isinstance(plain, str) and re.fullmatch(r"-?\d+\.0*", plain) else plain


Whole = Annotated[int, BeforeValidator(whole)]


def read_value(text: str) -> Any:
    """Return the value that is written in JSON or in Python's notation. Raises ValueError where the text is neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise ValueError("is neither JSON nor Python's notation")


def unlisted(value: object) -> object:
    """Return the list that a text is in JSON or in Python's notation; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError):
            return read_value(value)
    return value


class Tolerant(BaseModel):
    """A set of parameters that is read tolerantly; an unusable value raises :class:`Refused`."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    FREE_TEXTS: ClassVar[frozenset[str]] = frozenset()
    """Names of the parameters that hold a person's own words."""
    TABLES: ClassVar[frozenset[str]] = frozenset()
    """Names of the parameters whose lists keep empty entries, since a silently dropped row is missed late."""

    OR_ELSE: ClassVar[str] = ""
    """What else a person may have meant who left a variable of Dify's in a text."""

    @model_validator(mode="before")
    @classmethod
    def _drop_blanks(cls, values: Any) -> Any:
        params = {}
        for name, given in dict(values).items():
            blanks = cls._blanks(name)
            value = [each for each in given if not _blank(each, blanks)] if isinstance(given, list | tuple) else given
            if not _blank(value, blanks):
                params[name] = given if name in cls.TABLES else value
        return cls.relevant(params)

    @classmethod
    def _blanks(cls, name: str) -> frozenset[str]:
        """Return the words that mean that the parameter is left out."""
        return NOTHING if name in cls.FREE_TEXTS else NOTHING | AS_USUAL

    @classmethod
    def relevant(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters without those that another one makes meaningless.

        The language model that calls the tool can neither see nor change what the app sets, so the two together must
        never be an error.
        """
        return params

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Return the parameters that Dify sent. Raises :class:`Refused`, which names the one at fault."""
        for name in cls.model_fields:
            if left := next(filter(None, map(_UNFILLED.search, _texts(values.get(name)))), None):
                raise Refused(
                    f"{name}: the variable {left.group()[:60]} has no value in Dify; choose it anew{cls.OR_ELSE}."
                )
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise Refused(_complaint(error)) from None


_WORDS = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "takes a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "takes a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "takes true or false"),
}
"""Our words for pydantic's, by its types of errors."""


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
    # Only short scalars are quoted back: a prompt is the person's own, and a credential may be secret. Half a
    # character, which is not printable, cannot be sent to Dify.
    short = isinstance(value, str | int | float) and len(str(value)) <= 40 and str(value).isprintable()
    quotable = short and name not in {"api_key", "server_url"} and "; not " not in said  # which quotes it already
    return f"{sentence} (given: {value})." if quotable else f"{sentence.rstrip('.')}."
