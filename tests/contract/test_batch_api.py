"""Batches over HTTP: a table in, a job for each row, one ZIP and one contact sheet out."""

import csv
import json
import struct
import threading
import time
import zipfile
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.contract.answers import JobView
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import MAX_ROWS, Lane, State
from qwen_image_studio.gallery.archive import archive
from qwen_image_studio.imaging import read_origin
from qwen_image_studio.jobs import OPEN_ROWS, JobStore
from qwen_image_studio.system.seats import worker_name
from qwen_image_studio.web.present import job_view, tag_of
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.ends import LAST_CLAIMS
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png

PAINT: dict[str, Any] = {"operation": "generate", "prompt": "a {{colour}} cup", "steps": 2, "size": "64x64"}
COLOURS = [{"colour": "red"}, {"colour": "绿色"}, {"colour": "blue"}]


def send(client: FlaskClient, rows: Any = COLOURS, headers: Any = None, **changes: Any) -> Any:
    body = {"operation": "batch", "job": PAINT, "rows": rows, **changes}
    return client.post("/v1/jobs", json=body, headers=headers)


def sent(client: FlaskClient, rows: Any = COLOURS, **changes: Any) -> dict[str, Any]:
    answer = send(client, rows, **changes)
    assert answer.status_code == 202, answer.text
    JobView.model_validate(answer.get_json())
    return dict(answer.get_json())


def said(batch: dict[str, Any]) -> list[str]:
    """The warnings of a batch of which something was painted, but for the one that the miniature painted it."""
    first, *others = [str(warning) for warning in batch["warnings"]]
    assert first.startswith("Painted by the miniature")
    return others


