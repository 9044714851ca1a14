"""Campaign: a set of pictures from one sentence, in one style, each with its own lettering; painted as a batch."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from qwen_image_studio.contract.campaign import (
    MAX_BRIEF_CHARS,
    AnyChannel,
    AnyLanguage,
    Line,
    Part,
    Piece,
    Scene,
    listed,
)
from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.fields import AnyBackground, AnySeed, FileFormat, StyleName
from qwen_image_studio.contract.loras import LoraWishes
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import (
    MAX_PIECES,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_STEPS,
    MIN_STEPS,
    Operation,
    OutputFormat,
    Scope,
    Tier,
)
from qwen_image_studio.operations.batch import SHEET_QUALITY, foreseen
from qwen_image_studio.operations.given import Given, Planned
from qwen_image_studio.operations.paint_request import ImageRequest
from qwen_image_studio.operations.parameters import OneImage
from qwen_image_studio.operations.pieces import OF_PIECE, clean_piece, painter_of, row_of, told_piece
from qwen_image_studio.operations.transparency import check_file
from qwen_image_studio.planning.plan import BatchPlan
from qwen_image_studio.prompts.campaign import (
    Told,
    channel_called,
    only_language_of,
    pieces_of,
    read,
    scene_of,
    unlettered,
    usual_direction,
)
from qwen_image_studio.prompts.cleaning import cleaned, told
from qwen_image_studio.prompts.table import check_text

_OF_BRIEF = ("brief", "product", "occasion", "audience")
_OF_WHOLE = (*_OF_BRIEF, "languages", "channels", "direction", "style", "pieces", "image")
"""Parameters of a whole campaign, which a piece that is done again has from it already."""
_OF_FILES = ("output_format", "output_quality", "background")
_OF_ROWS = ("model", "tier", "loras", "steps", "guidance_scale", *_OF_FILES, "cache")
"""Parameters that each row has as the campaign has them."""
_OF_ALL = ("negative_prompt", "operation", "image")
"""Further ones that no piece has for itself."""
_TOLD = (*_OF_BRIEF, *_OF_ROWS, "hold")
"""Parameters that are told as they were sent."""


def _channels_as_written(value: object) -> object:
    """Return the channels of a list or text, also those that are called as in a brief: 海报, Instagram story."""
    entries = listed(value)
    if not isinstance(entries, list):
        return entries
    return [(isinstance(each, str) and channel_called(each)) or each for each in entries]


class CampaignRequest(OneImage, ImageRequest):
    """Paint a set of pictures from one sentence: in one style, for each channel and language, each with its lettering.

    Instead of a brief, pieces may be sent as a language model writes them; or `campaign` and `piece`, to paint one
    piece of an earlier campaign again alone.
    """

    NAME: ClassVar[str] = Operation.CAMPAIGN
    TAKES_IMAGES: ClassVar[tuple[int, int]] = (0, 1)
    SCOPE: ClassVar[Scope | None] = None
    HAS_ROWS: ClassVar[bool] = True
    operation: Literal[Operation.CAMPAIGN]
    brief: str = Field("", max_length=MAX_BRIEF_CHARS)
    """One sentence in Chinese or English: what, for whom, when. Text in quotation marks is lettered as it stands."""
    product: Part = ""
    """What it is for, said apart from the brief; the brief may then be left out."""
    occasion: Part = ""
    """What it is made for: Spring Festival, a sale, an opening."""
    audience: Part = ""
    """Whom it is for."""
    languages: Annotated[list[AnyLanguage], BeforeValidator(listed), Field(max_length=MAX_PIECES)] = Field(
        default_factory=list
    )
    """Languages of the lettering. Left out: those that the brief names, else its own."""
    channels: Annotated[list[AnyChannel], BeforeValidator(_channels_as_written), Field(max_length=MAX_PIECES)] = Field(
        default_factory=list
    )
    """Where it is shown: post (1:1), story (9:16), banner (16:9), wide_banner (21:9), poster (3:4). Left out: those
    that the brief names, else post, story, banner and poster."""
    direction: Direction | None = None
    """What all pictures have in common. Left out: made from the brief."""
    style: StyleName | None = None
    """Name of a saved art direction of /v1/styles, whose fields stand where `direction` leaves them open."""
    save_style: StyleName | None = None
    """A name under which the art direction that was used is saved."""
    pieces: Annotated[list[Piece], Field(max_length=MAX_PIECES)] = Field(default_factory=list)
    """The pictures, one by one. Left out: one for each channel in each language, made from the brief."""
    campaign: Annotated[str, Field(max_length=64)] | None = None
    """Id of an earlier campaign, of which one piece is painted again with the same direction."""
    piece: int | None = Field(None, ge=1, le=MAX_PIECES)
    """Which one of its pieces, from 1."""
    headline: Line = ""
    """Another headline for that piece."""
    subline: Line = ""
    """Another subline for that piece."""
    prompt: Scene = ""
    """What that piece is to show instead."""
    model: str | None = Field(None, max_length=200)
    """Name or repository id of a model in /v1/models. Left out: the server's first that does it."""
    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARS)
    """What to keep out. Left out: the direction's, else the model's recommended one."""
    seed: AnySeed | None = None
    """Seed of all pictures. Left out: the direction's, else a random one; a piece that is done again gets a new one."""
    steps: int | None = Field(None, ge=MIN_STEPS, le=MAX_STEPS)
    """Denoising steps. Left out: those of the tier."""
    guidance_scale: float | None = Field(None, ge=1, le=20, allow_inf_nan=False)
    """How strictly to follow the prompt (true CFG). Left out: the tier's."""
    tier: Tier = Tier.QUALITY
    """Speed/quality setting."""
    loras: LoraWishes = Field(default_factory=list)
    """LoRAs to paint all pictures with, of those that /v1/models lists for the model."""
    output_format: FileFormat = OutputFormat.PNG
    """File format of the images; the contact sheet is a JPEG."""
    background: AnyBackground = Background.AUTO
    """What lies behind what is painted, as for each picture; transparent wants PNG or WebP."""

    _cleaning: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _something_to_paint(self) -> Self:
        check_file(self.background, self.output_format)
        if self.campaign is None:
            if (own := next((name for name in ("piece", *OF_PIECE) if getattr(self, name)), None)) is not None:
                message = "belongs to a piece of an earlier campaign; send that one's id as campaign, or leave it out"
                raise PydanticCustomError("no_campaign", message, {"param": own})
            if not (self.product or self.brief or self.occasion or self.pieces):
                message = "is missing; say in one sentence what, for whom and when, or send product, or pieces"
                raise PydanticCustomError("no_brief", message, {"param": "brief"})
        elif self.piece is None:
            message = "is missing; say which piece of the campaign to paint again, counted from 1"
            raise PydanticCustomError("no_piece", message, {"param": "piece"})
        elif (whole := next((name for name in _OF_WHOLE if getattr(self, name)), None)) is not None:
            message = "belongs to a whole campaign; leave it out for a piece of an earlier one, or leave out campaign"
            raise PydanticCustomError("whole_and_piece", message, {"param": whole})
        return self

    @property
    def images(self) -> list[str]:
        """The id or URL of the product's picture; empty where a file is sent or none."""
        reference = self.image or (self.direction and self.direction.reference)
        return [reference] if reference else []

    @property
    def said(self) -> str:
        """The brief, or what there is in its place."""
        headlines = [self.headline, *(piece.headline for piece in self.pieces)]
        return next(filter(None, [self.brief, self.product, self.occasion, *headlines]), "")

    @property
    def saves_style(self) -> str | None:
        """The name under which its art direction is to be saved."""
        return self.save_style

    def check(self, files: int, masks: int) -> None:
        """Raise StudioError where there is more than one picture of the product; a file goes before the direction's."""
        if files > 1 or (files and self.image is not None):
            raise refusal("image", "send one picture of the product, as a file or as an id or URL")
        self.check_masks(masks)

    def texts(self) -> list[tuple[str, str]]:
        """Return all that will be painted."""
        direction = self.direction or Direction()
        parts = [(name, getattr(self, name)) for name in _OF_BRIEF]
        parts += [("direction.style", direction.style), ("direction.palette", ", ".join(direction.palette))]
        for number, piece in enumerate(self.pieces):
            parts += [(f"pieces[{number}].{name}", getattr(piece, name)) for name in OF_PIECE]
        return [(name, text) for name, text in parts if text]

    # -- from what was sent to what is painted -------------------------------------------------------------------------

    def _again(self, earlier: Mapping[str, Any]) -> Self:
        """Return the request of one piece of an earlier campaign, with what this request says otherwise."""
        pieces: Sequence[Mapping[str, Any]] = earlier["pieces"]
        number = self.piece or 1
        if number > len(pieces):
            most = f"{len(pieces)} pieces, so send 1 to {len(pieces)}" if len(pieces) > 1 else "one piece, so send 1"
            raise refusal("piece", f"that campaign has {most}")
        if pieces[number - 1]["headline"] is None:
            raise refusal("campaign", "its texts are not kept on this server; send direction and pieces")
        own = self.model_dump(exclude_unset=True, exclude={"campaign", "piece", *OF_PIECE})
        texts = {name: text for name in OF_PIECE if (text := getattr(self, name))}
        if language := only_language_of(self.headline):
            texts["language"] = language
        kept = {name: value for name, value in earlier.items() if name in {*_OF_ROWS, *_OF_BRIEF} - {"cache"}}
        direction = {**earlier["direction"], "seed": None}
        return type(self).model_validate(
            {**kept, **own, "direction": direction, "pieces": [{**pieces[number - 1], **texts}]}
        )

    def ready(self, given: Given) -> Self:
        """Return the request with what it names in place of the names, an earlier campaign or a saved style, and with
        its texts cleaned.

        Raises StudioError for a name that is not there, and where cleaning leaves nothing to paint.
        """
        whole = self if self.campaign is None else self._again(given.campaign_of(self.campaign))
        return whole._in_style(given)._cleaned()

    def _in_style(self, given: Given) -> Self:
        return self.model_copy(update={"direction": given.followed(self.style, self.direction), "style": None})

    def _cleaned(self) -> Self:
        for name, text in [*self.texts(), ("negative_prompt", self.negative_prompt or "")]:
            check_text(text, name)
        found = {name: cleaned(getattr(self, name)) for name in _OF_BRIEF}
        warnings: list[str] = []
        pieces = [clean_piece(number, piece, warnings) for number, piece in enumerate(self.pieces)]
        asked = self.model_copy(update={**{name: one.text for name, one in found.items()}, "pieces": pieces})
        asked._cleaning = list(dict.fromkeys([*told(found.values()), *warnings]))
        if not (asked.pieces or any(getattr(asked, name) for name in _OF_BRIEF)):
            raise refusal("brief", "nothing of it is left without thoughts, special tokens and control characters")
        return asked

    def plan(self, given: Given) -> Planned:
        """Return the plan: a batch with a row for each piece. Each is checked first, with the product's picture."""
        brief = self._read()
        pieces = self._pieces(brief)
        painter = painter_of(self.model, self.tier, self.background, given)
        direction = self._directed(brief)
        job = {**painter.job, **self._asked(_OF_ROWS)}
        if self._asked_seed is not None:  # else it was drawn, and no earlier picture may answer
            job["seed"] = direction.seed
        if direction.negative_prompt:
            job["negative_prompt"] = "{{negative_prompt}}"  # in the table, since it may have braces in it
        rows = []
        for number, piece in enumerate(pieces):
            with self._of_piece(number):
                rows.append(row_of(number, piece, direction, painter, given))
                foreseen(job, rows[-1], given)
        plan = BatchPlan(
            job=job,
            table=tuple(rows),
            row_seeds=(direction.seed,) * len(rows),
            images_of_rows=len(rows),
            output_format=OutputFormat.JPEG,
            output_quality=SHEET_QUALITY,
        )
        warnings = [*self._cleaning, *self._folded(), *painter.warnings, *self._unlettered(brief)]
        sent = {name: value for name, value in self._asked(_TOLD).items() if value != ""}
        whole = {**sent, "model": painter.model.name, "pieces": [told_piece(piece) for piece in pieces]}
        return Planned(plan, warnings, told_again=partial(_told_again, whole, direction))

    @property
    def _asked_seed(self) -> int | None:
        return self.direction.seed if self.seed is None and self.direction is not None else self.seed

    def _asked(self, names: Iterable[str]) -> dict[str, Any]:
        """Return those of the parameters that were sent, as JSON."""
        return self.model_dump(mode="json", include=set(names), exclude_unset=True, exclude_none=True)

    def _read(self) -> Told:
        """Return what the brief says, with the languages and channels that were named apart from it."""
        brief = read(self.brief, self.product, self.occasion, self.audience)
        languages = tuple(dict.fromkeys(self.languages)) or brief.languages
        return replace(brief, languages=languages, channels=tuple(dict.fromkeys(self.channels)) or brief.channels)

    def _pieces(self, brief: Told) -> list[Piece]:
        """Return the pieces, each with what it shows."""
        if not self.pieces:
            return pieces_of(brief)
        for number, piece in enumerate(self.pieces):
            if not (piece.prompt or brief.subject):
                raise refusal(f"pieces[{number}].prompt", "is missing; say what it shows, or send a brief for all")
        return [
            piece
            if piece.prompt
            else piece.model_copy(update={"prompt": scene_of(brief, piece.channel, piece.subline)})
            for piece in self.pieces
        ]

    def _directed(self, brief: Told) -> Direction:
        """Return the direction with all that was left open: by the rules what it looks like, and a seed."""
        direction = self.direction or Direction()
        update: dict[str, Any] = {"negative_prompt": self.negative_prompt or direction.negative_prompt}
        if brief.says_something and not (self.pieces and (direction.style or direction.palette)):
            rules = usual_direction(brief)
            update |= {"style": direction.style or rules.style, "palette": direction.palette or rules.palette}
        seed = self._asked_seed
        update["seed"] = (secrets.randbelow(MAX_SEED + 1) if seed is None else seed) % (MAX_SEED + 1)
        return direction.model_copy(update=update)

    # -- what is said about it -----------------------------------------------------------------------------------------

    @contextmanager
    def _of_piece(self, number: int) -> Iterator[None]:
        """Name what is at fault in the errors raised inside: a parameter of the campaign, or the piece."""
        try:
            yield
        except StudioError as error:
            if error.param is None or error.param.partition("[")[0] in {*_OF_ROWS, *_OF_ALL}:  # loras[0].scale
                raise
            piece = f"pieces[{number}]" if self.pieces else "brief"
            raise StudioError(error.code, f"piece {number + 1}: {error.message}", param=piece) from error

    def _folded(self) -> list[str]:
        if self.seed is None or self.seed <= MAX_SEED:
            return []
        return [f"seed {self.seed} is above {MAX_SEED}; it was folded into {self.seed % (MAX_SEED + 1)}."]

    def _unlettered(self, brief: Told) -> list[str]:
        """Return a warning for each text in quotation marks that no piece has."""
        if self.pieces:
            return []
        return [
            f"'{text}' is lettered nowhere, since no piece is in its language; name that in languages."
            for text in unlettered(brief)
        ]


def _told_again(whole: Mapping[str, Any], direction: Direction, inputs: Sequence[str]) -> dict[str, Any]:
    """Return the parameters that ask for a campaign again, with direction and pieces whole."""
    used = direction.model_copy(update={"reference": inputs[0] if inputs else None})
    said = {name: value for name, value in used.model_dump(mode="json").items() if value not in (None, "", [])}
    return {"operation": Operation.CAMPAIGN.value, **whole, "direction": said}
