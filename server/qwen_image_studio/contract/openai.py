"""Answers of the routes that speak OpenAI's images API."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from qwen_image_studio.contract.words import OutputFormat


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class InputTokens(_Answer):
    """What a request held, by kind."""

    text_tokens: int
    """Estimated from the length of the prompts."""
    image_tokens: int
    """One for each 16x16 pixels of an input."""


class Usage(_Answer):
    """What was read and painted, in the units of clients that count tokens; nothing is charged by it."""

    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    """One for each 16x16 pixels painted, which is what the models work on."""
    total_tokens: int


class ImagesItem(_Answer):
    """One image: its bytes, its link or both."""

    b64_json: str | None = None
    """The file in base64."""
    url: str | None = None
    """Signed link for people; it expires."""
    revised_prompt: str | None = None
    """What was painted, where that is not the prompt as it was sent: a template's text, for example."""
    id: str
    """Id of the image, for /v1/images/{id} and as the input of further edits."""
    seed: int | None
    """The seed that paints this image alone; left out where no model was needed."""


class ImagesResponse(_Answer):
    """The images of a job that has succeeded."""

    id: str
    """Id of the first image, the same as `data[0].id`."""
    created: int
    """Unix seconds."""
    data: list[ImagesItem]
    background: Literal["opaque", "transparent"] = "opaque"
    """What was painted; opaque also where nothing was said."""
    output_format: OutputFormat
    quality: Literal["low", "medium", "high"]
    """The tier that was painted: quality is high, balanced is medium, turbo and draft are low."""
    size: str
    """WIDTHxHEIGHT in pixels."""
    usage: Usage
    job_id: str
    """Id of the job, for /v1/jobs/{id}."""
    model: str
    warnings: list[str]


class ImagesEvent(_Answer):
    """One event of a stream: a small picture of the state in between, or an image that is done."""

    type: Literal[
        "image_generation.partial_image",
        "image_generation.completed",
        "image_edit.partial_image",
        "image_edit.completed",
    ]
    b64_json: str
    """The file in base64."""
    created_at: int
    """Unix seconds."""
    background: Literal["opaque", "transparent"] = "opaque"
    output_format: OutputFormat
    """Format of this picture; partial images are WebP."""
    quality: Literal["low", "medium", "high"]
    """The tier that was painted: quality is high, balanced is medium, turbo and draft are low."""
    size: str
    """Size of this picture, WIDTHxHEIGHT in pixels."""
    partial_image_index: int | None = None
    """Number of a partial image, from 0."""
    job_id: str
    id: str | None = None
    """Id of an image that is done; this field and all below are left out of partial images."""
    usage: Usage | None = None
    url: str | None = None
    revised_prompt: str | None = None
    seed: int | None = None
    warnings: list[str] | None = None
