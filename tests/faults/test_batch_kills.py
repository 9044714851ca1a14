"""kill -9 of everything in the middle of a batch: each row ends once, and what was painted is not painted again.

And every call of the light worker to the database or the storage fails in turn: the batch waits, and loses nothing.
"""

import csv
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qwen_image_studio.adjusting.engine import AdjustEngine
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Lane
from qwen_image_studio.gallery import Gallery, open_gallery
from qwen_image_studio.gallery.links import open_links
from qwen_image_studio.intake import Intake
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.batches import Batches
from qwen_image_studio.worker.light import light_worker
from qwen_image_studio.worker.loop import Worker
from tests.faults.test_kills import assert_whole, stored_files
from tests.faults.test_kth_failure import FailKth
from tests.support.pictures import png
from tests.support.scripted import Answer, Call, ScriptedServer
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

ROWS = 40


def submit(studio: Studio, rows: list[dict[str, Any]], **job: Any) -> dict[str, Any]:
    """Submit a batch that paints each row's prompt."""
    paint = {"operation": "generate", "prompt": "pace=0.04 row {{number}}", "steps": 2, "size": "64x64", **job}
    answer = studio.request("POST", "/v1/jobs", json={"operation": "batch", "job": paint, "rows": rows})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def rows_of(studio: Studio, batch_id: str) -> list[dict[str, Any]]:
    """The jobs of a batch, first row first."""
    answer = studio.request("GET", "/v1/jobs", params={"parent_id": batch_id, "limit": 100})
    return list(answer.json()["data"])


def paintings(studio: Studio) -> Counter[int]:
    """How often the picture of each seed was really painted."""
    lines = (studio.folder / "data" / "painted.log").read_text().splitlines()
    return Counter(int(line.split("\t")[1]) for line in lines)


def wait_for_rows(studio: Studio, batch_id: str, succeeded: int) -> None:
    """Wait until so many rows are done."""
    until(lambda: studio.job(batch_id)["rows"]["succeeded"] >= succeeded)


def pictures_in(studio: Studio, batch_id: str) -> tuple[list[str], list[dict[str, str]]]:
    """Names of the whole pictures in the ZIP of a batch, and its table."""
    with zipfile.ZipFile(BytesIO(studio.request("GET", f"/v1/jobs/{batch_id}/archive").content)) as archive:
        assert archive.testzip() is None
        names = [name for name in archive.namelist() if name != "rows.csv"]
        for name in names:
            Image.open(BytesIO(archive.read(name))).load()
        text = archive.read("rows.csv").decode("utf-8-sig")
    return names, list(csv.DictReader(StringIO(text, newline="")))


