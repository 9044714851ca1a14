"""A campaign by rules, where no language model wrote it: what a brief says, and what is made of that.

The rules' words are in the file beside this one. All of it takes time in proportion to the brief's length.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from qwen_image_studio.contract.campaign import Piece
from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.contract.words import MAX_SLOT_CHARS, Channel, Language
from qwen_image_studio.prompts.cleaning import has_chinese
from qwen_image_studio.prompts.directing import QUOTED, language_of, quoted

LIBRARY = Path(__file__).with_suffix(".toml")
USUAL = (Channel.POST, Channel.STORY, Channel.BANNER, Channel.POSTER)
"""The channels of a campaign where none is named."""
MOST_CLAUSE_CHARS = 60
"""Longest beginning of a brief that is one clause with the lettering; a longer one stays a sentence of its own."""
Words = Mapping[Language, str]


class _Rule(BaseModel):
    """Words by which something is found in a brief, as regular expressions."""

    model_config = ConfigDict(extra="forbid")

    en: tuple[str, ...]
    zh: tuple[str, ...]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Return the pattern of all the words; English ones stand alone."""
        english = [rf"(?<![\w:]){word}(?![\w:])" for word in self.en]
        return re.compile("|".join([*english, *self.zh]), re.IGNORECASE)


class _Occasion(_Rule):
    """What a campaign is made for, and how that looks."""

    id: str
    palette: tuple[str, ...]
    headline: Words
    style: Words
    scene: Words


class _Channel(_Rule):
    """Where a piece is shown, and how that is composed."""

    layout: Words


class _Rules(BaseModel):
    """The file of rules; of the channels, those come first whose names hold another's."""

    model_config = ConfigDict(extra="forbid")

    occasions: tuple[_Occasion, ...]
    channels: Mapping[Channel, _Channel]


@cache
def _rules() -> _Rules:
    return _Rules.model_validate(tomllib.loads(LIBRARY.read_text(encoding="utf-8")))


# -- reading -------------------------------------------------------------------------------------------------------

_EN, _ZH = r"english", r"(?:chinese|mandarin)(?! (?:new|lunar))"
_BOTH = rf"(?:{_EN}|{_ZH})(?:\s*(?:,|/|&|\+|and|as well as)\s*(?:{_EN}|{_ZH}))"
_OF_THEM = r"(?: (?:version|lettering|text|texts|copy|headline|language)s?)"
_BILINGUAL = r"\bbilingual\b|\bboth languages\b|双语|中英|英中"
_NAMED: Mapping[Language, re.Pattern[str]] = {
    language: re.compile(
        rf"\bin (?:{_BOTH}|{name})\b|\b{_BOTH}\b|\b{name}{_OF_THEM}|{_BILINGUAL}|{chinese}", re.IGNORECASE
    )
    for language, name, chinese in (
        (Language.EN, _EN, r"英文|英语(?!课|培训|学|老师|班|角)"),
        (Language.ZH, _ZH, r"中文|汉语(?!课|培训|学|老师|班|角)"),
    )
}
_NAMES = {
    Language.EN: re.compile("english|bilingual|both|英|双语", re.IGNORECASE),
    Language.ZH: re.compile("chinese|mandarin|bilingual|both|中|汉|双语", re.IGNORECASE),
}
_FILLING = re.compile(
    r"(?:\b(?:in|and|as|a|an|the|for|with|to|of|or|both|plus|each|one|only|just|also|make|please|languages?|pieces?|formats?|sizes?|"
    r"channels?|instagram|tiktok|facebook|linkedin|wechat|weibo|douyin|xiaohongshu|"
    r"version|versions|lettering|texts?|copy|english|chinese|mandarin|bilingual)\b"
    r"|用|做|出|只|仅|要|和|与|以及|及|的|版本?|各|一|张|套|份|尺寸|格式|语言|文案|英文|英语|中文|汉语|中英文?|英中文?|双语|都|也|请|"
    r"适合|用于|包括|发|图|朋友圈|小红书|公众号|微信|微博|抖音|[\s、,，/&+:：\-])+",
    re.IGNORECASE,
)
_BEFORE_QUOTE = re.compile(
    r"(?:(?:\b(?:with|and|or|saying|says?|reading|reads?|headlined?|headlines|titled?|slogans?|texts?|words?|lettering|"
    r"sublines?|the|a|of|that|is|in|as)\b|[主副]?标题|文字|写着|写上|口号|标语|字样|是|为|带有|加上|和|及|配|"
    r"[:：,，、]) ?)*\x00 ?(?:字样|字)?",
    re.IGNORECASE,
)
"""What leads to a text in quotation marks (here a NUL) and says nothing without it."""
_STOPS = re.compile(r"(?<!\d)[,.]+(?!\w)\s*|(?<=\d)[,.]+(?!\d)\s*|[，。;；!！?？\n]+\s*")
"""End of a clause; a point or comma within a number or a name is none."""


