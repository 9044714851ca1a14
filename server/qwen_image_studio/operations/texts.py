"""The texts of a request: a template filled in, and what the terms are held against."""

from pathlib import Path

from qwen_image_studio.contract.words import Operation
from qwen_image_studio.operations.requests import AdjustRequest, BatchRequest, Request
from qwen_image_studio.prompts.templates import fill

_TAUGHT_BY = {Operation.INPAINT: Operation.EDIT, Operation.OUTPAINT: Operation.EDIT}
"""Whose templates serve an operation that has none of its own."""


def filled(request: Request, own: Path | None) -> Request:
    """The request with a prompt in place of its template, if it has one. Raises StudioError as `fill` does."""
    if isinstance(request, AdjustRequest | BatchRequest) or request.template is None:
        return request
    operation = _TAUGHT_BY.get(Operation(request.operation), Operation(request.operation))
    prompt = fill(own, operation, request.template, request.slots, request.language)
    return request.model_copy(update={"prompt": prompt, "template": None, "slots": {}})


def texts_of(request: Request) -> list[tuple[str, str]]:
    """The texts that will be painted, each with its parameter. A negative prompt says what must not be seen."""
    if isinstance(request, BatchRequest):
        return []  # its rows are requests of their own
    texts = [("prompt", request.prompt or "")]
    for index, adjustment in enumerate(getattr(request, "adjustments", [])):
        texts.append((f"adjustments[{index}].text", getattr(adjustment, "text", "")))
    return texts
