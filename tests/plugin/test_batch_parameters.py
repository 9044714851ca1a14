"""What Dify may send for a batch: tables in every form, columns in texts, and what becomes of them.

At the end, how long any tool may take to read what it was sent.
"""

import json
import time
from contextlib import suppress
from typing import Any

import pytest

from tests.plugin.test_parameters import STORED, SdkFile, accepted
from tools.errors import Refused
from tools.parameters import (
    BatchParameters,
    Credentials,
    EditParameters,
    EnhanceParameters,
    GenerationParameters,
    JobParameters,
    OutpaintParameters,
)
from tools.parameters.tolerant import Tolerant

ROWS = [{"color": "red", "thing": "apple"}, {"color": "blue", "thing": "cup"}]
CSV = "color,thing\nred,apple\nblue,cup"


def batch(**given: Any) -> dict[str, Any]:
    """The body of a batch of two rows."""
    return accepted(BatchParameters.parse({"prompt": "a {{color}} {{thing}}", "rows": CSV, **given}).body())


def job(**given: Any) -> dict[str, Any]:
    """The job of a batch."""
    found: dict[str, Any] = batch(**given)["job"]
    return found


def test_everything_but_prompt_and_rows_has_a_default() -> None:
    assert batch() == {
        "operation": "batch",
        "job": {"operation": "generate", "prompt": "a {{color}} {{thing}}", "output_format": "png"},
        "rows": CSV,
        "seed_mode": "per_row",
    }


