"""The tool image_batch as Dify's daemon calls it, on both SDKs, against a studio that plays a script."""

from typing import Any

import pytest

from tests.plugin.test_tools import BATCH_VARIABLES, PLACE
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER, dify_file
from tests.support.scripted import PNG, SIGNATURE, Answer, ScriptedServer, ScriptedStudio, error

CSV = "thing\napple\ncup\npear"
ARCHIVE = "https://studio.example/files/batch.zip?sign=s"


def counted(total: int, succeeded: int = 0, failed: int = 0) -> dict[str, int]:
    """How the rows of a batch stand; the rest is queued."""
    queued = total - succeeded - failed
    known = {"total": total, "succeeded": succeeded, "failed": failed, "queued": queued}
    return {**known, "running": 0, "cancelled": 0}


@pytest.fixture
def studio(scripted: ScriptedStudio) -> ScriptedStudio:
    """A studio where a batch of three rows ends with one failed."""
    scripted.operation = "batch"
    scripted.rows = [
        scripted.row_view(0),
        scripted.row_view(1, "failed", "The cup\nbroke."),
        scripted.row_view(2),
    ]
    scripted.states = [
        {"state": "running", "rows": counted(3, 1)},
        {"state": "running", "rows": counted(3, 1, 1)},
        {"state": "succeeded", "rows": counted(3, 2, 1), "archive_url": ARCHIVE},
    ]
    return scripted