def look(client: FlaskClient, job_id: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/jobs/{job_id}").get_json())


def rows_of(client: FlaskClient, batch_id: str) -> list[dict[str, Any]]:
    return list(client.get(f"/v1/jobs?parent_id={batch_id}&limit=100").get_json()["data"])


def run(light: Worker, worker: Worker) -> None:
    while light.run_next() or worker.run_next():
        pass


def unzipped(data: bytes) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    """The files of a ZIP, and its rows.csv."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.testzip() is None
        for entry in archive.infolist():
            assert not entry.flag_bits & 8, "sizes and checksums stand before the files, for readers of streams"
            head = data[entry.header_offset : entry.header_offset + 30]
            assert struct.unpack("<4sHHHHHIIIHH", head)[6:9] == (entry.CRC, entry.file_size, entry.file_size)
        files = {name: archive.read(name) for name in archive.namelist()}
    text = files["rows.csv"].decode("utf-8")
    assert text.startswith("\ufeff")
    return files, list(csv.DictReader(StringIO(text.removeprefix("\ufeff"), newline="")))


def test_a_table_becomes_pictures_a_sheet_and_a_zip(client: FlaskClient, light: Worker, worker: Worker) -> None:
    batch = sent(client, job={**PAINT, "seed": 100})
    assert (batch["state"], batch["operation"], batch["model"], batch["queue_position"]) == (
        "queued", "batch", "cv", None,
    )  # fmt: skip
    nothing_yet = dict.fromkeys(("running", "review", "succeeded", "failed", "cancelled"), 0)
    assert batch["rows"] == {"total": 3, "queued": 3, **nothing_yet}
    run(light, worker)
    done = look(client, batch["id"])
    assert (done["state"], said(done), done["error"], done["attempt"]) == ("succeeded", [], None, 1)
    assert done["rows"]["succeeded"] == 3
    assert (done["progress"]["phase"], done["progress"]["step"], done["progress"]["steps"]) == ("rows", 3, 3)
    rows = rows_of(client, batch["id"])
    assert [(row["parent_id"], row["row"], row["state"]) for row in rows] == [
        (batch["id"], number, "succeeded") for number in range(3)
    ]
    assert [row["images"][0]["seed"] for row in rows] == [100, 101, 102]
    facts = [read_origin(client.get(row["images"][0]["url"]).data)["prompt"] for row in rows]
    assert facts == ["a red cup", "a 绿色 cup", "a blue cup"]
    [sheet] = done["images"]
    data = client.get(sheet["url"]).data
    assert Image.open(BytesIO(data)).size == (sheet["width"], sheet["height"])
    assert b"trainedAlgorithmicMedia" in data
    files, table = unzipped(client.get(done["archive_url"]).data)
    assert set(files) == {"row-001.png", "row-002.png", "row-003.png", "contact-sheet.jpg", "rows.csv"}
    assert files["contact-sheet.jpg"] == data
    assert [(line["row"], line["files"], line["seed"], line["colour"]) for line in table] == [
        ("1", "row-001.png", "100", "red"), ("2", "row-002.png", "101", "绿色"), ("3", "row-003.png", "102", "blue"),
    ]  # fmt: skip
    assert table[1]["image_id"] == rows[1]["images"][0]["id"]
    assert client.get(f"/v1/jobs/{batch['id']}/archive").data[:2] == b"PK"


def test_the_list_shows_batches_and_hides_their_rows(client: FlaskClient, light: Worker, worker: Worker) -> None:
    batch = sent(client)
    alone = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup"}).get_json()
    run(light, worker)
    listed = client.get("/v1/jobs").get_json()["data"]
    assert [job["id"] for job in listed] == [alone["id"], batch["id"]]
    assert listed[1]["rows"]["succeeded"] == 3
    assert listed[0]["rows"] is None
    page = client.get(f"/v1/jobs?parent_id={batch['id']}&limit=2").get_json()
    assert ([row["row"] for row in page["data"]], page["has_more"]) == ([0, 1], True)
    rest = client.get(f"/v1/jobs?parent_id={batch['id']}&limit=2&after={page['data'][1]['id']}").get_json()
    assert ([row["row"] for row in rest["data"]], rest["has_more"]) == ([2], False)
    for query in (
        "parent_id=job_unknown",
        f"after={page['data'][0]['id']}",
        f"parent_id={batch['id']}&after={alone['id']}",
    ):
        assert client.get(f"/v1/jobs?{query}").status_code == 404


def test_the_batch_runs_as_soon_as_a_row_does(client: FlaskClient, light: Worker, worker: Worker) -> None:
    batch = sent(client)
    assert light.run_next()
    assert not light.run_next(), "a batch that waits for its rows is nobody's work"
    before = look(client, batch["id"])
    assert (before["state"], before["queue_position"], before["started_at"]) == ("queued", None, None)
    assert worker.run_next()
    now = look(client, batch["id"])
    assert now["started_at"] == rows_of(client, batch["id"])[0]["started_at"]
    assert (now["state"], now["queue_position"], now["progress"]["step"], now["progress"]["eta_s"] is None) == (
        "running", 0, 1, False,
    )  # fmt: skip
    for state, shown in (("running", [batch["id"]]), ("queued", [])):
        assert [job["id"] for job in client.get(f"/v1/jobs?state={state}").get_json()["data"]] == shown
    files, table = unzipped(client.get(now["archive_url"]).data)
    assert set(files) == {"row-001.png", "rows.csv"}
    assert [line["state"] for line in table] == ["succeeded", "queued", "queued"]


def test_seeds_are_drawn_once_and_shared_where_they_are_fixed(
    client: FlaskClient, store: JobStore, light: Worker
) -> None:
    def seeds(**changes: Any) -> list[list[int]]:
        batch = sent(client, **changes)
        light.run_next()
        return [row.plan["seeds"] for row in store.rows.of_batch(batch["id"])]

    first, second = seeds(), seeds()
    assert first != second
    assert [row[0] - first[0][0] for row in first] in ([0, 1, 2], [0, 1, 2 - 2**32], [0, 1 - 2**32, 2 - 2**32])
    assert len({row[0] for row in seeds(seed_mode="fixed")}) == 1
    assert seeds(job={**PAINT, "seed": 2**32 - 2, "n": 2}) == [[2**32 - 2, 2**32 - 1], [0, 1], [2, 3]]
    assert seeds(job={**PAINT, "seed": 7}, seed_mode="fixed") == [[7], [7], [7]]
    own = [{"colour": "red", "seed": 5}, {"colour": "blue", "seed": None}, {"colour": "green", "seed": "9"}]
    mixed = seeds(rows=own, job={**PAINT, "seed": "{{seed}}"})
    assert (mixed[0], mixed[2]) == ([5], [9])


@pytest.mark.parametrize("kind", ["json", "csv", "utf-8-sig", "gb18030", "utf-16"])
def test_tables_in_every_form(client: FlaskClient, store: JobStore, light: Worker, kind: str) -> None:
    table = 'colour,size\r\n红色,64x64\r\n"a, ""b""",\r\n'
    if kind in {"json", "csv"}:
        text = table if kind == "csv" else json.dumps([{"colour": "红色", "size": "64x64"}, {"colour": 'a, "b"'}])
        answer = send(client, text, job={**PAINT, "size": "{{size}}"})
    else:
        params = {"operation": "batch", "job": {**PAINT, "size": "{{ size }}"}}
        form = {"params": json.dumps(params), "rows": (BytesIO(table.encode(kind)), "rows.csv")}
        answer = client.post("/v1/jobs", data=form)
    assert answer.status_code == 202, answer.text
    light.run_next()
    plans = [row.plan for row in store.rows.of_batch(answer.get_json()["id"])]
    assert [plan["prompt"] for plan in plans] == ["a 红色 cup", 'a a, "b" cup']
    assert plans[0]["width"] == 64
    assert plans[1]["width"] > 64


@pytest.mark.parametrize(
    ("changes", "param", "said"),
    [
        ({"rows": []}, "rows", "at least one"),
        ({"rows": ""}, "rows", "at least one"),
        ({"rows": "colour\n"}, "rows", "at least one"),
        ({"rows": [{"colour": "red"}] * (MAX_ROWS + 1)}, "rows", "500"),
        ({"rows": "colour\n" + "red\n" * (MAX_ROWS + 1)}, "rows", "500"),
        ({"rows": "colour,colour\nred,blue"}, "rows[0]", "twice"),
        ({"rows": "colour,\nred,blue"}, "rows[0]", "no name"),
        ({"rows": "colour,b\nred,1\nblue"}, "rows[1]", "line 3 has 1 values"),
        ({"rows": 'colour\nred\n"blue'}, "rows[1]", "double quotes"),
        ({"rows": '[{"colour": "red", "colour": "blue"}]'}, "rows[0]", "twice"),
        ({"rows": '[{"colour": ["red"]}]'}, "rows[0]", "list or an object"),
        ({"rows": '[{"colour": NaN}]'}, "rows[0]", "no number"),
        ({"rows": '[{"colour": "red"}, 5]'}, "rows[1]", "is no object"),
        ({"rows": [{"colour": "red"}, 5]}, "rows[1]", "dictionary"),
        ({"rows": [{"colour": ["red"]}]}, "rows[0].colour", "string"),
        ({"rows": '[{"colour": "red"'}, "rows", "cannot be read"),
        ({"rows": [{"colour": "red"}, {"color": "blue"}]}, "rows[1]", "no column 'colour'"),
        ({"rows": [{"colour": "red"}, {"colour": " "}]}, "rows[1]", "'colour' is empty"),
        ({"rows": [{"size": "64x64"}]}, "job", "no row has that column; there are: size"),
        ({"job": {**PAINT, "size": "{{colour}}"}}, "rows[0]", "row 1 of the table: size: must be WIDTHxHEIGHT"),
        ({"job": {**PAINT, "styles": 1}}, "rows[0]", "'styles' is not a parameter of this generate request"),
        ({"job": {"operation": "batch", "job": {}, "rows": "a\n1"}}, "rows[0]", "cannot be a batch"),
        ({"job": {"operation": "paint"}}, "rows[0]", "operation: must be one of"),
        ({"job": {**PAINT, "model": "nothing"}}, "rows[0]", "nothing"),
        ({"job": {**PAINT, "seed": -2}}, "rows[0]", "seed"),
        ({"job": {"operation": "edit", "prompt": "make it {{colour}}"}}, "rows[0]", "there are 0"),
        ({"job": {"operation": "generate", "template": "none"}}, "rows[0]", "template"),
        ({"job": {**PAINT, "n": 10}, "rows": [{"colour": "red"}] * 51}, "rows", "510 images"),
        ({"job": {**PAINT, "image": json.loads("[" * 30 + "]" * 30)}}, "job", "nested"),
        ({"job": {**PAINT, "prompt": "a {colour} cup"}}, "job", "write the column colour in double braces, {{colour}}"),
        ({"rows": "|colour|\n|-|\n|red|blue|"}, "rows[0]", "row 1 of the table: it has 2 cells"),
        ({"seed_mode": "odd"}, "seed_mode", "fixed"),
        ({"steps": 4}, "steps", "not a parameter"),
    ],
)  # fmt: skip
def test_what_cannot_be_painted_is_said_at_once(
    client: FlaskClient, store: JobStore, changes: dict[str, Any], param: str, said: str
) -> None:
    answer = send(client, **changes)
    assert answer.status_code == 422, answer.text
    error = answer.get_json()["error"]
    assert error["param"] == param, error
    assert said in error["message"], error
    assert store.jobs.counts() == (0, 0)
    assert client.get("/v1/jobs").get_json()["data"] == []


MARKDOWN = 'The cups:\n\n| colour | size |\n|---|---|\n| 红色 | 64x64 |\n| a, "b" | |\n'


@pytest.mark.parametrize(
    "table", [MARKDOWN, "[{'colour': '红色', 'size': '64x64'}, {'colour': 'a, \"b\"', 'size': None}]"]
)
@pytest.mark.parametrize("way", ["text", "utf-8", "gb18030"])
def test_tables_as_models_and_tools_write_them(
    client: FlaskClient, store: JobStore, light: Worker, table: str, way: str
) -> None:
    job = {**PAINT, "size": "{{size}}"}
    if way == "text":
        answer = send(client, table, job=job)
    else:
        form = {"params": json.dumps({"operation": "batch", "job": job}), "rows": (BytesIO(table.encode(way)), "rows")}
        answer = client.post("/v1/jobs", data=form)
    assert answer.status_code == 202, answer.text
    light.run_next()
    prompts = [row.plan["prompt"] for row in store.rows.of_batch(answer.get_json()["id"])]
    assert prompts == ["a 红色 cup", 'a a, "b" cup']


def test_an_image_of_a_row_may_stand_among_words(client: FlaskClient, light: Worker) -> None:
    sent_image = {
        "params": json.dumps({"operation": "adjust", "prompt": "blur it"}),
        "image": (BytesIO(png()), "a.png"),
    }
    upload = client.post("/v1/jobs", data=sent_image).get_json()
    light.run_next()
    image = look(client, upload["id"])["images"][0]
    told = [f"![image]({image['id']})", f"image_id {image['id']}, seed 7, {image['url']}"]
    job = {"operation": "edit", "prompt": "rotate it 90 degrees", "image": "{{image}}"}
    batch = sent(client, [{"image": each} for each in told], job=job)
    while light.run_next():
        pass
    assert look(client, batch["id"])["rows"]["succeeded"] == 2


def test_a_file_of_rows_is_as_large_as_its_text_may_be(client: FlaskClient) -> None:
    def post(table: bytes) -> Any:
        params = json.dumps({"operation": "batch", "job": PAINT})
        return client.post("/v1/jobs", data={"params": params, "rows": (BytesIO(table), "rows.csv")})

    text = "colour,note" + ("\nred," + "x" * 99_000) * 10
    assert post(text.encode()).status_code == 202
    assert post(text.encode("utf-16")).status_code == 202, "twice as many bytes, and the same text"
    for table in (
        text.encode() + b"x" * 10_000,
        ("colour\n" + "红" * 400_000).encode("utf-16"),
        b"a\n" + b"x" * 2_000_000,
    ):
        answer = post(table)
        assert (answer.status_code, answer.get_json()["error"]["param"]) == (413, "rows")
        assert "rows: the table has more than 1000 kB as UTF-8; send it as several batches." in answer.text


def test_rows_of_the_form(client: FlaskClient) -> None:
    def post(params: dict[str, Any], *tables: bytes) -> Any:
        files = [(BytesIO(table), f"{number}.csv") for number, table in enumerate(tables)]
        return client.post("/v1/jobs", data={"params": json.dumps(params), "rows": files})

    batch = {"operation": "batch", "job": PAINT}
    for answer, status, param in (
        (post({**batch, "rows": "colour\nred"}, b"colour\nred"), 422, "rows"),
        (post(batch, b"colour\nred", b"colour\nred"), 422, "rows"),
        (post(PAINT, b"colour\nred"), 422, "rows"),
        (post(batch, b"PK\x03\x04\0\0\0\0\xff\xff\xff"), 422, "rows"),
        (post(batch, b"colour\n" + b"x" * 1_000_000), 413, "rows"),
        (client.post("/v1/jobs", data={"params": json.dumps(batch), "image": (BytesIO(png()), "a.png")}), 422, "rows"),
    ):
        assert (answer.status_code, answer.get_json()["error"]["param"]) == (status, param), answer.text
    both = {**batch, "rows": "colour\nred"}
    answer = client.post("/v1/jobs", data={"params": json.dumps(both), "image": (BytesIO(png()), "a.png")})
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (422, "image")


def test_templates_and_numbers_in_slots(client: FlaskClient, store: JobStore, light: Worker) -> None:
    templates = client.get("/v1/templates").get_json()["data"]
    template = next(
        one
        for one in templates
        if one["operation"] == "generate" and any(s["type"] == "text" for s in one["slots"].values())
    )
    slot = next(name for name, slot in template["slots"].items() if slot["type"] == "text")
    needed = {
        name: next(iter(one["choices"]), "red" if one["type"] == "color" else "left" if one["type"] == "place" else "x")
        for name, one in template["slots"].items()
        if one["default"] is None
    }
    job = {"operation": "generate", "template": template["id"], "slots": {**needed, slot: "{{price}}"}}
    batch = sent(client, [{"price": 99}, {"price": "九块九"}], job=job)
    light.run_next()
    prompts = [row.plan["prompt"] for row in store.rows.of_batch(batch["id"])]
    assert "99" in prompts[0]
    assert "九块九" in prompts[1]


def test_a_row_that_cannot_be_made_fails_alone(client: FlaskClient, light: Worker, worker: Worker) -> None:
    upload = client.post(
        "/v1/jobs",
        data={"params": json.dumps({"operation": "adjust", "prompt": "blur it"}), "image": (BytesIO(png()), "a.png")},
    ).get_json()
    light.run_next()
    image = look(client, upload["id"])["images"][0]
    job = {"operation": "edit", "prompt": "{{wish}}", "image": "{{image}}"}
    table = [
        {"image": image["id"], "wish": "make it green"},
        {"image": "img_unknown", "wish": "make it green"},
        {"image": "http://127.0.0.1:1/dead.png", "wish": "make it green"},
        {"image": image["url"], "wish": "rotate it 90 degrees"},
    ]
    batch = sent(client, table, job=job)
    run(light, worker)
    done = look(client, batch["id"])
    assert (done["state"], done["rows"]["succeeded"], done["rows"]["failed"]) == ("succeeded", 2, 2), done
    assert done["warnings"][0].startswith(
        "2 of 4 rows failed; the first: row 2: image: there is no image 'img_unknown'"
    )
    rows = rows_of(client, batch["id"])
    assert [row["error"]["code"] if row["error"] else None for row in rows] == [
        None, "image_not_found", "url_not_allowed", None,
    ]  # fmt: skip
    assert [row["operation"] for row in rows] == ["edit"] * 4
    assert [row["engine"] for row in rows][3] == "cv"
    files, csv_rows = unzipped(client.get(done["archive_url"]).data)
    assert set(files) == {"row-001.png", "row-004.png", "contact-sheet.jpg", "rows.csv"}
    assert "img_unknown" in csv_rows[1]["error"]


def test_a_batch_of_which_no_row_succeeds_fails(client: FlaskClient, light: Worker, worker: Worker) -> None:
    batch = sent(
        client,
        [{"image": "img_1"}, {"image": "img_2"}],
        job={"operation": "adjust", "prompt": "blur it", "image": "{{image}}"},
    )
    run(light, worker)
    done = look(client, batch["id"])
    assert (done["state"], done["error"]["code"], done["images"], done["archive_url"]) == (
        "failed",
        "rows_failed",
        [],
        None,
    )
    assert "row 1: image: there is no image 'img_1'" in done["error"]["message"]
    assert client.get(f"/v1/jobs/{batch['id']}/archive").status_code == 404


def test_cancelling_keeps_what_is_painted(client: FlaskClient, light: Worker, worker: Worker) -> None:
    batch = sent(client)
    light.run_next()
    worker.run_next()
    cancelled = client.post(f"/v1/jobs/{batch['id']}/cancel").get_json()
    assert cancelled["state"] == "cancelled"
    assert (cancelled["rows"]["succeeded"], cancelled["rows"]["cancelled"]) == (1, 2)
    run(light, worker)
    assert look(client, batch["id"])["rows"] == cancelled["rows"]
    files, table = unzipped(client.get(cancelled["archive_url"]).data)
    assert set(files) == {"row-001.png", "rows.csv"}
    assert [line["state"] for line in table] == ["succeeded", "cancelled", "cancelled"]
    assert client.post(f"/v1/jobs/{batch['id']}/cancel").status_code == 200
    unmade = sent(client)
    client.post(f"/v1/jobs/{unmade['id']}/cancel")
    assert not light.run_next()
    assert look(client, unmade["id"])["rows"]["cancelled"] == 3


def test_one_row_is_cancelled(client: FlaskClient, light: Worker, worker: Worker) -> None:
    batch = sent(client)
    light.run_next()
    second = rows_of(client, batch["id"])[1]["id"]
    assert client.post(f"/v1/jobs/{second}/cancel").get_json()["state"] == "cancelled"
    run(light, worker)
    done = look(client, batch["id"])
    assert (done["state"], done["rows"]["succeeded"], done["rows"]["cancelled"]) == ("succeeded", 2, 1)
    assert said(done) == ["1 of 3 rows were cancelled."]


def test_a_repeated_batch_is_the_same_one(client: FlaskClient, light: Worker) -> None:
    key = {"Idempotency-Key": "k1"}
    first, again = send(client, headers=key), send(client, headers=key)
    assert first.get_json()["id"] == again.get_json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert send(client, [{"colour": "red"}], headers=key).get_json()["error"]["code"] == "idempotency_key_reused"


def test_the_queue_limit_counts_no_rows(client: FlaskClient, light: Worker, worker: Worker) -> None:
    batch = sent(client, [{"colour": str(number)} for number in range(60)])  # the queue takes 30
    while light.run_next():
        pass
    alone = client.post("/v1/jobs", json={"operation": "generate", "prompt": "alone"})
    assert (alone.status_code, alone.get_json()["queue_position"]) == (202, 1)
    assert client.get("/v1/health").get_json()["queued"] == OPEN_ROWS + 1
    assert look(client, batch["id"])["rows"]["queued"] == 60
    run(light, worker)
    done = look(client, batch["id"])
    assert (done["state"], done["rows"]["succeeded"]) == ("succeeded", 60)


def test_batches_that_wait_leave_room_for_light_jobs(client: FlaskClient, light: Worker) -> None:
    for _ in range(30):  # as many as this server takes
        sent(client)
        light.run_next()
    assert (send(client).status_code, send(client).get_json()["error"]["code"]) == (429, "queue_full")
    form = {"params": json.dumps({"operation": "adjust", "prompt": "blur it"}), "image": (BytesIO(png()), "a.png")}
    assert client.post("/v1/jobs", data=form).status_code == 202


def test_waiting_for_a_batch_wakes_with_its_rows(
    client: FlaskClient, app: Flask, light: Worker, worker: Worker
) -> None:
    batch = sent(client)
    light.run_next()
    answers: list[dict[str, Any]] = []

    def wait() -> None:
        answers.append(app.test_client().get(f"/v1/jobs/{batch['id']}?wait=20").get_json())

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    worker.run_next()
    waiting.join(60)
    assert answers[0]["state"] == "running"
    run(light, worker)
    events = client.get(f"/v1/jobs/{batch['id']}/events").get_data(as_text=True)
    assert '"succeeded":3' in events


def test_nobody_spins_over_a_batch_cancelled_before_its_first_row(
    client: FlaskClient, app: Flask, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = sent(client)
    lease = parts.store.leases.claim("ghost", Lane.LIGHT)
    assert lease is not None
    client.post(f"/v1/jobs/{batch['id']}/cancel")
    looks: list[str] = []
    get = type(parts.store.jobs).get

    def counted(self: Any, job_id: str, *whose: Any) -> Any:
        looks.append(job_id)
        return get(self, job_id, *whose)

    monkeypatch.setattr(type(parts.store.jobs), "get", counted)
    polled = client.get(f"/v1/jobs/{batch['id']}?wait=1").get_json()
    assert (polled["queue_position"], polled["started_at"], polled["rows"]["cancelled"]) == (None, None, 3)
    with app.test_request_context():
        job = parts.store.jobs.get(batch["id"])
        assert tag_of(job, job_view(job)) == parts.store.jobs.tags([job.id])[job.id]
    told: list[str] = []
    path = f"/v1/jobs/{batch['id']}/events"
    following = threading.Thread(target=lambda: told.append(app.test_client().get(path).get_data(as_text=True)))
    following.start()
    time.sleep(0.5)
    assert len(looks) < 10
    parts.store.leases.stop(lease)
    following.join(60)
    assert told[0].count("event: job") <= 2


def test_an_archive_of_any_job(client: FlaskClient, worker: Worker) -> None:
    job = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", "steps": 2, "n": 2}).get_json()
    assert job["archive_url"] is None
    assert client.get(f"/v1/jobs/{job['id']}/archive").get_json()["error"]["code"] == "not_found"
    worker.run_next()
    done = look(client, job["id"])
    answer = client.get(done["archive_url"])
    assert (answer.status_code, answer.mimetype) == (200, "application/zip")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{job["id"]}.zip"'
    with zipfile.ZipFile(BytesIO(answer.data)) as read:
        assert read.namelist() == ["image-1.png", "image-2.png"]
        assert read.read("image-2.png") == client.get(done["images"][1]["url"]).data
    other = done["archive_url"].replace(job["id"], "job_" + "0" * 24)
    assert client.get(other).get_json()["error"]["code"] == "link_refused"
    assert client.get("/v1/jobs/job_unknown/archive").status_code == 404


def test_an_archive_is_written_piece_by_piece(
    client: FlaskClient, parts: Services, light: Worker, worker: Worker
) -> None:
    batch = sent(client, [{"colour": str(number)} for number in range(12)])
    run(light, worker)
    pieces = list(archive(parts.store.jobs.get(batch["id"]), parts.store, parts.gallery))
    assert len(pieces) == 12 + 2  # each picture by itself, the sheet, and the table with the directory
    assert not any(piece.count(b"\x89PNG") > 1 for piece in pieces)
    lost = parts.store.images.of_jobs([parts.store.rows.of_batch(batch["id"])[4].id])
    [[image]] = lost.values()
    parts.gallery.files.delete(image.key)
    files, table = unzipped(client.get(f"/v1/jobs/{batch['id']}/archive").data)
    assert len(files) == 13
    assert (table[4]["files"], image.id in table[4]["error"], "gone" in table[4]["error"]) == ("", True, True)


def test_a_spreadsheet_runs_nothing_of_the_table(client: FlaskClient, light: Worker, worker: Worker) -> None:
    evil = ["=1+1", "+1", "-1", "@sum", "＝1+1", "　＋1", " \n=1", "\ufeff@sum", "\tplain", "plain", "1-1"]
    own = {"seed": 3, "=1": "a", "'=1": "b", "row": "7", "row (of the table)": "8"}
    batch = sent(client, [{"colour": text, **own} for text in evil])
    run(light, worker)
    files, table = unzipped(client.get(f"/v1/jobs/{batch['id']}/archive").data)
    assert [line["colour"] for line in table] == [*(f"'{text}" for text in evil[:-2]), *evil[-2:]]
    assert [line["seed (of the table)"] for line in table] == ["3"] * len(evil)
    [header, *lines] = csv.reader(StringIO(files["rows.csv"].decode("utf-8-sig"), newline=""))
    assert len(set(header)) == len(header)
    assert lines[0][-5:] == ["3", "a", "b", "7", "8"]
    assert files["rows.csv"].decode("utf-8-sig").startswith('"row","state",')


def test_the_storage_fails_while_an_archive_is_written(
    client: FlaskClient, parts: Services, light: Worker, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = sent(client)
    run(light, worker)
    read = type(parts.gallery.files).open
    calls: list[str] = []
    fails_at = 1

    def failing(self: Any, key: str) -> Any:
        calls.append(key)
        if len(calls) == fails_at:
            raise StudioError("storage_failed", "Planted.")
        return read(self, key)

    monkeypatch.setattr(type(parts.gallery.files), "open", failing)
    answer = client.get(f"/v1/jobs/{batch['id']}/archive")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "storage_failed")
    calls.clear()
    fails_at = 3
    pieces: list[bytes] = []
    with pytest.raises(StudioError, match="Planted"):
        pieces.extend(archive(parts.store.jobs.get(batch["id"]), parts.store, parts.gallery))
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(BytesIO(b"".join(pieces)))


def test_an_archive_of_which_every_file_is_gone(client: FlaskClient, parts: Services, worker: Worker) -> None:
    job = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", "steps": 2}).get_json()
    worker.run_next()
    [image] = parts.store.images.of_jobs([job["id"]])[job["id"]]
    parts.gallery.files.delete(image.key)
    assert client.get(f"/v1/jobs/{job['id']}/archive").get_json()["error"]["code"] == "not_found"


def test_contact_sheet_of_every_size() -> None:
    from qwen_image_studio.adjusting.contact_sheet import MAX_SHEET_SIDE, contact_sheet

    cup = Image.new("RGB", (320, 200), "blue")
    for count in (1, 2, 3, 5, 40, 99, MAX_ROWS):
        sheet = contact_sheet((None if number % 3 == 1 else cup for number in range(count)), count)
        assert max(sheet.size) <= MAX_SHEET_SIDE
        assert min(sheet.size) * 3 > max(sheet.size)
        colours = sheet.getcolors(2**24)
        assert colours is not None
        counted = {colour: number for number, colour in colours}
        assert counted[(0, 0, 255)] > 0.1 * sheet.width * sheet.height
        assert ((0xBB, 0x44, 0x44) in counted) is (count > 1)


def test_the_batch_of_another_owner_is_not_there(client: FlaskClient, parts: Services, light: Worker) -> None:
    batch = sent(client)
    ann, bob = (f"Bearer {parts.keys.add(name)}" for name in ("ann", "bob"))
    theirs = send(client, headers={"Authorization": ann}).get_json()
    for path in (f"/v1/jobs?parent_id={theirs['id']}", f"/v1/jobs/{theirs['id']}/archive"):
        assert client.get(path, headers={"Authorization": bob}).status_code == 404
    assert client.get(f"/v1/jobs?parent_id={batch['id']}", headers={"Authorization": bob}).status_code == 404


def test_a_batch_outlives_a_store_that_fails_for_a_while(
    client: FlaskClient,
    parts: Services,
    light: Worker,
    worker: Worker,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = {"operation": "adjust", "prompt": "blur it", "image": "{{image}}"}
    kept = client.post(
        "/v1/jobs",
        data={"params": json.dumps({"operation": "adjust", "prompt": "blur it"}), "image": (BytesIO(png()), "a.png")},
    ).get_json()
    light.run_next()
    image = look(client, kept["id"])["images"][0]["url"]
    batch = sent(client, [{"image": image}, {"image": image}], job=job)
    calls: list[str] = []
    put = type(parts.gallery.files).put

    def failing(self: Any, key: str, data: bytes, mime_type: str) -> None:
        calls.append(key)
        if len(calls) <= 2:
            raise StudioError("storage_failed", "Planted.")
        put(self, key, data, mime_type)

    monkeypatch.setattr(type(parts.gallery.files), "put", failing)
    run(light, worker)
    assert look(client, batch["id"])["rows"]["succeeded"] == 2


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting takes moments."""
    monkeypatch.setattr("qwen_image_studio.worker.batches.PAUSE_S", 0.01)
    monkeypatch.setattr("qwen_image_studio.worker.batches.STORAGE_PATIENCE_S", 0.3)


def uploaded(client: FlaskClient, light: Worker) -> dict[str, Any]:
    """A photograph of the owner's, blurred."""
    form = {"params": json.dumps({"operation": "adjust", "prompt": "blur it"}), "image": (BytesIO(png()), "a.png")}
    kept = client.post("/v1/jobs", data=form).get_json()
    light.run_next()
    return dict(look(client, kept["id"])["images"][0])


def test_a_row_on_which_the_server_fails_is_refused_alone(
    client: FlaskClient, light: Worker, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qwen_image_studio.intake import Intake

    batch, prepare = sent(client), Intake.prepare
    calls: list[Any] = []

    def failing(self: Intake, *asked: Any, **how: Any) -> Any:
        calls.append(asked)
        if len(calls) == 2:
            raise MemoryError
        return prepare(self, *asked, **how)

    monkeypatch.setattr(Intake, "prepare", failing)
    run(light, worker)
    done = look(client, batch["id"])
    assert (done["state"], done["rows"]["succeeded"], done["rows"]["failed"]) == ("succeeded", 2, 1)
    second = rows_of(client, batch["id"])[1]
    assert (second["error"]["code"], second["engine"], second["model"]) == ("engine_failed", "qwen", "miniature")


@pytest.mark.usefixtures("impatient")
def test_a_row_whose_image_cannot_be_read_for_long_is_refused(
    client: FlaskClient, parts: Services, light: Worker, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, fetched = uploaded(client, light), type(parts.gallery.files).open
    job = {"operation": "adjust", "prompt": "blur it", "image": "{{image}}"}
    batch = sent(client, [{"image": image["url"]}, {"image": image["id"]}], job=job)
    calls: list[str] = []

    def failing(self: Any, key: str) -> Any:
        if key.endswith(".png") and not parts.store.rows.of_batch(batch["id"]):
            calls.append(key)
            raise StudioError("storage_failed", "Planted.")
        return fetched(self, key)

    monkeypatch.setattr(type(parts.gallery.files), "open", failing)
    run(light, worker)
    done = look(client, batch["id"])
    assert (done["state"], done["rows"]["succeeded"], done["rows"]["failed"]) == ("succeeded", 1, 1)
    assert rows_of(client, batch["id"])[0]["error"]["code"] == "storage_failed"
    assert len(calls) > 1  # it was not given up at once


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("end", ["garbage", "gone", "unreadable"])
def test_a_broken_thumbnail_leaves_its_cell_empty(
    client: FlaskClient,
    parts: Services,
    light: Worker,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    batch = sent(client)
    light.run_next()
    for _ in range(3):
        worker.run_next()
    second = parts.store.rows.of_batch(batch["id"])[1].id
    key = parts.store.images.of_jobs([second])[second][0].thumbnail_key
    read = type(parts.gallery.files).open

    def failing(self: Any, asked: str) -> Any:
        if asked == key:
            raise StudioError("storage_failed", "Planted.")
        return read(self, asked)

    if end == "garbage":
        parts.gallery.files.put(key, b"garbage", "image/webp")
    elif end == "gone":
        parts.gallery.files.delete(key)
    else:
        monkeypatch.setattr(type(parts.gallery.files), "open", failing)
    run(light, worker)
    done = look(client, batch["id"])
    assert (done["state"], len(done["images"]), done["rows"]["succeeded"]) == ("succeeded", 1, 3)
    assert said(done) == ["1 of 3 pictures are not on the contact sheet, since they could not be read."]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("planted", [StudioError("storage_failed", "Planted."), MemoryError()])
def test_painted_rows_count_without_their_sheet(
    client: FlaskClient,
    parts: Services,
    light: Worker,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    planted: Exception,
) -> None:
    batch = sent(client)
    light.run_next()
    for _ in range(3):
        worker.run_next()
    before = stored(parts)
    put = type(parts.gallery.files).put

    def failing(self: Any, key: str, data: bytes, mime_type: str) -> None:
        if batch["id"] in key and "thumbnail" in key:
            raise planted
        put(self, key, data, mime_type)

    monkeypatch.setattr(type(parts.gallery.files), "put", failing)
    run(light, worker)
    done = look(client, batch["id"])
    assert (done["state"], done["images"], done["rows"]["succeeded"]) == ("succeeded", [], 3)
    assert "no contact sheet" in said(done)[0]
    assert stored(parts) == before
    files, _ = unzipped(client.get(done["archive_url"]).data)
    assert set(files) == {"row-001.png", "row-002.png", "row-003.png", "rows.csv"}


def test_a_sheet_that_kills_the_worker_is_done_without(
    client: FlaskClient, parts: Services, light: Worker, worker: Worker
) -> None:
    batch = sent(client)
    light.run_next()
    for _ in range(3):
        worker.run_next()
    for _ in range(2):  # attempts that died
        assert parts.store.leases.claim("ghost", Lane.LIGHT) is not None
        parts.store.leases.abandon("ghost")
    run(light, worker)
    done = look(client, batch["id"])
    assert (done["state"], done["images"], done["rows"]["succeeded"]) == ("succeeded", [], 3)


def stored(parts: Services) -> set[str]:
    """The files of the storage."""
    root = parts.settings.data_dir / "images"
    return {str(path) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 0)])
def test_the_sheet_says_ai_where_any_of_its_pictures_does(
    client: FlaskClient, light: Worker, worker: Worker, order: tuple[int, int]
) -> None:
    painted = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", "steps": 2}).get_json()
    worker.run_next()
    ids = [uploaded(client, light)["id"], look(client, painted["id"])["images"][0]["id"]]
    table = [{"image": ids[number]} for number in order]
    batch = sent(client, table, job={"operation": "adjust", "prompt": "blur it", "image": "{{image}}"})
    run(light, worker)
    sheet = look(client, batch["id"])["images"][0]
    assert (b"trainedAlgorithmicMedia" in client.get(sheet["url"]).data) is (1 in order)


def test_a_long_batch_deletes_little(
    client: FlaskClient, parts: Services, light: Worker, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen_image_studio.worker.batches.TURN_S", -1)  # one row a turn
    batch = sent(client, [{"colour": str(number)} for number in range(15)])
    deleted: list[str] = []
    delete = type(parts.gallery.files).delete

    def counted(self: Any, key: str) -> None:
        deleted.append(key)
        delete(self, key)

    monkeypatch.setattr(type(parts.gallery.files), "delete", counted)
    while light.run_next():
        pass
    assert not deleted
    run(light, worker)
    assert look(client, batch["id"])["state"] == "succeeded"
    assert len([key for key in deleted if batch["id"] in key]) <= 4 * LAST_CLAIMS


@pytest.mark.parametrize("end", ["cancelled", "lost"])
def test_inputs_of_a_row_that_came_too_late_are_deleted(
    client: FlaskClient, parts: Services, light: Worker, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    before = uploaded(client, light)
    job = {"operation": "edit", "prompt": "make it green", "image": ["{{link}}", before["id"]]}
    batch = sent(client, [{"link": "https://example.com/a.png"}], job=job)
    files = stored(parts)

    def fetched(url: str, **limits: Any) -> bytes:
        if end == "cancelled":
            client.post(f"/v1/jobs/{batch['id']}/cancel")
        else:
            parts.store.leases.abandon(worker_name("light"))
        return png()

    monkeypatch.setattr("qwen_image_studio.intake.fetch", fetched)
    light.run_next()
    assert parts.store.rows.of_batch(batch["id"]) == []
    assert stored(parts) == files
    assert client.get(before["url"]).status_code == 200


def test_a_row_that_kills_the_worker_is_given_up_alone(
    client: FlaskClient, parts: Services, light: Worker, worker: Worker, tmp_path: Path
) -> None:
    batch = sent(client)
    for _ in range(2):  # attempts that died
        assert parts.store.leases.claim("ghost", Lane.LIGHT) is not None
        parts.store.leases.abandon("ghost")
    run(light, worker)
    done = look(client, batch["id"])
    assert (done["state"], done["rows"]["succeeded"], done["rows"]["failed"]) == ("succeeded", 2, 1)
    first = rows_of(client, batch["id"])[0]
    assert (first["error"]["code"], "2 times" in first["error"]["message"]) == ("worker_lost", True)
    assert parts.store.jobs.get(batch["id"]).state is State.SUCCEEDED


@pytest.mark.parametrize("part", ['"z": ' + "[" * 300 + "]" * 300, r'"slots": {"\ud800": "x"}'], ids=["deep", "half"])
def test_a_job_that_cannot_be_written_down_is_refused(client: FlaskClient, part: str) -> None:
    job = '{"operation": "generate", "prompt": "a {{b}}", ' + part + "}"
    body = '{"operation": "batch", "job": ' + job + ', "rows": [{"b": "cup"}]}'
    answer = client.post("/v1/jobs", data=body, content_type="application/json")
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, "invalid_value", "job")