@pytest.mark.parametrize("blank", [None, "", " ", [None], [], "none", "null", "auto"])
@pytest.mark.parametrize(
    "name", ["image", "aspect_ratio", "size", "seed", "seed_mode", "operation", "rows_file", "steps"]
)
def test_blank_is_left_out(name: str, blank: object) -> None:
    assert batch(**{name: blank}) == batch()


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ('[{"color": "red", "thing": "apple"}, {"color": "blue", "thing": "cup"}]', ROWS),
        ('\ufeff[{"color": "red", "thing": "apple"}, {"color": "blue", "thing": "cup"}]\n', ROWS),
        ('```json\n[{"color": "red", "thing": "apple"}, {"color": "blue", "thing": "cup"}]\n```', ROWS),
        ("[{'color': 'red', 'thing': 'apple'}, {'color': 'blue', 'thing': 'cup'}]", ROWS),  # an array of Dify as text
        (ROWS, ROWS),
        (
            '{"color": "red", "n": 1, "x": null, "y": true, "z": 0.5}',
            [{"color": "red", "n": 1, "x": None, "y": True, "z": 0.5}],
        ),
        (CSV, CSV),
        (f"\ufeff{CSV}\n\n", CSV),
        (f"```csv\n{CSV}\n```", CSV),
        (f"``` \n{CSV}\n \n```\n", CSV),
        ("颜色\n红\n蓝", "颜色\n红\n蓝"),
        (f"Here are the rows:\n```json\n{json.dumps(ROWS)}\n```\nShall I go on?", ROWS),
        ("| color | thing |\n|---|:-:|\n| red | apple |\n| blue | cup |", ROWS),
        ("The rows, as asked:\n\n| color | thing |\n| --- | --- |\n| red | apple |\n| blue | cup |\nUse a|b.", ROWS),
        ('a,"x | y\n--|--\n1 | 2"\nb,c', 'a,"x | y\n--|--\n1 | 2"\nb,c'),
        ('a,b\nstar,"x ```y"\ncup,"z``` d"', 'a,b\nstar,"x ```y"\ncup,"z``` d"'),
        ([{"name": "```a```"}], [{"name": "```a```"}]),
        ('[{"name": "```a```"}]', [{"name": "```a```"}]),
        ("```markdown\n|color|thing|\n|-|-|\n|red|apple|\n|blue|cup|\n```", ROWS),
        ("| a |\n| - |\n| x\\|y |", [{"a": "x|y"}]),
    ],
)
def test_rows_in_every_form(given: object, sent: object) -> None:
    assert batch(rows=given)["rows"] == sent


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("color", "rows: write rows as a JSON list .*CSV"),
        ("[1, 2]", "rows: row 1 is no object with columns; write rows as a JSON list"),
        ([{"a": 1}, None, {"a": 2}], "rows: row 2 is no object"),
        ('[{"a": 1}, {"a": 2}, null]', "rows: row 3 is no object"),
        ([{"a": 1}, "", {"a": 2}], "rows: row 2 is no object"),
        ([None], "Give the rows: "),
        ("[{'a': open('x')}]", "rows: write rows as a JSON list"),
        ("[{{1}}]", "rows: write rows as a JSON list"),
        ("[" * 100_000, "rows: write rows as a JSON list"),
        (7, "rows: write rows as a JSON list"),
        ("[]", "rows: takes 1 to 500 rows; there are 0"),
        ([{"a": 1}] * 501, "rows: takes 1 to 500 rows; there are 501"),
        ([{"a": 1}, {"b": [1]}], "rows: row 2 has a list or an object in the column b"),
        ('[{"a": NaN}]', "rows: row 1 has no number in the column a"),
        ('[{"a": 1e999}]', "rows: row 1 has no number in the column a"),
        ("a\n" + "b" * 900_000, "rows: has more than 900 kB"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n| 3 |", "rows: row 2 has 1 cells, and the table 2 columns"),
        ("|a|\n|-|\n|1|\n\n|2|", "rows: has a second table, or an empty line within"),
        ("|a|a|\n|-|-|\n|1|2|", "rows: has a column twice"),
        ("```\na\n1\n```\nor\n```\na\n2\n```", "rows: has more than one code block"),
        ("| a | b |\n|---|---|", "rows: takes 1 to 500 rows; there are 0"),
        (None, "Give the rows: as JSON or CSV in rows, or as a file in rows_file"),
    ],
)
def test_rows_that_cannot_be_read(given: object, said: str) -> None:
    with pytest.raises(Refused, match=f"(?s)^{said}") as caught:
        batch(rows=given)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (CSV.encode(), CSV),
        (b"\xef\xbb\xbf" + CSV.encode(), CSV),
        ("名,色\n杯,红".encode("gb18030"), "名,色\n杯,红"),
        ("名,色\n杯,红".encode("utf-16"), "名,色\n杯,红"),
        (b'[{"color": "red"}]', [{"color": "red"}]),
        ('[{"名": "杯"}]'.encode("gb18030"), [{"名": "杯"}]),
    ],
)
def test_files_of_rows(content: bytes, sent: object) -> None:
    asked = BatchParameters.parse({"prompt": "x {{a}}", "rows_file": [SdkFile(), None]})
    assert asked.rows_file == "http://dify/files/a"
    assert asked.body(content)["rows"] == sent


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04xlsx", "rows_file: is an Excel or ZIP file; save the table as CSV"),
        (b"a\n\x00\xff\x00", "rows_file: is no text; save the table as CSV"),
        (b"", "rows_file: write rows as a JSON list"),
        (b"a\n" + b"b" * 900_000, "rows_file: has more than 900 kB"),
        (b"color\nred", "rows_file: write the column color in double braces"),
    ],
)
def test_files_of_rows_that_cannot_be_read(content: bytes, said: str) -> None:
    asked = BatchParameters.parse({"prompt": "a {color}", "rows_file": SdkFile()})
    with pytest.raises(Refused, match=f"^{said}"):
        asked.body(content)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("{{ color }} cup", "{{color}} cup"),
        ("{{color }}{{ thing}} {{", "{{color}}{{thing}} {{"),
        ("｛｛color｝｝的杯子", "{{color}}的杯子"),
        ("{{颜色}} {1, 2} {other}", "{{颜色}} {1, 2} {other}"),
    ],
)
def test_columns_in_texts(given: str, sent: str) -> None:
    assert job(prompt=given)["prompt"] == sent
    assert job(negative_prompt=given)["negative_prompt"] == sent
    assert job(template="replace_object", slots={"new": given})["slots"] == {"new": sent}


