"""What the tools and the credentials take: own defaults, tolerant parsing, and every check before the network.

Dify does not apply the defaults of the YAML files, sends numbers as strings, and empty settings as None, "",
[None] or not at all; here all of these become one thing. A value that cannot be used raises :class:`Refused`.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from tools.client import StudioClient
from tools.errors import Refused

MIN_SIDE, MAX_SIDE = 64, 4096
MAX_SEED = 2**32 - 1
MAX_PROMPT_CHARS = 8000
MAX_REFERENCE_CHARS = 4000
MAX_INPUTS = 3

AspectRatio = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"]
OutputFormat = Literal["png", "jpeg", "webp"]
Prefer = Literal["auto", "model", "cv"]


def _lowered(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _number(value: object) -> object:
    """A whole number that came as 7.0 or "7.0" is 7."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\.0*\s*", value):
        return value.strip().split(".")[0]
    return value


Whole = Annotated[int, BeforeValidator(_number)]


class _Tolerant(BaseModel):
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


class Credentials(_Tolerant):
    """What the administrator entered for the provider."""

    server_url: str
    api_key: str = Field("", repr=False)
    verify_tls: bool = True
    time_budget: float = Field(540, ge=30, le=590, allow_inf_nan=False)
    """Seconds for one call of a tool; Dify's plugin daemon ends a call at 600."""

    @field_validator("server_url")
    @classmethod
    def _base_address(cls, value: str) -> str:
        if not (match := re.fullmatch(r"(?i)(https?)://([^/?#\s]+)(/[^?#\s]*)?", value)):
            raise ValueError("write the server's address with http:// or https://, such as http://gpu-box:8300")
        scheme, host, path = match.group(1).lower(), match.group(2), match.group(3) or ""
        if "@" in host:
            raise ValueError("leave user and password out of the address; the key belongs into api_key")
        if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?", host):
            raise ValueError("the host or the port cannot be right; write it like http://gpu-box:8300")
        # People paste the address of a route as often as the base.
        return f"{scheme}://{host}{re.sub(r'(/v1(/.*)?)?/*$', '', path)}"

    @field_validator("api_key")
    @classmethod
    def _printable(cls, value: str) -> str:
        key = re.sub(r"(?i)^bearer\s+", "", value)
        if not re.fullmatch(r"[!-~]*", key):
            raise ValueError("has a character that no key has, such as a space or a line break; copy it again")
        return key

    def client(self) -> StudioClient:
        """A client with these credentials, whose time budget begins now."""
        return StudioClient(self.server_url, self.api_key, verify_tls=self.verify_tls, time_budget_s=self.time_budget)


