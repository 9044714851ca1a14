"""What an art direction adds to a prompt: its words and colours, once, in the prompt's language."""

import pytest

from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_PROMPT_CHARS, Language
from qwen_image_studio.prompts.directing import directed, language_of

FLAT = Direction(style="flat vector, soft light", palette=["red", "gold", "#f5f0e1"])
PROMPTS = ("a cat on a sofa", "沙发上的猫", 'a cup with the text "福"', "文字“SALE”，苹果。", "a cat, ", "一只猫！")


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("a cat on a sofa", "a cat on a sofa. flat vector, soft light. Colour palette: red with gold and #f5f0e1"),
        ("沙发上的猫", "沙发上的猫。flat vector, soft light。配色：红色、金色、#f5f0e1"),
        (
            'a cup with the text "福"',
            'a cup with the text "福". flat vector, soft light. Colour palette: red with gold and #f5f0e1',
        ),
        ("Is it red?", "Is it red? flat vector, soft light. Colour palette: red with gold and #f5f0e1"),
        ("", "flat vector, soft light. Colour palette: red with gold and #f5f0e1"),
    ],
    ids=["english", "chinese", "chinese letters in an english prompt", "a sentence", "no prompt"],
)
def test_style_and_colours_follow_the_prompt_in_its_language(prompt: str, told: str) -> None:
    assert directed(prompt, FLAT) == told


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("language", [None, *Language])
def test_a_direction_is_told_once(prompt: str, language: Language | None) -> None:
    once = directed(prompt, FLAT, language)
    assert once.startswith(prompt.rstrip(" ,"))
    assert directed(once, FLAT, language) == once


def test_what_the_prompt_says_already_is_not_said_again() -> None:
    assert directed("A cat, Flat  vector, soft light", FLAT).count("lat ") == 1
    named = "红色和金色的猫，背景 #F5F0E1"
    assert directed(named, Direction(palette=FLAT.palette)) == named
    assert "red" in directed("a bored cat", Direction(palette=["red"])).removeprefix("a bored cat")


def test_an_empty_direction_changes_nothing() -> None:
    assert directed("  a cat, ", Direction()) == "  a cat, "
    assert directed("", Direction()) == ""


def test_colours_have_the_names_of_the_language() -> None:
    palette = Direction(palette=["红色", "金", "Navy", "foggy teal"])
    assert directed("a cat", palette).endswith("Colour palette: red with gold and navy and foggy teal")
    assert directed("猫", palette).endswith("配色：红色、金色、藏青色、foggy teal")
    assert directed("a cat", palette, Language.ZH).endswith("配色：红色、金色、藏青色、foggy teal")


def test_a_prompt_that_becomes_too_long_is_refused_and_not_cut() -> None:
    fits = "a" * (MAX_PROMPT_CHARS - len(". soft light"))
    assert len(directed(fits, Direction(style="soft light"))) == MAX_PROMPT_CHARS
    with pytest.raises(StudioError, match="shorten it, or the style") as refused:
        directed(fits + "a", Direction(style="soft light"))
    assert (refused.value.code, refused.value.param) == ("invalid_value", "prompt")
    assert directed("a" * (MAX_PROMPT_CHARS + 9), Direction()) == "a" * (MAX_PROMPT_CHARS + 9)


@pytest.mark.parametrize(
    ("text", "language"),
    [("a cup “福”", "en"), ("杯子“SALE”", "zh"), ("“福”", "zh"), ('"SALE"', "en"), ("「福」 on red", "en"), ("", "en")],
)
def test_lettering_does_not_decide_the_language(text: str, language: str) -> None:
    assert language_of(text) == language
