"""The base of all requests. A parameter has the same name everywhere (HTTP, Dify tools, shell, Python)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    model_validator,
)

from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import StudioError, from_validation, refusal
from qwen_image_studio.contract.fields import (
    CacheChoice,
    ConversationName,
    UserName,
    WebhookUrl,
)
from qwen_image_studio.contract.words import (
    Scope,
)
from qwen_image_studio.guard.terms import check_words
from qwen_image_studio.operations.given import Given, Planned


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
    HAS_ROWS: ClassVar[bool] = False
    """Whether each of its rows becomes a job."""

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

    @property
    def followed(self) -> Direction | None:
        """The art direction that it follows, once it is ready; None without one."""
        return None

    @property
    def looks_up(self) -> CacheChoice:
        """Whether pictures that are there may answer it, as `cache` says; None where the request does not say."""
        return None

    @property
    def saves_style(self) -> str | None:
        """The name under which its art direction is to be saved; None for no such wish."""
        return None

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

    def foresee_images(self, images: int, given: Given) -> None:
        """Raise StudioError where no model takes so many images, before any of them is opened."""

    def check_masks(self, masks: int) -> None:
        """Raise StudioError where the number of mask files does not fit the operation."""
        if masks:
            raise StudioError("unknown_parameter", f"mask: {self.NAME} takes no mask; use inpaint.", param="mask")

    def ready(self, given: Given) -> Self:
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
    asked = request.ready(given)
    if given.blocked_terms is not None:
        check_words(asked.texts(), given.blocked_terms)
    return asked
