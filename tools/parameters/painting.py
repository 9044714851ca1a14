"""The parameters of tools for which a model works, those of all painting tools, and those of image_generation."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from tools.parameters.enhancing import ModelChoice
from tools.parameters.loras import Loras
from tools.parameters.pictures import MAX_SIDE, NamedImage
from tools.parameters.tolerant import Tolerant, Whole, lowered, narrow, number, read_value, whole
from tools.parameters.transparency import Behind, check_file, said_background
from tools.wishes import Wish, Written

MIN_SIDE = 64
MAX_SEED = 2**32 - 1
MAX_PROMPT_CHARS = 8000
LONGEST_PAINTED = 4
"""Largest ratio of the longer to the shorter side of a shape that is painted."""
LONGEST_SHAPE = 20
"""Largest ratio of the longer to the shorter side of a shape."""

NativeRatio = Literal["auto", "1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"]
OutputFormat = Literal["png", "jpeg", "webp"]
PromptKind = Literal["instruction", "description"]
Enhance = Literal["off", "rules", "llm"]
Cache = Literal["auto", "on", "off", "similar"]
Tier = Literal["auto", "quality", "balanced", "turbo", "draft"]
Strength = Annotated[float | None, BeforeValidator(number), Field(ge=0.01, le=1, allow_inf_nan=False)]

SENT = {
    "negative_prompt", "size", "seed", "n", "steps", "guidance_scale", "model", "style", "loras", "output_format",
    "output_quality",
}  # fmt: skip
MAX_STYLE_NAME_CHARS = 64


def _named(value: str) -> str:
    """Return the name of a saved style. Raises ValueError for what is none."""
    name = narrow(value)
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError("takes letters, digits, - . and _, such as spring-2027")
    return name


StyleName = Annotated[str, Field(max_length=MAX_STYLE_NAME_CHARS), AfterValidator(_named)]
"""Name of an art direction that is saved at the server."""

_SHAPES: Mapping[str, str] = {
    **dict.fromkeys(("square", "正方形", "方形"), "1:1"),
    **dict.fromkeys(("wide", "widescreen", "宽屏"), "16:9"),
    **dict.fromkeys(("tall", "vertical", "竖屏"), "9:16"),
    **dict.fromkeys(("landscape", "horizontal", "横向"), "4:3"),
    **dict.fromkeys(("portrait", "upright", "纵向"), "3:4"),
}
"""Shapes by the names that the form gives them, and by similar words."""


def ratio(value: object) -> object:
    """Return a shape as WIDTH:HEIGHT, whether it came with another sign, with spaces or as a word."""
    if not isinstance(value, str):
        return value
    plain = narrow(value)
    if sides := re.fullmatch(r"(\d+)\s*[:/x×*]\s*(\d+)", plain, re.IGNORECASE):
        return ":".join(sides.groups())
    return _SHAPES.get(plain.lower(), plain)


def painted_ratio(value: object) -> str:
    """Return the shape of a painting: a native one, or any other, for which the server takes the nearest native size.

    Raises ValueError for what is no shape, or longer than the server paints.
    """
    shape = ratio(lowered(value))
    if shape in get_args(NativeRatio):
        return str(shape)
    sides = re.fullmatch(r"([0-9]{1,5}):([0-9]{1,5})", shape, re.ASCII) if isinstance(shape, str) else None
    if sides is None or not 0 < max(map(int, sides.groups())) <= LONGEST_PAINTED * min(map(int, sides.groups())):
        named = ", ".join(get_args(NativeRatio))
        raise ValueError(f"must be one of {named}, or another WIDTH:HEIGHT up to {LONGEST_PAINTED}:1")
    return str(shape)


def file_format(value: object) -> object:
    """Return a file format that may come as the suffix of a file or as a media type."""
    if not isinstance(value, str):
        return value
    plain = value.strip().lower().removeprefix("image/").lstrip(".")
    return "jpeg" if plain == "jpg" else plain


def switched(value: object) -> object:
    """Return a choice as a word: YAML makes truth values of ``on`` and ``off``."""
    word = str(value).strip().lower() if isinstance(value, bool | str) else value
    return {"true": "on", "yes": "on", "false": "off", "no": "off"}.get(str(word), word)


_TIERS: Mapping[str, Tier] = {
    **dict.fromkeys(("best", "high", "hd", "质量", "高质量", "最佳"), "quality"),
    **dict.fromkeys(("medium", "均衡", "平衡"), "balanced"),
    **dict.fromkeys(("fast", "quick", "极速", "快速"), "turbo"),
    **dict.fromkeys(("sketch", "preview", "草图", "草稿", "预览"), "draft"),
}
"""Tiers by the names that the form gives them, and by similar words."""


def named_tier(value: object) -> object:
    """Return a tier by its name, in whichever case or word it came."""
    word = lowered(value)
    return _TIERS.get(word, word) if isinstance(word, str) else word


def without_ratio_beside_size(params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters without the aspect ratio where there is a size: one that the app sets overrides a shape
    that a language model chose.
    """
    return {name: value for name, value in params.items() if not ("size" in params and name == "aspect_ratio")}


