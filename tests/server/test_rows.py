"""Tables of a batch: what is read is what was written, and filling in changes nothing but what it is to change."""

import csv
import io
import json
import re
import time
from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_JSON_BYTES
from qwen_image_studio.prompts.filling import MAX_JOB_CHARS, MAX_VALUES, check_job, fill, is_of_row
from qwen_image_studio.prompts.table import Row, read_file, read_table
from qwen_image_studio.prompts.written import only_reference
from tests.support.spreadsheets import sheet, xlsx

NAMES = st.text(
    st.characters(exclude_characters="{}\t;\r\n", categories=["L", "M", "N", "P", "S", "Z"]), min_size=1, max_size=12
)
STRIPPED = NAMES.map(str.strip).filter(lambda name: bool(name) and not name.startswith(("[", "{", "\ufeff")))
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | CELLS


def read_rows(text: str) -> list[Row]:
    """The rows of a table, whatever is said about how they were read."""
    return read_table(text).rows


def text_of(data: bytes) -> str:
    return read_file(data).text


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, str]]:
    columns = draw(st.lists(STRIPPED, min_size=1, max_size=5, unique=True))
    cells = CELLS.map(lambda text: text.replace("\r", "\n"))  # a bare CR is one that Python's writer leaves unquoted
    lines = draw(st.lists(st.tuples(*(cells for _ in columns)), min_size=1, max_size=6))
    rows = [dict(zip(columns, line, strict=True)) for line in lines]
    for row in rows:
        row[columns[0]] += "x"  # rows without any value are left out
    return rows


@settings(max_examples=150, deadline=None)
@given(
    tables(),
    st.sampled_from(["", "\ufeff"]),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_a_table_is_read_as_it_was_written(rows: list[dict[str, str]], bom: str, end: str, quoting: Any) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator=end, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    assert read_rows(bom + text.getvalue()) == rows


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(STRIPPED, VALUES, max_size=4), min_size=1, max_size=6), st.booleans())
def test_a_list_is_read_as_it_was_written(rows: list[dict[str, Any]], ascii_only: bool) -> None:
    assert read_rows(json.dumps(rows, ensure_ascii=ascii_only)) == rows


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet='[]{}",:\n\r;\t0a', max_size=40))
def test_any_text_is_a_table_or_is_refused_with_its_reason(text: str) -> None:
    refused, rows = None, []
    try:
        rows = read_rows(text)
    except StudioError as error:
        refused = error
    if refused is not None:
        assert (refused.code, str(refused.param)[:4]) == ("invalid_value", "rows")
        row = re.fullmatch(r"rows\[(\d+)\]", str(refused.param))
        named = f"row {int(row[1]) + 1} of the table" if row else refused.param
        assert refused.message.startswith(f"{named}: ")
    else:
        assert rows
        assert all(name == name.strip() != "" for row in rows for name in row)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_characters="{}"), max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    st.dictionaries(STRIPPED, VALUES, max_size=3),
)
def test_what_names_no_column_stays_as_it_is(value: Any, row: dict[str, Any]) -> None:
    job = {"operation": "generate", "value": value}
    assert fill(job, row) == job


@settings(max_examples=200, deadline=None)
@given(STRIPPED, VALUES, st.sampled_from(["", " ", "  "]))
def test_a_text_that_is_a_column_becomes_its_value(name: str, value: Any, space: str) -> None:
    job = {"a": f"{{{{{space}{name}{space}}}}}", "b": [f"{{{{{name}}}}}", "kept"], "c": {"d": f"{{{{{name}}}}}"}}
    empty = value is None or (isinstance(value, str) and not value.strip())
    expected = {"b": ["kept"]} if empty else {"a": value, "b": [value, "kept"], "c": {"d": value}}
    filled = fill(job, {name: value})
    assert filled == expected
    assert empty or type(filled["a"]) is type(value)
    assert is_of_row(job["a"])


@settings(max_examples=100, deadline=None)
@given(STRIPPED, CELLS.filter(lambda text: bool(text.strip())))
def test_within_a_text_the_value_is_put_in_and_read_no_further(name: str, value: str) -> None:
    evil = value + "{{other}}"
    assert fill({"prompt": f"a {{{{{name}}}}}!"}, {"other": "x", name: evil}) == {"prompt": f"a {evil}!"}


