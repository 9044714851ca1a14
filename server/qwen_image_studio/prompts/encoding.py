"""The encoding of a table's file: known by its marks, or guessed where that is sure.

Spreadsheets in China write GB 18030 without saying so, those elsewhere write their own encodings, and nearly any bytes
can be read as any of these. Wrong words would be painted hundreds of times, so only what bears the signs of Chinese is
taken for it; whatever else is not UTF-8 is refused. Detectors such as charset-normalizer name another language for most
tables of a few words, so the signs are our own.
"""

import re
from collections import Counter
from typing import NamedTuple

from qwen_image_studio.contract.errors import refusal

MAX_STRANGE = 0.15
"""Share of characters, 0 to 1, that may lie outside of GB 2312: rare Chinese ones do, and other languages mostly."""
LEAST_COMMON = 0.25
"""Share of Chinese characters, 0 to 1, that have to be common ones: in Chinese most are, by chance one in five."""

_HIGH = re.compile(rb"[\x81-\xfe][\x30-\x39][\x81-\xfe][\x30-\x39]|[\x81-\xfe][\x40-\xfe]")
_CELL = re.compile(r"[^,;\t\r\n\"，|]*[^\x00-\x7f,;\t\r\n\"，|][^,;\t\r\n\"，|]*")
_COMMON = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多"
    "经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性"
    "知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次"
    "度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建"
    "务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路"
    "记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运笔单图片照画景背红橙黄绿青蓝紫黑灰粉棕银彩"
    "苹梨桃杯碗瓶盘盒包箱袋猫狗鸟鱼兔熊鸡牛羊虎花草树叶木石车船飞火桌椅床灯房屋楼衣裙裤鞋帽左右价格商货号码编标字写店卖售买折"
    "圆方星爱心球星伞钟表茶酒饭菜肉蛋糕糖奶油水果汁面米春夏秋冬早晚节生快乐福喜年龙凤古风季店招牌海报广告语英汉简介描述备注尺寸"
    "柠檬柚橘樱芒荔枝葡萄香蕉莓瓜茄豆薯椒葱蒜姜笋菇米麦玉栗枣杏李玫瑰牡丹茉莉莲荷梅兰菊百葵松柏杨柳虾蟹贝鲜鸭鹅猪猴狮象狼狐鹿蝶"
    "材质布纸铁铜玻璃塑料皮毛棉丝竹瓷厨具家居手机电脑耳机鼠键盘屏充器线男童婴宝玩具礼品套装款元件台双支张只条组份共款"
)
_COMMON_KOREAN = frozenset(
    "이다는의에을가고하지를한은기도사로시자그나대어서리만인해있아일수정보스제과부으전들라여상원장주구성소것지면무오비경조선우동위미"
    "물치유단실세용계화강당국관내방중생적반분요마공연안영진차금문후식명개산와신회발연말트린거색빨파노랑검흰사과컵상품가격이름번호제목할딸기우유초코아토끼봄여름가을겨울컵집꽃강색분홍귀엽"
)


class TableFile(NamedTuple):
    """A table as a text, and the warnings about how it was read."""

    text: str
    warnings: tuple[str, ...] = ()


def decoded(data: bytes) -> TableFile:
    """Return the text of a file: UTF-8 or UTF-16 with a BOM, UTF-8 without, or GB 18030 where that is sure.

    Raises StudioError ``invalid_value`` for any other file.
    """
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    text = _read_as(encoding, data)
    if text is not None:
        return TableFile(text)
    chinese = _read_as("gb18030", data)
    if encoding != "utf-8-sig" or chinese is None or not _is_chinese(data):
        raise refusal(
            "rows",
            "the file is neither CSV, JSON nor .xlsx, or in an encoding that cannot be told; in a spreadsheet program "
            "save it as 'CSV UTF-8'",
        )
    cell = found[0].strip() if (found := _CELL.search(chinese)) else ""
    sentence = (
        f"The table is not in UTF-8; it was read as GB 18030 (Chinese), in which its first such cell is '{cell[:40]}'. "
        "Where that is wrong, save the table as 'CSV UTF-8'."
    )
    return TableFile(chinese, (sentence,))


def _read_as(encoding: str, data: bytes) -> str | None:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _is_chinese(data: bytes) -> bool:
    """Return whether bytes that can be read as GB 18030 bear the signs of Chinese written in it.

    Other languages give themselves away: by a second byte that is a letter (Latin and Japanese), by kana, by rare
    characters instead of common ones (Cyrillic, Greek, Thai, Arabic, Hebrew), or by being common Korean.
    """
    counts = Counter(_HIGH.findall(data))
    total = sum(counts.values())
    hanzi = {pair: count for pair, count in counts.items() if len(pair) == 2 and _is_hanzi(pair)}
    marks = sum(count for pair, count in counts.items() if 0xA1 <= pair[0] <= 0xA3 and pair[1] >= 0xA1)
    of_hanzi = sum(hanzi.values())
    if not of_hanzi or total - of_hanzi - marks > MAX_STRANGE * total:
        return False
    common = sum(count for pair, count in hanzi.items() if pair.decode("gb18030") in _COMMON)
    korean = [(pair.decode("cp949", "replace"), count) for pair, count in hanzi.items()]
    if all("가" <= syllable <= "힣" for syllable, _ in korean):
        if sum(count for syllable, count in korean if syllable in _COMMON_KOREAN) >= common:
            return False
    return common >= LEAST_COMMON * of_hanzi


def _is_hanzi(pair: bytes) -> bool:
    """Return whether two bytes are one of the 6763 Chinese characters of GB 2312."""
    return 0xB0 <= pair[0] <= 0xF7 and pair[1] >= 0xA1
