"""Batches the whole way: the plugin on both SDKs, the real server, the miniature's pictures."""

import io
import zipfile
from typing import Any

import pytest
import requests

from tests.plugin.test_real_server import called, opened
from tests.plugin.test_tools import BATCH_VARIABLES
from tests.support.daemon import Daemon
from tests.support.dify import PROVIDER, dify_file
from tests.support.scripted import Answer, ScriptedServer
from tests.support.studio import Studio

# What the server adds does not depend on the SDK, under both of which test_real_server.py goes the whole way.
pytestmark = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")


@pytest.fixture
def credentials(studio: Studio) -> dict[str, object]:
    """Credentials for the real server."""
    return {"server_url": studio.url, "api_key": studio.api_key, "time_budget": "120"}


def test_a_file_of_rows_becomes_pictures_and_these_are_edited_row_by_row(
    plugin: Daemon, credentials: dict[str, object]
) -> None:
    table = "颜色,物\n红色,杯子\n蓝色,苹果\n绿色,杯子\n"
    with ScriptedServer(lambda call: Answer(200, table.encode("gb18030"))) as dify:
        file = dify_file(f"{dify.url}/files/rows.csv?sign=s")
        given = {"prompt": "{{颜色}}的{{物}}", "rows_file": file, "seed": 7, "size": "96x64"}
        made = called(plugin, "image_batch", credentials, **given)
    assert set(made.variables) == BATCH_VARIABLES
    assert (made.variables["succeeded"], made.variables["failed"], made.variables["count"]) == (3, 0, 3)
    assert [row["images"][0]["seed"] for row in made.jsons[0]["rows"]] == [7, 8, 9]
    assert [image["id"] for row in made.jsons[0]["rows"] for image in row["images"]] == made.variables["image_ids"]
    assert made.texts[0].startswith("3 行中有 3 行成功。各行的 image_id（供 image_edit 使用）：1 img_")
    [sheet] = opened(made)
    assert min(sheet.size) > 64
    archive = requests.get(made.variables["archive_url"], timeout=60).content
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        assert len([name for name in files.namelist() if name.endswith(".png")]) >= 3
    edited_from(plugin, credentials, made.variables["image_ids"])


def edited_from(plugin: Daemon, credentials: dict[str, object], image_ids: list[str]) -> None:
    """Edit these images in a batch whose last row names one that is not there."""
    rows = [{"image": image_id, "angle": 90} for image_id in [*image_ids, "img_no"]]
    # As Dify writes an array of objects into a text.
    done = called(
        plugin, "image_batch", credentials, operation="edit", prompt="rotate it {{angle}} degrees", rows=str(rows)
    )
    assert (done.variables["succeeded"], done.variables["failed"]) == (3, 1)
    [failure] = done.variables["failures"]
    assert failure.startswith("row 4: ")
    assert "img_no" in failure
    assert "3 of 4 rows succeeded, 1 failed (row 4:" in done.texts[0]
    assert {(row["images"][0]["width"], row["images"][0]["height"]) for row in done.jsons[0]["rows"][:3]} == {(64, 96)}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"prompt": "a {{nme}}", "rows": "name\ncup"}, "no row has that column; there are: name"),
        ({"prompt": "a {{name}}", "rows": "name,color\ncup"}, "has 1 values and the first line 2 columns"),
        ({"prompt": "a {name}", "rows": "name\ncup"}, "write the column name in double braces, {{name}}."),
        ({"prompt": "a {{name}}", "rows": "| name |\n|---|\n| cup | 2 |"}, "row 1 of the table: it has 2 cells"),
        ({"prompt": "a {{name}}", "rows": "name"}, "rows: there is no row; send at least one, as a JSON list"),
        ({"prompt": "a cup", "rows": '[{"steps": 1}]', "model": "none-such"}, "none-such"),
        ({"operation": "edit", "prompt": "x", "rows": '[{"image": "img_no"}]'}, "1 of 1 rows failed"),
    ],
)
def test_what_the_server_refuses_is_told_in_its_words(
    plugin: Daemon, credentials: dict[str, object], parameters: dict[str, Any], said: str
) -> None:
    outcome = plugin.invoke(PROVIDER, "image_batch", parameters, credentials)
    assert outcome.error is not None
    assert said in outcome.error.message
    assert outcome.texts == []
