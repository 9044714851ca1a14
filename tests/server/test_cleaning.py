"""What is taken out of a text before it is painted, and that taking it out costs no more than reading it."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from qwen_image_studio.prompts import cleaning
from qwen_image_studio.prompts.cleaning import CONTROL_REPLACED, THOUGHTS_CUT, TOKENS_REMOVED, clean, cleaned


@pytest.mark.parametrize(
    "text", ["<|" * 100 + "|>" * 100, "<|a" * 100 + "b|>" * 100, "<|" * 3000 + "|>" * 3000, "<|" * 6000, "<|a|>" * 3000]
)
def test_no_text_is_passed_over_more_than_a_few_times(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """B3: a nested text of 64 kB took 2.3 s and one of 1 MB ten minutes, a pass over all of it for every two letters.

    Passes are counted, so that no busy machine can make this test fail.
    """

    class Counting:
        passes = 0

        def sub(self, new: str, text: str) -> str:
            Counting.passes += 1
            return real.sub(new, text)

        def search(self, text: str) -> object:
            Counting.passes += 1
            return real.search(text)

    real = cleaning.SPECIAL_TOKEN
    monkeypatch.setattr(cleaning, "SPECIAL_TOKEN", Counting())
    kept = clean(text)
    assert Counting.passes <= 4
    assert real.search(kept) is None


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="<|>a\0 ", max_size=60))
def test_whatever_is_nested_no_special_token_is_left(text: str) -> None:
    kept = clean(text)
    assert clean(kept) == kept
    assert not any(f"<|{inner}|>" in kept for inner in ("", "a", "aa", "a a", " "))


@pytest.mark.parametrize(
    ("sent", "painted"),
    [
        ("<think>maybe a cat</think>\n\na red apple", "a red apple"),
        ("<thinking>maybe\na cat</thinking>a red apple", "a red apple"),
        ("<THINK >maybe</ think>a red apple", "a red apple"),
        ("maybe a cat, then again\n</think>\n\na red apple", "a red apple"),
        ("a red apple <think>is that all? maybe", "a red apple"),
        ("<think></think>a red <think>hm</think>apple", "a red apple"),
        ("<think>one <think>two</think> a cat</think>a red apple", "a red apple"),
        ("<thought>x</thought>a red apple<reasoning>y</reasoning>", "a red apple"),
        ("<seed:think>x</seed:think>a red apple", "a red apple"),
        ("◁think▷一只猫？◁/think▷a red apple", "a red apple"),
    ],
)
def test_a_language_models_thoughts_are_not_painted(sent: str, painted: str) -> None:
    """A7: they stood in the prompt, and were painted with it."""
    assert cleaned(sent)[:2] == (painted, (THOUGHTS_CUT,))


def test_what_has_more_marks_than_anybody_writes_ends_there() -> None:
    """B3: each mark costs a step of its own."""
    assert clean("a cat" + "<think>x</think>" * 5000 + " on a mat") == "a cat"
    assert clean("a cat" + "<think>x</think>" * 50 + " on a mat") == "a cat on a mat"


def test_words_about_thinking_stay() -> None:
    for text in ("a man who thinks", "a sign <thin>", "x < y and think > z", "◁ ▷"):
        assert cleaned(text)[:2] == (text, ())


def test_a_control_character_parts_words_and_is_called_by_its_name() -> None:
    """A18: "apple\\0on" became "appleon", and special tokens were blamed."""
    assert cleaned("apple\0on\ta\nplate\x1b")[:2] == ("apple on\ta\nplate", (CONTROL_REPLACED,))
    assert cleaned("a <|im_end|>cup")[:2] == ("a cup", (TOKENS_REMOVED,))
    assert cleaned(" a cup ")[:2] == ("a cup", ())
