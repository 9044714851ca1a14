"""``make bench-limits``: what the dearest request costs, with each field of each route at its limit.

Each request is answered by the application in this process, as the web process answers it, up to the job that is
queued or the refusal. For tables, the work of the light worker is measured as well. Figures are CPU seconds of the
process, the least of a few tries; images are small here, since what decoding costs depends on the files and is bounded
elsewhere.
"""

import argparse
import base64
import csv
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from benchmarks import Row, show
from qwen_image_studio.contract.words import (
    MAX_CELL_CHARS,
    MAX_COLUMNS,
    MAX_DATA_URLS,
    MAX_INPUTS,
    MAX_JSON_BYTES,
    MAX_NAME_CHARS,
    MAX_PROMPT_CHARS,
    MAX_REFERENCE_CHARS,
    MAX_ROWS,
    MAX_SLOTS,
)
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.prompts.filling import MAX_DEPTH, MAX_JOB_CHARS, MAX_PLACES, MAX_VALUES
from qwen_image_studio.prompts.table import MAX_LINES
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.jobs import MAX_TABLE_BYTES
from qwen_image_studio.web.openai.routes import EDIT_FORM
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.light import light_worker
from tests.support.database import with_tables
from tests.support.pictures import png
from tests.support.spreadsheets import sheet, xlsx

