"""Batch: one job for each row of a table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from secrets import randbelow
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.fields import Cell, ConversationName, SentRow, style_name
from qwen_image_studio.contract.words import (
    MAX_JSON_BYTES,
    MAX_ROWS,
    MAX_SEED,
    Operation,
    OutputFormat,
    Scope,
    SeedMode,
)
from qwen_image_studio.operations.given import Given, Planned
from qwen_image_studio.operations.paint_request import PaintRequest
from qwen_image_studio.operations.request import Request, ready, validated
from qwen_image_studio.planning.plan import BatchPlan
from qwen_image_studio.prompts.filling import check_job, fill, is_of_row
from qwen_image_studio.prompts.table import Row, Table, check_rows, of_row, read_table
from qwen_image_studio.prompts.written import only_reference

MAX_FILLED_TOTAL = 4_000_000
"""Largest number of characters in the texts of all rows: as many rows as there may be, with the longest prompt."""
_FORESEEN = "foreseen"
"""What stands for an image that has no id yet."""
SHEET_QUALITY = 90
"""JPEG quality of the contact sheet, 1 to 100; it is only for looking at."""


class BatchRequest(Request):
    """One job for each row of a table."""

    # Texts are not stripped: in a table, a tab at the end of a line is an empty cell.
    NAME: ClassVar[str] = Operation.BATCH
    SCOPE: ClassVar[Scope | None] = None
    HAS_ROWS: ClassVar[bool] = True
    operation: Literal[Operation.BATCH]
    conversation: ConversationName = None
    """A name of the caller's own, to which the images belong; a `job` that goes on with the last one names it, too."""
    job: dict[str, Any]
    """A job of any other operation, in whose texts {{column}} stands for the row's value. A text that is nothing but
    {{column}} becomes the value itself, also a number; where the row has none, the parameter is left out."""
    rows: Annotated[list[SentRow], Field(max_length=MAX_ROWS)] | Annotated[str, Field(max_length=MAX_JSON_BYTES)]
    """The rows: a list of objects, or a text with such a list as JSON, or with a table as CSV, whose first line names
    the columns, or in Markdown. In a form, a file of these or of Excel (.xlsx), at most 2 MB, may be sent as `rows`."""
    seed_mode: SeedMode = SeedMode.PER_ROW
    """How the rows get their seeds from the job's (a random one where it has none)."""

    @property
    def said(self) -> str:
        """The prompt with its {{columns}}."""
        prompt = self.job.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    def check(self, files: int, masks: int) -> None:
        """Raise StudioError where files came along, or the job cannot be filled in."""
        if files or masks:
            raise StudioError("unknown_parameter", "image: the rows of a batch name their images.", param="image")
        check_job(self.job)

    def plan(self, given: Given) -> Planned:
        """Return the plan. Each row is checked first, as far as that is possible without its images."""
        job = _with_direction(self.job, given)
        read = read_table(self.rows) if isinstance(self.rows, str) else Table(check_rows(self.rows))
        check_job(job, read.rows)
        requests = []
        left = MAX_FILLED_TOTAL
        for number, row in enumerate(read.rows):
            with of_row(number):
                requests.append(foreseen(job, row, given))
            left -= _chars_of(requests[-1])
            if left < 0:
                message = f"their texts have more than {MAX_FILLED_TOTAL} characters once they are filled in"
                raise refusal("rows", f"{message}; send several batches")
        images = sum(_images_of(request) for request in requests)
        if images > MAX_ROWS:
            raise refusal("rows", f"they make {images} images; at most {MAX_ROWS} are taken, send several batches")
        references = {reference for request in requests for reference in _references(request)}
        stored, shared = _with_stored_images(job, given.store_input)
        plan = BatchPlan(
            job=stored,
            table=tuple(read.rows),
            row_seeds=tuple(self._seeds(job, requests)),
            images_of_rows=images,
            output_format=OutputFormat.JPEG,
            output_quality=SHEET_QUALITY,
        )
        return Planned(plan, list(read.warnings), _shared_conversation(requests), sorted(references | shared))

    def _seeds(self, job: Mapping[str, Any], requests: Sequence[Request]) -> list[int | None]:
        """Return the seed of each row's first image, None for a row without one. Random seeds are drawn here, once."""
        drawn = randbelow(MAX_SEED + 1)
        rows_name_seeds = is_of_row(job.get("seed"))
        seeds: list[int | None] = []
        before = 0  # images of the rows so far; row * n where n is the same in all rows
        for request in requests:
            if not isinstance(request, PaintRequest):
                seeds.append(None)
                continue
            if rows_name_seeds and request.seed is not None:
                seeds.append(request.seed)
            else:
                first = drawn if rows_name_seeds or request.seed is None else request.seed
                seeds.append(first if self.seed_mode is SeedMode.FIXED else (first + before) % (MAX_SEED + 1))
            before += request.n
        return seeds


