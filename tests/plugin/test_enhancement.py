"""Wishes written out as prompts, in this process: what is made of a language model's answer, and the parameters."""

import json
import time
from typing import Any

import pytest

from tests.plugin.test_parameters import accepted
from tools.answers import MAX_ANSWER_CHARS, Ask, NoAnswer
from tools.enhancement import enhanced, messages
from tools.errors import Refused
from tools.parameters import EnhanceParameters, GenerationParameters
from tools.parameters.painting import MAX_PROMPT_CHARS
from tools.wishes import Wish, by_rules

EN, ZH = ", Ultra HD, 4K, cinematic composition.", "，超清，4K，电影级构图。"


def saying(answer: str) -> Ask:
    """A language model that always gives this answer."""
    return lambda system, user: answer


def as_json(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False)


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
        f"I should answer like {as_json(prompt='...')}, so {as_json(prompt='no')}.\n</think>\n{as_json(**GOOD)}",
        f"<thinking>maybe {as_json(prompt='no')}</thinking>{as_json(**GOOD)}",
        f"<details style='color:gray' open> <summary> Thinking... </summary>{as_json(prompt='no')}</details>"
        f"{as_json(**GOOD)}",
        f"<think>to <think> or not {as_json(prompt='no')}</think><seed:think>hm</seed:think>{as_json(**GOOD)}",
        f"<think>a <details>b {as_json(prompt='no')}</thinking>{as_json(**GOOD)}",
        f"[THINK]{as_json(prompt='no')}[/THINK]{as_json(**GOOD)}",
        f"First {as_json(prompt='a draft')}, but better {as_json(**GOOD)}, in the form {as_json(prompt='...')}",
        f"[{as_json(**GOOD)}]",
        f"{as_json(aspect_ratio='1:1')} {as_json(**GOOD)}",
        as_json(**GOOD).replace("\\n", "\n"),
    ],
    ids=[
        *("plain", "fenced", "in prose", "after thoughts", "after thoughts without a beginning", "after thinking"),
        *(
            "after details",
            "after nested thoughts",
            "after thoughts of many marks",
            "after thoughts in brackets",
            "after a draft",
            "in a list",
        ),
        *("after another object", "with a raw line break"),
    ],
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
        (as_json(prompt="..."), "gave no JSON with a prompt in it"),
        (as_json(prompt="……"), "gave no JSON with a prompt in it"),
        (as_json(prompt="123"), "gave no JSON with a prompt in it"),
        ("{'prompt': 'a'}", "gave no JSON with a prompt in it"),
        (as_json(prompt="a draft") + "</think>", "gave an empty answer"),
        ("<think>" + as_json(prompt="a draft"), "did not come to the end of its thoughts"),
        ("<Thinking>" + as_json(prompt="a draft"), "did not come to the end of its thoughts"),
        ("<details open>" + as_json(prompt="a draft"), "did not come to the end of its thoughts"),
        ("<think>a</think><think>" + as_json(prompt="a draft"), "did not come to the end of its thoughts"),
        ("<think><details>a</details>" + as_json(prompt="a draft"), "did not come to the end of its thoughts"),
        (as_json(prompt="a" * MAX_PROMPT_CHARS), "wrote more than 8000 characters"),
        ('{"a":' * 9000, "gave no JSON with a prompt in it"),
        ("{" * MAX_ANSWER_CHARS, "gave no JSON with a prompt in it"),
        ("<think>" * 9000, "did not come to the end of its thoughts"),
        ("</think> " * 2000 + "<b>" * 600, "gave no JSON with a prompt in it"),
    ],
)
def test_an_answer_that_cannot_be_used_gives_the_rules_form_with_the_reason(answer: str, why: str) -> None:
    began = time.thread_time()
    written = enhanced(Wish("an apple"), saying(answer))
    assert (written.prompt, written.enhanced_by) == (f"an apple{EN}", "rules")
    assert written.warnings == (f"The language model {why}; the prompt was put together by rules instead.",)
    assert time.thread_time() - began < 3


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
        ("a poster with “春茶 上新？” in bold type", False),
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


