"""The product's words as code: operations, states, formats, and the limits that every caller meets."""

from enum import StrEnum

MIN_SIDE = 64
MAX_SIDE = 4096
MAX_SEED = 2**32 - 1
MAX_IMAGES = 10
MAX_INPUTS = 10
"""Largest number of images that any model is shown at once; how many one takes is in its row."""
MAX_FEATHER = 256
"""Widest soft edge of what may change, in pixels."""
MAX_SENT_SEED = 2**64 - 1
"""Largest seed that is taken; one above MAX_SEED is folded into what the painting takes."""
MAX_PROMPT_CHARS = 8000
MAX_REFERENCE_CHARS = 4000
MAX_DATA_URLS = 16
"""Largest number of images within the JSON of OpenAI's clients; how many are taken depends on the operation."""
MAX_DATA_URL_CHARS = 100_000_000
"""Longest data URL in characters; the server's limits of bodies and images are lower."""
MAX_SLOT_CHARS = 200
MAX_SLOTS = 20
MAX_NAME_CHARS = 64
"""Longest id or name of the product's own, such as a slot's or a template's, in characters."""
MAX_SHAPE = 4
"""Longest shape that may be asked for by its aspect ratio, as long side divided by short side."""
MAX_PIECES = 24
"""Largest number of pieces of a campaign."""
MAX_COLOURS = 8
"""Largest number of colours of an art direction."""
MAX_LORAS = 4
"""Largest number of LoRAs of one request."""
MAX_LORA_SCALE = 2.0
"""Largest weight of a LoRA, either side of 0."""
MAX_ROWS = 500
MAX_COLUMNS = 100
MAX_COLUMN_CHARS = 200
MAX_CELL_CHARS = 100_000
MAX_JSON_BYTES = 1_000_000
"""Largest JSON of a request in bytes, files within it not counted."""
MIN_STEPS = 2  # one step is 0/0 in the scheduler's shift_terminal stretch: a black picture, no exception
MAX_STEPS = 150


Size = tuple[int, int]
"""Width and height in pixels."""
LIGHT_DEVICE = "light"
"""Device name of the worker that needs no model."""
SAFETY_DEVICE = "safety"
"""Device name under which the classifier's process reports."""
ADJUSTED = "cv"
"""Name that callers read as engine and model of jobs that need no model; inside the server their lane tells them."""


class Operation(StrEnum):
    """What a request can ask for."""

    GENERATE = "generate"
    EDIT = "edit"
    INPAINT = "inpaint"
    OUTPAINT = "outpaint"
    ADJUST = "adjust"
    BATCH = "batch"
    CAMPAIGN = "campaign"
    LAYERS = "layers"


class Way(StrEnum):
    """How a model paints."""

    GENERATE = "generate"
    """From a description of the whole picture."""
    EDIT = "edit"
    """By an instruction that changes pictures."""
    LAYERS = "layers"
    """By taking a picture apart into layers."""


class Cached(StrEnum):
    """How a job was answered without painting."""

    EXACT = "exact"
    """By the pictures of an equal request."""
    SIMILAR = "similar"
    """By those of a request whose prompt differs in nothing that can be seen: case, blanks, order of parts, fillers."""


class Channel(StrEnum):
    """Where a piece of a campaign is shown, which decides its shape."""

    POST = "post"
    """1:1"""
    STORY = "story"
    """9:16"""
    BANNER = "banner"
    """16:9"""
    WIDE_BANNER = "wide_banner"
    """21:9"""
    POSTER = "poster"
    """3:4"""


class Lane(StrEnum):
    """Which kind of worker runs a job."""

    PAINT = "paint"
    """Workers that own a device and run models."""
    LIGHT = "light"
    """The worker that needs no model: it adjusts pictures and runs batches."""


class WorkerState(StrEnum):
    """What a worker process does."""

    STARTING = "starting"
    """It fetches or loads a model."""
    READY = "ready"
    BUSY = "busy"
    FAILED = "failed"
    """It runs but cannot work."""
    LOST = "lost"
    """It has ended, or has stopped reporting."""

    @property
    def is_up(self) -> bool:
        """Return whether it can work."""
        return self in {WorkerState.READY, WorkerState.BUSY}


class Precision(StrEnum):
    """Number format of a model's weights."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "fp32"
    FP8 = "fp8"
    """Matrices in 8 bits (e4m3) with scales, all else in the model's own format."""


class Language(StrEnum):
    """Language of a prompt or a template."""

    EN = "en"
    ZH = "zh"


