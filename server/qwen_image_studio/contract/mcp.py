"""What the Model Context Protocol's clients send and get: the JSON-RPC around it is the protocol's, the rest ours."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qwen_image_studio.contract.view import View
from qwen_image_studio.contract.words import State

MAX_WAIT_S = 590.0
"""Longest time for which a call waits for its images, in seconds."""


class RpcMessage(BaseModel):
    """A request of JSON-RPC, or without an id a notification."""

    jsonrpc: Literal["2.0"]
    id: Annotated[int, Field(strict=True)] | Annotated[str, Field(strict=True, max_length=1000)] | None = None
    method: Annotated[str, Field(strict=True, min_length=1, max_length=200)]
    params: Annotated[dict[str, Any], Field(max_length=100)] | None = None


class Inline(StrEnum):
    """Whether images come within an answer."""

    AUTO = "auto"
    """As full; as preview where the client follows the progress, since many clients take events of 1 MiB at most."""
    FULL = "full"
    """Whole, as they are stored."""
    PREVIEW = "preview"
    """Whole where all of them have less than 700 kB, else as small copies that do."""
    NONE = "none"
    """Not at all; the text has their links."""


class CallOptions(BaseModel):
    """What each call may say of its answer."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    wait: float = Field(20.0, ge=0, le=MAX_WAIT_S, allow_inf_nan=False)
    """Seconds to wait for the images; after that the answer has the job_id with which image_job fetches them."""
    inline: Inline = Inline.AUTO
    """Whether the images come within the answer: full (whole), preview (small copies, at most 1 MB in all), none (links
    alone), or auto (full, but preview where the client follows the progress)."""


class JobAction(StrEnum):
    """What to do with a job that was started before."""

    RESULT = "result"
    """Wait for it, and return its images."""
    CANCEL = "cancel"


class JobCall(CallOptions):
    """Fetch the images of a job that an earlier call started, or cancel the job."""

    job_id: str = Field(min_length=1, max_length=64)
    """Id of the job, as the earlier answer has it."""
    action: JobAction = JobAction.RESULT
    """result (wait for the job and return its images) or cancel (only where the user asks for it)."""


class ToolAnswer(View):
    """What became of a call, for programs; texts and lists are empty where there is nothing."""

    job_id: str
    """Id of the job."""
    state: State
    """State of the job. Of queued and running: call image_job with the job_id for the images."""
    image_id: str
    """Id of the first image, for further calls."""
    image_url: str
    """Link to the first image, for people; it expires."""
    image_ids: list[str]
    """Ids of all images."""
    image_urls: list[str]
    """Links to all images."""
    seed: int
    """Seed of the first image; 0 where none is needed."""
    width: int
    """Width of the first image in pixels; 0 without one."""
    height: int
    """Height of the first image in pixels; 0 without one."""
    studio_url: str
    """Link under which a person edits the first image on the studio's page; it expires."""
    archive_url: str
    """Link to a ZIP of all images; it expires."""
    model: str
    """The model that paints; cv where none is needed."""
    count: int
    """How many images there are."""
    held: int
    """How many images wait for a reviewer, and are not given out before."""
    warnings: list[str]
    """What was done in another way than it was asked for."""