def _with_direction(job: Mapping[str, Any], given: Given) -> dict[str, Any]:
    """Return the batch's job with the art direction itself in place of the name of a saved one, so that all rows have
    it whatever becomes of that; and with its seed, where the job has none.

    Raises StudioError ``unknown_style``.
    """
    name, sent = job.get("style"), job.get("direction")
    try:
        direction = None if sent is None else Direction.model_validate(sent)
    except ValidationError:  # the first row says what is wrong with it
        return dict(job)
    if isinstance(name, str) and name.strip() and not is_of_row(name):
        direction = given.followed(style_name(name), direction)
    elif name is not None:  # each row names its own
        return dict(job)
    if direction is None:
        return dict(job)
    said = {"direction": direction.model_dump(mode="json", exclude_defaults=True, exclude={"reference"})}
    seed = {} if job.get("seed") is not None or direction.seed is None else {"seed": direction.seed}
    return {**{each: value for each, value in job.items() if each != "style"}, **said, **seed}


def row_request(job: Mapping[str, Any], row: Mapping[str, Cell], inputs: Sequence[str] = ()) -> Request:
    """Return the request of one row of a batch; `inputs` are the images that the batch itself has, for all rows.

    Raises StudioError with the parameter at fault.
    """
    filled = fill(job, row)
    if inputs:
        filled["image"] = inputs[0]
    elif isinstance(image := filled.get("image"), str):
        filled["image"] = only_reference(image)
    request = validated(filled)
    if request.HAS_ROWS:
        raise refusal("operation", f"a row of a batch cannot be a {request.NAME}; use another operation")
    if request.webhook_url is not None:
        raise refusal("webhook_url", "a row calls nobody; send it beside `job`, for the end of the batch")
    request.check(files=0, masks=0)
    return request


def foreseen(job: Mapping[str, Any], row: Row, given: Given) -> Request:
    """Return the request of a row. Raises StudioError where it cannot become a job; the images that all rows share are
    looked at, too.
    """
    request = row_request(job, row, inputs=[_FORESEEN] * len(given.inputs))
    asked = ready(request, given)
    if given.inputs:
        asked.plan(replace(given, is_foreseen=True))
    else:
        asked.foresee(given)
    return request


def _references(request: Request) -> list[str]:
    """Return ids and URLs of the images that a row names."""
    return [*request.images, *([request.marked] if isinstance(request.marked, str) else [])]


def _chars_of(request: Request) -> int:
    """Return the number of characters in the texts of a request, which are cleaned and looked through."""
    if not isinstance(request, PaintRequest):
        return 0
    return len(request.prompt) + len(request.negative_prompt or "") + sum(map(len, request.slots.values()))


def _images_of(request: Request) -> int:
    return request.pictures if isinstance(request, PaintRequest) else 1


def _with_stored_images(job: Mapping[str, Any], store_input: Callable[[str], str]) -> tuple[dict[str, Any], set[str]]:
    """Return the batch's job with the images that all rows share stored once and replaced by their ids; and these
    ids.
    """
    shared: set[str] = set()

    def stored(reference: Any) -> Any:
        if not isinstance(reference, str) or "://" not in reference or is_of_row(reference):
            return reference
        image_id = store_input(reference)
        shared.add(image_id)
        return image_id

    image = job.get("image")
    if image is None:
        return dict(job), shared
    return {**job, "image": [stored(each) for each in image] if isinstance(image, list) else stored(image)}, shared


def _shared_conversation(requests: Sequence[Request]) -> str | None:
    """Return the conversation to which the images of all rows belong; None where the rows do not name the same one."""
    named = {request.conversation for request in requests}
    return named.pop() if len(named) == 1 else None
