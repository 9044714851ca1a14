"""The settings of the studio page and of the links to it."""

import re

from pydantic import Field, field_validator

from qwen_image_studio.settings.server import CommaList, ServerSettings

_MONTH_S = 31 * 86400


class PageSettings(ServerSettings):
    """The settings of the page beside those that every server needs; `Settings` has all."""

    guest_ttl_s: int = Field(
        86400,
        ge=0,
        le=_MONTH_S,
        description="Seconds for which a link to the studio page (`studio_url` of an image) lets its bearer see and "
        "change that image. 0: no such links are given out, and those that were open nothing any more.",
    )
    guest_jobs: int = Field(
        20, ge=0, description="Jobs that may be submitted through one such link. 0: it lets its bearer look only."
    )
    frame_ancestors: CommaList = Field(
        (),
        description="Origins whose pages may show the studio page in a frame (comma list such as "
        "https://dify.example.com). People can sign in there where the studio is of the same site. Empty: none.",
    )

    @field_validator("frame_ancestors", mode="before")
    @classmethod
    def _split_ancestors(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("frame_ancestors")
    @classmethod
    def _can_frame(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not re.fullmatch(r"https?://[a-z0-9.:\[\]-]+", each):
                raise ValueError(f"{each} has to be an origin such as https://dify.example.com, without a path")
        return value