def checked_ratio(value: str) -> str:
    """Return a shape as WIDTH:HEIGHT. Raises ValueError for one that no canvas can have."""
    match = re.fullmatch(r"(\d{1,4}):(\d{1,4})", value)
    sides = [int(side) for side in match.groups()] if match else [0]
    if 0 in sides or max(sides) > LONGEST_SHAPE * min(sides):
        raise ValueError(f"write WIDTH:HEIGHT such as 16:9, at most {LONGEST_SHAPE}:1")
    return value


def checked_size(value: str) -> str:
    """Return WIDTHxHEIGHT, whatever its multiplication sign was. Raises ValueError for any other size."""
    if not (match := re.fullmatch(r"(\d{1,5})\s*[xX×*]\s*(\d{1,5})", narrow(value))):
        raise ValueError("write WIDTHxHEIGHT in pixels, such as 1024x768, or leave it empty")
    if not all(MIN_SIDE <= int(side) <= MAX_SIDE for side in match.groups()):
        raise ValueError(f"each side must be {MIN_SIDE} to {MAX_SIDE} pixels")
    return "x".join(match.groups())


class Modelled(Tolerant):
    """Parameters of every tool for which a model works; None leaves the choice to the server."""

    FREE_TEXTS: ClassVar[frozenset[str]] = frozenset(("prompt",))

    prompt: str = Field("", max_length=MAX_PROMPT_CHARS)
    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARS)
    tier: Annotated[Tier, BeforeValidator(named_tier)] = "auto"
    """How fast, and how good; ``auto`` leaves that to the server."""
    seed: Annotated[int | None, BeforeValidator(whole), Field(le=MAX_SEED)] = None
    steps: Annotated[int | None, BeforeValidator(whole), Field(ge=2, le=150)] = None
    guidance_scale: Annotated[float | None, BeforeValidator(number), Field(ge=1, le=20, allow_inf_nan=False)] = None
    model: str | None = Field(None, max_length=200)
    cache: Annotated[Cache, BeforeValidator(switched)] = "auto"
    """Whether pictures that are there already may be the answer; ``auto`` leaves that to the server."""
    wait: bool = True
    """Whether the tool waits for the end of its job, rather than only starting it."""

    @field_validator("seed")
    @classmethod
    def _random_below_zero(cls, value: int | None) -> int | None:
        if value is not None and value < -1:
            raise ValueError(f"must be 0 to {MAX_SEED}, or empty for a random one")
        return None if value == -1 else value  # -1 is how other image tools write "random"

    def body(self) -> dict[str, Any]:
        """Return the body of ``POST /v1/jobs`` without operation, inputs and what was left out."""
        said: dict[str, Any] = {"prompt": self.prompt} if self.prompt else {}
        if self.tier != "auto":
            said["tier"] = self.tier
        if self.cache != "auto":
            said["cache"] = {"on": True, "off": False}.get(self.cache, self.cache)
        return {**said, **self.model_dump(include=SENT, exclude_none=True)}


class Painting(Modelled):
    """Parameters that every painting tool takes; None leaves the choice to the server."""

    FREE_TEXTS: ClassVar[frozenset[str]] = frozenset(("prompt", "style"))  # a style may be called "default"

    style: StyleName | None = None
    """Name of an art direction that is saved at the server."""
    loras: Loras = None
    background: Behind = "auto"
    output_format: Annotated[OutputFormat, BeforeValidator(file_format)] = "png"
    output_quality: Annotated[int | None, BeforeValidator(whole), Field(ge=1, le=100)] = None

    @model_validator(mode="after")
    def _a_file_for_transparency(self) -> Self:
        check_file(self.background, self.output_format)
        return self

    def body(self) -> dict[str, Any]:
        """Return the body of ``POST /v1/jobs`` without operation, inputs and what was left out."""
        return {**super().body(), **said_background(self.background)}