@pytest.mark.parametrize(
    ("value", "written"), [(5, "5"), (5.0, "5"), (0.25, "0.25"), (True, "true"), (1e300, "1e+300"), ("零", "零")]
)
def test_numbers_within_texts(value: Any, written: str) -> None:
    assert fill({"prompt": "for {{price}} yuan", "slots": {"a": "{{price}}"}}, {"price": value}) == {
        "prompt": f"for {written} yuan",
        "slots": {"a": written},
    }


def test_what_is_wholly_empty_is_left_out() -> None:
    job = {
        "prompt": "x",
        "region": {"x": "{{x}}", "y": "{{y}}"},
        "image": ["{{a}}", "{{b}}"],
        "adjustments": [{"do": "rotate", "degrees": "{{x}}"}],
        "slots": {},
    }
    assert fill(job, {"x": ""}) == {"prompt": "x", "adjustments": [{"do": "rotate"}], "slots": {}}
    assert fill(job, {"x": 0, "a": "img_1"}) == {
        "prompt": "x",
        "region": {"x": 0},
        "image": ["img_1"],
        "adjustments": [{"do": "rotate", "degrees": 0}],
        "slots": {},
    }


def test_a_column_that_is_missing_within_a_text_is_named() -> None:
    for row, said in (
        ({}, "no column '商品'"),
        ({"商品": None}, "'商品' is empty"),
        ({"商品": " "}, "'商品' is empty"),
    ):
        with pytest.raises(StudioError, match=said):
            fill({"slots": {"text": "买 {{ 商品 }}"}}, row)


def test_a_column_that_no_row_has_is_a_mistake() -> None:
    check_job({"prompt": "{{a}} {{b}}"}, [{"a": 1}, {"b": 2}])
    with pytest.raises(StudioError, match=r"\{\{c\}\}: no row has that column; there are: a, b"):
        check_job({"slots": {"x": ["{{c}}"]}}, [{"a": 1}, {"b": 2}])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "gbk"])
def test_files_as_spreadsheets_write_them(encoding: str) -> None:
    assert read_rows(text_of("商品,价格\r\n苹果,5\r\n".encode(encoding))) == [{"商品": "苹果", "价格": "5"}]


@pytest.mark.parametrize("delimiter", ["\t", ";"])
def test_tables_copied_from_a_spreadsheet(delimiter: str) -> None:
    text = f"\n商品{delimiter}价格\n苹果{delimiter}5,5\n{delimiter}\n\n"
    assert read_rows(text) == [{"商品": "苹果", "价格": "5,5"}]


@pytest.mark.parametrize("data", [b"PK\x03\x04\x14\0\x06\0", b"\xff\xfe\xff", b"\x80\xff\xff\xff"])
def test_files_that_are_no_tables(data: bytes) -> None:
    with pytest.raises(StudioError, match="CSV UTF-8"):
        read_file(data)


@pytest.mark.parametrize("text", ["{{" + " " * 100_000, "{{" * 50_000, "{{ a" * 30_000, "{" * 100_000 + "}"])
def test_a_text_made_to_be_slow_is_not(text: str) -> None:
    """Before, a few thousand spaces kept the process busy for minutes; the time limit of a test would end this one."""
    check_job({"prompt": text[: MAX_JOB_CHARS - 6]})
    assert fill({"prompt": text}, {"a": "x"}) == {"prompt": text}


def test_a_text_does_not_grow_without_end() -> None:
    with pytest.raises(StudioError, match="more than 16000 characters once it is filled in"):
        fill({"prompt": "{{a}}" * 4000}, {"a": "x" * 100_000})


def test_half_a_character_is_refused_in_words() -> None:
    for rows in ('[{"a": "\\ud800"}]', '[{"\\ud800": "x"}]'):
        with pytest.raises(StudioError, match="half a character"):
            read_rows(rows)
    with pytest.raises(StudioError, match="half a character"):
        check_job({"prompt": "{{\ud800}}"}, [{"a": "x"}])


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a\tb\nx\t\ny\tz\n", [{"a": "x", "b": ""}, {"a": "y", "b": "z"}]),
        ('a;"price, EUR"\nx;1', [{"a": "x", "price, EUR": "1"}]),
        ('"a;b",c\nx,1', [{"a;b": "x", "c": "1"}]),
    ],
)
def test_what_parts_the_columns(text: str, rows: list[dict[str, str]]) -> None:
    assert read_rows(text) == rows