@pytest.mark.parametrize(
    ("wish", "prompt", "kept"),
    [
        ("\"Hello 50%\" and 'SALE'", "“Hello 50%” and 'Sail'", False),
        ("\"Hello 50%\" and 'SALE'", 'a sign "Hello 50%" and "SALE"', True),
        ("\"Hello 50%\" and 'SALE'", "a sign 'Hello 50%' and “SALE”", True),
        ("\"Hello 50%\" and 'SALE'", "a sign &quot;Hello 50%&quot; and 'SALE'", False),
        ('“Open"', 'a sign “Open"', True),
        ("招牌，标题《春茶》", "木招牌，标题《春茶》", True),
        ("招牌，标题《春茶》", "木招牌上写着“春茶”", True),
        ("招牌，标题《春茶》", "木招牌上写着“春天”", False),
        ("« Soldes »", "une affiche «Soldes»", True),
        ('「he said "no"」', 'a sign "he said "no""', True),
        ("“no” ‘yes’", "a sign “yes”", False),
        ("「营业中」", "招牌写着＂营业中＂", True),
        ("a sign that says OPEN", "a sign “OPEN”", True),
    ],
)
def test_lettering_may_change_its_marks_but_no_letter(wish: str, prompt: str, kept: bool) -> None:
    written = enhanced(Wish(wish), saying(as_json(prompt=prompt)))
    assert written.enhanced_by == ("llm" if kept else "rules")
    assert not any("added the text" in warning for warning in written.warnings)


@pytest.mark.parametrize(
    ("wish", "prompt", "written"),
    [
        ("a sign 'Don't'", "a sign “Don’t”", "a sign “Don't”"),
        ("a sign ‘Don’t’", 'a sign "Don\'t"', 'a sign "Don’t"'),
        ("a sign “5折”", "a sign “５折”", "a sign “5折”"),
        ("a sign “５折！”", "a sign 「5折!」", "a sign 「５折！」"),
        ("a sign “OPEN”", "a sign “OPEN.” of wood", "a sign “OPEN” of wood"),
        ("a sign “OPEN.”", "a sign “OPEN” of wood", "a sign “OPEN.” of wood"),
        ("招牌，标题《春茶》", "木招牌，标题《春茶。》", "木招牌，标题《春茶》"),
        ("“春茶” “春茶。”", "a sign “春茶”, a sign “春茶。”", "a sign “春茶”, a sign “春茶。”"),
        ("“春茶” “春茶。”", "a sign “春茶”", None),
        ("a sign “OPEN”", "a sign “open.”", None),
        ("a sign “OPEN”", "a sign “ ”", None),
        ("a sign “Don't”", "a sign “Dont”", None),
    ],
)
def test_lettering_that_differs_by_typography_alone_gets_the_letters_of_the_wish(
    wish: str, prompt: str, written: str | None
) -> None:
    made = enhanced(Wish(wish, purpose="edit"), saying(as_json(prompt=prompt)))
    assert made.enhanced_by == ("llm" if written else "rules")
    if written:
        assert (made.prompt, made.warnings) == (written, ())


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
        (Wish("a poster"), "1:1", "1:1"),
        (Wish("a poster in 2:3"), "1:1", "2:3"),
    ],
)
def test_the_shape_is_always_one_of_ours(wish: Wish, answered: object, shape: str) -> None:
    assert enhanced(wish, saying(as_json(prompt="x", aspect_ratio=answered))).aspect_ratio == shape


@pytest.mark.parametrize("negative", ["None", "empty", "n/a.", "无", "...", " ", ["blur"], None, "a" * 9000])
def test_a_negative_prompt_that_names_nothing_is_left_to_the_server(negative: object) -> None:
    assert enhanced(Wish("a fox"), saying(as_json(prompt="x", negative_prompt=negative))).negative_prompt == ""


@pytest.mark.parametrize(
    ("language", "prompt", "told"),
    [
        ("en", "一只狐狸，雪地", "English"),
        ("zh", "a fox in snow", "Simplified Chinese"),
        ("en", "a fox in a 汉服 robe, a sign “中国茶叶大市场”", None),
        ("zh", "穿 Adidas 的狐狸在雪地里", None),
        ("auto", "一只狐狸", None),
    ],
)
def test_an_answer_in_another_language_than_asked_for_is_told(language: Any, prompt: str, told: str | None) -> None:
    wish = Wish("a fox and “中国茶叶大市场”" if "“" in prompt else "a fox", language=language)
    written = enhanced(wish, saying(as_json(prompt=prompt)))
    assert written.warnings == ((f"The language model did not write in {told}.",) if told else ())
    assert written.prompt == f"{prompt}{EN if prompt.startswith('a fox') else ZH}", "each in the language of its words"


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


@pytest.mark.parametrize("blank", [None, "", {}, [None], {"provider": "", "model": ""}, {"provider": "p"}, "gpt", 7])
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
