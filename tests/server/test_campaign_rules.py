"""A campaign by rules: what a brief says in either language, and what becomes of it."""

import re
import time
import tomllib
from contextlib import suppress

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from qwen_image_studio.contract.campaign import MAX_BRIEF_CHARS, MAX_PART_CHARS, Piece
from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_PROMPT_CHARS, MAX_SLOT_CHARS, Channel, Language
from qwen_image_studio.prompts.campaign import LIBRARY, USUAL, pieces_of, read, unlettered, usual_direction
from qwen_image_studio.prompts.pieces import written
from qwen_image_studio.prompts.templates import colour_name
from tests.support import ROOT

RULES = tomllib.loads(LIBRARY.read_text(encoding="utf-8"))
OCCASIONS = {rule["id"]: rule for rule in RULES["occasions"]}


def prompts(brief: str) -> list[str]:
    """The prompts of all pieces of a brief."""
    told = read(brief)
    return [written(piece, usual_direction(told)) for piece in pieces_of(told)]


@pytest.mark.parametrize(
    ("brief", "occasion"),
    [
        ("Red apples for the Spring Festival", "spring_festival"),
        ("Chinese New Year teas", "spring_festival"),
        ("龙年限定茶礼", "spring_festival"),
        ("春节年货促销", "spring_festival"),
        ("mid-autumn mooncakes", "mid_autumn"),
        ("中秋月饼", "mid_autumn"),
        ("端午粽子礼盒", "dragon_boat"),
        ("Xmas candles", "christmas"),
        ("圣诞蛋糕", "christmas"),
        ("flowers for Mother’s Day", "mothers_day"),
        ("母亲节鲜花", "mothers_day"),
        ("七夕礼物", "valentines"),
        ("Back-to-school backpacks", "back_to_school"),
        ("开学季书包", "back_to_school"),
        ("618大促耳机", "sale"),
        ("Singles' Day headphones", "sale"),
        ("双11手机", "sale"),
        ("Grand opening of our bakery", "opening"),
        ("新店开业", "opening"),
        ("we launch oat milk", "launch"),
        ("燕麦奶新品上市", "launch"),
        ("Summer lemonade", "summer"),
        ("夏日柠檬茶", "summer"),
        ("autumn coats", "autumn"),
        ("New Year's concert", "new_year"),
        ("跨年演唱会", "new_year"),
        ("winter coats", "winter"),
        ("spring water", "spring"),
        ("春日野餐", "spring"),
        ("offspring and wholesale", "any"),
        ("shoes, 50% off", "sale"),
        ("全场五折", "sale"),
        ("三折页手册", "any"),
        ("6180 元的沙发", "any"),
        ("a café that opens on Monday", "opening"),
        ("a tool that opens doors", "any"),
        ("cake for mothers’ day", "mothers_day"),
        ("一款新的咖啡", "any"),
    ],
)
def test_the_occasion_is_found_in_both_languages(brief: str, occasion: str) -> None:
    assert read(brief).occasion == occasion


def test_an_occasion_said_apart_goes_before_the_brief() -> None:
    assert read("summer tea", occasion="中秋节").occasion == "mid_autumn"
    assert read("summer tea", occasion="our birthday").occasion == "summer"


@pytest.mark.parametrize(
    ("brief", "languages"),
    [
        ("apples", "en"),
        ("苹果", "zh"),
        ("apples, in Chinese and English", "zh en"),
        ("apples, in English and Chinese", "en zh"),
        ("apples, English/Chinese", "en zh"),
        ("apples, bilingual", "en zh"),
        ("apples with Chinese text", "zh"),
        ("苹果，中英双语", "zh en"),
        ("苹果，要英文和中文", "en zh"),
        ("苹果，英文", "en"),
        ("English breakfast tea", "en"),
        ("Chinese New Year in Berlin", "en"),
        ("英语培训班招生", "zh"),
        ('apples, "SALE" and "福"', "en zh"),
        ('apples, "福"', "en"),
        ("苹果，“SALE”，“50%”", "zh"),
        ('apples, "in Chinese"', "en"),
    ],
)
def test_the_languages_are_those_that_the_brief_names_else_its_own(brief: str, languages: str) -> None:
    assert sorted(read(brief).languages) == sorted(languages.split())
    if "双语" not in brief and "bilingual" not in brief:
        assert list(read(brief).languages) == languages.split()


@pytest.mark.parametrize(
    ("brief", "channels"),
    [
        ("apples", "post story banner poster"),
        ("apples, as a poster and a story", "poster story"),
        ("apples as Instagram stories and posts", "story post"),
        ("apples, 16:9 and 1:1", "banner post"),
        ("apples, a wide banner", "wide_banner"),
        ("apples, wide banner and banner", "wide_banner banner"),
        ("a website header for apples", "wide_banner"),
        ("the story of our apples", "post story banner poster"),
        ("postage and posterior", "post story banner poster"),
        ("a fishing reel at the post office", "post story banner poster"),
        ("苹果，海报、竖屏", "poster story"),
        ("苹果，方图和横幅", "post banner"),
        ("苹果，宽横幅", "wide_banner"),
        ("苹果，9：16", "story"),
    ],
)
def test_the_channels_are_those_that_the_brief_names_else_four(brief: str, channels: str) -> None:
    assert list(read(brief).channels) == channels.split()
    assert " ".join(USUAL) == "post story banner poster"