@pytest.mark.parametrize("form", ["{}", "![image]({})", "image_id {}, seed 7, https://a/files/{}.png?signature=s"])
def test_images_of_rows_are_read_as_everywhere(form: str) -> None:
    told = form.format(STORED, STORED)
    assert job(operation="edit", image=told)["image"] == STORED
    rows = batch(operation="edit", rows=[{"image": told, "color": told}, {"image": None}])["rows"]
    assert rows == [{"image": STORED, "color": told}, {"image": None}]
    assert batch(image="{{ pic }}", rows=[{"pic": told}])["rows"] == [{"pic": STORED}]
    for url in (
        "https://cdn.cn/苹果（大）.png",
        "https://cdn.cn/红，绿.png",
        f"http://a/files/{STORED}.png?signature=s",
    ):
        assert batch(operation="edit", rows=[{"image": url}])["rows"] == [{"image": url}]
        assert job(operation="edit", image=f" {url}")["image"] == url
    for given, said in (
        ({"image": "img_1, img_2"}, "image: names 2 images; it takes the id or URL of one"),
        ({"image": "last"}, "image: knows no last image; it takes the id or URL of one"),
        ({"rows": [{"image": STORED}, {"image": "/files/tools/a.png"}]}, "row 2: image: takes no link of Dify's"),
    ):
        with pytest.raises(Refused, match=f"^{said}"):
            batch(**{"operation": "edit", **given})


@pytest.mark.parametrize("rows", [CSV, ROWS])
@pytest.mark.parametrize("name", ["prompt", "image"])
def test_a_column_in_single_braces_is_refused(name: str, rows: object) -> None:
    with pytest.raises(Refused, match=r"^write the column color in double braces, \{\{color\}\}"):
        batch(**{name: "a { color } cup", "rows": rows})


def test_a_variable_that_dify_left_is_refused() -> None:
    with pytest.raises(Refused, match=r"^prompt: the variable \{\{#start.idea#\}\} has no value"):
        batch(prompt="a {{#start.idea#}} in {{color}}")


def test_a_template_replaces_the_prompt() -> None:
    sent = job(operation="edit", template="replace_object", slots="old={{thing}}; new=a {{color}} cup")
    assert sent["slots"] == {"old": "{{thing}}", "new": "a {{color}} cup"}
    assert "prompt" not in sent
    assert "slots" not in job(slots="old=x")


def test_edits_take_the_column_image_unless_told_otherwise() -> None:
    assert job(operation="Edit")["image"] == "{{image}}"
    assert job(operation="edit", image=" {{ url }} ")["image"] == "{{url}}"
    assert job(operation="outpaint", aspect_ratio="21：9")["image"] == "{{image}}"
    assert "image" not in job()


def test_everything_reaches_the_job() -> None:
    given = {
        "seed": "7",
        "steps": "4",
        "guidance_scale": 2,
        "model": "m",
        "output_format": "webp",
        "output_quality": 80,
    }
    assert job(**given, aspect_ratio="16:9") == {
        "operation": "generate",
        "prompt": "a {{color}} {{thing}}",
        "aspect_ratio": "16:9",
        **given,
        "seed": 7,
        "steps": 4,
    }
    assert batch(seed_mode="FIXED")["seed_mode"] == "fixed"
    assert job(size="{{size}}")["size"] == "{{size}}"
    assert job(size="640*480")["size"] == "640x480"
    assert job(aspect_ratio="{{ shape }}")["aspect_ratio"] == "{{shape}}"
    assert job(aspect_ratio="{{ Shape 4x3 }}")["aspect_ratio"] == "{{Shape 4x3}}"
    assert job(aspect_ratio="16/9")["aspect_ratio"] == "16:9"
    assert "aspect_ratio" not in job(aspect_ratio="auto")
    outpaint = job(operation="outpaint", prompt="", size="640x480")
    assert outpaint == {"operation": "outpaint", "image": "{{image}}", "size": "640x480", "output_format": "png"}