MOST_S, MOST_ELSEWHERE_S = 0.5, 5.0
"""Bounds of one request: CPU seconds in the web process, and in any other."""
HOSTILE: Mapping[str, Callable[[int], str]] = {
    "nested marks": lambda length: "<|" * (length // 4) + "|>" * (length // 4),
    "marks": lambda length: "<|a|>" * (length // 5),
    "opening marks": lambda length: "<|" * (length // 2),
    "no thoughts": lambda length: "think" + "< " * (length // 2 - 4),
    "thoughts": lambda length: "<think>" * (length // 7),
    "braces": lambda length: "{{ a" * (length // 4),
    "control": lambda length: "\0" * length,
    "accents": lambda length: "e\u0301\u200b" * (length // 3),
    "commas": lambda length: "a red apple, " * (length // 13),
    "Chinese": lambda length: "红苹果和猫" * (length // 5),
    "images": lambda length: "image 1 " * (length // 8),
    "plain": lambda length: "x" * length,
}
"""Texts that were once dear to clean, to fill in or to look through, by name."""


@dataclass(frozen=True)
class Attempt:
    """One request with a field at its limit."""

    name: str
    limit: str
    path: str
    json: Any = None
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    method: str = "POST"


def main() -> int:
    """Send every request and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tries", type=int, default=2, help="times that each request is sent")
    arguments.add_argument("--only", default="", help="part of the names to send")
    options = arguments.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = with_tables(Settings(data_dir=Path(folder), models="miniature", queue_limit=10**6))
        app = create_app(settings, configured_models(settings, card_gib=0))
        answered(app, Attempt("first", "", "/v1/jobs", {"operation": "generate", "prompt": "x"}))
        for attempt in filter(lambda each: options.only in each.name, attempts()):
            rows.append(measured(app, attempt, options.tries))
            show(rows[-1:])
        if options.only in "light worker":
            rows.append(worked(app, settings))
            show(rows[-1:])
    worst = max(rows, key=lambda row: float(row[1].split()[0]))
    print(f"\ndearest: {worst[0]}, {worst[1]}")
    return 0 if all(good for *_, good in rows) else 1


def measured(app: Flask, attempt: Attempt, tries: int) -> Row:
    """Send one request a few times; its row."""
    taken, status = [], 0
    for number in range(tries):
        started = time.process_time()
        status = answered(app, attempt, number).status_code
        taken.append(time.process_time() - started)
    assert status < 500 or status == 504, f"{attempt.name}: {status}"
    limit = f"<= {MOST_S:g} s   {attempt.limit}"
    return attempt.name, f"{min(taken):.3f} s, {status}", limit, min(taken) <= MOST_S


def answered(app: Flask, attempt: Attempt, number: int = 0) -> TestResponse:
    """Send one request."""
    data = attempt.data() if callable(attempt.data) else attempt.data
    body = json.dumps(attempt.json) if attempt.json is not None else data
    kind = "application/json" if attempt.json is not None else attempt.content_type
    headers = {name: f"{value}{number}" for name, value in attempt.headers.items()}
    return app.test_client().open(attempt.path, method=attempt.method, data=body, content_type=kind, headers=headers)


def worked(app: Flask, settings: Settings) -> Row:
    """Let the light worker make the rows of the dearest batch into jobs; its row."""
    parts: Services = app.extensions["qwen-image-studio"]
    job = {"operation": "generate", "prompt": HOSTILE["nested marks"](MAX_PROMPT_CHARS - 10) + "{{a}}"}
    answered(app, Attempt("", "", "/v1/jobs", {"operation": "batch", "job": job, "rows": [{"a": "x"}] * MAX_ROWS}))
    worker = light_worker(settings, parts.models, parts.store)
    started = time.process_time()
    worker.run_next()
    taken = time.process_time() - started
    return (
        "light worker: one claim of a batch",
        f"{taken:.3f} s",
        f"<= {MOST_ELSEWHERE_S:g} s",
        taken <= MOST_ELSEWHERE_S,
    )


# -- the requests --------------------------------------------------------------------------------------------------


def attempts() -> Iterator[Attempt]:
    """Yield a request for each field of each route at its limit."""
    yield from of_texts()
    yield from of_tables()
    yield from of_nesting()
    yield from of_openai()
    yield from of_headers_and_queries()


def of_texts() -> Iterator[Attempt]:
    """Requests whose texts are as long as they may be."""
    for name, made in HOSTILE.items():
        prompt = {"operation": "generate", "prompt": "x " + made(MAX_PROMPT_CHARS - 2)}
        yield Attempt(f"prompt: {name}", f"{MAX_PROMPT_CHARS} characters", "/v1/jobs", prompt)
        both = prompt | {"negative_prompt": made(MAX_PROMPT_CHARS)}
        yield Attempt(f"negative_prompt: {name}", f"{MAX_PROMPT_CHARS} characters", "/v1/jobs", both)
        slots = {f"slot{number}": made(MAX_PROMPT_CHARS) for number in range(MAX_SLOTS - 2)}
        slots |= {"old": "x" + made(MAX_PROMPT_CHARS - 1), "new": "y" + made(MAX_PROMPT_CHARS - 1)}
        edit = {"operation": "edit", "image": "img_1", "template": "replace_object"}
        yield Attempt(f"slots: {name}", f"{MAX_SLOTS} of {MAX_PROMPT_CHARS}", "/v1/jobs", edit | {"slots": slots})
        two = {name: slots[name] for name in ("old", "new")}
        yield Attempt(f"two slots: {name}", f"{MAX_PROMPT_CHARS} characters", "/v1/jobs", edit | {"slots": two})
        adjust = {"operation": "adjust", "image": "img_1", "prompt": made(MAX_PROMPT_CHARS)}
        yield Attempt(f"instruction: {name}", f"{MAX_PROMPT_CHARS} characters", "/v1/jobs", adjust)
        data = {"params": json.dumps(adjust | {"image": None}), "image": (io.BytesIO(png(64, 48)), "a.png")}
        yield Attempt(
            f"instruction with a file: {name}", f"{MAX_PROMPT_CHARS} characters", "/v1/jobs", data=again(data)
        )
    for names in ("model", "template", "size", "aspect_ratio", "conversation", "user", "image", "tier", "language"):
        body = {"operation": "generate", "prompt": "x", names: "x" * (MAX_JSON_BYTES - 100)}
        yield Attempt(f"{names}: as long as the JSON may be", f"{MAX_JSON_BYTES} bytes", "/v1/jobs", body)
    images = {"operation": "edit", "prompt": "x", "image": ["http://" + "a" * (MAX_REFERENCE_CHARS - 7)] * MAX_INPUTS}
    yield Attempt("image: as many addresses as are taken", f"{MAX_INPUTS} of {MAX_REFERENCE_CHARS}", "/v1/jobs", images)


def of_tables() -> Iterator[Attempt]:
    """Batches whose job, rows and cells are as large as they may be."""
    for name, made in HOSTILE.items():
        job = {"operation": "generate", "prompt": "x " + made(MAX_PROMPT_CHARS - 10) + "{{a}}"}
        yield batch(f"batch prompt: {name}", f"{MAX_ROWS} rows of {MAX_PROMPT_CHARS}", job, [{"a": "x"}] * MAX_ROWS)
        cell = [{"a": "x" + made(1800)}] * MAX_ROWS
        yield batch(
            f"batch cells: {name}", f"{MAX_ROWS} rows of 1800", {"operation": "generate", "prompt": "{{a}}"}, cell
        )
        text = "x" + made(MAX_JSON_BYTES - 20)
        yield batch(f"rows as text: {name}", f"{MAX_JSON_BYTES} bytes", JOB, text)
    wide = {f"c{number}": "x" for number in range(MAX_COLUMNS)}
    yield batch("rows: columns", f"{MAX_ROWS} of {MAX_COLUMNS}", JOB, [wide] * (MAX_JSON_BYTES // 1200))
    yield batch("rows: one long cell", f"{MAX_CELL_CHARS} characters", JOB, [{"c1": "x" * MAX_CELL_CHARS}] * 9)
    table = io.StringIO()
    csv.writer(table).writerows([list(wide)] + [["x"] * MAX_COLUMNS] * MAX_ROWS)
    yield batch("rows: CSV with all cells", f"{MAX_ROWS} of {MAX_COLUMNS}", JOB, table.getvalue())
    yield batch("rows: Python's notation", f"{MAX_ROWS} rows", JOB, str([wide] * (MAX_JSON_BYTES // 1200)))
    for name, part in (("lines", "\n"), ("quotes", '"'), ("commas", ","), ("bars", "|"), ("fences", "```\n")):
        yield batch(
            f"rows: {name}", f"{MAX_JSON_BYTES} bytes", JOB, "c1\n" + part * ((MAX_JSON_BYTES - 99) // len(part))
        )
    yield batch("rows: lines with a value", f"{MAX_LINES} lines", JOB, "c1\n" + '"\n\n"\n' * (MAX_LINES // 3 - 1))
    columns = {"operation": "generate", "prompt": "{{c1}}" * MAX_PLACES}
    yield batch("batch prompt: columns", "columns in a prompt", columns, [{"c1": "xx"}] * MAX_ROWS)
    chinese = ("名称,颜色\n" + "苹果,红色\n" * 400_000).encode("gb18030")[:MAX_TABLE_BYTES]
    for name, data in (
        ("GB 18030", chinese),
        ("Latin", b"\xe8m\xe9;" * (MAX_TABLE_BYTES // 4)),
        ("UTF-16", ("c1\n" + "x" * 900_000).encode("utf-16")),
        (".xlsx", xlsx(sheet([list(wide)[:26]] + [["x"] * 26] * (2 * MAX_ROWS - 2)))),
        (".xlsx, one long cell", xlsx(sheet([["x" * 4_900_000]]))),
        (".xlsx, a bomb", xlsx(sheet([["x" * 50_000_000]]))),
        (".xlsx, empty elements", xlsx(sheet([]).replace("</sheetData>", "<c/>" * 1_200_000 + "</sheetData>"))),
    ):
        params = json.dumps({"operation": "batch", "job": JOB})
        form = {"params": params, "rows": (io.BytesIO(data), "rows")}
        yield Attempt(f"rows file: {name}", f"{MAX_TABLE_BYTES} bytes", "/v1/jobs", data=again(form))


JOB = {"operation": "generate", "prompt": "a cup {{c1}}"}


def batch(name: str, limit: str, job: Mapping[str, Any], rows: Any) -> Attempt:
    """Return a request for a batch."""
    return Attempt(name, limit, "/v1/jobs", {"operation": "batch", "job": job, "rows": rows})


def again(form: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    """Return a function that makes the same form once more, since files in it can be read only once."""
    kept = {
        name: (value[0].getvalue(), value[1]) if isinstance(value, tuple) else value for name, value in form.items()
    }
    return lambda: {
        name: (io.BytesIO(value[0]), value[1]) if isinstance(value, tuple) else value for name, value in kept.items()
    }


def of_nesting() -> Iterator[Attempt]:
    """Bodies that are nested, or hold very many values."""
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        depth = MAX_JSON_BYTES // (len(opening) + len(closing)) - 50
        for name, count in (("as deep as it may be", MAX_DEPTH - 2), ("as deep as the JSON goes", depth)):
            nested = f"{opening * count}1{closing * count}"
            text = f'{{"operation": "batch", "rows": "a\\nx", "job": {{"operation": {nested}}}}}'
            yield Attempt(f"job {opening}: {name}", f"{count}", "/v1/jobs", data=text, content_type="application/json")
            text = text.replace('"job"', '"prompt"')
            yield Attempt(f"{opening}: {name}", f"{count}", "/v1/jobs", data=text, content_type="application/json")
    many = {"operation": "generate", "prompt": "x", "slots": {str(number): "x" for number in range(70_000)}}
    yield Attempt("slots: very many", f"{MAX_SLOTS}", "/v1/jobs", many)
    yield batch("job: very many values", f"{MAX_VALUES}", {"operation": "generate", "a": [1] * 300_000}, "a\nx")
    full = {"operation": "generate", "prompt": "x", "a": [{}] * (MAX_VALUES - 10)}
    yield batch("job: all its values", f"{MAX_VALUES} in {MAX_ROWS} rows", full, [{"a": "x"}] * MAX_ROWS)
    long = {"operation": "generate", "prompt": "x" * (MAX_JOB_CHARS - 100)}
    yield batch("job: all its characters", f"{MAX_JOB_CHARS}", long, [{"a": "x"}] * MAX_ROWS)
    numbers = {"operation": "generate", "prompt": "x", "seed": int("9" * 4000)}
    yield Attempt("seed: 4000 digits", "64 bits", "/v1/jobs", numbers)
    steps = {"do": "crop", "aspect_ratio": "1" * 100_000}
    yield Attempt("adjustments: long texts", "", "/v1/jobs", {"operation": "adjust", "adjustments": [steps] * 8})
    rotate = [{"do": "rotate", "degrees": 90}] * 20_000
    yield Attempt("adjustments: very many", "", "/v1/jobs", {"operation": "adjust", "adjustments": rotate})
    unknown: dict[str, Any] = {f"name{number}": 1 for number in range(60_000)}
    yield Attempt(
        "unknown names: very many", f"{MAX_JSON_BYTES} bytes", "/v1/jobs", unknown | {"operation": "generate"}
    )
    yield Attempt("unknown name: long", f"{MAX_JSON_BYTES} bytes", "/v1/jobs", {"operation": "edit", "x" * 900_000: 1})


def of_openai() -> Iterator[Attempt]:
    """Requests of OpenAI's clients that are refused after all has been read, so that nobody waits for a job."""
    url = "data:image/png;base64," + base64.b64encode(b"no picture" * 200_000).decode()
    for name, body in (
        ("data URL of 2 MB", {"image": url}),
        ("data URLs, as many as are taken", {"images": [{"image_url": "data:image/png;base64,AAAA"}] * MAX_DATA_URLS}),
        ("data URLs, very many", {"images": ["data:image/png;base64,AAAA"] * 200_000}),
        ("data URL of escaped slashes", {"image": "data:image/png;base64," + "\\/" * 400_000}),
        ("prompt that looks like data URLs", {"prompt": '"data:image' * 80_000}),
        ("images: very many", {"images": [{"file_id": "img_1"}] * 30_000}),
    ):
        yield Attempt(f"/v1/images/edits: {name}", "", "/v1/images/edits", {"prompt": "x", **body})
    fields = {f"slots[{number}]": "x" * 10_000 for number in range(EDIT_FORM.max_parts)}
    yield Attempt("form: all its parts", f"{EDIT_FORM.max_parts} parts", "/v1/images/edits", data=again(fields))
    one = {"slots": json.dumps({"a": "x" * 900_000}), "prompt": "x"}
    yield Attempt("form: slots as JSON", "1 MB", "/v1/images/edits", data=again(one))
    boundary = "x" * 70
    parts = f"--{boundary}\r\n\r\n" * 200_000
    kind = f"multipart/form-data; boundary={boundary}"
    yield Attempt(
        "form: very many parts", f"{EDIT_FORM.max_parts} parts", "/v1/images/edits", data=parts, content_type=kind
    )


def of_headers_and_queries() -> Iterator[Attempt]:
    """Headers, queries and addresses as long as a web server lets them be."""
    body = {"operation": "generate", "prompt": "x"}
    for name in (
        "Idempotency-Key",
        "X-Request-Id",
        "Authorization",
        "If-None-Match",
        "Range",
        "Cookie",
        "Last-Event-ID",
    ):
        yield Attempt(f"header {name}", "8190 bytes", "/v1/jobs", body, headers={name: "x" * 8000})
    yield Attempt(
        "header Idempotency-Key, as long as taken", "255", "/v1/jobs", body, headers={"Idempotency-Key": "k" * 250}
    )
    for query in ("limit=" + "9" * 4000, "after=" + "x" * 4000, "user=" + "x" * 4000, "&".join(["a=1"] * 1000)):
        yield Attempt(f"query {query[:8]}", "4094 bytes", f"/v1/jobs?{query}", method="GET")
    for path in ("/v1/jobs/", "/v1/images/", "/v1/models/", "/files/"):
        yield Attempt(f"address {path}", "4094 bytes", path + "x" * 4000, method="GET")
    name = "x" * MAX_NAME_CHARS
    yield Attempt(
        "template: unknown", f"{MAX_NAME_CHARS}", "/v1/jobs", {"operation": "edit", "template": name, "image": "i"}
    )


if __name__ == "__main__":
    sys.exit(main())