@pytest.mark.parametrize(
    ("brief", "headlines"),
    [
        ('Apples, "Fresh & Fair!", in English', ["Fresh & Fair!"]),
        ('Apples, "SALE" and "福", in English and Chinese', ["SALE", "福"]),
        ("苹果，标题“新春 特惠！”", ["新春 特惠！"]),
        ("苹果，写着「开仓」", ["开仓"]),
        ("苹果，“50%”，中英双语", ["50%", "50%"]),
        ("618 apples, bilingual", ["SALE", "特价"]),
        ("新品苹果，中文", ["新品"]),
        ("apples, “大吉”, in English and Chinese", ["Made for You", "大吉"]),
        ("apples, “大吉”, in English", ["大吉"]),
    ],
)
def test_quoted_text_is_the_headline_letter_for_letter_in_its_language(brief: str, headlines: list[str]) -> None:
    told = read(brief)
    pieces = pieces_of(told)[: len(told.languages)]
    assert [piece.headline for piece in pieces] == headlines
    for piece in pieces:
        assert f"{piece.headline}" in written(piece, usual_direction(told))


@pytest.mark.parametrize(
    "brief",
    [
        "新茶上市，发朋友圈和小红书用",
        "新茶上市，只要方图",
        "new tea, for Instagram and TikTok",
        "new tea, only a poster",
    ],
    ids=["networks-zh", "only-zh", "networks-en", "only-en"],
)
def test_where_the_pictures_are_sent_is_not_painted(brief: str) -> None:
    assert read(brief).rest == ()


def test_further_quoted_text_is_the_subline() -> None:
    told = read('apples, "NEW", "From Monday" and "50%"')
    assert {(piece.headline, piece.subline) for piece in pieces_of(told)} == {("NEW", "From Monday 50%")}
    assert 'with the smaller text "From Monday 50%" below it' in prompts('apples, "NEW", "From Monday" and "50%"')[0]
    assert "和下方小字“周一见”" in prompts("苹果，“新品”，“周一见”")[0]


def test_quoted_text_that_no_piece_has_is_told() -> None:
    assert unlettered(read("苹果，“SALE”和“福”，中文")) == ["SALE"]
    assert unlettered(read("苹果，“SALE”和“福”")) == []


@pytest.mark.parametrize(
    "brief",
    [
        'Red apples for families in Oslo, crisp, local, with the headline "Hello", as poster and story, in English.',
        "北京的红苹果，脆甜，送给家人，标题“你好”，海报和竖屏，中文。",
        "We are a small bakery that bakes rye bread over a wood fire since 1923 and opens a new shop on 1.5. in Kiel",
        '"NEW"',
        "poster",
        "tea; not too sweet!\nquiet mood",
    ],
)
def test_nothing_of_a_brief_is_lost(brief: str) -> None:
    told = read(brief)
    for piece, prompt in zip(pieces_of(told), prompts(brief), strict=True):
        said = f"{prompt} {piece.headline} {piece.channel}"
        order = {
            "with",
            "the",
            "headline",
            "as",
            "and",
            "in",
            "poster",
            "story",
            "english",
            "标题",
            "海报和竖屏",
            "中文",
        }
        for word in re.findall(r"[\w.]*\w|[一-鿿]+", brief.replace("“", " ").replace("”", " ")):
            assert word.casefold() in order or word.casefold() in said.casefold(), word


def test_what_only_orders_pictures_is_not_painted() -> None:
    for prompt in prompts("Apples, in English and Chinese, as poster, 16:9 and Instagram story"):
        assert not re.search("english|chinese|instagram|16:9", prompt, re.IGNORECASE)
    for prompt in prompts("苹果，中英双语，海报和竖屏"):
        assert not re.search("双语|中英|竖屏", prompt)


@pytest.mark.parametrize(
    "brief", ["Apples for the Spring Festival, bilingual, all our posters and stories", "新春苹果，中英双语"]
)
def test_pieces_share_one_style_and_differ_in_lettering_and_composition(brief: str) -> None:
    told = read(brief)
    direction = usual_direction(told)
    pieces = pieces_of(told)
    assert {(piece.channel, piece.language) for piece in pieces} == {
        (c, one) for c in told.channels for one in Language
    }
    for piece, prompt in zip(pieces, prompts(brief), strict=True):
        assert direction.style in prompt
        assert all(colour_name(colour, told.language) in prompt for colour in direction.palette)
        assert RULES["channels"][piece.channel]["layout"][told.language] in prompt
        assert {"en": "Happy Lunar New Year", "zh": "新春大吉"}[piece.language] in prompt


