"""Wishes, in this process: their lettering, their language, their shape, and the prompts that rules make of them."""

import time
from typing import get_args

import pytest

from tests.plugin.test_enhancement import EN, ZH, as_json, saying
from tools import wishes
from tools.enhancement import enhanced
from tools.parameters.enhancing import WishLanguage, WishPurpose
from tools.parameters.painting import MAX_PROMPT_CHARS, NativeRatio
from tools.wishes import Wish, language_of, one_line, quoted, shape_of


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
        ("poster, text 'SALE'", ["SALE"]),
        ("the sign 'Don't enter' here", ["Don't enter"]),
        ("the children's and dogs' toys, it's all 'new'", ["new"]),
        ("rock 'n' roll of the '90s, kids' disco", []),
        ("a shirt 'Class of '26' and 'Summer of '69 tour'", ["Class of '26", "Summer of '69 tour"]),
        ("the '26 model, in '25 and '26, a sign ‘Class of ’26’, 'NEW' '26'", ["Class of ’26", "NEW", "26"]),
        ("写着'促销'的招牌，还有‘新品’字样", ["促销", "新品"]),
        ("세일 '오늘만' 포스터", ["오늘만"]),
        ("«Soldes» ‹été› „Ausverkauf“ ＂新＂", ["Soldes", "été", "Ausverkauf", "新"]),
        ("une affiche « Soldes »", ["Soldes"]),
        ('signs “Open" and "Close” and ”Go”', ["Open", "Close", "Go"]),
        ('“Open" and “Close”', ["Open", "Close"]),
        ('"he said “no”" and “a 5" pizza”', ["he said “no”", 'a 5" pizza']),
        ("'he said \"no\"'", ['he said "no"']),
        ('a 27" monitor, a 5" x 7" print and a 24" one', []),
        ('a 27" monitor that says "HI", 年份2026"新年"', ["HI", "新年"]),
        ("读《红楼梦》的女孩", []),
        ("标题《红楼梦》，下面写着：《读书会》，还有《开始》四个大字", ["红楼梦", "读书会", "开始"]),
        ('" "', []),
    ],
)
def test_lettering_is_found_in_the_marks_of_any_language(text: str, found: list[str]) -> None:
    assert quoted(text) == found


@pytest.mark.parametrize(
    "signs",
    [
        *("“", "”", '"', "'", "‘", "„", "「", "《", "'a", '“"', '"“', '“1"', "标题 ", " '", "a' "),
        *(
            "的",
            "的海报a",
            "poster ",
            "the a ",
            "'26 ",
            "有",
            "有 的",
            ",",
            " ",
            "\n",
            "a\n",
            "1:1",
            "1 :",
            "1:1 at ",
            "\n1:1",
            ",1比",
            "please ",
            "a-b ",
            "ratio ",
            "with ",
        ),
    ],
)
def test_a_wish_of_nothing_but_signs_takes_no_time(signs: str) -> None:
    long = "a" + signs * (MAX_PROMPT_CHARS // len(signs)) + "b"
    began = time.thread_time()
    enhanced(Wish(long), saying(as_json(prompt=long)))
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("a red apple\n\non a  table\t", "a red apple on a table"),
        ("一个红苹果\n\u3000在桌上", "一个红苹果 在桌上"),
        ("a sign\n“春茶\n上新”\nand more", "a sign “春茶\n上新” and more"),
        ("a sign 'two  spaces'\r\nand more", "a sign 'two  spaces' and more"),
    ],
)
def test_a_prompt_is_one_line_but_for_its_lettering(said: str, written: str) -> None:
    assert one_line(said) == written
    for purpose in get_args(WishPurpose):
        assert enhanced(Wish(said, purpose=purpose), None).prompt.startswith(written)
        assert enhanced(Wish(said, purpose=purpose), saying(as_json(prompt=said))).prompt.startswith(written)