# -- as spreadsheets leave them ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("name,c,,\nA,1,,\nB,2,,\n", [{"name": "A", "c": "1"}, {"name": "B", "c": "2"}]),
        ("name,c\nA,1,,\nB,2,\n", [{"name": "A", "c": "1"}, {"name": "B", "c": "2"}]),
        ("name,,c\nA,,1\n", [{"name": "A", "c": "1"}]),
        ("sep=;\nname;price\nA;1,5\n", [{"name": "A", "price": "1,5"}]),
        ('"sep=;"\r\nname;price\r\nA;1,5\r\n', [{"name": "A", "price": "1,5"}]),
        ("SEP=|\nname|price\nA|1,5\n", [{"name": "A", "price": "1,5"}]),
        ("name;price, EUR\ncup;5\n", [{"name": "cup", "price, EUR": "5"}]),
        ("name\tprice, EUR; net\ncup\t5\n", [{"name": "cup", "price, EUR; net": "5"}]),
        ("name,price; net\ncup,5\n", [{"name": "cup", "price; net": "5"}]),
    ],
)
def test_what_excel_leaves_around_a_table_is_no_part_of_it(text: str, rows: list[dict[str, str]]) -> None:
    """A8: such tables were refused, once for "commas within values" that were not there."""
    assert read_table(text) == (rows, ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,c\nA,1\n,\nB,2\n", "1 row without any value (line 3) left out."),
        ("name,c\nA,1\n,,,,\n , \nB,2\n,\n", "2 rows without any value (line 3, 4) left out."),
        ("|name|c|\n|-|-|\n|A|1|\n| | |\n|B|2|", "1 row without any value left out."),
    ],
)
def test_a_row_of_commas_alone_is_left_out_and_told(text: str, said: str) -> None:
    """A8."""
    assert read_table(text) == ([{"name": "A", "c": "1"}, {"name": "B", "c": "2"}], (said,))


def test_an_excel_file_is_read_as_it_is() -> None:
    """A8: its first visible sheet."""
    cells = sheet([["名称", "n", "share", None], ['红苹果, "x"', 5, 0.25, None], [None] * 4, ["cup", 7.0, "=", None]])
    dated = cells.replace("</sheetData>", '<row r="9"><c r="A9" s="1"><v>46000</v></c></row></sheetData>')
    read = read_table(text_of(xlsx(sheet([["hidden"], ["x"]]), dated, hidden=1)))
    assert read.rows == [
        {"名称": '红苹果, "x"', "n": "5", "share": "0.25"},
        {"名称": "cup", "n": "7", "share": "="},
        {"名称": "2025-12-09", "n": "", "share": ""},
    ]
    assert [warning[:26] for warning in read.warnings] == ["5 rows without any value ("]


FAR = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
UNNUMBERED = f"<row>{'<c><v>1</v></c>' * 300}</row></sheetData>"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (xlsx(sheet([["a"]]).replace("</sheetData>", FAR)), "beyond row 1000 or column 200"),
        (xlsx(sheet([["a"]]).replace("</sheetData>", UNNUMBERED)), "beyond row 1000 or column 200"),
        (xlsx(sheet([["a" * 6_000_000]])), "more than 5 MB of cells once unpacked"),
        (xlsx(sheet([["a"]]).replace("<worksheet", "<!DOCTYPE a [<!ENTITY b 'c'>]><worksheet")), "cannot be read"),
        (xlsx(sheet([["a"]]).replace("</sheetData>", "")), "cannot be read"),
        (xlsx(sheet([["a"]]))[:-40], "cannot be read"),
        (xlsx(*[sheet([["a"]])] * 250), "more than 200 parts"),
    ],
)
def test_an_excel_file_that_costs_too_much_is_refused_before_it_does(data: bytes, said: str) -> None:
    """A8: unpacked bytes and the place of the last cell have a bound."""
    with pytest.raises(StudioError, match=said) as caught:
        read_file(data)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "rows")


