"""Errors as Hugging Face's clients read them: `error` is a text. Which addresses are theirs, is said here alone."""

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.huggingface import InferenceError

PREFIX = "/models"
"""Below it lie the models, as on Hugging Face."""
SECOND_PREFIX = "/hf-inference/models"
"""The same below the path of a provider, which a base URL may have."""
_BASE = "/v1"
_EXAMPLE = 'POST /models/Qwen/Qwen-Image with {"inputs": "a red apple"}'


def reads_texts(path: str) -> bool:
    """Return whether those who ask for the path are clients of Hugging Face."""
    return path.rstrip("/") == _BASE or any(f"{path}/".startswith(f"{each}/") for each in (PREFIX, SECOND_PREFIX))


def text_body(error: StudioError) -> InferenceError:
    """Return the body of an error in the shape that those clients read."""
    seconds = error.retry_after if error.status == 503 else None
    return InferenceError(
        error=error.message, error_type=error.code, estimated_time=None if seconds is None else float(seconds)
    )


def where_to_send(status: int, path: str) -> str | None:
    """Return what tells a client of Hugging Face that has sent its request elsewhere; None for other paths."""
    if not reads_texts(path) or status not in {404, 405}:
        return None
    if status == 405:
        return f"A model is asked by {_EXAMPLE}; GET /v1/models lists them."
    return f"There is no model at this address; the client's URL has to name one: {_EXAMPLE}."
