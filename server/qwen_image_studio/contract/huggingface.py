"""What Hugging Face's clients send and read: requests of the Inference API, and its errors."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from qwen_image_studio.contract.words import MAX_DATA_URL_CHARS

MAX_PARAMETERS = 100
"""Largest number of parameters, of which all but those of a job are ignored."""
Parameters = Annotated[dict[str, Any], Field(max_length=MAX_PARAMETERS)]


class InferenceOptions(BaseModel):
    """What is asked of the server and not of the model; the headers X-Wait-For-Model and X-Use-Cache say the same."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    wait_for_model: StrictBool = False
    """Wait for the picture for up to 590 seconds, whatever the setting says."""
    use_cache: StrictBool = True
    """False: paint anew, even what was painted before."""


class InferenceRequest(BaseModel):
    """A text to paint, or a picture and what to change in it."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow")

    inputs: Annotated[str, Field(max_length=MAX_DATA_URL_CHARS)] | Parameters = ""
    """The prompt; for a model that edits, the picture in base64; or an object with `image` and `instruction`."""
    parameters: Parameters = Field(default_factory=dict)
    """`prompt` of an edit, `negative_prompt`, `width`, `height`, `target_size`, `num_inference_steps`,
    `guidance_scale`, `seed`, and every other parameter of a job; what is unknown is ignored, with a warning."""
    options: InferenceOptions = Field(default_factory=InferenceOptions)


class InferenceError(BaseModel):
    """The shape of errors that Hugging Face's clients read."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    error: str
    """A sentence for a person: what is wrong, and what to do."""
    error_type: str
    """The code that the other routes have as `error.code`."""
    estimated_time: float | None = None
    """Seconds after which to send the same request again; only with status 503."""