class SlotType(StrEnum):
    """What may stand in a slot of a template."""

    TEXT = "text"
    COLOR = "color"
    PLACE = "place"
    CHOICE = "choice"


class PromptKind(StrEnum):
    """What the prompt of an inpaint or outpaint is."""

    INSTRUCTION = "instruction"
    """What to do, such as "replace the apple with a cat": for models that edit."""
    DESCRIPTION = "description"
    """What the whole picture shows, such as "a cat on a table": for models that paint from text."""


class Anchor(StrEnum):
    """Where the image stands on a larger canvas."""

    CENTER = "center"
    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"


class SeedMode(StrEnum):
    """How the rows of a batch get their seeds."""

    FIXED = "fixed"
    """All rows have the same."""
    PER_ROW = "per_row"
    """Row i has the first row's seed + i * n."""


class Prefer(StrEnum):
    """Who does an edit that needs no model."""

    AUTO = "auto"
    """No model where the instruction says nothing but adjustments."""
    MODEL = "model"
    CV = "cv"
    """Never a model; an instruction that needs one is an error."""


class State(StrEnum):
    """Where a job is in its life; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    REVIEW = "review"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Return whether the job can change no more."""
        return self in {State.SUCCEEDED, State.FAILED, State.CANCELLED}


class Scope(StrEnum):
    """What an API key may do beyond looking at what belongs to its owner."""

    GENERATE = "generate"
    """Paint from texts."""
    EDIT = "edit"
    """Change pictures."""
    REVIEW = "review"
    """See held images of its owner, and approve or reject them."""
    OPERATE = "operate"
    """See and steer the whole server: queue, usage, call log, callbacks, held images of all owners."""


class Review(StrEnum):
    """Whether an image waits for a person's verdict."""

    NONE = "none"
    """Nobody was asked."""
    HELD = "held"
    """Withheld from everybody but reviewers until one of them decides."""
    APPROVED = "approved"
    REJECTED = "rejected"

    @property
    def withheld(self) -> bool:
        """Return whether bytes and links are withheld from everybody but reviewers."""
        return self in {Review.HELD, Review.REJECTED}


class Source(StrEnum):
    """Where an image comes from."""

    UPLOAD = "upload"
    """It was sent, by itself or with a job."""
    MADE = "made"
    """A job made it."""


class Prompts(StrEnum):
    """What becomes of a prompt when its job has ended."""

    KEPT = "kept"
    HASHED = "hashed"
    """Only the call log has something of it: a hash, by which equal prompts are known."""
    DROPPED = "dropped"


class Compile(StrEnum):
    """Whether the blocks of transformers are compiled."""

    AUTO = "auto"
    """On a card, but not on a processor."""
    ON = "on"
    OFF = "off"


class LogFormat(StrEnum):
    """How the processes write their log."""

    TEXT = "text"
    JSON = "json"
    """An object per line."""


class HeldFor(StrEnum):
    """Why an image is held."""

    SAFETY = "safety"
    """The classifier's score is in the band for review."""
    CHANGE = "change"
    """The edit changed more than the operator's threshold."""
    ASKED = "asked"
    """The request had ``hold: true``."""


class Policy(StrEnum):
    """What is done with the classifier's scores of the pictures of an API key."""

    OFF = "off"
    """The classifier is not asked."""
    STANDARD = "standard"
    """What is in the band for review is held, what is above is blocked; where it cannot run, a warning says so."""
    STRICT = "strict"
    """Likewise, and what the classifier has not seen is not given out."""


class Band(StrEnum):
    """What follows from the classifier's scores, from the best to the worst."""

    PASS = "pass"  # noqa: S105 - no password
    UNAVAILABLE = "unavailable"
    """It did not answer."""
    REVIEW = "review"
    BLOCK = "block"


class OutputFormat(StrEnum):
    """File format of the images of a job."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def mime_type(self) -> str:
        """Return the media type of the format."""
        return f"image/{self.value}"


class Tier(StrEnum):
    """Speed/quality setting of a model."""

    QUALITY = "quality"
    """As the model's makers recommend."""
    BALANCED = "balanced"
    """The same steps with less work: fp8 where the device has it, and steps that change little skipped."""
    TURBO = "turbo"
    """A distilled model: few steps, without guidance."""
    DRAFT = "draft"
    """As ``turbo``, with the fewest steps and in a small size."""


class AspectRatio(StrEnum):
    """Names of the shapes for which every model has a native size."""

    SQUARE = "1:1"
    WIDE = "16:9"
    TALL = "9:16"
    LANDSCAPE = "4:3"
    PORTRAIT = "3:4"
    PHOTO = "3:2"
    PHOTO_TALL = "2:3"
