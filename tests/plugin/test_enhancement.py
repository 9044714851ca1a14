"""Wishes written out as prompts, in this process: by rules, and what is made of a language model's answer."""

import json
import time
from typing import Any, get_args

import pytest

from tests.plugin.test_parameters import accepted
from tools import wishes
from tools.enhancement import MAX_ANSWER_CHARS, Ask, NoAnswer, enhanced, messages
from tools.errors import Refused
from tools.parameters import EnhanceParameters, GenerationParameters
from tools.parameters.enhancing import WishLanguage, WishPurpose
from tools.parameters.painting import MAX_PROMPT_CHARS, NativeRatio
from tools.wishes import Wish, by_rules, language_of, quoted, shape_of

EN, ZH = ", Ultra HD, 4K, cinematic composition.", "，超清，4K，电影级构图。"


def saying(answer: str) -> Ask:
    """A language model that always gives this answer."""
    return lambda system, user: answer


def as_json(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False)


# -- rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "prompt"),
    [
        (Wish("A red apple."), f"A red apple{EN}"),
        (Wish("一个红苹果。"), f"一个红苹果{ZH}"),
        (
            Wish("  an apple on a table!  ".strip(), style="watercolour"),
            f"an apple on a table. The style is watercolour{EN}",
        ),
        (
            Wish("一张茶叶广告", product="乌龙茶", theme="春天", audience="年轻人", style="水墨"),
            f"一张茶叶广告。产品是乌龙茶。主题是春天。面向年轻人。风格是水墨{ZH}",
        ),
        (Wish("", product="a thermos cup"), f"A picture of a thermos cup{EN}"),
        (Wish("", theme="中秋节"), f"一幅关于中秋节的画面{ZH}"),
        (Wish("", product="月饼", theme="中秋节"), f"一幅关于月饼的画面。主题是中秋节{ZH}"),
        (Wish('a shop sign "OPEN."'), f'a shop sign "OPEN.". All lettering is sharp and legible{EN}'),
        (Wish("招牌写着“营业中。”"), f"招牌写着“营业中。”。文字清晰可辨{ZH}"),
        (Wish("a cup, Ultra HD,4K, Cinematic composition"), "a cup, Ultra HD,4K, Cinematic composition."),
        (Wish("Make the sky red", purpose="edit"), "Make the sky red. Keep everything else as it is."),
        (Wish("把天空变红", purpose="edit"), "把天空变红。其余部分保持不变。"),
        (Wish("把天空变红，房子保持不变", purpose="edit"), "把天空变红，房子保持不变。"),
        (Wish("Make it red and keep the house", purpose="edit"), "Make it red and keep the house."),
    ],
)
def test_rules_add_how_the_authors_end_a_prompt_and_invent_nothing(wish: Wish, prompt: str) -> None:
    written = enhanced(wish, None)
    assert written.prompt == prompt
    assert (written.enhanced_by, written.warnings, written.negative_prompt) == ("rules", (), "")
    assert written.reason.endswith(".")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a red apple", "en"),
        ("红苹果", "zh"),
        ("a poster that says “你好”", "en"),
        ("一张海报，写着“SALE”", "zh"),
        ("“你好”", "zh"),
        ("“hello”", "en"),
        ("赤いりんごと猫", "en"),
        ("", "en"),
    ],
)
def test_the_language_is_that_of_the_words_around_the_lettering(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('“a” and "b" 「c」 『d』 ‘e’', ["a", "b", "c", "d", "e"]),
        ('“he said "no"”', ['he said "no"']),
        ("it’s the dog’s bone", []),
        ("the dog’s sign ‘Beware’ isn’t new", ["Beware"]),
        ("the sign ‘Don’t enter’ here", ["Don’t enter"]),
        ("“unclosed", []),
        ("“” empty", []),
        ("“春茶\n上新”", ["春茶\n上新"]),
    ],
)
def test_lettering_is_found_in_the_marks_of_either_language(text: str, found: list[str]) -> None:
    assert quoted(text) == found


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("a poster for a concert", "3:4"),
        ("手机壁纸，星空", "9:16"),
        ("网站横幅", "16:9"),
        ("a logo of a fox", "1:1"),
        ("a fox", "auto"),
        ("a poster in 16:9", "16:9"),
        ("海报，2：3", "2:3"),
        ("a clock that shows 12:34", "auto"),
        ("a portraitist's studio", "auto"),
    ],
)
def test_the_shape_follows_from_the_wish(text: str, shape: str) -> None:
    assert shape_of(text) == shape
    assert shape in get_args(NativeRatio)


