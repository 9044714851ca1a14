"""Answers about images as a gallery shows them: lists, history, and images that are sent by themselves."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from qwen_image_studio.contract.answers import ImageRecord, ImageView
from qwen_image_studio.contract.fields import ConversationName, NamedUser, Reference, shaped
from qwen_image_studio.contract.view import View
from qwen_image_studio.contract.words import Operation, Review, Source, Tier

MAX_TOTAL = 10_000
"""Largest number up to which the images of a list are counted."""


class ReviewerView(View):
    """What reviewers see of an image besides."""

    owner: str
    key: str | None
    """Name of the API key that its job came with."""
    scores: dict[str, float]
    """What the classifier said of it, 0 to 1, by name; empty where it was not asked."""
    made_from: list[ImageView]
    """The images that it was made from, in their order, with links for reviewers."""
    by: str | None
    """Who decided: the name of the API key, and of the person where one was named; null before."""
    at: float | None
    """When."""
    note: str | None
    """A note for the other reviewers."""


class ListedImage(ImageRecord):
    """One image with the job that made it; what was uploaded has none."""

    source: Source
    operation: Operation | SkipJsonSchema[str] | None
    model: str | None
    tier: Tier | None
    prompt: str | None
    """The text that it was painted from, a template filled in; null where there was none, or where the server does not
    keep prompts."""
    parent_ids: list[str]
    """The images that it was made from, without those that were deleted."""
    parent_id: str | None
    """The batch that its job is a row of."""
    user: str | None
    """Whom the request named as the person it asks for."""
    reviewer: ReviewerView | None = None
    """For reviewers, of an image that waits or waited for them; null for others, and in events of the kind image."""


class ImageList(View):
    """One page of images, newest first."""

    object: Literal["list"] = "list"
    data: list[ListedImage]
    has_more: bool
    """Ask again with after=<id of the last one>."""
    total: int
    """How many there are in all, counted up to 10000: that number stands for as many or more."""
    note: str | None = None
    """What the list cannot tell, in a sentence."""


class ImageChain(View):
    """The history of one image: what it was made from, and what was made from it, step by step."""

    object: Literal["chain"] = "chain"
    image: ListedImage
    ancestors: list[ListedImage]
    """The images that it was made from, oldest first."""
    descendants: list[ListedImage]
    """The images that were made from it, oldest first."""
    truncated: bool
    """Whether there are more than these; at most 200 each are told."""


class ImagesQuery(BaseModel):
    """How to list images."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: int = Field(60, ge=1, le=100)
    after: str | None = Field(None, max_length=64)
    """Id of the last image of the page before."""
    operation: str | None = Field(None, max_length=64)
    """Images that jobs of this operation made, or of one of several with commas between them; `batch` gives the contact
    sheets of batches."""
    rows: bool = True
    """With `false`, the images of batches' rows are left out; their contact sheets are not."""
    model: str | None = Field(None, max_length=128)
    """Images of this model, as their records name it."""
    q: str | None = Field(None, max_length=200)
    """Images whose prompt has this text in it; capital letters of the Latin alphabet count as small ones."""
    review: Review | None = None
    """Images in this state of review. Held and rejected ones are shown to reviewers alone; operators find those of all
    owners that wait or waited for a verdict."""
    conversation: ConversationName = None
    parent_id: str | None = Field(None, max_length=64)
    """Images of the rows of that batch."""
    source: Source | None = None
    user: NamedUser = None
    """Images of jobs that were submitted for that user alone; uploads are nobody's."""


class Kind(StrEnum):
    """What a stream of events tells of."""

    JOB = "job"
    IMAGE = "image"
    REVIEW = "review"
    """Images that are held, and verdicts; for reviewers."""
    HEALTH = "health"


_KINDS = r"^(job|image|review|health)(,(job|image|review|health))*$"


class EventsQuery(BaseModel):
    """What to follow."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    kinds: Annotated[
        str,
        Field(max_length=100, pattern=_KINDS),
        shaped(_KINDS, "takes job, image, review, health, with commas between them"),
    ] = "job,image"
    """Kinds of events, as a list with commas: job, image, review, health."""
    user: NamedUser = None
    """What was submitted for that user alone; uploads are nobody's."""

    @property
    def named(self) -> frozenset[Kind]:
        """The kinds that are named."""
        return frozenset(map(Kind, self.kinds.split(",")))


class StreamedEvent(View):
    """One event of a stream of everything."""

    event: Literal["job", "image", "review", "health", "reset", "end"]
    data: str
    """JSON: a JobView without its request, a ListedImage or the Health; of `reset` and `end`, the reason."""
    id: str | None = None
    """Where a reader who comes again goes on; it comes by itself after the events that it counts for."""


class UploadRequest(BaseModel):
    """One image that is sent by itself: a file as `image` (multipart), or its URL."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, str_strip_whitespace=True)

    url: Reference = Field(min_length=1)
    """Where to fetch it."""
