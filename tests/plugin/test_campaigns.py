"""From a brief to direction, scenes and texts: what a language model is asked, and what of its answers is used."""

import json
from typing import Any

import pytest

from tests.plugin.test_parameters import accepted
from tools.answers import Ask, NoAnswer
from tools.campaigns import Brief, directed, messages

BRIEF = Brief("Spring tea sale “春茶 50% OFF”", channels=["post", "story"], languages=["en", "zh"])
ANSWER: dict[str, Any] = {
    "style": "warm product photograph, soft light",
    "palette": ["green", "#F5E6C8", "green"],
    "negative_prompt": "people",
    "scenes": {
        "story": "A tall glass of tea among leaves, {headline} above",
        "post": "A cup of tea on linen, {headline} beside it",
    },
    "texts": {
        "zh": {"headline": "春茶 50% OFF", "subline": "一杯春天"},
        "en": {"headline": "Spring in a Cup", "subline": ""},
    },
}


def saying(answer: object) -> Ask:
    """A language model that always says the same."""
    return lambda system, user: answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def answer(**changed: Any) -> dict[str, Any]:
    """A good answer with other parts; None leaves one out."""
    return {name: value for name, value in {**ANSWER, **changed}.items() if value is not None}


def why_not(brief: Brief, said: object) -> str:
    """Why an answer is not used."""
    made = directed(brief, saying(said))
    assert made.body() == {}, "the rules make all of it, then"
    [warning] = made.warnings
    assert warning.startswith("The language model ")
    assert warning.endswith("; the campaign was put together by rules instead.")
    return warning.removeprefix("The language model ").removesuffix("; the campaign was put together by rules instead.")


def test_a_good_answer_becomes_one_direction_and_a_piece_for_each_channel_and_language() -> None:
    made = directed(BRIEF, saying(ANSWER))
    assert made.warnings == ()
    accepted({"operation": "campaign", "brief": BRIEF.text, **made.body()})
    scenes, zh = ANSWER["scenes"], {"headline": "春茶 50% OFF", "subline": "一杯春天"}
    assert made.body() == {
        "direction": {
            "style": "warm product photograph, soft light",
            "palette": ["green", "#F5E6C8"],
            "negative_prompt": "people",
        },
        "pieces": [
            {"channel": "post", "language": "en", "prompt": scenes["post"], "headline": "Spring in a Cup"},
            {"channel": "post", "language": "zh", "prompt": scenes["post"], **zh},
            {"channel": "story", "language": "en", "prompt": scenes["story"], "headline": "Spring in a Cup"},
            {"channel": "story", "language": "zh", "prompt": scenes["story"], **zh},
        ],
    }


@pytest.mark.parametrize(
    "around",
    ["{}", "```json\n{}\n```", "Here it is:\n{}\nGood luck!", "<think>maybe {{}}</think>{}", '{{"texts": 1}} {}'],
    ids=["plain", "fenced", "in prose", "after thoughts", "after a draft"],
)
def test_an_answer_is_read_whatever_stands_around_it(around: str) -> None:
    assert len(directed(BRIEF, saying(around.format(json.dumps(ANSWER)))).pieces) == 4


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "gave an empty answer"),
        ("A fine campaign!", "gave no JSON with texts and scenes in it"),
        (answer(texts=None), "gave no JSON with texts and scenes in it"),
        (answer(texts={}), "gave a campaign that cannot be used (texts: "),
        (answer(texts={"en": "Spring"}), "gave a campaign that cannot be used (texts.en: "),
        (answer(scenes={"post": ["a"]}), "gave a campaign that cannot be used (scenes.post: "),
        (answer(palette=[f"colour {number}" for number in range(9)]), "gave a campaign that cannot be used (palette: "),
        (answer(palette="green"), "gave a campaign that cannot be used (palette: "),
        (answer(style="x" * 1001), "gave a campaign that cannot be used (style: "),
        (answer(style="..."), "left scenes or style empty"),
        (answer(style=None), "left scenes or style empty"),
        (answer(scenes={"post": "...", "story": "a cup"}), "left scenes or style empty"),
        (answer(scenes={"post": "a cup"}), "wrote for post, and not for post, story"),
        (answer(scenes={**ANSWER["scenes"], "poster": "a cup"}), "wrote for story, post, poster, and not for post, s"),
        (
            answer(scenes={**ANSWER["scenes"], "billboard": "a"}),
            "gave a campaign that cannot be used (scenes.billboard",
        ),
        (answer(texts={"zh": ANSWER["texts"]["zh"]}), "wrote in zh, and not in en, zh"),
        (answer(texts={**ANSWER["texts"], "fr": {"headline": "Thé"}}), "gave a campaign that cannot be used (texts.fr"),
        (answer(texts={**ANSWER["texts"], "en": {"headline": "..."}}), "left a headline empty"),
        (
            answer(texts={**ANSWER["texts"], "en": {"headline": "x" * 81}}),
            "gave a campaign that cannot be used (texts.",
        ),
        (
            answer(texts={**ANSWER["texts"], "en": {"headline": "春天来了"}}),
            "did not write the headline “春天来了” in E",
        ),
        (
            answer(texts={**ANSWER["texts"], "zh": {"headline": "春茶 60% OFF"}}),
            "left out or changed the text “春茶 50",
        ),
        (
            answer(texts={"en": {"headline": "春茶 50% OFF"}, "zh": {"headline": "Spring in a Cup"}}),
            "did not write the headline “Spring in a Cup” in Simplified Chinese",
        ),
    ],
)
def test_an_answer_that_is_not_as_asked_for_is_not_used_at_all(said: object, why: str) -> None:
    assert why_not(BRIEF, said).startswith(why)