# -- in other encodings than UTF-8 ---------------------------------------------------------------------------------

FOREIGN = [
    ("cp1252", "nom;prix\ncrème brûlée;3"), ("cp1252", "name\nMüller"), ("cp1252", "café;rood"),
    ("cp1252", "ação,cor\nmaçã,vermelha"), ("cp1250", "název;cena\njablko červené;3"), ("cp1254", "çilek;şişe"),
    ("shift_jis", "りんご"), ("shift_jis", "商品名,価格\n赤いカップ,500"), ("euc_jp", "商品名,価格\n赤いカップ,500"),
    ("cp949", "이름,색\n사과,빨강\n컵,파랑"), ("cp949", "사과"), ("big5", "名稱,顏色\n蘋果,紅色"),
    ("cp1251", "Название;Цена\nЯблоко;3"), ("cp1251", "ЦЕНА;ЦВЕТ"), ("cp1251", "цена"), ("koi8_r", "цена;яблоко"),
    ("cp1253", "όνομα;τιμή"), ("cp1255", "שם,צבע\nתפוח,אדום"), ("cp1256", "اسم,لون\nتفاح,أحمر"),
    ("cp874", "ชื่อ,สี\nแอปเปิล,แดง"), ("mac_roman", "crème brûlée"),
]  # fmt: skip


@pytest.mark.parametrize(("encoding", "text"), FOREIGN)
def test_a_table_in_an_encoding_that_cannot_be_told_is_refused(encoding: str, text: str) -> None:
    """A1: it was read as GB 18030, and up to 500 pictures of wrong words were painted."""
    with pytest.raises(StudioError, match="CSV UTF-8"):
        read_file(text.encode(encoding))


@pytest.mark.parametrize(
    "text",
    ["商品,价格\n苹果,5", "苹果", "名称;颜色\n柠檬;黄", "prompt\n一只橘猫坐在窗台上，阳光", "产品,型号\n猕猴桃,B2",
     "name,文字\nA,全场五折", "花\n玫瑰\n牡丹", "姓名,职位\n王小明,经理\n朱镕基,总理", "slogan\n「温暖」整个冬天。"],
)  # fmt: skip
def test_a_table_from_excel_in_china_is_read_and_its_encoding_told(text: str) -> None:
    """A1: it goes on being read, with a warning that shows the first cell."""
    read = read_file(text.encode("gb18030"))
    first = next(cell for cell in re.split(r"[,;\n，]", text) if not cell.isascii())
    assert read.text == text
    [warning] = read.warnings
    assert f"read as GB 18030 (Chinese), in which its first such cell is '{first}'" in warning


def test_a_table_in_utf_8_is_no_guess() -> None:
    assert read_file("crème;りんご\n사과;苹果".encode()).warnings == ()


def test_a_column_without_a_name_is_not_lost() -> None:
    with pytest.raises(StudioError, match="a column has no name"):
        read_rows("\ta\nx\tred")


# -- as language models and workflow tools write tables ------------------------------------------------------------