def test_the_wish_knows_the_words_of_the_parameters() -> None:
    assert {shape for _, shape in wishes._SHAPES} <= set(get_args(NativeRatio))
    assert set(get_args(WishPurpose)) == set(get_args(wishes.Purpose))
    assert set(get_args(WishLanguage)) == {"auto", *get_args(wishes.Language)}


def test_rules_say_that_they_do_not_translate() -> None:
    written = enhanced(Wish("一个红苹果", language="en"), None)
    assert written.prompt == f"一个红苹果{EN}"
    assert written.warnings == ("Rules do not translate: the wish stays in its own language.",)


def test_a_prompt_at_the_limit_stays_as_it_is() -> None:
    long = "a" * MAX_PROMPT_CHARS
    assert enhanced(Wish(long), None).prompt == long


# -- the language model --------------------------------------------------------------------------------------------


def test_the_model_is_told_the_form_the_language_and_the_lettering() -> None:
    system, user = messages(Wish("海报“春茶”", product="绿茶 “龙井”", audience="学生"))
    for part in ("Simplified Chinese", "letter for letter", "composition", "light", "typeface", "JSON", "16:9"):
        assert part in system
    assert user.splitlines() == [
        "wish: 海报“春茶”",
        "product: 绿茶 “龙井”",
        "audience: 学生",
        "lettering, to be copied letter for letter: 春茶",
        "lettering, to be copied letter for letter: 龙井",
    ]
    edit, _ = messages(Wish("make it red", purpose="edit"))
    for part in ("English", "one precise instruction", "stay exactly as they are"):
        assert part in edit
    assert messages(Wish("make it red", language="zh"))[0] == messages(Wish("变红"))[0]


GOOD = {
    "prompt": "A ripe red apple on an oak table, soft morning light, seen from above.",
    "negative_prompt": " blur ",
    "aspect_ratio": "4：3",
    "reason": "Added a table\nand light.",
}


@pytest.mark.parametrize(
    "answer",
    [
        as_json(**GOOD),
        f"```json\n{as_json(**GOOD)}\n```",
        f"Sure! Here it is {{as you wished}}:\n{as_json(**GOOD)}\nAnything else?",
        f"<think>maybe {as_json(prompt='no')}</think>\n{json.dumps(GOOD, indent=2)}",
        f"{as_json(aspect_ratio='1:1')} {as_json(**GOOD)}",
        as_json(**GOOD).replace("\\n", "\n"),
    ],
    ids=["plain", "fenced", "in prose", "after thoughts", "after another object", "with a raw line break"],
)
def test_an_answer_is_read_whatever_stands_around_it(answer: str) -> None:
    written = enhanced(Wish("an apple"), saying(answer))
    assert written.prompt == f"A ripe red apple on an oak table, soft morning light, seen from above{EN}"
    assert (written.negative_prompt, written.aspect_ratio, written.enhanced_by) == ("blur", "4:3", "llm")
    assert (written.reason, written.warnings) == ("Added a table and light.", ())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "gave an empty answer"),
        ("<think>hm</think>", "gave an empty answer"),
        ("A ripe red apple.", "gave no JSON with a prompt in it"),
        (as_json(prompt=" "), "gave no JSON with a prompt in it"),
        (as_json(prompt=["a"]), "gave no JSON with a prompt in it"),
        (as_json(text="a"), "gave no JSON with a prompt in it"),
        (as_json(prompt="a")[:-1], "gave no JSON with a prompt in it"),
        (as_json(prompt="a" * MAX_PROMPT_CHARS), "wrote more than 8000 characters"),
        ('{"a":' * 9000, "gave no JSON with a prompt in it"),
        ("{" * MAX_ANSWER_CHARS, "gave no JSON with a prompt in it"),
        ("<think>" * 9000, "gave no JSON with a prompt in it"),
    ],
)
def test_an_answer_that_cannot_be_used_gives_the_rules_form_with_the_reason(answer: str, why: str) -> None:
    began = time.monotonic()
    written = enhanced(Wish("an apple"), saying(answer))
    assert (written.prompt, written.enhanced_by) == (f"an apple{EN}", "rules")
    assert written.warnings == (f"The language model {why}; the prompt was put together by rules instead.",)
    assert time.monotonic() - began < 3