@dataclass(frozen=True)
class Told:
    """What a brief says."""

    subject: str
    """What it is for: the product, or the brief's first clause."""
    rest: tuple[str, ...]
    """All else that is to be seen or felt, clause by clause."""
    lettering: tuple[str, ...]
    """Texts in quotation marks, letter for letter."""
    languages: tuple[Language, ...]
    channels: tuple[Channel, ...]
    language: Language
    """Language of the brief, and so of the prompts."""
    occasion: str
    """Id of the occasion in the rules."""

    @property
    def says_something(self) -> bool:
        """Return whether there is a brief."""
        return bool(self.subject or self.lettering)

    def letters(self, language: Language) -> tuple[str, ...]:
        """Return the texts in quotation marks that pieces in that language have."""
        own = tuple(text for text in self.lettering if _may_be(text, language))
        return own or (self.lettering if len(self.languages) == 1 else ())


def read(brief: str, product: str = "", occasion: str = "", audience: str = "") -> Told:
    """Return what a brief says, with what was said apart from it.

    Raises StudioError ``invalid_value`` for a text in quotation marks that is too long for lettering.
    """
    whole = "\n".join(part for part in (brief, product, occasion, audience) if part)
    lettering = tuple(dict.fromkeys(text.strip() for text in quoted(whole) if text.strip()))
    for text in lettering:
        if len(text) > MAX_SLOT_CHARS:
            problem = f"a text in quotation marks has {len(text)} characters; at most {MAX_SLOT_CHARS} can be lettered"
            raise refusal("brief" if brief else "product", problem)
    language = language_of(whole)
    clauses = _clauses(brief)
    subject = _clean(product) or (clauses.pop(0) if clauses else "")
    apart = [said for part in (occasion, audience) if (said := _clean(part)) and said not in brief]
    if not subject and apart:
        subject = apart.pop(0)
    return Told(
        subject=subject,
        rest=(*clauses, *apart),
        lettering=lettering,
        languages=_languages(whole, lettering, language),
        channels=_channels(brief) or USUAL,
        language=language,
        occasion=_occasion(occasion, whole),
    )


def _languages(text: str, lettering: Sequence[str], own: Language) -> tuple[Language, ...]:
    """Return the languages that a text names, in its order; both where its lettering is in both; else its own."""
    said = QUOTED.sub(" ", text)
    found: dict[Language, int] = {}
    for language, pattern in _NAMED.items():
        for match in pattern.finditer(said):
            if named := _NAMES[language].search(match[0]):
                found.setdefault(language, match.start() + named.start())
    if found:
        return tuple(sorted(found, key=lambda each: found[each]))
    kinds = {only_language_of(text) for text in lettering} - {None}
    return (own, *(other for other in Language if other is not own)) if len(kinds) > 1 else (own,)


def only_language_of(text: str) -> Language | None:
    """Return the language of a text that is lettered; None where it may be of any: 50%."""
    if has_chinese(text):
        return Language.ZH
    return Language.EN if re.search("[A-Za-z]", text) else None


def _may_be(text: str, language: Language) -> bool:
    return only_language_of(text) in {None, language}