@pytest.mark.parametrize("operation", ["generate", "outpaint"])
@pytest.mark.parametrize("size", ["640x480", "{{size}}"])
def test_a_size_replaces_the_aspect_ratio(operation: str, size: str) -> None:
    """The app sets the size; a model, which cannot see it, may choose any shape."""
    for shape in ("1:1", "99:1"):
        sent = job(operation=operation, size=size, aspect_ratio=shape)
        assert (sent["size"], "aspect_ratio" in sent) == (size, False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": ""}, "prompt is missing. Write it with {{column}}"),
        ({"prompt": "", "operation": "edit"}, "prompt is missing"),
        ({"rows_file": SdkFile()}, "Give either rows or rows_file, not both"),
        ({"operation": "inpaint"}, "operation: .*generate.*edit.*outpaint"),
        ({"operation": "outpaint"}, "Say how far to extend the images: .*aspect_ratio, or size"),
        ({"operation": "outpaint", "aspect_ratio": "30:1"}, "aspect_ratio: write WIDTH:HEIGHT"),
        ({"aspect_ratio": "21:9"}, "aspect_ratio: must be one of 1:1, .*or {{column}}"),
        ({"rows_file": [SdkFile(), SdkFile()], "rows": None}, "rows_file: takes one file; there are 2"),
        ({"size": "1x1"}, "size: each side must be 64 to 4096"),
        ({"seed_mode": "each"}, "seed_mode: .*per_row.*fixed"),
        ({"seed": 2**32}, "seed: .*4294967295"),
        ({"image": "x" * 4001}, "image: .*4000"),
        ({"prompt": "x" * 8001}, "prompt: .*8000"),
        ({"template": "t", "slots": {"new": "x" * 8001}}, "slots: .*8000"),
        ({"output_quality": 0}, "output_quality: .*1"),
    ],
)
def test_batches_that_cannot_be(given: dict[str, object], said: str) -> None:
    with pytest.raises(Refused, match=f"(?s)^{said}"):
        batch(**given)


NEEDED = {"prompt": "x", "rows": "a\nb", "server_url": "http://a", "job_id": "j", "image_id": "img_1", "left": 8}
REPEATED = [
    ("", "{", ""), ("", "{{ ", ""), ("{{", " ", ""), ("a {", " ", "x"), ("", "{{#", ""), ("", "｛", ""),
    ("```\n", " \n", "x"), ("```", "\n", "x"), ("[", "-", ""), ("", "[", ""), ("", '{"a":', ""), ("[", "1,", ""),
    ("", "https://(", ""), ("https://a", "()", ""), ("https://a", "/v1/images/img_1", "!"), ("img_", "_", "!"),
    ("the last", " image", "!"), ("job", " ", "!"), ("1", " ", "x"), ("0.", "0", "x"), ("", "a=b;", ""),
    ("", "|", ""), ("", "|-|\n", ""), ("a|b\n", "-", "|-"), ("", "job_0", ""), ("", "```", ""),
    ("http://a", "/v1", "!"), ("http://a", "/", "?"), ("bearer", " ", "\n"), ("", "a/", ""), ("", "1,", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    "reader",
    [BatchParameters, Credentials, EditParameters, EnhanceParameters, GenerationParameters, JobParameters,
     OutpaintParameters],
)  # fmt: skip
def test_no_text_takes_long_to_read(reader: type[Tolerant]) -> None:
    """One call must not hold up the others, which share the process."""
    for length in (7_900, 60_000):
        for start, part, end in REPEATED:
            text = f"{start}{part * (length // len(part))}{end}"
            for name in reader.model_fields:
                given = {**NEEDED, name: text} | ({"template": "t"} if name == "slots" else {})
                began = time.thread_time()
                with suppress(Refused):
                    reader.parse(given)
                assert time.thread_time() - began < 2, (name, text[:20], length)