def test_everything_killed_while_rows_are_made_and_in_the_middle(make_scripted: Callable[..., Studio]) -> None:
    studio = make_scripted().start()
    batch = submit(studio, [{"number": number} for number in range(ROWS)], seed=1000)
    studio.kill()
    studio.start()
    wait_for_rows(studio, batch["id"], 12)
    studio.kill()
    studio.start()
    ended = studio.finished(batch["id"])
    assert_whole(studio, ended)  # the contact sheet
    asked = {"total": ROWS, "queued": 0, "running": 0, "review": 0, "succeeded": ROWS, "failed": 0, "cancelled": 0}
    assert ended["rows"] == asked
    assert [warning for warning in ended["warnings"] if "miniature" not in warning] == []
    rows = rows_of(studio, batch["id"])
    assert [row["row"] for row in rows] == list(range(ROWS))
    assert [[image["seed"] for image in row["images"]] for row in rows] == [[1000 + number] for number in range(ROWS)]
    for row in rows[:: ROWS // 4]:
        assert_whole(studio, row)
    # Only the row in hand may have been painted before, and that without having been kept.
    painted = paintings(studio)
    assert set(painted) == set(range(1000, 1000 + ROWS))
    again = [seed for seed, times in painted.items() if times > 1]
    assert all(rows[seed - 1000]["attempt"] > 1 for seed in again)
    assert sum(row["attempt"] - 1 for row in rows) <= 2  # one for each kill
    # Each picture with its thumbnail, nothing of the attempt that died.
    assert len([name for name in stored_files(studio) if "preview" not in name]) == 2 * (ROWS + 1)
    names, table = pictures_in(studio, batch["id"])
    assert sorted(names) == ["contact-sheet.jpg", *(f"row-{number + 1:03d}.png" for number in range(ROWS))]
    assert [line["state"] for line in table] == ["succeeded"] * ROWS


def _site(call: Call) -> Answer:
    """One picture, and nothing else."""
    return Answer(200, png(), {"Content-Type": "image/png"}) if call.path == "/cup.png" else Answer(404, b"gone")


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Address of a web site."""
    with ScriptedServer(_site) as server:
        yield server.url.removeprefix("http://")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, site: str) -> Iterator[Studio]:
    """One running server that may fetch from the site."""
    with Studio(tmp_path_factory.mktemp("batches"), **SCRIPTED, fetch_allow=site) as server:
        yield server


def test_the_light_worker_is_killed_again_and_again(shared: Studio) -> None:
    batch = submit(shared, [{"number": number} for number in range(ROWS)], seed=5000)
    killed: set[int] = set()
    while len(killed) < 3:
        for process in shared.processes("light"):
            process.kill()
            killed.add(process.pid)
        time.sleep(0.1)
    ended = shared.finished(batch["id"])
    assert_whole(shared, ended)
    painted = paintings(shared)
    assert [painted[5000 + number] for number in range(ROWS)] == [1] * ROWS


def test_a_dead_address_and_a_failing_engine_cost_their_own_rows(shared: Studio, site: str) -> None:
    table = [
        {"image": f"http://{site}/cup.png", "wish": "make it green"},
        {"image": f"http://{site}/dead.png", "wish": "make it green"},
        {"image": f"http://{site}/cup.png", "wish": "bug@1 always"},
        {"image": f"http://{site}/cup.png", "wish": "rotate it 90 degrees"},
    ]
    job = {"operation": "edit", "prompt": "{{wish}}", "image": "{{image}}"}
    batch = shared.request("POST", "/v1/jobs", json={"operation": "batch", "job": job, "rows": table}).json()
    ended = shared.finished(batch["id"])
    assert_whole(shared, ended)
    assert (ended["rows"]["succeeded"], ended["rows"]["failed"]) == (2, 2)
    assert ended["warnings"][0].startswith("2 of 4 rows failed; the first: row 2: ")
    rows = rows_of(shared, batch["id"])
    codes = [row["error"] and row["error"]["code"] for row in rows]
    assert codes == [None, "url_not_fetched", "engine_failed", None]
    names, table = pictures_in(shared, batch["id"])
    assert sorted(names) == ["contact-sheet.jpg", "row-001.png", "row-004.png"]
    assert [bool(line["error"]) for line in table] == [False, True, True, False]


def test_a_running_batch_is_cancelled_whole(shared: Studio) -> None:
    batch = submit(shared, [{"number": number} for number in range(ROWS)], seed=7)
    wait_for_rows(shared, batch["id"], 3)
    answer = shared.request("POST", f"/v1/jobs/{batch['id']}/cancel").json()
    assert answer["rows"]["queued"] == 0
    behind = shared.finished(shared.submit(steps=2)["id"])
    assert_whole(shared, behind)
    ended = shared.finished(batch["id"])
    assert ended["state"] == "cancelled"
    assert ended["rows"]["succeeded"] + ended["rows"]["cancelled"] == ROWS
    assert 3 <= ended["rows"]["succeeded"] <= 10
    names, table = pictures_in(shared, batch["id"])
    assert len(names) == ended["rows"]["succeeded"]
    assert Counter(line["state"] for line in table)["cancelled"] == ended["rows"]["cancelled"]


def test_others_are_served_between_the_rows(shared: Studio) -> None:
    batch = submit(shared, [{"number": number} for number in range(ROWS)])
    wait_for_rows(shared, batch["id"], 2)
    for _ in range(3):
        before = shared.job(batch["id"])["rows"]["succeeded"]
        assert_whole(shared, shared.finished(shared.submit(prompt="pace=0.01 alone", steps=2)["id"]))
        turned = shared.edit(png(), prompt="rotate it 90 degrees").json()
        assert_whole(shared, shared.finished(turned["id"]))
        assert shared.job(batch["id"])["rows"]["succeeded"] <= before + 8
    assert shared.job(batch["id"])["state"] == "running"
    shared.request("POST", f"/v1/jobs/{batch['id']}/cancel")


@pytest.mark.parametrize("port", ["store", "files"])
@pytest.mark.parametrize("code", ["storage_failed", "database_busy"])
def test_the_kth_call_of_the_light_worker_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: str, code: str
) -> None:
    monkeypatch.setattr("qwen_image_studio.worker.batches.PAUSE_S", 0.01)
    settings = Settings(data_dir=tmp_path, models="miniature", lease_s=2)
    models = configured_models(settings, card_gib=0)
    app = create_app(settings, models)
    parts: Services = app.extensions["qwen-image-studio"]
    client = app.test_client()
    upload = {"params": '{"operation": "adjust", "prompt": "blur it"}', "image": (BytesIO(png()), "a.png")}
    first = client.post("/v1/jobs", data=upload).get_json()
    light_worker(settings, models, parts.store).run_next()
    url = client.get(f"/v1/jobs/{first['id']}").get_json()["images"][0]["url"]
    job = {"operation": "adjust", "prompt": "rotate it {{degrees}} degrees", "image": url}
    ask = {"operation": "batch", "job": job}
    for k in range(1, 60):
        files: Any = open_gallery(settings, parts.store).files
        failing: Any = FailKth(parts.store if port == "store" else files, k, lambda: StudioError(code, "Planted."))
        store = failing if port == "store" else parts.store
        gallery = Gallery(files if port == "store" else failing, store, open_links(settings))
        intake = Intake(settings, store, gallery, models)
        batches = Batches(settings, store, gallery, intake, models)
        worker = Worker(settings, "light", AdjustEngine(settings), [], parts.store, lane=Lane.LIGHT, batches=batches)
        batch = client.post("/v1/jobs", json={**ask, "rows": [{"degrees": 90}, {"degrees": 180}]}).get_json()
        while worker.run_next():
            pass
        done = client.get(f"/v1/jobs/{batch['id']}").get_json()
        assert (done["state"], done["rows"]["succeeded"], done["attempt"]) == ("succeeded", 2, 1), (k, failing.calls)
        assert client.get(done["images"][0]["url"]).status_code == 200
        if len(failing.calls) < k:
            break  # every call has had its turn
    else:
        raise AssertionError("more calls than expected; raise the bound")
    assert k > 4