class _Painting(_Tolerant):
    """Parameters that both painting tools take; None leaves the choice to the server."""

    prompt: str = Field(max_length=MAX_PROMPT_CHARS)
    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARS)
    size: str | None = None
    seed: Annotated[int | None, BeforeValidator(_number), Field(le=MAX_SEED)] = None
    n: Whole = Field(1, ge=1, le=4)
    steps: Annotated[int | None, BeforeValidator(_number), Field(ge=2, le=150)] = None
    guidance_scale: float | None = Field(None, ge=1, le=20, allow_inf_nan=False)
    model: str | None = Field(None, max_length=200)
    output_format: Annotated[OutputFormat, BeforeValidator(_lowered)] = "png"

    @field_validator("size")
    @classmethod
    def _width_x_height(cls, value: str | None) -> str | None:
        if value is None or value.lower() == "auto":
            return None
        if not (match := re.fullmatch(r"(\d{1,5})\s*[xX×*]\s*(\d{1,5})", value)):
            raise ValueError("write WIDTHxHEIGHT in pixels, such as 1024x768, or leave it empty")
        if not all(MIN_SIDE <= int(side) <= MAX_SIDE for side in match.groups()):
            raise ValueError(f"each side must be {MIN_SIDE} to {MAX_SIDE} pixels")
        return "x".join(match.groups())

    @field_validator("seed")
    @classmethod
    def _random_below_zero(cls, value: int | None) -> int | None:
        if value is not None and value < -1:
            raise ValueError(f"must be 0 to {MAX_SEED}, or empty for a random one")
        return None if value == -1 else value  # -1 is how other image tools write "random"

    def body(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs`` without operation and inputs; what was left out is left out."""
        names = {"prompt", "negative_prompt", "size", "seed", "n", "steps", "guidance_scale", "model", "output_format"}
        return self.model_dump(include=names, exclude_none=True)


class GenerationParameters(_Painting):
    """Parameters of image_generation."""

    aspect_ratio: Annotated[AspectRatio, BeforeValidator(lambda value: _ratio(value))] = "1:1"

    def body(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``; a size replaces the aspect ratio."""
        shape = {} if self.size else {"aspect_ratio": self.aspect_ratio}
        return {"operation": "generate", **super().body(), **shape}


def _ratio(value: object) -> object:
    return re.sub(r"\s*[:：]\s*", ":", value.strip()) if isinstance(value, str) else value


class EditParameters(_Painting):
    """Parameters of image_edit; either ``images`` or ``image_id`` holds one to three images, in order."""

    images: list[str] = []
    """Addresses from which Dify's files are downloaded."""
    image_id: list[str] = []
    """Ids or URLs that the server reads itself."""
    prompt: str = Field("", max_length=MAX_PROMPT_CHARS)
    template: str | None = Field(None, pattern=r"^[A-Za-z0-9_]{1,64}$")
    """Instead of a prompt, one of the server's templates."""
    slots: dict[str, str] = {}
    """What stands in the template's slots."""
    prefer: Annotated[Prefer, BeforeValidator(_lowered)] = "auto"

    @field_validator("images", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> list[str]:
        files = value if isinstance(value, list) else [value]
        return [_address(file) for file in files]

    @field_validator("image_id", mode="before")
    @classmethod
    def _references(cls, value: object) -> list[str]:
        given = value if isinstance(value, list) else [value]
        return [reference for text in given for reference in _split(str(text))]

    @model_validator(mode="before")
    @classmethod
    def _template_or_words(cls, values: Any) -> Any:
        """Whoever builds the app sets a template; a language model, which cannot see it, may fill in the rest."""
        ignored = "prompt" if str(dict(values).get("template") or "").strip() else "slots"
        return {name: value for name, value in dict(values).items() if name != ignored}

    @field_validator("slots", mode="before")
    @classmethod
    def _named_values(cls, value: object) -> object:
        return _slots(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _a_prompt_or_a_template(self) -> Self:
        if not self.prompt and self.template is None:
            raise ValueError("prompt is missing. Say what to change in the image, or choose a template.")
        return self

    @model_validator(mode="after")
    def _one_to_three(self) -> Self:
        if self.images and self.image_id:
            raise ValueError("Give either images or image_id, not both: files and stored images cannot be mixed.")
        if not self.images and not self.image_id:
            raise ValueError("Give the image to edit: a file in images, or image_id with the id or URL of an image.")
        if len(self.images or self.image_id) > MAX_INPUTS:
            raise ValueError(f"Give at most {MAX_INPUTS} images; there are {len(self.images or self.image_id)}.")
        return self

    def body(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``; without ``image`` where files are sent along."""
        inputs = {"image": self.image_id} if self.image_id else {}
        told: dict[str, Any] = {} if self.prefer == "auto" else {"prefer": self.prefer}
        if self.template is not None:
            told |= {"template": self.template, "slots": self.slots}
        body = {name: value for name, value in super().body().items() if name != "prompt" or value}
        return {"operation": "edit", **body, **told, **inputs}


def _slots(text: str) -> dict[str, str]:
    """``{"old": "apple", "new": "a cat"}`` as JSON, or ``old=apple; new=a cat`` as people type it."""
    try:
        read = json.loads(text)
    except ValueError:
        pairs = [part.partition("=") for part in re.split(r"[;；\n]", text) if part.strip()]
        if not all(middle and name.strip() for name, middle, _ in pairs):
            raise ValueError('write the slots as JSON such as {"old": "apple"}, or as old=apple; new=a cat') from None
        return {name.strip(): value.strip() for name, _, value in pairs}
    if not isinstance(read, dict):
        raise ValueError('write the slots as a JSON object such as {"old": "apple"}')
    return {str(name): str(value) for name, value in read.items() if value is not None}


def _address(file: object) -> str:
    """The URL of a file as the SDK hands it over (an object), or as Dify sent it (a mapping), or a plain URL."""
    url = file.get("url") if isinstance(file, Mapping) else getattr(file, "url", file)
    if not isinstance(url, str) or not url:
        raise ValueError("has an entry that is no file; choose files, or use image_id")
    return url


def _split(text: str) -> list[str]:
    """Several ids or URLs in one string. A URL may hold commas, so after one a comma only splits before the next."""
    parts = re.split(r"[\s，、；]+|,(?=\s|https?://|img_|$)", text)
    found = []
    for part in filter(None, parts):
        found += [part] if re.match("https?://", part) else list(filter(None, part.split(",")))
    for reference in found:
        _check_reference(reference)
    return found


def _check_reference(reference: str) -> None:
    if len(reference) > MAX_REFERENCE_CHARS:
        raise ValueError("takes ids or URLs of images, not the image itself")
    if not re.match("https?://", reference) and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", reference):
        raise ValueError("takes the id of an image of the server (the tool's answer names it) or a URL with http(s)://")
