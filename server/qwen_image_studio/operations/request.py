"""The base of all requests. A parameter has the same name everywhere (HTTP, Dify tools, shell, Python)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.errors import StudioError, from_validation, refusal
from qwen_image_studio.contract.fields import (
    AnySeed,
    ConversationName,
    FileFormat,
    SlotName,
    SlotText,
    UserName,
    WebhookUrl,
)
from qwen_image_studio.contract.words import (
    MAX_IMAGES,
    MAX_NAME_CHARS,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_SLOTS,
    MAX_STEPS,
    MIN_STEPS,
    Language,
    Operation,
    OutputFormat,
    Scope,
    Tier,
)
from qwen_image_studio.guard.terms import check_words
from qwen_image_studio.models.table import find_model
from qwen_image_studio.operations.given import Given, Planned
from qwen_image_studio.prompts.cleaning import THOUGHTS_CUT, cleaned, glued, told
from qwen_image_studio.prompts.templates import fill


def _trimmed(value: object) -> object:
    """Return a name without the spaces around it, None where nothing is left; whatever is no text as it is."""
    return (value.strip() or None) if isinstance(value, str) else value


class Request(BaseModel, ABC):
    """The base of all requests, with the parameters that every operation takes."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    NAME: ClassVar[str]
    """Name of the operation."""
    TAKES_IMAGES: ClassVar[tuple[int, int]] = (0, 0)
    """Least and largest number of images that it starts from."""
    SCOPE: ClassVar[Scope | None] = Scope.EDIT
    """Scope that the API key needs for it; None where that follows from each of its rows."""

    conversation: ConversationName = None
    """A name of the caller's own. Where an image is needed and none sent, it is the last one of this conversation."""
    hold: bool = False
    """Withhold the images until a reviewer has approved them, and make no previews; for a batch, those of all rows."""
    user: Annotated[UserName, BeforeValidator(_trimmed)] = None
    """A name of the caller's own for the person it asks for; /v1/jobs?user= lists that one's jobs alone."""
    webhook_url: Annotated[WebhookUrl, BeforeValidator(_trimmed)] = None
    """An http or https address that is told of the job's end, signed as Standard Webhooks has it. Left out: the one of
    the API key, where it has one."""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_left_out(cls, values: Any) -> Any:
        """Leave out texts with nothing in them: forms and workflow tools send those for what nobody filled in."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if not cls._says_nothing(name, value)}

    @classmethod
    def _says_nothing(cls, name: Any, value: Any) -> bool:
        field = cls.model_fields.get(name) if isinstance(value, str) and not value.strip() else None
        return field is not None and not field.is_required()

    @property
    def images(self) -> list[str]:
        """Ids and URLs of the images that it starts from; empty where files are sent."""
        return []

    @property
    def marked(self) -> Region | str | None:
        """Where the image may change: a box, or the id or URL of a mask; None without a mask, or with a mask file."""
        return None

    @property
    def said(self) -> str:
        """The words by which its job is found; empty where it has none of its own."""
        return ""

    def check(self, files: int, masks: int) -> None:
        """Raise StudioError where there are too few or too many images, counting `files` and `masks` that were sent."""
        named, (least, most) = len(self.images), self.TAKES_IMAGES
        how_many = f"{least} to {most} images" if most > 1 else "1 image"
        if named and files:
            raise refusal("image", f"send {how_many} either as files or as ids and URLs, not both")
        is_remembered = self.conversation is not None and not named + files
        if not least <= named + files <= most and not is_remembered:
            problem = f"{self.NAME} takes {how_many}, as files or as ids and URLs; there are {named + files}"
            raise refusal("image", problem)
        self.check_masks(masks)

    def check_masks(self, masks: int) -> None:
        """Raise StudioError where the number of mask files does not fit the operation."""
        if masks:
            raise StudioError("unknown_parameter", f"mask: {self.NAME} takes no mask; use inpaint.", param="mask")

    def ready(self, own_templates: Path | None) -> Self:
        """Return the request with its texts in the form in which they will be used."""
        return self

    def texts(self) -> list[tuple[str, str]]:
        """Return the texts that will be painted, each after the name of its parameter."""
        return []

    def foresee(self, given: Given) -> None:
        """Raise StudioError where no plan can be made, as far as that shows without the images."""
        if not self.images and not self.TAKES_IMAGES[0]:
            self.plan(replace(given, is_foreseen=True))

    @abstractmethod
    def plan(self, given: Given) -> Planned:
        """Return the plan of the request. Raises StudioError with the parameter at fault."""


OPERATIONS: dict[str, type[Request]] = {}
"""The request class of each operation, by name; the package fills this table."""


def validated(body: Mapping[str, Any], where: str = "") -> Request:
    """Return the request with these parameters. Raises StudioError with the parameter at fault.

    `where` names, in that error, what the caller called; by default it is a request of the operation.
    """
    name = body.get("operation")
    if not isinstance(name, str) or name not in OPERATIONS:
        raise StudioError("unknown_operation", f"operation: must be one of {', '.join(OPERATIONS)}.", param="operation")
    operation = OPERATIONS[name]
    try:
        return operation.model_validate(dict(body))
    except ValidationError as error:
        raise from_validation(error, where=where or f"{name} request", known=operation.model_fields) from error


def ready(request: Request, given: Given) -> Request:
    """Return the request with its texts as they will be used: filled in, cleaned and without blocked terms.

    Raises StudioError, ``content_blocked`` for a blocked term, ``scope_missing`` where the caller may not ask for it.
    """
    if request.SCOPE is not None:
        given.caller.check_scope(request.SCOPE)
    asked = request.ready(given.templates)
    if given.blocked_terms is not None:
        check_words(asked.texts(), given.blocked_terms)
    return asked


class ImageRequest(Request):
    """The base of requests whose results are images."""

    model_config = ConfigDict(str_strip_whitespace=True)

    output_quality: int | None = Field(None, ge=1, le=100)
    """Quality of JPEG and WebP files, 1 to 100. Left out: 95."""


class PaintRequest(ImageRequest):
    """Parameters that every painting operation takes."""

    TEMPLATES: ClassVar[Operation] = Operation.EDIT
    """The operation whose templates can be used."""
    NEEDS_PROMPT: ClassVar[bool] = True

    prompt: str = Field("", max_length=MAX_PROMPT_CHARS)
    """What to paint; for an edit, the instruction. Chinese or English. Needed unless there is a template."""
    template: str | None = Field(None, max_length=MAX_NAME_CHARS)
    """Instead of a prompt, the id of a template of /v1/templates."""
    slots: dict[SlotName, SlotText] = Field(default_factory=dict, max_length=MAX_SLOTS)
    """Texts for the template's slots, by name."""
    language: Language | None = None
    """Language of the template's words. Left out: Chinese where a slot has Chinese in it."""
    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARS)
    """What to keep out. Left out: the model's recommended one."""
    model: str | None = Field(None, max_length=200)
    """Name or repository id of a model in /v1/models. Left out: the server's first that does the operation."""
    n: int = Field(1, ge=1, le=MAX_IMAGES)
    """How many images; image i is painted with seed + i and equals that image asked for alone."""
    steps: int | None = Field(None, ge=MIN_STEPS, le=MAX_STEPS)
    """Denoising steps. Left out: the model's own."""
    guidance_scale: float | None = Field(None, ge=1, le=20, allow_inf_nan=False)
    """How strictly to follow the prompt (true CFG); 1 is off and twice as fast. Left out: the model's own."""
    seed: AnySeed | None = None
    """Seed of the first image. Left out, or -1: random; the answer tells it. One above 4294967295 is folded."""
    tier: Tier = Tier.QUALITY
    """Speed/quality setting."""
    output_format: FileFormat = OutputFormat.PNG
    """File format of the images."""

    _as_sent: str = PrivateAttr("")
    _cleaning: list[str] = PrivateAttr(default_factory=list)
    _reading: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _a_prompt_or_a_template(self) -> Self:
        if not self.prompt and self.template is None and self.NEEDS_PROMPT:
            raise PydanticCustomError("no_prompt", "is missing; send what to paint, or a template", {"param": "prompt"})
        if self.prompt and self.template is not None:
            raise PydanticCustomError("prompt_said_twice", "send a prompt or a template, not both", {"param": "prompt"})
        if self.slots and self.template is None:
            raise PydanticCustomError("slots_without_template", "slots belong to a template", {"param": "slots"})
        return self

    @model_validator(mode="after")
    def _fold_a_large_seed(self) -> Self:
        if self.seed is not None and self.seed > MAX_SEED:
            folded = self.seed % (MAX_SEED + 1)
            self._reading.append(f"seed {self.seed} is above {MAX_SEED}; it was folded into {folded}.")
            self.seed = folded
        return self

    @property
    def said(self) -> str:
        """The prompt; empty where there is a template instead."""
        return self.prompt

    @property
    def reading(self) -> list[str]:
        """Warnings about values that were taken in another way than they were sent."""
        return self._reading

    @property
    def as_sent(self) -> str:
        """The prompt with its special tokens but without thoughts, once the request is ready."""
        return self._as_sent

    @property
    def cleaning(self) -> list[str]:
        """Warnings about what was taken out of the texts, once the request is ready."""
        return self._cleaning

    @property
    def cut(self) -> list[str]:
        """Those that hold also where the prompt is used with its special tokens."""
        return [sentence for sentence in self._cleaning if sentence == THOUGHTS_CUT]

    def ready(self, own_templates: Path | None) -> Self:
        """Return the request with its template filled in and its texts cleaned; both happens only here.

        Raises StudioError for a template or slot that cannot be used, and where cleaning leaves nothing of the prompt.
        """
        prompt = self.prompt
        if self.template is not None:
            prompt = fill(own_templates, self.TEMPLATES, self.template, self.slots, self.language)
        kept, negative = cleaned(prompt), cleaned(self.negative_prompt or "")
        if prompt and not kept.text:
            raise refusal("prompt", "nothing of it is left without thoughts, special tokens and control characters")
        texts: dict[str, Any] = {"prompt": kept.text, "negative_prompt": negative.text, "template": None, "slots": {}}
        asked = self.model_copy(update=texts)
        asked._as_sent = kept.spoken
        asked._cleaning = told([*map(cleaned, self.slots.values()), kept, negative])
        return asked

    def texts(self) -> list[tuple[str, str]]:
        """Return the prompt alone, also with what control characters part as one word.

        A negative prompt names what must not be seen, so it may hold any term.
        """
        return [("prompt", text) for text in dict.fromkeys((self.prompt, glued(self.as_sent)))]

    def foresee(self, given: Given) -> None:
        """Raise StudioError where no plan can be made, as far as that shows without the images."""
        super().foresee(given)
        if self.model is not None:
            find_model(self.model, given.models)