ROWS = [{"color": "red", "thing": "apple"}, {"color": "blue", "thing": "cup"}]
CSV = "color,thing\nred,apple\nblue,cup"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (f"\ufeff{json.dumps(ROWS)}\n", ROWS),
        (f"```json\n{json.dumps(ROWS)}\n```", ROWS),
        (f"Here are the rows:\n```json\n{json.dumps(ROWS)}\n```\nShall I go on?", ROWS),
        (str(ROWS), ROWS),
        (f"```python\n{ROWS}\n```", ROWS),
        (
            str(
                [
                    {
                        "a": "it's",
                        "b": 'say "no"',
                        "c": "\\ \n'\"é\U0001f34e",
                        "d": None,
                        "e": True,
                        "f": -0.5,
                        "None": "True",
                    }
                ]
            ),
            [
                {
                    "a": "it's",
                    "b": 'say "no"',
                    "c": "\\ \n'\"é\U0001f34e",
                    "d": None,
                    "e": True,
                    "f": -0.5,
                    "None": "True",
                }
            ],
        ),
        ('{"color": "red", "n": 1, "x": null}', [{"color": "red", "n": 1, "x": None}]),
        (f"\ufeff{CSV}\n\n", ROWS),
        (f"```csv\n{CSV}\n```", ROWS),
        (f"``` \n{CSV}\n \n```\n", None),
        ("| color | thing |\n|---|:-:|\n| red | apple |\n| blue | cup |", ROWS),
        ("The rows, as asked:\n\n| color | thing |\n| --- | --- |\n| red | apple |\n| blue | cup |\nUse a|b.", ROWS),
        ("```markdown\n|color|thing|\n|-|-|\n|red|apple|\n|blue|cup|\n```", ROWS),
        ("| a |\n| - |\n| x\\|y |", [{"a": "x|y"}]),
        ('a,"x | y\n--|--\n1 | 2"\nb,c', [{"a": "b", "x | y\n--|--\n1 | 2": "c"}]),
        ('a,b\nstar,"x ```y"\ncup,"z``` d"', [{"a": "star", "b": "x ```y"}, {"a": "cup", "b": "z``` d"}]),
        ('[{"name": "```a```"}]', [{"name": "```a```"}]),
        (f"Sure, here it is:\n\n{json.dumps(ROWS)}\n\nShall I go on?", ROWS),
        (f"The rows: {json.dumps(ROWS, indent=2)} Done, {{}}.", ROWS),
        (f"好的：\n{ROWS}\n", ROWS),
        ('One row:\n{"color": "red", "n": 1}\nThat is all.', [{"color": "red", "n": 1}]),
        (f"<think>\na table, [of] {{rows}}\n</think>\n\n{CSV}", ROWS),
        (f"Let me see, a,b\n</think>\n\n{CSV}", ROWS),
        ("name,text\nA,<think>x</think>y", [{"name": "A", "text": "<think>x</think>y"}]),
        ('a,note\nx,"[{""b"": 1}]"', [{"a": "x", "note": '[{"b": 1}]'}]),
    ],
)
def test_a_table_is_read_in_every_form_that_people_and_models_write(text: str, rows: Any) -> None:
    assert read_rows(text) == (ROWS if rows is None else rows)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("color", 'rows: there is no row; send at least one, as a JSON list such as [{"name": "red apple"}], or CSV'),
        ("[1, 2]", "row 1 of the table: is no object"),
        ('[{"a": 1}, {"a": 2}, null]', "row 3 of the table: is no object"),
        ("[{'a': open('x')}]", "rows: the JSON cannot be read"),
        ("[{'a': 'x}]", "rows: the JSON cannot be read"),
        ("[{'a': 1, 'a': 2}]", "row 1 of the table: the column 'a' is there twice"),
        ("[{{1}}]", "rows: the JSON cannot be read"),
        ("[" * 100_000, "rows: the JSON cannot be read"),
        ("[{'a': nan}]", "rows: the JSON cannot be read"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n| 3 |", "row 2 of the table: it has 1 cells, and the table 2 columns"),
        ("|a|\n|-|\n|1|\n\n|2|", "rows: there is a second table, or an empty line within"),
        ("|a|a|\n|-|-|\n|1|2|", "row 1 of the table: the column 'a' is there twice"),
        ("```\na\n1\n```\nor\n```\na\n2\n```", "rows: there is more than one code block"),
        ("| a | b |\n|---|---|", "rows: there is no row"),
        ("Rows:\n[{'a': open('x')}]\nDone.", "rows: the JSON cannot be read"),
        ('One:\n[{"a": 1}]\nTwo:\n[{"a": 2}]', "rows: there is more than one list"),
        ("<think>hm, a,b", "rows: there is no row"),
        ("a," * 300 + "a\n" + "1," * 300 + "1", "rows: there are 301 columns; at most 100 are taken"),
        ("\n".join([",".join(map(str, range(150)))] * 2), "row 1 of the table: it has 150 columns; at most 100"),
        (json.dumps([{"x" * 300: 1}]), "row 1 of the table: the name of a column has more than 200 characters"),
        (json.dumps([{"a": "x" * 200_000}]), "row 1 of the table: 'a' has more than 100000 characters"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_the_row_and_the_remedy(text: str, said: str) -> None:
    with pytest.raises(StudioError) as caught:
        read_rows(text)
    assert caught.value.message.startswith(said)
    assert len(caught.value.message) < 300


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(STRIPPED, VALUES, min_size=1, max_size=4), min_size=1, max_size=6))
def test_a_list_in_pythons_notation_is_read_as_it_was_written(rows: list[dict[str, Any]]) -> None:
    assert read_rows(str(rows)) == rows