def test_a_model_that_gives_no_answer_is_named() -> None:
    def dead(system: str, user: str) -> str:
        raise NoAnswer("did not answer within 60 s")

    assert directed(BRIEF, dead).warnings == (
        "The language model did not answer within 60 s; the campaign was put together by rules instead.",
    )


@pytest.mark.parametrize(
    ("brief", "headline", "painted"),
    [
        ("a sale, “OPEN NOW”", "OPEN NOW", "OPEN NOW"),
        ("a sale, “OPEN NOW”", "Sunday: OPEN NOW", "Sunday: OPEN NOW"),
        ("a sale, 'Don't wait'", "Don’t wait", "Don't wait"),
        ("a sale, “５折”", "5折", "５折"),
        ("a sale, “OPEN NOW”", "Open now", None),
        ("a sale, “OPEN NOW”", "OPEN-NOW", None),
    ],
    ids=["letter for letter", "as a part", "another apostrophe", "full width", "other case", "another mark"],
)
def test_lettering_is_kept_letter_for_letter(brief: str, headline: str, painted: str | None) -> None:
    said = answer(scenes={"post": "a shop"}, texts={"en": {"headline": headline}})
    made = directed(Brief(brief), saying(said))
    assert [piece["headline"] for piece in made.pieces] == ([] if painted is None else [painted])


def test_what_is_quoted_may_be_a_subline_and_a_name_in_the_other_language() -> None:
    said = answer(scenes={"post": "茶"}, texts={"zh": {"headline": "TeaHouse", "subline": "开业 5折"}})
    made = directed(Brief("茶馆“TeaHouse”开业，“5折”"), saying(said))
    assert [(piece["headline"], piece["subline"]) for piece in made.pieces] == [("TeaHouse", "开业 5折")]


def test_lettering_that_the_model_puts_into_a_scene_is_told() -> None:
    said = answer(scenes={"post": "a cup with “{headline}” above", "story": "a sign “Bar” and 'no'"})
    assert directed(BRIEF, saying(said)).warnings == (
        "The language model added the text “Bar”, which the brief does not have.",
        "The language model added the text “no”, which the brief does not have.",
    )


@pytest.mark.parametrize("said", ["none", "None.", "...", "", "无", None])
def test_a_negative_prompt_that_says_nothing_is_left_out(said: object) -> None:
    made = directed(BRIEF, saying(answer(negative_prompt=said)))
    assert made.direction == {"style": ANSWER["style"], "palette": ["green", "#F5E6C8"]}


def test_what_was_not_asked_for_is_the_models_choice() -> None:
    made = directed(Brief("Spring tea “春茶 50% OFF”"), saying(ANSWER))
    assert [(piece["channel"], piece["language"]) for piece in made.pieces] == [
        *(("story", "zh"), ("story", "en"), ("post", "zh"), ("post", "en"))
    ]


def test_with_a_saved_style_only_scenes_and_texts_are_asked_for_and_taken() -> None:
    brief = Brief("Spring tea", has_style=True)
    system, _ = messages(brief)
    assert "palette:" not in system
    made = directed(brief, saying(answer(style=None, palette=None)))
    assert (set(made.body()), len(made.pieces)) == ({"pieces"}, 4)
    assert directed(brief, saying(ANSWER)).direction is None


def test_the_model_is_told_what_was_asked_for_and_in_which_language() -> None:
    system, user = messages(
        Brief(
            "春茶上新“一口\n春天”",
            product="龙井",
            occasion="清明",
            channels=["wide_banner"],
            languages=["en"],
            has_image=True,
        )
    )
    assert "Channels: wide_banner (very wide, 21:9).\nLanguages: en (English)." in system
    assert "what its picture shows, in Simplified Chinese" in system
    assert '"scenes": {"wide_banner": "..."}, "texts": {"en": {"headline": "...", "subline": "..."}}' in system
    assert "{headline}" in system
    assert user.splitlines() == [
        "brief: 春茶上新“一口 春天”",
        "product: 龙井",
        "occasion: 清明",
        "A picture of the product is there: say that the product looks exactly as in it.",
        "lettering, to be copied letter for letter: 一口 春天",
    ]
