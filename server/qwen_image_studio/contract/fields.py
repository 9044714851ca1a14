"""Fields that several requests and queries share: their limits, and all the ways in which they may be written."""

import json
import re
import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import (
    MAX_CELL_CHARS,
    MAX_COLUMN_CHARS,
    MAX_COLUMNS,
    MAX_NAME_CHARS,
    MAX_PROMPT_CHARS,
    MAX_REFERENCE_CHARS,
    MAX_SENT_SEED,
    MAX_SIDE,
    MIN_SIDE,
    OutputFormat,
)

Cell = str | int | float | bool | None
"""One value of a row."""
SentCell = Annotated[str, Field(max_length=MAX_CELL_CHARS)] | int | float | bool | None
SentRow = Annotated[dict[Annotated[str, Field(max_length=MAX_COLUMN_CHARS)], SentCell], Field(max_length=MAX_COLUMNS)]
"""The values of a row by column, as a request may send them; rows that were stored before had no limits."""
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]
SlotName = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
SlotText = Annotated[str, Field(max_length=MAX_PROMPT_CHARS)]
"""A slot's text as it is sent; what is left of it once it is cleaned has to be much shorter."""


def _named(value: object) -> object:
    """Return a name without the spaces around it. Raises ValueError where nothing is left."""
    if isinstance(value, str) and not (value := value.strip()):
        raise ValueError("is empty; send a name, or leave it out")
    return value


def shaped(pattern: str, remedy: str) -> BeforeValidator:
    """Return what tells people what a text has to be, in place of its pattern, which programs go on reading."""

    def look(value: object) -> object:
        if isinstance(value, str) and not re.search(pattern, value):
            raise ValueError(remedy)
        return value

    return BeforeValidator(look)


def entries_of(text: str, separators: str, example: str) -> Any:
    """Return the entries of a list that is written as a text: as JSON, or else with `separators` (a pattern) between.

    Raises ValueError, which has the `example`, for JSON that cannot be read.
    """
    if text.lstrip()[:1] not in {"[", "{"}:
        return re.split(separators, text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"is not JSON that can be read; send {example}") from None


_NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"
_STYLE = r"^\w[\w.-]*$"
STYLE_NAME_TAKES = "takes letters, digits, - . and _, such as spring-2027"
_CACHE = r"^((?i:true|false|yes|no|on|off|[tfyn01])|similar)$"
_ONE_LINE = shaped(_NO_CONTROL, "has line breaks or control characters; take them out")
UserName = Annotated[str, Field(max_length=1000, pattern=_NO_CONTROL), _ONE_LINE] | None
"""A caller's own name for a person."""
NamedUser = Annotated[UserName, BeforeValidator(_named)]
"""The same in a query, where an empty one would mean everybody and is refused."""
WebhookUrl = Annotated[str, Field(max_length=2048)] | None
"""An address to call when something has happened."""
StyleName = Annotated[
    str,
    Field(max_length=MAX_NAME_CHARS, pattern=_STYLE),
    shaped(_STYLE, STYLE_NAME_TAKES),
    BeforeValidator(lambda value: style_name(value) if isinstance(value, str) else value),
]
"""An owner's own name for an art direction."""
IDLE_STYLES = frozenset({"vivid", "natural"})
"""What OpenAI's clients send as `style` by themselves; no art direction is called so."""
CacheChoice = Annotated[bool | Literal["similar"] | None, shaped(_CACHE, 'takes true, false or "similar"')]
"""Whether pictures that are there already may be the answer."""
ConversationName = Annotated[str, Field(max_length=128, pattern=_NO_CONTROL), _ONE_LINE] | None
"""A caller's own name for a conversation."""


def style_name(text: str) -> str:
    """Return a name of an art direction in its one form, however it was typed: in full width, with accents apart."""
    return unicodedata.normalize("NFKC", text).strip()


