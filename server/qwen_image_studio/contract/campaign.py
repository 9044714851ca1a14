"""The pieces of a campaign: where each is shown, and what it says and shows."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from qwen_image_studio.contract.words import MAX_PROMPT_CHARS, MAX_SLOT_CHARS, Channel, Language

SHAPES: Mapping[Channel, tuple[int, int]] = {
    Channel.POST: (1, 1),
    Channel.STORY: (9, 16),
    Channel.BANNER: (16, 9),
    Channel.WIDE_BANNER: (21, 9),
    Channel.POSTER: (3, 4),
}
"""Width and height of each channel's pictures, as a proportion."""
MAX_BRIEF_CHARS = 2000
MAX_PART_CHARS = 500
"""Longest product, occasion or audience in characters."""

_BY_SHAPE = {f"{width}:{height}": channel for channel, (width, height) in SHAPES.items()}
_LANGUAGES = {
    "english": Language.EN, "英文": Language.EN, "英语": Language.EN,
    "chinese": Language.ZH, "中文": Language.ZH, "汉语": Language.ZH,
}  # fmt: skip


def _one_language(value: object) -> object:
    """Return a language by its code also where people write its name, or a code with a country: zh-CN."""
    if not isinstance(value, str):
        return value
    plain = value.strip().casefold()
    named = _LANGUAGES.get(plain, plain.replace("_", "-").partition("-")[0])
    return named if named in {*Language} else value


def _one_channel(value: object) -> object:
    """Return a channel by its name also where it is written in another way, or named by its shape: 9:16."""
    if not isinstance(value, str):
        return value
    plain = value.strip().casefold()
    named = _BY_SHAPE.get(plain.replace("：", ":"), "_".join(plain.replace("-", " ").split()))
    return named if named in {*Channel} else value  # so that the message shows what was sent


def listed(value: object) -> object:
    """Return the entries of a list that is written as a text with commas between them; anything else as it is."""
    if not isinstance(value, str):
        return value
    return [entry for part in re.split(r"[,;，、；\n]", value) if (entry := part.strip())]


AnyLanguage = Annotated[Language, BeforeValidator(_one_language)]
AnyChannel = Annotated[Channel, BeforeValidator(_one_channel)]
Part = Annotated[str, Field(max_length=MAX_PART_CHARS)]
"""What says a part of the brief apart."""
Line = Annotated[str, Field(max_length=MAX_SLOT_CHARS)]
"""A text that is lettered in the picture."""
Scene = Annotated[str, Field(max_length=MAX_PROMPT_CHARS)]
"""What the picture of a piece shows; {headline}, {subline} and {background} in it stand for what the piece and its
direction say."""


class Piece(BaseModel):
    """One picture of a campaign."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, str_strip_whitespace=True)

    channel: AnyChannel
    """Where it is shown, which decides its shape."""
    language: AnyLanguage
    """Language of its texts."""
    headline: Annotated[Line, Field(min_length=1)]
    """The text that is lettered in it, letter for letter."""
    subline: Line = ""
    """A smaller text below it."""
    prompt: Scene = ""
    """What it shows, without style and colours, which the direction adds. {headline} and {subline} in it stand for the
    texts, which are added where it has them nowhere; {background} for one in the direction's colours. Left out: made
    from the brief."""