def test_a_model_that_gives_no_answer_at_all_is_named() -> None:
    def dead(system: str, user: str) -> str:
        raise NoAnswer("did not answer within 60 s")

    written = enhanced(Wish("苹果", language="en"), dead)
    assert written.enhanced_by == "rules"
    assert written.warnings == (
        "The language model did not answer within 60 s; the prompt was put together by rules instead.",
        "Rules do not translate: the wish stays in its own language.",
    )


@pytest.mark.parametrize(
    ("prompt", "kept"),
    [
        ("a poster with “春茶 上新!” in bold type", True),
        ('a poster with "春茶 上新!" in bold type', True),
        ("a poster with 「春茶 上新!」 in bold type", True),
        ("a poster with “春茶上新!” in bold type", False),
        ("a poster with “春茶 上新！” in bold type", False),
        ("a poster with “Spring tea” in bold type", False),
        ("a poster with 春茶 上新! in bold type", False),
        ("a poster with “The 春茶 上新!” in bold type", False),
    ],
)
def test_lettering_is_kept_letter_for_letter_or_the_answer_is_not_used(prompt: str, kept: bool) -> None:
    written = enhanced(Wish("poster “春茶 上新!”"), saying(as_json(prompt=prompt)))
    assert "春茶 上新!" in written.prompt
    if kept:
        assert (written.enhanced_by, written.prompt) == ("llm", f"{prompt}{EN}")
    else:
        assert written.enhanced_by == "rules"
        assert "left out or changed the text “春茶 上新!”" in written.warnings[0]


def test_every_lettering_counts_also_that_of_the_product() -> None:
    wish = Wish("poster “A”", product="cup ‘B’")
    assert enhanced(wish, saying(as_json(prompt="“A” big"))).enhanced_by == "rules"
    assert enhanced(wish, saying(as_json(prompt="“A” big, “B” small"))).enhanced_by == "llm"


def test_lettering_that_nobody_asked_for_is_told() -> None:
    written = enhanced(Wish("poster “A”"), saying(as_json(prompt="“A” big, “50% OFF” small")))
    assert written.enhanced_by == "llm"
    assert written.warnings == ("The language model added the text “50% OFF”, which the wish does not have.",)


@pytest.mark.parametrize(
    ("wish", "answered", "shape"),
    [
        (Wish("a fox"), "16:9", "16:9"),
        (Wish("a fox"), "7:3", "auto"),
        (Wish("a fox"), None, "auto"),
        (Wish("a fox"), ["1:1"], "auto"),
        (Wish("a poster"), "auto", "3:4"),
        (Wish("a poster"), "nonsense", "3:4"),
        (Wish("a poster", purpose="edit"), "16:9", "auto"),
    ],
)
def test_the_shape_is_always_one_of_ours(wish: Wish, answered: object, shape: str) -> None:
    assert enhanced(wish, saying(as_json(prompt="x", aspect_ratio=answered))).aspect_ratio == shape


