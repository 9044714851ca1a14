"""Answers about a key and its people: who they are, what they may, what they have used; and the queries beside them."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from qwen_image_studio.contract.fields import NamedUser, shaped
from qwen_image_studio.contract.view import View
from qwen_image_studio.contract.words import Policy, Scope

_MONTH = r"^20[0-9]{2}-(0[1-9]|1[0-2])$"


class LimitView(View):
    """One limit, and how much of it is used."""

    limit: int | None
    """null for no limit."""
    used: int
    left: int | None
    resets_at: float | None
    """When all of it is free again; for a minute, when the oldest submit in it is over. null for jobs at once."""


class LimitsView(View):
    """What a key, or a person of it, may use and has used. Days and months are those of UTC."""

    images_per_day: LimitView
    images_per_month: LimitView
    requests_per_minute: LimitView
    """Submits within 60 seconds; reads do not count."""
    jobs_at_once: LimitView
    """Jobs that have not ended; a batch is one."""
    max_pixels: int | None
    """Largest picture that a model may be asked for, in pixels; null for the model's own limit."""
    max_steps: int | None


class PersonView(View):
    """One person of a key."""

    person: str
    """As limits and usage name it: `user` itself, or a hash of a long one."""
    limits: LimitsView


class MeView(View):
    """Who asks, and what that one may."""

    object: Literal["me"] = "me"
    kind: Literal["key", "guest", "loopback"]
    """guest: who came by a link to one image. loopback: the server has no keys, and serves its own machine alone."""
    owner: str
    """Whom jobs and images belong to; empty for guests, who are not told."""
    key: str | None
    """Name of the API key; null for guests, too."""
    session: bool = False
    """Whether a cookie of this server says so, and no key that was sent along."""
    image_id: str | None = None
    """The image of a guest's link."""
    expires_at: float | None = None
    """When a session ends unless it is used, or a guest's link ends; in Unix seconds."""
    jobs_left: int | None = None
    """Jobs that may still be submitted through a guest's link."""
    can: list[Scope]
    limits: LimitsView
    """Those of the key as a whole; for guests those of the person whose image it is."""
    person: PersonView | None
    """The person of ?user=; null without."""


class SessionRequest(BaseModel):
    """Who signs in: somebody with an API key, or the bearer of a link to one image."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, str_strip_whitespace=True)

    api_key: Annotated[str, Field(max_length=200)] | None = None
    """An API key."""
    image_id: Annotated[str, Field(max_length=64)] | None = None
    """The image of a `studio_url`, together with `k`."""
    k: Annotated[str, Field(max_length=64)] | None = None
    """What stands after `?k=` in the link."""


class MeQuery(BaseModel):
    """Of whom to tell besides the key."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    user: NamedUser = None
    """A person, as in `user` of a job."""


class KeyView(View):
    """One API key without the key itself: what it may do, and what it has used."""

    name: str
    owner: str
    can: list[Scope]
    policy: Policy | None
    """Its safety policy; null for the server's."""
    limits: LimitsView
    """Those of the key as a whole, with what it has used."""
    limits_of_each_person: dict[str, int]
    """Those of each of its people, by name; what has no limit is left out."""
    created_at: float
    revoked_at: float | None
    rotating_until: float | None
    """Until when the key before the last rotation works; null where there is none."""


class KeyList(View):
    """One page of the server's API keys, those that work first, oldest first."""

    object: Literal["list"] = "list"
    data: list[KeyView]
    has_more: bool
    """Ask again with after=<name of the last one>."""


class KeysQuery(BaseModel):
    """How to list API keys."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: int = Field(50, ge=1, le=100)
    after: str | None = Field(None, max_length=64)
    """Name of the last key of the page before."""


class UsageGroup(StrEnum):
    """By what usage is added up."""

    MONTH = "month"
    KEY = "key"
    PERSON = "person"
    MODEL = "model"


class UsageView(View):
    """What was made and what it cost, of one group; what it was not grouped by is null."""

    month: str | None
    """Such as 2026-11, in UTC, by when a job was submitted."""
    owner: str | None
    """Together with the key."""
    key: str | None
    """Empty for jobs without a key."""
    person: str | None
    """Empty for jobs that named nobody."""
    model: str | None
    """cv where no model was needed."""
    pictures: int
    """Pictures that were made."""
    megapixel_steps: float
    """Painted pixels in millions times the steps that painted them."""
    device_s: float
    """Seconds for which devices worked."""


class UsageList(View):
    """What was made and what it cost."""

    object: Literal["list"] = "list"
    data: list[UsageView]


class UsageQuery(BaseModel):
    """Which usage to add up, and by what."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    month: (
        Annotated[str, Field(max_length=7, pattern=_MONTH), shaped(_MONTH, "takes a month such as 2026-11")] | None
    ) = None
    """Such as 2026-11, in UTC. Left out: this month, or all of them where they are grouped by month."""
    group: Annotated[str, Field(max_length=60)] = "month,key,person,model"
    """By what to add up: month, key, person, model, with commas between them."""
    format: Literal["json", "csv"] | None = None
    """Left out: as Accept says, else json."""

    @field_validator("group")
    @classmethod
    def _known(cls, value: str) -> str:
        for name in value.split(","):
            if name.strip() not in set(UsageGroup):
                raise ValueError(f"takes {', '.join(UsageGroup)}, with commas between them")
        return value

    @property
    def groups(self) -> list[UsageGroup]:
        """By what to add up, in a fixed order."""
        named = {name.strip() for name in self.group.split(",")}
        return [group for group in UsageGroup if group in named]