def is_style_name(text: str) -> bool:
    """Return whether a text can be the name of an art direction."""
    return len(text) <= MAX_NAME_CHARS and re.fullmatch(_STYLE, text) is not None


def _no_data_url(value: object) -> object:
    """Return an id or URL as it is. Raises ValueError for an image that is written into the JSON itself, and for a text
    that no column takes.
    """
    if isinstance(value, str) and "\0" in value:
        raise ValueError("is no id and no URL, since it has the character NUL")
    if isinstance(value, str) and value[:5].casefold() == "data:":
        raise ValueError(
            "is a data URL; send the image as a file (multipart), or by its id or URL. /v1/images/edits takes data "
            "URLs, too"
        )
    return value


Reference = Annotated[str, Field(max_length=MAX_REFERENCE_CHARS), BeforeValidator(_no_data_url)]
"""An image's id or URL."""


# -- other people's ways of writing --------------------------------------------------------------------------------

_SIZE = re.compile(r"\s*([0-9]{1,5})\s*(?:px)?\s*[xX×*]\s*([0-9]{1,5})\s*(?:px)?\s*")
_RATIO = re.compile(r"\s*([0-9]{1,4})\s*[:/xX×*]\s*([0-9]{1,4})\s*")
_AS_USUAL = frozenset(("auto", "default"))


def _written_size(value: str) -> str:
    """Return a size as WIDTHxHEIGHT, or auto. Raises ValueError."""
    plain = unicodedata.normalize("NFKC", value)
    if plain.strip().casefold() in _AS_USUAL:
        return "auto"
    if not (match := _SIZE.fullmatch(plain)):
        raise ValueError("must be WIDTHxHEIGHT such as 1024x768, or auto")
    if not all(MIN_SIDE <= int(side) <= MAX_SIDE for side in match.groups()):
        raise ValueError(f"each side must be {MIN_SIDE} to {MAX_SIDE} pixels")
    return f"{int(match[1])}x{int(match[2])}"


def _written_ratio(value: str) -> str | None:
    """Return a shape as WIDTH:HEIGHT, None for auto. Raises ValueError."""
    plain = unicodedata.normalize("NFKC", value)
    if plain.strip().casefold() in _AS_USUAL:
        return None
    match = _RATIO.fullmatch(plain)
    if match is None or not int(match[1]) * int(match[2]):
        raise ValueError("write WIDTH:HEIGHT such as 16:9")
    return f"{int(match[1])}:{int(match[2])}"


def _written_format(value: object) -> object:
    """Return a file format in lower case, with the name that the contract has for it; anything but a text as it is."""
    if not isinstance(value, str):
        return value
    plain = value.strip().casefold().removeprefix("image/").removeprefix(".")
    return "jpeg" if plain in {"jpg", "jpe", "jfif", "pjpeg"} else plain


def _in_small_letters(value: object) -> object:
    """Return a word as the contract has it, however it was typed; anything but a text as it is."""
    return value.strip().casefold() if isinstance(value, str) else value


def _random_below_zero(value: int) -> int | None:
    """Return the seed; None for -1, by which other image tools mean a random one."""
    return None if value == -1 else value


SizeText = Annotated[str, Field(max_length=20), AfterValidator(_written_size)]
"""WIDTHxHEIGHT or auto; 1024*768 and 1024 x 768 mean the same."""
RatioText = Annotated[str, Field(max_length=20), AfterValidator(_written_ratio)]
"""WIDTH:HEIGHT; 16/9, 16x9 and 1920x1080 mean the same shape."""
FileFormat = Annotated[OutputFormat, BeforeValidator(_written_format)]
"""File format; JPEG, jpg and image/jpeg mean the same."""
AnyBackground = Annotated[Background, BeforeValidator(_in_small_letters)]
"""What lies behind what is painted, in whatever case it is written."""
AnySeed = Annotated[int, Field(ge=-1, le=MAX_SENT_SEED), AfterValidator(_random_below_zero)]
"""A seed, or -1 for a random one."""
