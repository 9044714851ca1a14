"""What Dify may send for a batch: tables, which the server reads, columns in texts, and what becomes of them.

At the end, how long any tool may take to read what it was sent.
"""

import json
import time
from contextlib import suppress
from typing import Any

import pytest

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.prompts.table import read_file, read_table
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
    """The body of a batch of two rows, once the server's own schema has taken it with its rows."""
    asked = BatchParameters.parse({"prompt": "a {{color}} {{thing}}", "rows": CSV, **given})
    accepted({**asked.body(), "rows": CSV})
    return asked.body()


def table(**given: Any) -> bytes:
    """The file of rows that is sent to the server."""
    return BatchParameters.parse({"prompt": "a {{color}} {{thing}}", **given}).table(None)


def job(**given: Any) -> dict[str, Any]:
    """The job of a batch."""
    found: dict[str, Any] = batch(**given)["job"]
    return found


def test_everything_but_prompt_and_rows_has_a_default() -> None:
    assert batch() == {
        "operation": "batch",
        "job": {"operation": "generate", "prompt": "a {{color}} {{thing}}", "output_format": "png"},
        "seed_mode": "per_row",
    }


@pytest.mark.parametrize("blank", [None, "", " ", [None], [], "none", "null", "auto"])
@pytest.mark.parametrize(
    "name", ["image", "aspect_ratio", "size", "seed", "seed_mode", "operation", "rows_file", "steps"]
)
def test_blank_is_left_out(name: str, blank: object) -> None:
    assert batch(**{name: blank}) == batch()


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        f"\ufeff{CSV}\n",
        "颜色\n红\n蓝",
        json.dumps(ROWS),
        str(ROWS),
        "```csv\na\n1\n```",
        "|a|\n|-|\n|1|",
        "[" * 100_000,
    ],
)
def test_a_text_is_handed_on_as_it_is(text: str) -> None:
    assert table(rows=text) == text.encode()


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (ROWS, ROWS),
        (ROWS[0], [ROWS[0]]),
        (
            [{"名": "杯", "n": 1, "x": None, "y": True, "z": 0.5}],
            [{"名": "杯", "n": 1, "x": None, "y": True, "z": 0.5}],
        ),
    ],
)
def test_a_variable_of_dify_is_handed_on_as_json(given: object, sent: list[dict[str, Any]]) -> None:
    assert json.loads(table(rows=given)) == sent
    assert read_table(read_file(table(rows=given)).text).rows == sent


@pytest.mark.parametrize("given", [[{"a": 1}, None, {"a": 2}], [{"a": 1}, "", {"a": 2}], [1, 2], [{"a": [1]}]])
def test_a_row_that_is_none_is_not_dropped_but_refused_by_the_server(given: list[object]) -> None:
    assert json.loads(table(rows=given)) == given
    with pytest.raises(StudioError, match=r"^row \d of the table: "):
        read_table(read_file(table(rows=given)).text)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([None], "Give the rows: "),
        (None, "Give the rows: as JSON or CSV in rows, or as a file in rows_file"),
        (7, "rows: write rows as a JSON list such as .*CSV"),
        ([{"a": {1, 2}}], "rows: write rows as a JSON list"),
        ("a\n\ud800", "rows: holds half a character"),
        ([{"a": "\ud800"}], "rows: holds half a character"),
        ("PK\x03\x04xlsx", "rows: is an Excel file; give it as a file in rows_file"),
        ("a\n" + "b" * 900_000, "rows: has more than 900 kB"),
        ([{"a": "红" * 300_000}], "rows: has more than 900 kB"),
    ],
)
def test_rows_that_cannot_be_sent(given: object, said: str) -> None:
    with pytest.raises(Refused, match=f"(?s)^{said}") as caught:
        table(rows=given)
    assert len(str(caught.value).encode()) < 300, "and can be sent"


@pytest.mark.parametrize(
    "content",
    [
        CSV.encode(),
        b"\xef\xbb\xbf" + CSV.encode(),
        "名,色\n杯,红".encode("gb18030"),
        "名,色\n杯,红".encode("utf-16"),
        b"\xff\x00",
        b"PK\x03\x04xlsx",
    ],
)
def test_a_file_of_rows_is_handed_on_as_it_is(content: bytes) -> None:
    asked = BatchParameters.parse({"prompt": "x {{a}}", "rows_file": [SdkFile(), None]})
    assert asked.rows_file == "http://dify/files/a"
    assert asked.table(content) == content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xd0\xcf\x11\xe0xls", "rows_file: is an Excel file of the old kind"),
        (b" \n", "rows_file: write rows as a JSON list"),
    ],
)
def test_files_that_hold_no_rows(content: bytes, said: str) -> None:
    asked = BatchParameters.parse({"prompt": "a {color}", "rows_file": SdkFile()})
    with pytest.raises(Refused, match=f"^{said}"):
        asked.table(content)


@pytest.mark.parametrize(
    ("given", "param", "message", "told"),
    [
        ({"rows": CSV}, "rows", "rows: there is no row.", "rows: there is no row."),
        ({"rows_file": SdkFile()}, "rows", "rows: there is no row.", "rows_file: there is no row."),
        ({"rows_file": SdkFile()}, "rows[1]", "row 2 of the table: steps: odd.", "row 2 of the table: steps: odd."),
        ({"rows": CSV}, "job", "job: write the column a in double braces.", "write the column a in double braces."),
        ({"rows": CSV}, "", "Job job0 failed: no.", "Job job0 failed: no."),
    ],
)
def test_a_refusal_names_what_the_form_has(given: dict[str, Any], param: str, message: str, told: str) -> None:
    asked = BatchParameters.parse({"prompt": "x", **given})
    assert str(asked.in_words_of_the_form(Refused(message, param=param))) == told


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
def test_an_image_of_all_rows_is_read_as_everywhere(form: str) -> None:
    assert job(operation="edit", image=form.format(STORED, STORED))["image"] == STORED
    for url in ("https://cdn.cn/苹果（大）.png", f"http://a/files/{STORED}.png?signature=s"):
        assert job(operation="edit", image=f" {url}")["image"] == url
    for given, said in (
        ("img_1, img_2", "image: names 2 images; it takes the id or URL of one"),
        ("last", "image: knows no last image; it takes the id or URL of one"),
    ):
        with pytest.raises(Refused, match=f"^{said}"):
            batch(operation="edit", image=given)


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
        ({"aspect_ratio": "5:1"}, "aspect_ratio: must be one of auto, 1:1, .*or write {{column}}"),
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
                # Seconds of a processor, with room for the tracing of make coverage; quadratic reading takes minutes.
                assert time.thread_time() - began < 10, (name, text[:20], length)
