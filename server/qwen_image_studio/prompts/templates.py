"""Instruction templates with typed slots: the library beside this file, and those of the operator."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from string import Formatter

from pydantic import ValidationError

from qwen_image_studio.contract.errors import BadTemplates, StudioError, refusal
from qwen_image_studio.contract.service import SlotView, TemplateList, TemplateView
from qwen_image_studio.contract.words import MAX_SLOT_CHARS, Language, Operation, SlotType
from qwen_image_studio.prompts.cleaning import clean, has_chinese

LIBRARY = Path(__file__).with_suffix(".toml")
Words = Mapping[Language, str]
"""The same words in each language."""

_PLACES: Mapping[str, Words] = {
    name: {Language.EN: english, Language.ZH: chinese}
    for name, english, chinese in (
        ("left", "left", "左边"),
        ("right", "right", "右边"),
        ("top", "top", "上面"),
        ("bottom", "bottom", "下面"),
        ("center", "center", "中间"),
        ("top_left", "top left corner", "左上角"),
        ("top_right", "top right corner", "右上角"),
        ("bottom_left", "bottom left corner", "左下角"),
        ("bottom_right", "bottom right corner", "右下角"),
    )
}
COLOURS: Mapping[str, Words] = {
    name: {Language.EN: name, Language.ZH: chinese}
    for name, chinese in (
        ("red", "红色"), ("orange", "橙色"), ("yellow", "黄色"), ("green", "绿色"), ("cyan", "青色"), ("blue", "蓝色"),
        ("purple", "紫色"), ("pink", "粉色"), ("brown", "棕色"), ("black", "黑色"), ("white", "白色"), ("gray", "灰色"),
        ("gold", "金色"), ("silver", "银色"), ("beige", "米色"), ("navy", "藏青色"), ("teal", "蓝绿色"),
    )
}  # fmt: skip
"""Names of colours."""


@cache
def library(own: Path | None) -> Mapping[str, TemplateView]:
    """Return all templates by id: ours, with those of the operator's file added or in their place.

    Raises BadTemplates for a file that cannot be used.
    """
    templates = _read(LIBRARY)
    return templates | _read(own) if own is not None else templates


def listed(own: Path | None) -> TemplateList:
    """Return the library as callers see it."""
    return TemplateList(data=list(library(own).values()))


def colour_name(colour: str, language: Language) -> str:
    """Return what a colour is called in that language; one that the library has no name for stays as it is."""
    for names in COLOURS.values():
        if colour.casefold() in {name.casefold() for name in (*names.values(), names[Language.ZH].removesuffix("色"))}:
            return names[language]
    return colour


def fill(
    own: Path | None, operation: Operation, template: str, slots: Mapping[str, str], language: Language | None
) -> str:
    """Return the prompt that a template gives with its slots filled in.

    Without a language, it is Chinese where a slot has Chinese in it, else English. Raises StudioError ``invalid_value``
    that names the slot and what it takes.
    """
    found = library(own).get(template)
    if found is None or found.operation is not operation:
        able = ", ".join(one.id for one in library(own).values() if one.operation is operation)
        raise refusal("template", f"there is no template '{template[:60]}' for {operation.value}; there are: {able}")
    unknown = [name for name in slots if name not in found.slots]
    if unknown:
        has = ", ".join(found.slots) or "none"
        raise refusal("slots", f"{template} has no slot '{unknown[0][:60]}'; it has: {has}")
    chosen = language or _language_of(slots)
    values = {name: _filled(name, slot, slots.get(name), chosen) for name, slot in found.slots.items()}
    text = found.text[chosen]
    for name, value in values.items():
        if re.search(rf"[\"“]\{{{name}\}}[\"”]", text) and re.search('["“”]', value):
            raise refusal(f"slots.{name}", "stands in quotation marks already; leave them out")
        if chosen is Language.EN and re.match("[aeiou]", value.casefold()):
            text = text.replace(f"a {{{name}}}", f"an {{{name}}}")  # an orange background
    return text.format(**values)


def _filled(name: str, slot: SlotView, given: str | None, language: Language) -> str:
    param = f"slots.{name}"
    value = clean(given) if given is not None else slot.default
    if not value:
        raise refusal(param, f"is missing: {slot.about[language]}")
    if len(value) > MAX_SLOT_CHARS or len(value.splitlines()) > 1:
        raise refusal(param, f"takes one line of at most {MAX_SLOT_CHARS} characters")
    if slot.type is SlotType.TEXT:
        return value
    known = {SlotType.PLACE: _PLACES, SlotType.COLOR: COLOURS}.get(slot.type, slot.choices)
    for key, words in known.items():
        if value.casefold().replace(" ", "_") in {key, *(word.casefold().replace(" ", "_") for word in words.values())}:
            return words[language]
    if slot.type is SlotType.COLOR and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return value
    more = ", or #RRGGBB" if slot.type is SlotType.COLOR else ""
    raise refusal(param, f"takes one of {', '.join(known)}{more}")


def _language_of(slots: Mapping[str, str]) -> Language:
    return Language.ZH if any(has_chinese(value) for value in slots.values()) else Language.EN


def _read(file: Path) -> dict[str, TemplateView]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        if set(content) - {"templates"}:
            other = next(iter(set(content) - {"templates"}))
            raise BadTemplates(f"{file} has '{other}'; the file may hold tables [[templates]] and nothing else")
        templates = [TemplateView.model_validate(row) for row in content.get("templates", [])]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadTemplates(f"a template in {file} is wrong at {place}: {first['msg']}") from error
    except BadTemplates:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise BadTemplates(f"the templates in {file} cannot be read: {error}") from error
    for template in templates:
        try:
            _check(template)
        except (ValueError, KeyError, StudioError) as error:
            raise BadTemplates(f"template {template.id} in {file}: {error}") from error
    by_id = {one.id: one for one in templates}
    if len(by_id) < len(templates):
        raise BadTemplates(f"{file} has two templates with one id")
    return by_id


def _check(template: TemplateView) -> None:
    """Raise ValueError or StudioError for a template that could not be filled."""
    if template.operation not in {Operation.GENERATE, Operation.EDIT}:
        raise ValueError("its operation must be generate or edit")
    for language, text in template.text.items():
        parsed = list(Formatter().parse(text))
        if any(spec or conversion for _, _, spec, conversion in parsed):
            raise ValueError(f"its {language} text may hold {{slot}} and nothing else in braces")
        if {field for _, field, _, _ in parsed if field is not None} != set(template.slots):
            raise ValueError(f"its {language} text and its slots do not agree")
    for words in (template.title, template.text, *(slot.about for slot in template.slots.values())):
        if set(words) != set(Language):
            raise ValueError("its words must be there in both languages, en and zh")
    for name, slot in template.slots.items():
        if bool(slot.choices) is not (slot.type is SlotType.CHOICE):
            raise ValueError(f"slot {name}: a choice has choices, and nothing else has")
        if any(set(words) != set(Language) for words in slot.choices.values()):
            raise ValueError(f"slot {name}: its choices must be there in both languages, en and zh")
        if slot.default is not None:
            for language in Language:
                _filled(name, slot, None, language)