@pytest.mark.parametrize(
    ("start", "part", "end"),
    [
        ("[", "'", ""), ("[", "'\\", ""), ("[", "\\'", "x"), ("[", '"\'', ""), ("[", "'a\n", ""), ("[", "-", ""),
        ("[", "None", ""), ("", "{", ""), ("", '{"a":', ""), ("```\n", " \n", "x"), ("```", "\n", "x"), ("", "```", ""),
        ("", ",", ""), ("a,b\n", ",", "\nx"), ("", ": [{", ""), ("", "\n[ {'", ""), ("", "<think>", ""),
        ("", "|", ""), ("", "|-|\n", ""), ("a|b\n", "-", "|-"), ("|a|\n|-|\n", "|\\", ""),
    ],
)  # fmt: skip
def test_no_table_takes_long_to_read(start: str, part: str, end: str) -> None:
    """The longest table takes about a second of CPU; time that grows with the square of its length would be minutes.

    The bound lies far from both, so that no busy machine can cross it.
    """
    text = f"{start}{part * (MAX_JSON_BYTES // len(part))}{end}"
    began = time.thread_time()
    with suppress(StudioError):
        read_rows(text)
    assert time.thread_time() - began < 20


ID, OTHER = "img_" + "0a" * 12, "img_" + "1b" * 12


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ID, ID),
        (f"![image]({ID})", ID),
        (f"image_id {ID}, seed 7, https://a/files/{ID}.png?signature=s", ID),
        ("![a](https://cdn.example/a.png)", "https://cdn.example/a.png"),
        ("see https://cdn.example/a.png.", "https://cdn.example/a.png"),
        ("https://cdn.cn/苹果（大）.png", "https://cdn.cn/苹果（大）.png"),
        (f" http://a/files/{ID}(1).png", f" http://a/files/{ID}(1).png"),
        (f"{ID}, {OTHER}", f"{ID}, {OTHER}"),
        (f"{ID} https://cdn.example/a.png", f"{ID} https://cdn.example/a.png"),
        ("the last image", "the last image"),
    ],
)
def test_the_only_image_that_a_cell_names_is_found(text: str, found: str) -> None:
    assert only_reference(text) == found


@pytest.mark.parametrize("text", ["a { color } cup", "{color}", "{{color}} and {color}"])
def test_a_column_in_single_braces_is_refused(text: str) -> None:
    for job in ({"prompt": text}, {"slots": {"new": text}}):
        with pytest.raises(StudioError, match=r"^job: write the column color in double braces, \{\{color\}\}\.$"):
            check_job(job, ROWS)  # type: ignore[arg-type]
        check_job(job)


def test_other_braces_stay_as_they_are() -> None:
    check_job({"prompt": "{other} {1, 2} {{color}} {{{color}}}", "n": 1}, ROWS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ['[{"a": "x, ]", "b": true,}, {"a": "y",},\n]', "[{'a': 'x, ]', 'b': True},\n{'a': 'y'},]"]
)
def test_commas_behind_the_last_value_are_left_out(text: str) -> None:
    assert read_rows(text) == [{"a": "x, ]", "b": True}, {"a": "y"}]


@pytest.mark.parametrize(
    "job", [{"prompt": "x", "adjustments": [{}] * MAX_VALUES}, {"prompt": "x" * MAX_JOB_CHARS, "negative_prompt": "x"}]
)
def test_a_job_that_no_operation_takes_is_refused_before_it_is_filled_in(job: dict[str, Any]) -> None:
    """B3: it was filled in for each of 500 rows."""
    with pytest.raises(StudioError, match=r"^job: "):
        check_job(job)