def test_every_part_of_a_wish_is_put_on_one_line() -> None:
    assert "a\n" not in enhanced(Wish("a\nb", style="a\nb"), None).prompt
    long = "a\n" * (MAX_PROMPT_CHARS // 2)
    assert "\n" not in enhanced(Wish(long), None).prompt


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
        ("An illustration for a children's story", "auto"),
        ("an Instagram story about tea", "9:16"),
        ("a Snapchat story, neon", "9:16"),
        ("the history of two stories", "auto"),
        ("a room with floral wallpaper", "auto"),
        ("a phone wallpaper with stars", "9:16"),
        ("a mobile wallpaper", "9:16"),
        ("stars, desktop wallpaper", "16:9"),
        ("贴着花壁纸的房间", "auto"),
        ("电脑壁纸，星空", "16:9"),
        ("a cup with a logo on it", "auto"),
        ("a girl holding a banner", "auto"),
        ("Spring Festival poster, red lanterns", "3:4"),
        ("a red fox in snow, poster", "3:4"),
        ("贴着海报的房间", "auto"),
        ("写有“春”字的茶叶海报", "3:4"),
        ("一个可爱的贴纸", "1:1"),
        ("一座标志性建筑", "auto"),
        ('a scoreboard showing "3:2"', "auto"),
        ("a sign 'in 16:9' on a wall", "auto"),
        ("a wall “poster”", "auto"),
        ("一面墙“海报”", "auto"),
        ("a shirt “phone wallpaper”", "auto"),
        ("比分牌写着“3:2”", "auto"),
        ("a train at 10:30", "auto"),
        ("a train at 9:16 in the morning", "auto"),
        ("the score 3:2", "auto"),
        ("以3:2获胜的球队", "auto"),
        ("a 1:1 scale model of a car", "auto"),
        ("a fox, 3:2", "3:2"),
        ("a fox (3 : 4)", "3:4"),
        ("a fox 16:9", "16:9"),
        ("a fox in 2:3", "2:3"),
        ("a fox, aspect ratio of 2:3", "2:3"),
        ("a fox, ratio: 4:3", "4:3"),
        ("a fox, 4:3 format", "4:3"),
        ("a vertical 9:16 shot of a fox", "9:16"),
        ("a 3:2 photo of a fox", "3:2"),
        ("狐狸，画面比例为3：2", "3:2"),
        ("狐狸，3:4画幅", "3:4"),
        ("一张4:3的海报", "4:3"),
        ("用2:3画一只狐狸", "2:3"),
        ("a fox, aspect ratio 7:3", "auto"),
        ("海报：春天的茶园", "3:4"),
        ("海报 春天", "3:4"),
        ("为新茶设计一张海报", "3:4"),
        ("拿着气球的女孩的肖像", "3:4"),
        ("横版海报", "16:9"),
        ("竖版手机壁纸", "9:16"),
        ("Please design a “Sale” poster for my shop!", "3:4"),
        ("a close-up self-portrait of an old man", "3:4"),
        ("a fox (sticker)", "1:1"),
        ("宽屏画面，星空", "16:9"),
        ("stars, widescreen", "16:9"),
        ("a widescreen wallpaper of stars", "16:9"),
        ("海报架", "auto"),
        ("封面女郎", "auto"),
        ("肖像画家", "auto"),
        ("全景天窗汽车", "auto"),
        ("头像框", "auto"),
        ("图标志愿者", "auto"),
        ("宽屏电视", "auto"),
        ("竖屏电视", "auto"),
        ("墙上贴着海报", "auto"),
        ("墙上的电影海报", "auto"),
        ("一个男人挂海报", "auto"),
        ("A widescreen TV in a room", "auto"),
        ("a poster artist", "auto"),
        ("a poster on a wall", "auto"),
        ("a man hangs posters", "auto"),
        ("a man hangs a poster", "auto"),
        ("a phone with its lock screen on a table", "auto"),
        ("宣传海报设计", "3:4"),
        ("公众号封面图", "3:4"),
        ("人像写真", "3:4"),
        ("电商主图设计", "1:1"),
        ("竖屏视频封面", "9:16"),
        ("movie poster in art deco style", "3:4"),
        ("I would like to have a poster of a dog", "3:4"),
        ("a portrait photo of a woman", "3:4"),
        ("flyers for a party", "3:4"),
        ("stickers of cats", "1:1"),
        ("a forest in widescreen", "16:9"),
        ("a fox at 9:16", "auto"),
        ("the game stood at 3:2", "auto"),
        ("狐狸，16比9", "16:9"),
        ("狐狸，3比4", "3:4"),
        ("3比2获胜的球队", "auto"),
        ("a car in 1:1 scale", "auto"),
        ("设计一个咖啡店的logo", "1:1"),
        ("杯子上的logo", "auto"),
        ("一张 NBA 海报", "3:4"),
        ("a catalogo", "auto"),
        ("a girl holding a 2026 poster", "auto"),
        ("man holding poster", "auto"),
        ("silicon", "auto"),
        ("a movie-poster of a fox", "3:4"),
        ("iPhone wallpaper with stars", "9:16"),
        ("海报上写着“夏日特惠”", "3:4"),
        ("a Chinese New Year sale poster saying “SALE”", "3:4"),
        ("A tea shop in spring. Please make a poster for it, with birds. Green, light.", "3:4"),
        ("a street at night, neon signs, poster, rain", "auto"),
        ("横版的海报", "16:9"),
        ("竖版的狐狸插画", "3:4"),
        ("a fox, portrait format", "3:4"),
    ],
)
def test_the_shape_follows_from_the_wish(text: str, shape: str) -> None:
    assert shape_of(text) == shape
    assert shape in get_args(NativeRatio)


def test_the_wish_knows_the_words_of_the_parameters() -> None:
    assert {*wishes._SHAPES, "auto"} == set(get_args(NativeRatio))
    assert set(wishes._KINDS) <= set(wishes._SHAPES)
    assert set(get_args(WishPurpose)) == set(get_args(wishes.Purpose))
    assert set(get_args(WishLanguage)) == {"auto", *get_args(wishes.Language)}


def test_rules_say_that_they_do_not_translate() -> None:
    written = enhanced(Wish("一个红苹果", language="en"), None)
    assert written.prompt == f"一个红苹果{EN}"
    assert written.warnings == ("Rules do not translate: the wish stays in its own language.",)


def test_a_prompt_at_the_limit_stays_as_it_is() -> None:
    long = "a" * MAX_PROMPT_CHARS
    assert enhanced(Wish(long), None).prompt == long