def _channels(brief: str) -> tuple[Channel, ...]:
    """Return the channels that a brief names, in its order."""
    said, found = QUOTED.sub(" ", brief), {}
    for channel, rule in _rules().channels.items():
        if match := rule.pattern.search(said):
            found[channel] = match.start()
    return tuple(sorted(found, key=lambda each: found[each]))


def channel_called(name: str) -> Channel | None:
    """Return the channel that has this name in briefs."""
    plain = " ".join(name.split())
    return next((channel for channel, rule in _rules().channels.items() if rule.pattern.fullmatch(plain)), None)


def _occasion(occasion: str, whole: str) -> str:
    """Return the id of the occasion: by the text that names it, else by all that was said."""
    for text in (occasion, whole):
        for rule in _rules().occasions[:-1]:
            if text and rule.pattern.search(text):
                return rule.id
    return _rules().occasions[-1].id


def _clauses(brief: str) -> list[str]:
    """Return the clauses of a brief, without lettering, and without those that only name languages and channels."""
    parts = (part for line in brief.splitlines() for part in _STOPS.split(_unquoted(line)))
    return [clause for part in parts if (clause := part.strip()) and not _is_order(clause)]


def _is_order(clause: str) -> bool:
    """Return whether a clause says nothing but how many pictures of which kind are wanted."""
    for rule in _rules().channels.values():
        clause = rule.pattern.sub(" ", clause)
    return not _FILLING.sub("", clause).strip()


def _clean(text: str) -> str:
    """Return a part of the brief without lettering, on one line and without a stop."""
    return _unquoted(text).strip(" ,，.。;；")


def _unquoted(text: str) -> str:
    """Return a text on one line, without what stands in quotation marks."""
    return " ".join(_BEFORE_QUOTE.sub(" ", " ".join(QUOTED.sub("\0", text).split())).split())


# -- making --------------------------------------------------------------------------------------------------------


def usual_direction(told: Told) -> Direction:
    """Return the art direction of the occasion."""
    rule = _rule_of(told)
    return Direction(style=rule.style[told.language], palette=list(rule.palette))


def pieces_of(told: Told) -> list[Piece]:
    """Return a piece for each channel in each language."""
    return [
        Piece(
            channel=channel,
            language=language,
            headline=(lines := _lines(told, language))[0],
            subline=lines[1],
            prompt=scene_of(told, channel, lines[1]),
        )
        for channel in told.channels
        for language in told.languages
    ]


def scene_of(told: Told, channel: Channel, subline: str) -> str:
    """Return what a piece shows, in the brief's language, with places for its texts and its background."""
    rule, layout = _rule_of(told), _rules().channels[channel].layout
    language = told.language
    about = [*told.rest, rule.scene[language], layout[language]]
    chinese, is_long = language is Language.ZH, len(told.subject) > MOST_CLAUSE_CHARS
    text = "文字“{headline}”" if chinese else 'the text "{headline}"'
    if subline:
        text += "和下方小字“{subline}”" if chinese else ' with the smaller text "{subline}" below it'
    if told.subject and is_long:
        text = f"{told.subject}。{text}" if chinese else f"{told.subject}. T{text[1:]}"
    elif told.subject:
        text = f"{told.subject}和{text}" if chinese else f"{told.subject} and {text}"
    return ("，" if chinese else ", ").join([text, "{background}", *about])


def unlettered(told: Told) -> list[str]:
    """Return the texts in quotation marks that stand in no piece."""
    used = {text for language in told.languages for text in told.letters(language)}
    return [text for text in told.lettering if text not in used]


def _lines(told: Told, language: Language) -> tuple[str, str]:
    """Return headline and subline in a language: what stands in quotation marks, else the occasion's headline."""
    letters = told.letters(language)
    if not letters:
        return _rule_of(told).headline[language], ""
    if len(subline := " ".join(letters[1:])) > MAX_SLOT_CHARS:
        problem = f"its texts in quotation marks after the first one have {len(subline)} characters"
        raise refusal("brief", f"{problem}; at most {MAX_SLOT_CHARS} stand below a headline")
    return letters[0], subline


def _rule_of(told: Told) -> _Occasion:
    return next(rule for rule in _rules().occasions if rule.id == told.occasion)
