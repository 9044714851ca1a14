"""What a job was asked for is told, and sending that again paints the same pictures."""

import json
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from qwen_image_studio.database.tables import jobs
from qwen_image_studio.jobs import Job, JobStore
from qwen_image_studio.planning.plan import read_plan
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png

REGION = {"x": 8, "y": 4, "width": 16, "height": 12}
MASK = png(32, 24, "white")
ASKED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "generate": ({"operation": "generate", "prompt": "红苹果", "n": 2, "size": "128x96"}, {}),
    "edit by a template": (
        {"operation": "edit", "template": "replace_object", "slots": {"old": "the cup", "new": "a cat"}},
        {"image": png()},
    ),
    "generate in an image's likeness": (
        {"operation": "generate", "prompt": "a cup", "strength": 0.5, "negative_prompt": "fog"},
        {"image": png()},
    ),
    "edit": ({"operation": "edit", "prompt": "make it red", "seed": 7}, {"image[]": [png(), png(8, 8)]}),
    "edit without a model": ({"operation": "edit", "prompt": "rotate it 90 degrees"}, {"image": png()}),
    "inpaint by a region": (
        {
            "operation": "inpaint",
            "prompt": "a cat",
            "region": REGION,
            "output_format": "jpg",
            "output_quality": 80,
            "feather": 9,
        },
        {"image": png()},
    ),
    "inpaint by a mask": ({"operation": "inpaint", "prompt": "a cat"}, {"image": png(), "mask": MASK}),
    "outpaint": ({"operation": "outpaint", "left": 8, "bottom": 16}, {"image": png()}),
    "outpaint to a shape": ({"operation": "outpaint", "aspect_ratio": "2:1", "anchor": "left"}, {"image": png()}),
    "adjust": ({"operation": "adjust", "adjustments": [{"do": "flip", "axis": "horizontal"}]}, {"image": png()}),
    "adjust by words": ({"operation": "adjust", "prompt": "make it brighter"}, {"image": png()}),
}
BY_NAME = pytest.mark.parametrize("name", ASKED)


def submitted(client: FlaskClient, params: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
    """The answer to a job, with files or without."""
    if not files:
        return again(client, params)
    form: dict[str, Any] = {"params": json.dumps(params)}
    for name, content in files.items():
        form[name] = [(BytesIO(data), "x.png") for data in (content if isinstance(content, list) else [content])]
    answer = client.post("/v1/jobs", data=form)
    assert answer.status_code == 202, answer.text
    return dict(answer.get_json())


def again(client: FlaskClient, asked: dict[str, Any]) -> dict[str, Any]:
    """The answer to what a job said of itself."""
    answer = client.post("/v1/jobs", json=asked)
    assert answer.status_code == 202, answer.text
    return dict(answer.get_json())


def same(store: JobStore, first: Job, second: Job) -> bool:
    """Whether two jobs paint the same pictures: by one plan, from the same pixels."""
    pixels = [[store.images.get(each).sha256 for each in job.inputs] for job in (first, second)]
    return read_plan(first.plan) == read_plan(second.plan) and pixels[0] == pixels[1]


@BY_NAME
def test_what_a_job_was_asked_for_paints_the_same_again(client: FlaskClient, store: JobStore, name: str) -> None:
    first = submitted(client, *ASKED[name])
    second = again(client, first["request"])
    assert same(store, store.jobs.get(first["id"]), store.jobs.get(second["id"]))
    assert second["request"].items() >= {k: v for k, v in first["request"].items() if k != "mask"}.items()


@BY_NAME
def test_a_job_of_an_earlier_version_says_what_its_plan_tells(client: FlaskClient, store: JobStore, name: str) -> None:
    first = submitted(client, *ASKED[name])
    with store.database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == first["id"]).values(request=None))
    told = client.get(f"/v1/jobs/{first['id']}").get_json()["request"]
    second = again(client, told)
    assert same(store, store.jobs.get(first["id"]), store.jobs.get(second["id"]))


def test_files_are_told_as_ids_and_what_was_decided_is_filled_in(client: FlaskClient, store: JobStore) -> None:
    job = submitted(client, *ASKED["inpaint by a mask"])
    image, mask = store.jobs.get(job["id"]).inputs
    told = job["request"]
    assert (told["image"], told["mask"], told["model"], told["tier"]) == ([image], mask, "miniature", "quality")
    assert told["seed"] == store.jobs.get(job["id"]).plan["seeds"][0]
    by_region = submitted(client, *ASKED["inpaint by a region"])["request"]
    assert "mask" not in by_region
    assert by_region["region"] == REGION


def test_a_template_is_told_with_its_slots(client: FlaskClient) -> None:
    told = submitted(client, *ASKED["edit by a template"])["request"]
    assert (told["template"], told["slots"]["new"]) == ("replace_object", "a cat")
    assert "prompt" not in told


def test_who_asked_is_told_beside_what_was_asked(client: FlaskClient) -> None:
    job = again(client, {"operation": "generate", "prompt": "a cup", "user": "ann", "conversation": "c1"})
    assert job["user"] == "ann"
    assert not {"user", "conversation"} & set(job["request"])


def test_a_batch_tells_its_job_and_the_number_of_its_rows(client: FlaskClient, light: Worker) -> None:
    rows = [{"thing": "cup"}, {"thing": "cat"}]
    body = {"operation": "generate", "prompt": "a {{thing}}", "seed": 3}
    batch = again(client, {"operation": "batch", "job": body, "rows": rows})
    assert batch["request"] == {"operation": "batch", "job": body, "rows": 2}
    assert light.run_next()
    told = [row["request"] for row in client.get(f"/v1/jobs?parent_id={batch['id']}").get_json()["data"]]
    assert [(row["prompt"], row["seed"]) for row in told] == [("a cup", 3), ("a cat", 4)]


def test_an_event_leaves_out_what_was_asked_for(client: FlaskClient, worker: Worker) -> None:
    job = again(client, {"operation": "generate", "prompt": "a cup", "steps": 2})
    assert worker.run_next()
    text = client.get(f"/v1/jobs/{job['id']}/events").text
    last = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")][-1]
    assert "request" not in last
    assert last["state"] == "succeeded"