def batch(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    given = {"prompt": "a {{thing}}", "rows": CSV, **parameters}
    return plugin.invoke(PROVIDER, "image_batch", given, credentials)


def test_success_gives_sheet_line_rows_and_every_variable(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    studio.warnings = ["1 of 3 rows failed; the first: row 2: The cup broke."]
    outcome = batch(plugin, credentials)
    outcome.raise_on_error()
    assert [(blob.content, blob.meta["filename"]) for blob in outcome.blobs] == [(PNG, "img0.png")]
    assert outcome.texts == [
        "2 of 3 rows succeeded, 1 failed (row 2: The cup broke). Row and image_id of each, for "
        f"image_edit: 1 img0, 3 img2. All images as a ZIP file: {ARCHIVE}\n"
    ]
    assert set(outcome.variables) == BATCH_VARIABLES
    assert {name: value for name, value in outcome.variables.items() if name != "progress"} == {
        "archive_url": ARCHIVE,
        "image_url": "https://studio.example/files/img0?sign=s",
        "image_urls": [f"https://studio.example/files/img{row}?sign=s" for row in (0, 2)],
        "image_ids": ["img0", "img2"],
        "studio_url": f"https://studio.example/#/edit/img0?k=1795883985.{SIGNATURE}",
        "succeeded": 2,
        "failed": 1,
        "failures": ["row 2: The cup broke"],
        "job_id": "job0",
        "state": "succeeded",
        "count": 2,
        "held": 0,
        "warnings": studio.warnings,
    }
    [view] = outcome.jsons
    assert [(row["row"], row["state"], row.get("error")) for row in view["rows"]] == [
        (1, "succeeded", None),
        (2, "failed", "The cup broke"),
        (3, "succeeded", None),
    ]
    assert view["rows"][2]["images"][0]["id"] == "img2"
    params, files = studio.called("POST /v1/jobs")[0].form()
    assert files == {"rows": CSV.encode()}
    assert params == {
        "operation": "batch",
        "job": {"operation": "generate", "prompt": "a {{thing}}", "output_format": "png"},
        "seed_mode": "per_row",
        **PLACE,
    }


def test_rows_are_read_page_by_page(plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]) -> None:
    studio.rows = [studio.row_view(row) for row in range(230)]
    studio.states = [{"state": "succeeded", "rows": counted(230, 230), "archive_url": ARCHIVE}]
    studio.script["GET /v1/jobs"].append(error(503, "Busy.", retry_after=0))
    outcome = batch(plugin, credentials)
    outcome.raise_on_error()
    assert outcome.variables["image_ids"] == [f"img{row}" for row in range(230)]
    assert outcome.variables["succeeded"] == 230
    assert [call.query for call in studio.called("GET /v1/jobs")][1:] == [
        "parent_id=job0&limit=100",
        "parent_id=job0&limit=100&after=row99",
        "parent_id=job0&limit=100&after=row199",
    ]


def test_many_failures_are_counted_in_the_line_and_all_named_in_the_variable(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    broken = [studio.row_view(row, "failed", f"Fault {row}.") for row in range(1, 6)]
    studio.rows = [studio.row_view(0), *broken, studio.row_view(6, "cancelled")]
    studio.states = [{"state": "succeeded", "rows": counted(7, 1, 5), "archive_url": ARCHIVE}]
    outcome = batch(plugin, credentials)
    named = "; ".join(f"row {number}: Fault {number - 1}" for number in range(2, 7))
    assert outcome.texts[0].startswith(f"1 of 7 rows succeeded, 6 failed ({named}; +1).")
    assert outcome.variables["failures"][-1] == "row 7: cancelled"
    assert (outcome.variables["failed"], len(outcome.variables["failures"])) == (6, 6)


def test_what_all_rows_say_is_in_the_line_and_what_tells_of_failures_is_not_said_twice(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    for row in studio.rows:
        row["warnings"] = ["Painted small.", "Its own."] if row["row"] else ["Painted small."]
    studio.warnings = ["Painted small.", "1 of 3 rows failed; the first: row 2: The cup broke"]
    [text] = batch(plugin, credentials).texts
    assert text.endswith(" Note: Painted small.\n")
    assert text.count("The cup broke") == 1


def test_without_an_archive_the_line_ends_and_the_variable_is_empty(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    studio.states = [{"state": "succeeded", "rows": counted(3, 2, 1), "archive_url": None}]
    outcome = batch(plugin, credentials)
    assert outcome.variables["archive_url"] == ""
    assert outcome.texts == [
        "2 of 3 rows succeeded, 1 failed (row 2: The cup broke). Row and image_id of each, for "
        "image_edit: 1 img0, 3 img2.\n"
    ]


def test_a_batch_that_failed_as_a_whole_is_an_error(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    reason = {"code": "rows_failed", "message": "3 of 3 rows failed; the first: row 1: No."}
    studio.states = [{"state": "failed", "rows": counted(3, 0, 3), "error": reason}]
    outcome = batch(plugin, credentials)
    assert outcome.error is not None
    assert outcome.error.message == f"Job job0 failed: {reason['message']}"


def test_a_file_of_rows_is_fetched_and_sent_as_it_is(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    table = "物,色\n杯子,红\n"
    with ScriptedServer(lambda call: Answer(200, table.encode("gb18030"))) as dify:
        given = {"rows": "", "rows_file": dify_file(f"{dify.url}/files/rows.csv?sign=s"), "prompt": "{{物}}，{{色}}"}
        batch(plugin, credentials, **given).raise_on_error()
    params, files = studio.called("POST /v1/jobs")[0].form()
    assert (files, params["job"]["prompt"]) == ({"rows": table.encode("gb18030")}, "{{物}}，{{色}}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xd0\xcf\x11\xe0 a sheet", "rows_file: is an Excel file of the old kind"),
        (b"x" * 2_000_001, "The file of rows is larger than 2 MB"),
    ],
)
def test_a_file_that_cannot_be_a_table_is_refused_before_the_server_is_asked(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object], content: bytes, said: str
) -> None:
    with ScriptedServer(lambda call: Answer(200, content)) as dify:
        outcome = batch(plugin, credentials, rows=None, rows_file=dify_file(f"{dify.url}/files/rows.csv?sign=s"))
    assert outcome.error is not None
    assert outcome.error.type == "InvokeBadRequestError"
    assert outcome.error.message.startswith(said)
    assert studio.calls == []


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"rows": ""}, "Give the rows"),
        ({"rows": 7}, "rows: write rows as a JSON list"),
        ({"operation": "outpaint"}, "Say how far to extend the images"),
    ],
)
def test_bad_parameters_are_refused_before_the_server_is_asked(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object], parameters: dict[str, Any], said: str
) -> None:
    outcome = batch(plugin, credentials, **parameters)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.kinds) == ("InvokeBadRequestError", [])
    assert outcome.error.message.startswith(said)
    assert studio.calls == []
