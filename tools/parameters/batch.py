"""The parameters of image_batch: one job for each row of a table."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tools.errors import Refused
from tools.parameters.layering import LayerCount, Resolved, said_layers
from tools.parameters.painting import (
    MAX_PROMPT_CHARS,
    Instructed,
    checked_ratio,
    checked_size,
    painted_ratio,
    ratio,
    without_ratio_beside_size,
)
from tools.parameters.pictures import MAX_REFERENCE_CHARS, Address, one_reference
from tools.parameters.table import Table, checked
from tools.parameters.tolerant import lowered
from tools.parameters.transparency import Background, named_background

Operation = Literal["generate", "edit", "outpaint", "layers"]
SeedMode = Literal["per_row", "fixed"]

TEXTS = ("prompt", "negative_prompt", "image", "aspect_ratio", "size", "background")
"""Names of the parameters that may hold {{column}}, besides the slots."""
NOT_OF_LAYERS = ("template", "slots", "style", "loras", "aspect_ratio", "size", "background")
"""Names of the parameters that taking images apart does not have."""
# Names have no braces, so that the search takes linear time; blanks are stripped afterwards.
_COLUMN = re.compile(r"\{\{([^{}]*)\}\}")


def columns(text: str) -> str:
    """Return the text with each {{column}} in the server's notation.

    Dify's own variables look like {{#node.name#}}; Dify fills those in and leaves {{column}} alone. Raises ValueError
    for a text that is too long.
    """
    if len(text.strip()) > MAX_PROMPT_CHARS:
        raise ValueError(f"takes at most {MAX_PROMPT_CHARS} characters")
    return _COLUMN.sub(_without_blanks, text.replace("｛｛", "{{").replace("｝｝", "}}"))


def _without_blanks(column: re.Match[str]) -> str:
    return f"{{{{{column[1].strip()}}}}}"


def varies(text: str) -> bool:
    """Return whether the text depends on the row."""
    return "{{" in text


def _background_or_column(value: object) -> object:
    return value if isinstance(value, str) and varies(value) else named_background(value)


class BatchParameters(Instructed):
    """Parameters of image_batch; in texts, {{column}} stands for the row's value."""

    TABLES: ClassVar[frozenset[str]] = frozenset(("rows",))
    OR_ELSE: ClassVar[str] = ", or write {{column}}"

    operation: Annotated[Operation, BeforeValidator(lowered)] = "generate"
    rows: Table = None
    rows_file: Address = None
    """URL of a file of rows, instead of rows."""
    image: str | None = Field(None, max_length=MAX_REFERENCE_CHARS)
    """The image of each row: a text such as {{url}} that becomes an id or URL."""
    aspect_ratio: Annotated[str | None, BeforeValidator(ratio)] = None
    background: Annotated[Background | str, BeforeValidator(_background_or_column)] = "auto"
    layers: LayerCount = None
    resolution: Resolved = "auto"
    seed_mode: Annotated[SeedMode, BeforeValidator(lowered)] = "per_row"

    @field_validator(*TEXTS, mode="before")
    @classmethod
    def _double_braces(cls, value: object) -> object:
        return columns(value) if isinstance(value, str) else value

    @field_validator("image")
    @classmethod
    def _one_image(cls, value: str | None) -> str | None:
        return value if value is None or "{" in value else one_reference(value)

    @field_validator("slots")
    @classmethod
    def _double_braces_in_slots(cls, value: dict[str, str]) -> dict[str, str]:
        return {name: columns(text) for name, text in value.items()}

    @field_validator("size")
    @classmethod
    def _width_x_height(cls, value: str | None) -> str | None:
        return value if value is None or varies(value) else checked_size(value)

    @classmethod
    def relevant(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters without the aspect ratio where there is a size; to take images apart, without those of
        a painting.
        """
        ignored = NOT_OF_LAYERS if lowered(params.get("operation")) == "layers" else ()
        return super().relevant(
            without_ratio_beside_size({name: value for name, value in params.items() if name not in ignored})
        )

    @model_validator(mode="after")
    def _a_file_for_layers(self) -> Self:
        if self.operation == "layers" and self.output_format == "jpeg":
            raise ValueError(
                "operation: layers needs output_format png or webp; jpeg, as it is set, has no transparency."
            )
        return self

    @model_validator(mode="after")
    def _one_table(self) -> Self:
        if self.rows is None and self.rows_file is None:
            raise ValueError("Give the rows: as JSON or CSV in rows, or as a file in rows_file.")
        if self.rows is not None and self.rows_file is not None:
            raise ValueError("Give either rows or rows_file, not both.")
        return self

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if not self.prompt and self.template is None and self.operation not in {"outpaint", "layers"}:
            raise ValueError("prompt is missing. Write it with {{column}} where the rows differ, or choose a template.")
        return self

    @model_validator(mode="after")
    def _a_shape_that_the_operation_takes(self) -> Self:
        if self.operation == "outpaint" and self.aspect_ratio is None and self.size is None:
            raise ValueError("Say how far to extend the images: the shape to reach in aspect_ratio, or size.")
        if self.aspect_ratio is not None and not varies(self.aspect_ratio):
            _check_ratio(self.aspect_ratio, self.operation)
        return self

    def body(self) -> dict[str, Any]:
        """Return the body of ``POST /v1/jobs``, without the rows."""
        image = self.image or (None if self.operation == "generate" else "{{image}}")
        apart = said_layers(self.layers, self.resolution) if self.operation == "layers" else {}
        params = {"image": image, "aspect_ratio": self.aspect_ratio, **apart}
        job = {"operation": self.operation, **super().body(), **{name: text for name, text in params.items() if text}}
        return {"operation": "batch", "job": job, "seed_mode": self.seed_mode}

    def table(self, file: bytes | None) -> bytes:
        """Return the rows as a file; ``file`` is the one behind rows_file. Raises :class:`Refused`."""
        try:
            return self.rows or checked(file or b"")
        except ValueError as error:
            raise Refused(f"rows_file: {error}.") from None

    def in_words_of_the_form(self, refusal: Refused) -> Refused:
        """Return the server's refusal of the batch with the names that the form has for its parameters."""
        message = str(refusal)
        if refusal.param == "job":
            message = message.removeprefix("job: ")
        elif refusal.param == "rows" and self.rows is None:
            message = f"rows_file: {message.removeprefix('rows: ')}"
        return type(refusal)(message, param=refusal.param)


def _check_ratio(value: str, operation: Operation) -> None:
    try:
        if operation == "outpaint":
            checked_ratio(value)
        elif painted_ratio(value) == "auto":
            raise ValueError("leave it out for the shape that the server chooses")
    except ValueError as error:
        raise ValueError(f"aspect_ratio: {error}; or write {{{{column}}}}.") from None
