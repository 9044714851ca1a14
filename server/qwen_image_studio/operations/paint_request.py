"""The base of requests whose results are images, and the parameters that every painting operation takes."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.contract.fields import (
    AnyBackground,
    AnySeed,
    CacheChoice,
    FileFormat,
    SlotName,
    SlotText,
    StyleName,
)
from qwen_image_studio.contract.loras import LoraWishes
from qwen_image_studio.contract.references import ReferenceRole
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import (
    MAX_IMAGES,
    MAX_NAME_CHARS,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_SLOTS,
    MAX_STEPS,
    MIN_STEPS,
    Language,
    Operation,
    OutputFormat,
    PromptKind,
    Tier,
    Way,
)
from qwen_image_studio.models.table import find_model
from qwen_image_studio.operations.given import Given
from qwen_image_studio.operations.loras import foresee_loras
from qwen_image_studio.operations.request import Request
from qwen_image_studio.operations.transparency import check_file, check_models
from qwen_image_studio.prompts.cleaning import THOUGHTS_CUT, cleaned, glued, told
from qwen_image_studio.prompts.directing import directed
from qwen_image_studio.prompts.templates import fill


class ImageRequest(Request):
    """The base of requests whose results are images."""

    model_config = ConfigDict(str_strip_whitespace=True)

    output_quality: int | None = Field(None, ge=1, le=100)
    """Quality of JPEG and WebP files, 1 to 100. Left out: 95."""
    cache: CacheChoice = None
    """Whether pictures that are there answer it. true: those of an equal request of the owner's, with any seed where
    this one has none. similar: also those whose prompt differs in nothing that can be seen. false: it is painted anew.
    Left out: as true where the request has a seed, else as false."""

    @property
    def looks_up(self) -> CacheChoice:
        """Whether pictures that are there may answer it."""
        return self.cache


WAYS_OF_KIND: Mapping[PromptKind | None, Sequence[Way]] = {
    None: (Way.EDIT, Way.GENERATE),
    PromptKind.INSTRUCTION: (Way.EDIT,),
    PromptKind.DESCRIPTION: (Way.GENERATE,),
}
"""The ways in which a part of a picture can be painted, by the kind of the prompt; the better way first."""


class PaintRequest(ImageRequest):
    """Parameters that every painting operation takes."""

    TEMPLATES: ClassVar[Operation] = Operation.EDIT
    """The operation whose templates can be used."""
    NEEDS_PROMPT: ClassVar[bool] = True

    prompt: str = Field("", max_length=MAX_PROMPT_CHARS)
    """What to paint; for an edit, the instruction. Chinese or English. Needed unless there is a template."""
    template: str | None = Field(None, max_length=MAX_NAME_CHARS)
    """Instead of a prompt, the id of a template of /v1/templates."""
    slots: dict[SlotName, SlotText] = Field(default_factory=dict, max_length=MAX_SLOTS)
    """Texts for the template's slots, by name."""
    language: Language | None = None
    """Language of the template's words. Left out: Chinese where a slot has Chinese in it."""
    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARS)
    """What to keep out. Left out: the model's recommended one."""
    style: StyleName | None = None
    """Name of a saved art direction of /v1/styles: its words and colours are added to the prompt, and its seed and
    negative prompt stand where the request has none."""
    direction: Direction | None = None
    """An art direction itself; beside a style, what is sent of it goes before."""
    model: str | None = Field(None, max_length=200)
    """Name or repository id of a model in /v1/models. Left out: the server's first that does the operation."""
    n: int = Field(1, ge=1, le=MAX_IMAGES)
    """How many images; image i is painted with seed + i and equals that image asked for alone."""
    steps: int | None = Field(None, ge=MIN_STEPS, le=MAX_STEPS)
    """Denoising steps. Left out: those of the tier."""
    guidance_scale: float | None = Field(None, ge=1, le=20, allow_inf_nan=False)
    """How strictly to follow the prompt (true CFG); 1 is off and twice as fast. Left out: the tier's."""
    seed: AnySeed | None = None
    """Seed of the first image. Left out, or -1: random; the answer tells it. One above 4294967295 is folded."""
    tier: Tier = Tier.QUALITY
    """Speed/quality setting, of those that /v1/models lists for the model."""
    loras: LoraWishes = Field(default_factory=list)
    """LoRAs to paint with, of those that /v1/models lists for the model; in a form or a table also as a text such as
    ink-wash:0.8, photo."""
    output_format: FileFormat = OutputFormat.PNG
    """File format of the images."""
    background: AnyBackground = Background.AUTO
    """What lies behind what is painted. transparent: nothing, so the images are PNG or WebP, painted by a model that
    can; opaque: no transparency is left; auto: as the model paints it."""

    _as_sent: str = PrivateAttr("")
    _cleaning: list[str] = PrivateAttr(default_factory=list)
    _reading: list[str] = PrivateAttr(default_factory=list)
    _followed: Direction | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _a_prompt_or_a_template(self) -> Self:
        if not self.prompt and self.template is None and self.NEEDS_PROMPT:
            raise PydanticCustomError("no_prompt", "is missing; send what to paint, or a template", {"param": "prompt"})
        if self.prompt and self.template is not None:
            raise PydanticCustomError("prompt_said_twice", "send a prompt or a template, not both", {"param": "prompt"})
        if self.slots and self.template is None:
            raise PydanticCustomError("slots_without_template", "slots belong to a template", {"param": "slots"})
        return self

    @model_validator(mode="after")
    def _a_file_that_can_be_transparent(self) -> Self:
        check_file(self.background, self.output_format)
        return self

    @model_validator(mode="after")
    def _fold_a_large_seed(self) -> Self:
        if self.seed is not None and self.seed > MAX_SEED:
            folded = self.seed % (MAX_SEED + 1)
            self._reading.append(f"seed {self.seed} is above {MAX_SEED}; it was folded into {folded}.")
            self.seed = folded
        return self

    @property
    def ways(self) -> Sequence[Way]:
        """The ways in which it can be painted, the better one first."""
        return (Way.EDIT,)

    @property
    def pictures(self) -> int:
        """How many pictures it asks for."""
        return self.n

    @property
    def said(self) -> str:
        """The prompt; empty where there is a template instead."""
        return self.prompt

    @property
    def told_roles(self) -> Sequence[ReferenceRole]:
        """What each of its images is to the painting; none where it takes no roles."""
        return ()

    @property
    def followed(self) -> Direction | None:
        """The art direction that is in its prompt, once the request is ready."""
        return self._followed

    @property
    def reading(self) -> list[str]:
        """Warnings about values that were taken in another way than they were sent."""
        return self._reading

    @property
    def as_sent(self) -> str:
        """The prompt with its special tokens but without thoughts, once the request is ready."""
        return self._as_sent

    @property
    def cleaning(self) -> list[str]:
        """Warnings about what was taken out of the texts, once the request is ready."""
        return self._cleaning

    @property
    def cut(self) -> list[str]:
        """Those that hold also where the prompt is used with its special tokens."""
        return [sentence for sentence in self._cleaning if sentence == THOUGHTS_CUT]

    def ready(self, given: Given) -> Self:
        """Return the request with its template filled in, its art direction followed and its texts cleaned; all that
        happens only here.

        Raises StudioError for a template, slot or style that cannot be used, and where cleaning leaves nothing of the
        prompt.
        """
        prompt, followed = self.prompt, given.followed(self.style, self.direction)
        direction = followed or Direction()
        if self.template is not None:
            prompt = fill(given.templates, self.TEMPLATES, self.template, self.slots, self.language)
        kept, negative = cleaned(prompt), cleaned(self.negative_prompt or direction.negative_prompt)
        if prompt and not kept.text:
            raise refusal("prompt", "nothing of it is left without thoughts, special tokens and control characters")
        said = kept.text and cleaned(directed(kept.text, direction, self.language)).text
        texts: dict[str, Any] = {"prompt": said, "negative_prompt": negative.text, "template": None, "slots": {}}
        texts |= {"seed": direction.seed} if self.seed is None else {}
        texts |= {"style": None, "direction": None}
        taken = type(self).model_fields  # an operation may leave some of them out
        asked = self.model_copy(update={name: value for name, value in texts.items() if name in taken})
        asked._as_sent, asked._followed = kept.spoken, followed
        asked._cleaning = told([*map(cleaned, self.slots.values()), kept, negative])
        asked._reading = [*self._reading, *self._of_direction(direction)]
        return asked

    def _of_direction(self, direction: Direction) -> list[str]:
        """Return warnings about what a direction decides, or cannot."""
        warnings = []
        if self.seed is None and direction.seed is not None:
            warnings.append(f"seed {direction.seed} is the art direction's; send a seed for another picture.")
        if direction.reference is not None:
            warnings.append(
                "The art direction's reference picture is for campaigns; send it as image to start from it."
            )
        return warnings

    def texts(self) -> list[tuple[str, str]]:
        """Return the prompt alone, also with what control characters part as one word.

        A negative prompt names what must not be seen, so it may hold any term.
        """
        return [("prompt", text) for text in dict.fromkeys((self.prompt, glued(self.as_sent)))]

    def foresee(self, given: Given) -> None:
        """Raise StudioError where no plan can be made, as far as that shows without the images."""
        super().foresee(given)
        check_models(self.background, self.model, self.ways, given.models)
        self.foresee_images(len(self.images), given)
        if self.model is None:
            foresee_loras(self.loras, given.models.values(), given)
            return
        model = find_model(self.model, given.models)
        model.recipe(self.tier)
        foresee_loras(self.loras, [model], given)
