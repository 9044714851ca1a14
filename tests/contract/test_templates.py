"""Instruction templates: listed, filled in both languages, checked slot by slot; and an operator's own file."""

import re
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.contract.errors import BadTemplates, StudioError
from qwen_image_studio.contract.service import TemplateList
from qwen_image_studio.contract.words import Language, Operation, SlotType
from qwen_image_studio.prompts.templates import fill, library
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.contract.test_adjust_api import send
from tests.support.pictures import png

OWN = """
[[templates]]
id = "our_style"
version = 3
operation = "edit"
title = { en = "Our style", zh = "我们的风格" }
text = { en = "repaint {what} in our style", zh = "用我们的风格重画{what}" }
slots.what = { type = "text", about = { en = "what", zh = "什么" } }
"""


def test_the_library_is_whole_in_both_languages(client: FlaskClient) -> None:
    listed = TemplateList.model_validate(client.get("/v1/templates").get_json()).data
    assert len(listed) >= 12
    asked = {"replace_object", "remove_object", "move_object", "change_background", "change_text", "recolor"}
    assert asked | {"change_material", "holiday_theme", "add_logo"} <= {one.id for one in listed}
    for one in listed:
        assert set(one.title) == set(one.text) == set(Language), one.id
        for text in one.text.values():
            assert {field for _, field, _, _ in Formatter().parse(text) if field} == set(one.slots), one.id
        for slot in one.slots.values():
            assert set(slot.about) == set(Language)
            assert bool(slot.choices) is (slot.type is SlotType.CHOICE)


@pytest.mark.parametrize(
    ("template", "slots", "prompt"),
    [
        ("replace_object", {"old": "apple", "new": "a cat"}, "replace the apple with a cat"),
        ("replace_object", {"old": "苹果", "new": "猫"}, "把苹果换成猫"),
        ("change_text", {"old": "SALE", "new": "5折"}, "把文字“SALE”改成“5折”，字体、大小、颜色和位置不变"),
        ("add_object", {"object": "a star"}, "add a star on the right"),
        ("move_object", {"object": "cat", "place": "Top Left"}, "move the cat to the top left corner"),
        ("move_object", {"object": "apple", "place": "左上角"}, "把apple移到左上角"),
        ("recolor", {"object": "car", "color": "Navy"}, "make the car navy"),
        ("recolor", {"object": "car", "color": "#12ab34"}, "make the car #12ab34"),
        ("change_material", {"object": "cup", "material": "glass"}, "make the cup look as if made of glass"),
    ],
)
def test_slots_are_filled_in_the_language_that_they_are_in(template: str, slots: dict[str, str], prompt: str) -> None:
    assert fill(None, Operation.EDIT, template, slots, None) == prompt


def test_the_language_can_be_asked_for_and_the_article_fits() -> None:
    slots = {"product": "bag", "color": "orange"}
    assert fill(None, Operation.GENERATE, "product_photo", slots, Language.EN) == "bag on an orange background"
    assert fill(None, Operation.GENERATE, "product_photo", slots, Language.ZH) == "橙色背景上的bag"


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({"template": "nothing"}, "template", "replace_object"),
        ({"template": "poster"}, "template", "for edit"),
        ({"template": "replace_object", "slots": {"old": "x"}}, "slots.new", "is missing"),
        ({"template": "replace_object", "slots": {"old": "x", "new": "y", "z": "1"}}, "slots", "no slot 'z'"),
        ({"template": "replace_object", "slots": {"old": "x", "new": "y" * 300}}, "slots.new", "200"),
        ({"template": "replace_object", "slots": {"old": "x", "new": "<|im_end|>"}}, "slots.new", "is missing"),
        ({"template": "recolor", "slots": {"object": "x", "color": "blurple"}}, "slots.color", "#RRGGBB"),
        ({"template": "style", "slots": {"style": "cubism"}}, "slots.style", "watercolor"),
        ({"template": "replace_object", "prompt": "both"}, "prompt", "not both"),
        ({"prompt": "x", "slots": {"old": "y"}}, "slots", "template"),
        ({}, "prompt", "missing"),
    ],
)
def test_a_wrong_slot_is_said_at_once(client: FlaskClient, asked: dict[str, Any], param: str, said: str) -> None:
    answer = send(client, png(), operation="edit", **asked)
    assert answer.status_code == 422, answer.text
    error = answer.get_json()["error"]
    assert error["param"] == param
    assert said in error["message"]


def test_a_job_remembers_the_filled_prompt(client: FlaskClient, worker: Worker, app: Flask) -> None:
    asked = {"template": "remove_object", "slots": {"object": "cup"}}
    job = send(client, png(), operation="edit", **asked).get_json()
    assert worker.run_next()
    assert client.get(f"/v1/jobs/{job['id']}").get_json()["state"] == "succeeded"
    parts: Services = app.extensions["qwen-image-studio"]
    assert parts.store.jobs.get(job["id"]).plan["prompt"] == "remove the cup"


def test_an_operators_own_file_adds_and_replaces(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(OWN + OWN.replace("our_style", "remove_object"), encoding="utf-8")
    assert fill(own, Operation.EDIT, "our_style", {"what": "the cat"}, None) == "repaint the cat in our style"
    assert library(own)["remove_object"].version == 3
    assert library(None)["remove_object"].version == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[templates", "cannot be read"),
        (OWN.replace("{what}", "{else}"), "do not agree"),
        (OWN.replace("version = 3", "version = 0"), "version"),
        (OWN.replace('type = "text"', 'type = "thing"'), "type"),
        (OWN.replace(', zh = "用我们的风格重画{what}"', ""), "both languages"),
        (OWN.replace("{what} in", "{what!r} in"), "nothing else in braces"),
        (OWN.replace("{what} in", "{what in"), "our_style"),
        (OWN.replace("[[templates]]", "[[template]]"), "may hold tables [[templates]] and nothing else"),
        (OWN.replace('operation = "edit"', 'operation = "adjust"'), "generate or edit"),
        (OWN.replace('type = "text"', 'type = "color", default = "nope"'), "slots.what"),
        (OWN + OWN, "one id"),
        ("templates = 5", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, text: str, said: str) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(BadTemplates, match=re.escape(said)):
        library(own)
    with pytest.raises(BadTemplates):
        library(tmp_path / "none.toml")


def test_a_slot_never_changes_a_template() -> None:
    with pytest.raises(StudioError, match="one line"):
        fill(None, Operation.EDIT, "remove_object", {"object": "cup\nand more"}, None)
    with pytest.raises(StudioError, match="quotation marks"):
        fill(None, Operation.EDIT, "change_text", {"old": 'a "b', "new": "c"}, None)
    kept = fill(None, Operation.EDIT, "change_text", {"old": "a apple", "new": "buy a apple"}, None)
    assert '"a apple" to "buy a apple"' in kept
    assert fill(None, Operation.EDIT, "remove_object", {"object": "{cup}"}, None) == "remove the {cup}"