class Sized(Painting):
    """Parameters of a tool whose pictures may have any size."""

    size: str | None = None

    @field_validator("size")
    @classmethod
    def _width_x_height(cls, value: str | None) -> str | None:
        return None if value is None else checked_size(value)


class Instructed(Sized):
    """Parameters of a tool that takes a prompt, or one of the server's templates with texts for its slots."""

    template: str | None = Field(None, pattern=r"^[A-Za-z0-9_]{1,64}$")
    """Id of one of the server's templates, instead of a prompt."""
    slots: dict[str, str] = Field({})
    """Texts for the template's slots, by name."""

    @classmethod
    def relevant(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters without the prompt where there is a template, and without slots where there is none."""
        ignored = "prompt" if "template" in params else "slots"
        return {name: value for name, value in params.items() if name != ignored}

    @field_validator("slots", mode="before")
    @classmethod
    def _named_values(cls, value: object) -> object:
        return _slots(value)

    def body(self) -> dict[str, Any]:
        """Return the body of ``POST /v1/jobs`` without operation and inputs."""
        return super().body() | ({} if self.template is None else {"template": self.template, "slots": self.slots})


def _slots(value: object) -> dict[str, str]:
    """Return the slots from ``{"old": "apple", "new": "a cat"}`` in JSON or Python, or ``old=apple; new=a cat``.

    Raises ValueError for anything else.
    """
    try:
        read = read_value(value) if isinstance(value, str) else value
    except ValueError:
        read = value
    if isinstance(read, str):
        pairs = [part.partition("=") for part in re.split(r"[;；\n]", read) if part.strip()]
        if all(middle and name.strip() for name, middle, _ in pairs):
            return {name.strip(): said.strip() for name, _, said in pairs}
    if not isinstance(read, Mapping):
        raise ValueError('write the slots as JSON such as {"old": "apple"}, or as old=apple; new=a cat')
    return {str(name): str(said) for name, said in read.items() if said is not None}


class GenerationParameters(NamedImage, Sized):
    """Parameters of image_generation."""

    prompt: str = Field(max_length=MAX_PROMPT_CHARS)
    n: Whole = Field(1, ge=1, le=4)
    aspect_ratio: Annotated[NativeRatio | str, BeforeValidator(painted_ratio)] = "auto"
    strength: Strength = None
    """How far to go from the image; it is not sent without an image, so that one app can serve both cases."""
    enhance: Annotated[Enhance, BeforeValidator(lowered)] = "off"
    enhance_model: ModelChoice = None

    @classmethod
    def relevant(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters without the aspect ratio where there is a size, and with ``enhance`` as a word: YAML
        turns ``off`` into a truth value.
        """
        word = str(params.get("enhance")).strip().lower()
        if word in {"true", "yes", "on"}:
            params["enhance"] = "llm" if "enhance_model" in params else "rules"
        elif word in {"false", "no"}:
            params["enhance"] = "off"
        return without_ratio_beside_size(params)

    def wish(self) -> Wish:
        """Return the prompt as a wish that is still to be written out."""
        return Wish(self.prompt)

    def written(self, prompt: Written) -> Self:
        """Return these parameters with another prompt; the person's own negative prompt and shape are kept."""
        free = self.aspect_ratio == "auto" and not self.has_image
        shape = {"aspect_ratio": prompt.aspect_ratio} if free else {}
        negative = self.negative_prompt or prompt.negative_prompt or None
        return self.model_copy(update={"prompt": prompt.prompt, "negative_prompt": negative, **shape})

    def body(self) -> dict[str, Any]:
        """Return the body of ``POST /v1/jobs``; a size replaces the aspect ratio."""
        shape = {} if self.size or self.aspect_ratio == "auto" else {"aspect_ratio": self.aspect_ratio}
        far = {"strength": self.strength} if self.has_image and self.strength is not None else {}
        return {"operation": "generate", **super().body(), **shape, **far, **self.input()}