@pytest.mark.parametrize("rule", RULES["occasions"], ids=lambda rule: rule["id"])
def test_each_occasion_is_whole(rule: dict[str, object]) -> None:
    direction = Direction.model_validate({"style": rule["style"]["en"], "palette": rule["palette"]})  # type: ignore[index]
    for name in ("style", "scene", "headline"):
        words = rule[name]
        assert isinstance(words, dict)
        assert set(words) == set(Language)
        assert re.search("[一-鿿]", words["zh"])
        assert not re.search("[一-鿿]", words["en"])
        assert len(words["en"]) < 120
    for colour in direction.palette:
        assert colour_name(colour, Language.ZH) != colour, "a colour has a name in both languages"


def test_the_page_on_using_it_counts_the_occasions() -> None:
    assert len(OCCASIONS) == 15 + 1, "and one for all others"
    assert "They know fifteen occasions" in (ROOT / "docs/use.md").read_text(encoding="utf-8")


def test_product_occasion_and_audience_may_be_said_apart() -> None:
    told = read("", product="oat milk", occasion="Back to School", audience="students")
    assert (told.subject, told.rest, told.occasion) == ("oat milk", ("Back to School", "students"), "back_to_school")
    told = read("our oat milk for students", product="oat milk", audience="students")
    assert (told.subject, told.rest) == ("oat milk", ("our oat milk for students",))


def test_too_much_lettering_is_refused_and_not_cut() -> None:
    with pytest.raises(StudioError, match="at most 200 can be lettered") as refused:
        read(f'apples, "{"a" * (MAX_SLOT_CHARS + 1)}"')
    assert refused.value.param == "brief"
    with pytest.raises(StudioError, match="at most 200 stand below a headline"):
        pieces_of(read(f'apples, "A", "{"a" * 150}" and "{"b" * 150}"'))


@given(st.text(max_size=200), st.sampled_from(["", "茶", "tea"]))
@settings(max_examples=200, deadline=None)
def test_any_brief_becomes_prompts_with_its_headlines(brief: str, product: str) -> None:
    try:
        told = read(brief, product)
        pieces = pieces_of(told)
    except StudioError:  # so much of it stands in quotation marks
        return
    assert 1 <= len(pieces) <= len(Channel) * len(Language)
    for piece in pieces:
        prompt = written(piece, usual_direction(told))
        assert piece.headline in prompt
        assert len(prompt) <= MAX_PROMPT_CHARS


@pytest.mark.parametrize("part", ["the  ", "the a ", "标题", '"', "“", "in English and ", "16:9,", "ba", "\n", "与 "])
def test_the_longest_brief_takes_no_time(part: str) -> None:
    brief = (part * MAX_BRIEF_CHARS)[:MAX_BRIEF_CHARS]
    apart = (part * MAX_PART_CHARS)[:MAX_PART_CHARS]
    started = time.process_time()
    with suppress(StudioError):  # very much of it may stand in quotation marks
        told = read(brief, apart, apart, apart)
        assert all(len(written(piece, usual_direction(told))) <= MAX_PROMPT_CHARS for piece in pieces_of(told))
    assert time.process_time() - started < 1


# -- the prompt of one piece ---------------------------------------------------------------------------------------


def prompt_of(prompt: str, headline: str = "NEW", subline: str = "", *, has_product: bool = False) -> str:
    """The prompt of a piece in a red direction."""
    piece = Piece(channel=Channel.POST, language=Language.EN, headline=headline, subline=subline, prompt=prompt)
    return written(piece, Direction(palette=["red"]), has_product=has_product)


@pytest.mark.parametrize(
    ("prompt", "headline", "subline", "told"),
    [
        ("tea", "NEW", "", 'tea. The headline text "NEW".'),
        ("茶", "新品", "周一见", "茶。标题文字“新品”。下方小字“周一见”。"),
        ('tea, "{headline}" above, {subline} below', "NEW", "now", 'tea, "NEW" above, "now" below'),
        ("茶和“{headline}”，{background}", "新", "", "茶和“新”，红色背景"),
        ("tea says NEW", "NEW", "", "tea says NEW"),
        ("tea with {headline}", 'The "Best"', "", 'tea with “The "Best"”'),
        ("tea with {headline}", "{subline}", "now", 'tea with "{subline}". Below it the smaller text "now".'),
    ],
    ids=["a sentence", "chinese sentences", "places", "background", "there already", "marks in it", "braces in it"],
)
def test_texts_stand_in_the_prompt_letter_for_letter_and_once(
    prompt: str, headline: str, subline: str, told: str
) -> None:
    assert prompt_of(prompt, headline, subline).startswith(told)
    assert prompt_of(prompt, headline, subline).count(headline) == 1


def test_a_picture_of_the_product_is_placed_by_the_instruction() -> None:
    assert prompt_of("tea", has_product=True).startswith(
        "Place the product of image 1, unchanged, in this picture: tea"
    )
    assert prompt_of("茶", "新", has_product=True).startswith("把图1中的商品原样放进这幅画面：茶")
    assert prompt_of("put image 1 on a table", has_product=True).startswith("put image 1 on a table")
