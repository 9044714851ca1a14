"""The normal form of prompts: what shows nothing is not in it, and whatever may show is."""

import pytest

from qwen_image_studio.prompts.alike import alike

SAME = [
    ("A Red  apple ", "a red apple"),
    ("ｒｅｄ apple，studio light", "red apple, studio light"),
    ("caf\u00e9", "cafe\u0301"),
    ("a red apple, studio light, watercolour", "Watercolour,a red apple,  studio light"),
    ("a red apple, a green pear", "a green pear, a red apple"),
    ("红苹果，蓝色背景，水彩", "水彩，红苹果，蓝色背景"),
    ("1,000 lanterns, night sky", "night sky, 1,000 lanterns"),
    ("Please, a picture of a red apple", "a red apple"),
    ("Generate an image of a red apple, studio light", "studio light, a red apple"),
    ("image of a red apple", "a red apple"),
    ("请帮我把背景换成蓝色", "把背景换成蓝色"),
    ("请生成一张红苹果的图片", "红苹果"),
    ("生成一张图片：红苹果", "红苹果"),
    ("一幅红苹果，蓝色背景的图片", "蓝色背景，红苹果"),
]
DIFFERENT = [
    ("a cat", "no cat"),
    ("3 apples", "4 apples"),
    ("1,000 lanterns", "000 lanterns, 1"),
    ("a lamp on the left", "a lamp on the right"),
    ("a red car", "a blue car"),
    ("a bus in London", "a bus in Lisbon"),
    ('a poster, "Sale"', 'a poster, "SALE"'),
    ('"A", "B"', '"B", "A"'),
    ("灯在左边", "灯在右边"),
    ("红色的车", "蓝色的车"),
    ("cat, blue, dog, red", "cat, red, dog, blue"),
    ("猫，红色，狗，蓝色", "猫，蓝色，狗，红色"),
    ("a cat, small, a dog, striped", "a cat, striped, a dog, small"),
    ("a man, wearing red, a woman, wearing blue", "a man, wearing blue, a woman, wearing red"),
    ("男人，穿红衣，女人，穿蓝衣", "男人，穿蓝衣，女人，穿红衣"),
    ("a park without cats, dogs", "dogs, a park without cats"),
    ("没有猫，狗", "狗，没有猫"),
    ("a cat, on the left, a dog", "a cat, a dog, on the left"),
    ("A cat, a dog. A bird, a fish", "A cat, a fish. A bird, a dog"),
    ("a photo of a cat", "a cat"),
    ("draw a cat", "a cat"),
    ("the picture of Dorian Gray", "Dorian Gray"),
    ("a wall with a picture of a dog", "a wall with a dog"),
    ("一张桌子上放着狗的图片", "桌子上放着狗"),
    ("请柬设计", "柬设计"),
    ("给我加一顶帽子", "加一顶帽子"),
    ("a sign that says please", "a sign that says"),
    ("a very red apple", "a red apple"),
    ("10\u2075 lanterns", "105 lanterns"),
    ("1\u00bd apples", "11\u20442 apples"),
    ("a \u2460 ball", "a 1 ball"),
    ("Stra\u00dfe", "strasse"),
    ("the letter a", "the letter A"),
    ("a sign that says Open", "a sign that says OPEN"),
    ("写着 Open 的牌子", "写着 OPEN 的牌子"),
    ("a row of cats, dogs, birds", "a row of cats, birds, dogs"),
    ("flag, blue stripe, white stripe, green stripe", "flag, white stripe, blue stripe, green stripe"),
    ("a man holding an apple, a pear", "a pear, a man holding an apple"),
    ("男人拿着苹果，梨", "梨，男人拿着苹果"),
    ("小狗，小猫，小鸟排成一排", "小猫，小狗，小鸟排成一排"),
]
MARKS = [
    '""', "''", "``", "\u00ab\u00bb", "\u2018\u2019", "\u201a\u2018", "\u201c\u201d", "\u201e\u201c", "\u201f\u201d",
    "\u2032\u2032", "\u2033\u2033", "\u2039\u203a", "\u02bc\u02bc", "\u275b\u275c", "\u275d\u275e", "\u2e42\u201d",
    "\u3008\u3009", "\u300a\u300b", "\u300c\u300d", "\u300e\u300f", "\u3010\u3011", "\u3016\u3017", "\u301d\u301e",
    "\u301d\u301f", "\ufe41\ufe42", "\ufe43\ufe44", "\uff02\uff02", "\uff07\uff07",
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [pytest.param(*pair, id=pair[0]) for pair in SAME])
def test_what_shows_nothing_is_left_out(one: str, other: str) -> None:
    assert alike(one) == alike(other)
    assert alike(alike(one)) == alike(one)


@pytest.mark.parametrize(("one", "other"), [pytest.param(*pair, id=pair[0]) for pair in DIFFERENT])
def test_what_may_show_is_kept(one: str, other: str) -> None:
    assert alike(one) != alike(other)


@pytest.mark.parametrize("marks", MARKS, ids=ascii)
def test_lettering_is_kept_as_it_is_in_whatever_marks(marks: str) -> None:
    small, large = (f"a poster, {marks[0]}{word}{marks[1]}" for word in ("Sale", "SALE"))
    assert alike(small) != alike(large)


def test_a_prompt_of_nothing_but_fillers_is_not_empty() -> None:
    assert alike("please") == "please"
    assert alike("a picture of") == "a picture of"
