"""The tool image_style as Dify's daemon calls it, on both SDKs, against a studio that plays a script."""

from typing import Any

import pytest

from tests.plugin.test_tools import STYLE_VARIABLES
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER
from tests.support.scripted import Answer, ScriptedStudio, error
from tools.errors import Refused
from tools.parameters import StyleParameters

SPRING: dict[str, Any] = {
    **{"object": "style", "name": "spring-2027", "style": "soft light.", "palette": ["green", "#ffffff"]},
    **{"negative_prompt": "people", "seed": 7, "reference": "img_1", "created_at": 1.0, "changed_at": 2.0},
}
BARE: dict[str, Any] = {
    **{"object": "style", "name": "秋天", "style": "水墨", "palette": [], "negative_prompt": "", "seed": None},
    **{"reference": None, "created_at": 1.0, "changed_at": 1.0},
}
SHOWN = {
    **{"styles": ["spring-2027"], "style_words": "soft light.", "palette": ["green", "#ffffff"]},
    **{"negative_prompt": "people", "seed": 7, "image_id": "img_1"},
}
NONE: dict[str, Any] = {"style_words": "", "palette": [], "negative_prompt": "", "seed": 0, "image_id": ""}


def style(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    outcome = plugin.invoke(PROVIDER, "image_style", parameters, credentials)
    assert set(outcome.variables) in (set(), STYLE_VARIABLES)
    return outcome


def told(outcome: Outcome) -> dict[str, Any]:
    """The variables that say something of a style."""
    outcome.raise_on_error()
    return {name: value for name, value in outcome.variables.items() if name != "progress"}


@pytest.mark.parametrize(
    ("saved", "line"),
    [
        ([], "There are no saved styles yet."),
        ([SPRING, BARE], "Saved styles: spring-2027 (green, #ffffff; soft light; seed 7; img_1); 秋天 (水墨)"),
    ],
    ids=["none", "two"],
)
def test_the_list_names_every_style_and_how_it_looks(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], saved: list[dict[str, Any]], line: str
) -> None:
    scripted.script["GET /v1/styles"].append(Answer(200, {"object": "list", "data": saved}))
    outcome = style(plugin, credentials)
    assert told(outcome) == {"styles": [each["name"] for each in saved], **NONE}
    assert outcome.texts == [f"{line}\n"]
    assert [each["name"] for view in outcome.jsons for each in view["styles"]] == [each["name"] for each in saved]


def test_many_styles_are_counted(plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]) -> None:
    saved = [{**SPRING, "name": f"spring-{year}", "style": "x" * 1000} for year in range(50)]
    scripted.script["GET /v1/styles"].append(Answer(200, {"object": "list", "data": saved}))
    outcome = plugin.invoke(PROVIDER, "image_style", {}, credentials, conversation_id="c1")
    assert len(outcome.variables["styles"]) == 50
    [text] = outcome.texts
    assert len(text) <= 500
    assert text.endswith("; +45\n")
    assert outcome.jsons == [], "a language model has all of it in the line"


def test_a_style_is_saved_with_what_was_given_and_nothing_else(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.script["PUT /v1/styles/spring-2027"].append(Answer(201, SPRING))
    given = {"style_words": " soft light. ", "palette": "green, #ffffff", "seed": "7", "image_id": "img_1"}
    outcome = style(plugin, credentials, action="save", style="spring-2027", negative_prompt="people", **given)
    assert told(outcome) == SHOWN
    assert outcome.texts == [
        "Style spring-2027 is saved: green, #ffffff; soft light; seed 7; img_1. Painting tools take it as style.\n"
    ]
    assert scripted.called("PUT /v1/styles/spring-2027")[0].json() == {
        **{"style": "soft light.", "palette": ["green", "#ffffff"], "negative_prompt": "people"},
        **{"seed": 7, "reference": "img_1"},
    }


def test_one_is_shown_and_deleted_by_its_name_in_any_script(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    path = "/v1/styles/%E7%A7%8B%E5%A4%A9"
    scripted.script[f"GET {path}"].append(Answer(200, BARE))
    scripted.script[f"DELETE {path}"].append(Answer(204))
    shown = style(plugin, credentials, action="show", style="秋天")
    assert told(shown) == {**NONE, "styles": ["秋天"], "style_words": "水墨"}
    assert shown.texts == ["风格 秋天：水墨。绘图工具可以通过“已保存的风格”使用它。\n"]
    deleted = style(plugin, credentials, action="delete", style="秋天")
    assert told(deleted) == {**NONE, "styles": []}
    assert (deleted.texts, deleted.jsons) == (["风格 秋天 已删除。\n"], [])


@pytest.mark.parametrize("action", ["show", "delete"])
def test_a_name_that_is_not_there_is_told_with_the_way_on(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], action: str
) -> None:
    outcome = style(plugin, credentials, action=action, style="autumn")
    assert outcome.error is not None
    assert outcome.error.type == "InvokeBadRequestError"
    assert outcome.error.message == (
        "The server has no style autumn of this API key's owner; image_style with action list names them."
    )


def test_a_person_who_writes_chinese_reads_chinese(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    outcome = style(plugin, credentials, action="show", style="秋天")
    assert outcome.error is not None
    assert outcome.error.message == "服务器上没有此 API 密钥所有者的风格 秋天；可用 image_style（action 为 list）列出。"
    outcome = plugin.invoke(PROVIDER, "image_campaign", {"audience": "年轻人"}, credentials)
    assert outcome.error is not None
    assert outcome.error.message == "缺少一句话需求（brief）。请用一句话说明这次活动的目的。"


def test_what_the_server_says_of_the_picture_of_the_product_is_told(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    said = "reference: there is no image img_9."
    scripted.script["PUT /v1/styles/autumn"].append(error(404, said, code="image_not_found"))
    outcome = style(plugin, credentials, action="save", style="autumn", image_id="img_9")
    assert outcome.error is not None
    assert outcome.error.message == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"action": "show"}, "style is missing. Name the style, such as spring-2027."),
        ({"action": "save", "style": "a"}, "Say how the style looks: style_words, palette, negative_prompt, seed or"),
        (
            {"action": "save", "style": "a/b", "seed": 1},
            "style: takes letters, digits, - . and",
        ),
        (
            {"action": "save", "style": "a", "palette": "red," * 9},
            "palette: takes at most 8 colours; there are 9 (given: ",
        ),
        (
            {"action": "save", "style": "a", "image_id": "the last one"},
            "image_id: knows no last image; it takes the id",
        ),
        ({"action": "rename"}, "action: input should be 'list', 'show', 'save' or 'delete' (given: rename)."),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_remedy(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as caught:
        StyleParameters.parse(given)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "palette", ["红、#FFF；米色", ["红", "#FFF", "米色"], '["红", "#FFF", "米色"]', "红, #FFF\n米色"]
)
def test_colours_are_read_as_people_write_them(palette: object) -> None:
    asked = StyleParameters.parse({"action": "save", "style": "a", "palette": palette})
    assert asked.direction() == {"palette": ["红", "#FFF", "米色"]}
