"""The parameters of prompt_enhance, and the choice of a language model of the workspace.

A model is written as PROVIDER/MODEL. No tool has Dify's model selector, since Dify's agents silently leave out a tool
whose selector is empty.
"""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from tools.parameters.tolerant import QUOTES, Tolerant, lowered, read_value
from tools.wishes import Wish

MAX_WISH_CHARS = 4000
MAX_PART_CHARS = 500

WishLanguage = Literal["auto", "en", "zh"]
WishPurpose = Literal["generate", "edit"]
Part = Annotated[str, Field(max_length=MAX_PART_CHARS)]


class ChosenModel(BaseModel):
    """A language model, in the form of Dify's model selector."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    provider: str
    model: str
    mode: str = "chat"
    completion_params: dict[str, Any] = Field({})

    @field_validator("mode", mode="before")
    @classmethod
    def _chat_where_unsaid(cls, value: object) -> object:
        return value or "chat"

    @field_validator("completion_params", mode="before")
    @classmethod
    def _none_where_unsaid(cls, value: object) -> object:
        return value or {}


def chosen_model(value: object) -> ChosenModel | None:
    """Return the model given as an object, as JSON or as PROVIDER/MODEL, where a provider has three parts.

    Return None where there is none or it cannot be read, since a prompt by rules is better than no picture.
    """
    if isinstance(value, str):
        if named := re.fullmatch(r"([\w.-]+/[\w.-]+/[\w.-]+)/(\S+)", value.strip(QUOTES)):
            return ChosenModel(provider=named.group(1), model=named.group(2))
        try:
            value = read_value(value)
        except ValueError:
            return None
    try:
        chosen = ChosenModel.model_validate(value)
    except ValidationError:
        return None
    return chosen if chosen.provider and chosen.model else None


ModelChoice = Annotated[ChosenModel | None, BeforeValidator(chosen_model)]


class EnhanceParameters(Tolerant):
    """Parameters of prompt_enhance."""

    FREE_TEXTS: ClassVar[frozenset[str]] = frozenset(("prompt", "product", "theme", "audience", "style"))

    prompt: str = Field("", max_length=MAX_WISH_CHARS)
    purpose: Annotated[WishPurpose, BeforeValidator(lowered)] = "generate"
    product: Part = ""
    theme: Part = ""
    audience: Part = ""
    style: Part = ""
    language: Annotated[WishLanguage, BeforeValidator(lowered)] = "auto"
    enhance_model: ModelChoice = None
    model: ModelChoice = None
    """The same, as apps have it that were saved while this tool had Dify's model selector."""

    @property
    def chosen(self) -> ChosenModel | None:
        """The language model to ask; None where rules are to write the prompt."""
        return self.enhance_model or self.model

    @model_validator(mode="after")
    def _something_to_work_on(self) -> Self:
        if self.purpose == "edit" and not self.prompt:
            raise ValueError("prompt is missing. Say what to change in the image.")
        if not (self.prompt or self.product or self.theme):
            raise ValueError("prompt is missing. Say in a few words what the picture is to show, or name a product.")
        return self

    def wish(self) -> Wish:
        """Return the wish to be written out as a prompt."""
        said = {name: getattr(self, name) for name in ("purpose", "product", "theme", "audience", "style", "language")}
        return Wish(self.prompt, **said)
