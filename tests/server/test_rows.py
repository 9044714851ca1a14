"""Tables of a batch: what is read is what was written, and filling in changes nothing but what it is to change."""

import csv
import io
import json
import re
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.prompts.table import check_job, decode, fill, is_of_row, read_rows

NAMES = st.text(
    st.characters(exclude_characters="{}\t;\r\n", categories=["L", "M", "N", "P", "S", "Z"]), min_size=1, max_size=12
)
STRIPPED = NAMES.map(str.strip).filter(lambda name: bool(name) and not name.startswith(("[", "{", "\ufeff")))
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | CELLS


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, str]]:
    columns = draw(st.lists(STRIPPED, min_size=1, max_size=5, unique=True))
    cells = CELLS.map(lambda text: text.replace("\r", "\n"))  # a bare CR is one that Python's writer leaves unquoted
    lines = draw(st.lists(st.tuples(*(cells for _ in columns)), min_size=1, max_size=6))
    rows = [dict(zip(columns, line, strict=True)) for line in lines]
    rows[-1][columns[0]] += "x"  # wholly empty lines at the end are the spreadsheet's
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
    assert read_rows(decode("商品,价格\r\n苹果,5\r\n".encode(encoding))) == [{"商品": "苹果", "价格": "5"}]


@pytest.mark.parametrize("delimiter", ["\t", ";"])
def test_tables_copied_from_a_spreadsheet(delimiter: str) -> None:
    text = f"\n商品{delimiter}价格\n苹果{delimiter}5,5\n{delimiter}\n\n"
    assert read_rows(text) == [{"商品": "苹果", "价格": "5,5"}]


@pytest.mark.parametrize("data", [b"PK\x03\x04\x14\0\x06\0", b"\xff\xfe\xff", b"\x80\xff\xff\xff"])
def test_files_that_are_no_tables(data: bytes) -> None:
    with pytest.raises(StudioError, match="CSV UTF-8"):
        decode(data)


@pytest.mark.parametrize("text", ["{{" + " " * 100_000, "{{" * 50_000, "{{ a" * 30_000, "{" * 100_000 + "}"])
def test_a_text_made_to_be_slow_is_not(text: str) -> None:
    """Before, a few thousand spaces kept the process busy for minutes; the time limit of a test would end this one."""
    check_job({"prompt": text})
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


def test_a_column_without_a_name_is_not_lost() -> None:
    with pytest.raises(StudioError, match="a column has no name"):
        read_rows("\ta\nx\tred")
