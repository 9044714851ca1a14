"""The parameters of image_campaign: a sentence that becomes a set of pictures, or one piece of such a set again."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from tools.campaigns import Brief, Channel
from tools.parameters.enhancing import MAX_PART_CHARS, ModelChoice
from tools.parameters.jobs import one_id
from tools.parameters.painting import MAX_PROMPT_CHARS, Painting, StyleName, switched
from tools.parameters.pictures import NamedImage
from tools.parameters.tolerant import Whole, lowered, narrow, unlisted
from tools.wishes import Language

MAX_BRIEF_CHARS = 2000
MAX_PIECES = 24
MAX_LINE_CHARS = 200
"""Longest text that is lettered in a picture, in characters; a language model is asked for shorter ones."""

Directing = Literal["llm", "off"]

_CHANNELS: Mapping[str, str] = {
    **dict.fromkeys(("post", "square post", "square", "帖子", "方图", "正方形", "主图", "1:1"), "post"),
    **dict.fromkeys(("story", "stories", "reel", "故事", "快拍", "竖图", "竖版", "9:16"), "story"),
    **dict.fromkeys(("banner", "横幅", "横图", "横版", "16:9"), "banner"),
    **dict.fromkeys(("wide banner", "ultra wide banner", "宽横幅", "超宽横幅", "通栏", "21:9"), "wide_banner"),
    **dict.fromkeys(("poster", "海报", "3:4"), "poster"),
}
_TONGUES: Mapping[str, Language] = {
    **dict.fromkeys(("en", "english", "en us", "en gb", "英文", "英语", "英"), "en"),
    **dict.fromkeys(("zh", "chinese", "zh cn", "zh hans", "cn", "中文", "汉语", "简体中文", "中"), "zh"),
}


def _words(value: object) -> list[str]:
    """Return the words of a list, which may come as JSON or as a text with signs or "and" between them."""
    value = unlisted(value)
    said = [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)]
    parts = [part for text in said for part in re.split(r"[,;/+&\n，、；和与及]|\band\b", text, flags=re.IGNORECASE)]
    plain = (re.sub(r"[\s_-]+", " ", narrow(part)).strip(" .。\"'[]()“”").lower() for part in parts)
    return [word for word in plain if word]


def _chosen(value: object, known: Mapping[str, str], names: Sequence[str]) -> list[str]:
    """Return the names of all that is chosen, once each. Raises ValueError for what is not known."""
    words = _words(value)
    found = [known.get(word, known.get(word.removesuffix("s"), "")) for word in words]
    if "" in found:
        strange = words[found.index("")][:40]
        raise ValueError(f"takes {', '.join(names)}, separated by commas; not {strange}")
    return list(dict.fromkeys(found))


def some_channels(value: object) -> object:
    """Return the channels in what people and models write. Raises ValueError for any other."""
    if lowered(value) in ("all", "全部", "所有"):
        return list(get_args(Channel))
    return _chosen(value, _CHANNELS, get_args(Channel))


def some_languages(value: object) -> object:
    """Return the languages in what people and models write. Raises ValueError for any other."""
    if lowered(value) in ("both", "bilingual", "双语", "中英", "中英文", "英中"):
        return list(get_args(Language))
    return _chosen(value, _TONGUES, get_args(Language))


Part = Annotated[str, Field(max_length=MAX_PART_CHARS)]


class CampaignParameters(NamedImage, Painting):
    """Parameters of image_campaign: a brief, or a piece of an earlier campaign."""

    FREE_TEXTS: ClassVar[frozenset[str]] = frozenset(
        ("brief", "product", "occasion", "audience", "headline", "subline", "prompt", "style", "save_style")
    )

    brief: str = Field("", max_length=MAX_BRIEF_CHARS)
    product: Part = ""
    occasion: Part = ""
    audience: Part = ""
    channels: Annotated[list[Channel], BeforeValidator(some_channels)] = Field([])
    languages: Annotated[list[Language], BeforeValidator(some_languages)] = Field([])
    campaign: Annotated[str | None, BeforeValidator(one_id)] = None
    """Id of an earlier campaign's job, of which one piece is painted again."""
    piece: Annotated[Whole | None, Field(ge=1, le=MAX_PIECES)] = None
    headline: str | None = Field(None, max_length=MAX_LINE_CHARS)
    subline: str | None = Field(None, max_length=MAX_LINE_CHARS)
    prompt: str = Field("", max_length=MAX_PROMPT_CHARS)
    """What that piece shows."""
    save_style: StyleName | None = None
    enhance: Annotated[Directing, BeforeValidator(lowered)] = "llm"
    enhance_model: ModelChoice = None

    @classmethod
    def relevant(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters without the brief and what belongs to it where a piece is painted again."""
        if "enhance" in params:
            params["enhance"] = {"on": "llm", "rules": "off"}.get(str(word := switched(params["enhance"])), word)
        of_brief = {"brief", "product", "occasion", "audience", "channels", "languages", "image", "image_id"}
        ignored = of_brief | {"style", "save_style"} if "campaign" in params else set()
        return {name: value for name, value in params.items() if name not in ignored}

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.campaign is None:
            if own := next((name for name in ("piece", "headline", "subline", "prompt") if getattr(self, name)), ""):
                raise ValueError(
                    f"{own} belongs to a piece of an earlier campaign, whose job_id goes into campaign. For a new one "
                    "write all into the brief, with lettering in quotation marks."
                )
            if not (self.brief or self.product or self.occasion):
                raise ValueError("brief is missing. Say in one sentence what the campaign is for.")
        elif self.piece is None:
            raise ValueError("piece is missing. Say which piece of the campaign to paint again, counted from 1.")
        return self

    @property
    def asks_a_model(self) -> bool:
        """Whether a language model is to direct the campaign."""
        return self.campaign is None and self.enhance == "llm"

    def wish(self) -> Brief:
        """Return the brief for a language model."""
        said = {name: getattr(self, name) for name in ("product", "occasion", "audience", "channels", "languages")}
        return Brief(self.brief, **said, has_image=self.has_image, has_style=self.style is not None)

    def body(self) -> dict[str, Any]:
        """Return the body of ``POST /v1/jobs``; without ``image`` where a file is sent along."""
        of_brief = ("brief", "product", "occasion", "audience", "channels", "languages", "save_style")
        names = (*of_brief, "campaign", "piece", "headline", "subline")
        own = {name: value for name in names if (value := getattr(self, name))}
        return {"operation": "campaign", **super().body(), **own, **self.input()}