def test_an_instruction_gets_no_words_for_quality() -> None:
    said = "Turn the sky red; the house and its light stay exactly as they are."
    assert enhanced(Wish("red sky", purpose="edit"), saying(as_json(prompt=said))).prompt == said


# -- parameters ----------------------------------------------------------------------------------------------------

CHOSEN = {"provider": "p/p/p", "model": "m"}


@pytest.mark.parametrize(
    ("given", "mode", "params"),
    [
        (
            {**CHOSEN, "model_type": "llm", "mode": "chat", "completion_params": {"temperature": 0.2}},
            "chat",
            {"temperature": 0.2},
        ),
        ({**CHOSEN, "mode": "completion"}, "completion", {}),
        ({**CHOSEN, "mode": "", "completion_params": None}, "chat", {}),
        (json.dumps(CHOSEN), "chat", {}),
        (" p/p/p/m ", "chat", {}),
    ],
)
def test_a_chosen_model_is_read_as_dify_sends_it(given: object, mode: str, params: dict[str, Any]) -> None:
    model = EnhanceParameters.parse({"prompt": "x", "model": given}).model
    assert model is not None
    assert (model.provider, model.model, model.mode, model.completion_params) == ("p/p/p", "m", mode, params)


def test_the_name_of_a_model_may_have_slashes() -> None:
    model = GenerationParameters.parse({"prompt": "x", "enhance_model": "a/b-c/d/Qwen/Qwen3-8B:free"}).enhance_model
    assert model is not None
    assert (model.provider, model.model) == ("a/b-c/d", "Qwen/Qwen3-8B:free")


@pytest.mark.parametrize("blank", [None, "", {}, [None], {"provider": "", "model": ""}, {"provider": "p"}])
def test_no_model_is_chosen(blank: object) -> None:
    assert EnhanceParameters.parse({"prompt": "x", "model": blank}).model is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "prompt is missing. Say in a few words"),
        ({"style": "watercolour"}, "prompt is missing. Say in a few words"),
        ({"purpose": "edit", "product": "cup"}, "prompt is missing. Say what to change"),
        ({"prompt": "x" * 4001}, "prompt: string should have at most 4000"),
        ({"prompt": "x", "theme": "x" * 501}, "theme: string should have at most 500"),
        ({"prompt": "x", "purpose": "paint"}, "purpose: input should be 'generate' or 'edit'"),
        ({"prompt": "x", "language": "fr"}, "language: input should be"),
        ({"prompt": "x", "model": "gpt"}, "model: write PROVIDER/MODEL such as"),
        ({"prompt": "x", "model": 7}, "model: input should be"),
    ],
)
def test_what_cannot_be_used_is_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(Refused) as caught:
        EnhanceParameters.parse(given)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({}, "3:4"),
        ({"aspect_ratio": "1:1"}, "1:1"),
        ({"size": "128x64"}, None),
        ({"image_id": "i"}, None),
    ],
)
def test_what_was_said_of_the_shape_stays(given: dict[str, object], shape: str | None) -> None:
    asked = GenerationParameters.parse({"prompt": "a poster", "enhance": "Rules", **given})
    body = accepted(asked.written(by_rules(asked.wish())).body())
    assert (body["prompt"], body.get("aspect_ratio")) == (f"a poster{EN}", shape)


def test_what_was_said_of_the_negative_prompt_stays() -> None:
    answer = saying(as_json(prompt="x", negative_prompt="blur"))
    for given, sent in (({}, "blur"), ({"negative_prompt": "fog"}, "fog")):
        asked = GenerationParameters.parse({"prompt": "a poster", **given})
        assert asked.written(enhanced(asked.wish(), answer)).body()["negative_prompt"] == sent
