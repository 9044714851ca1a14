"""Two people on one key, as Dify sends them, on a real server: neither waits for all that the other has queued."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.studio import Studio
from tests.support.waiting import until


@pytest.fixture
def studio(make_scripted: Callable[..., Studio]) -> Studio:
    """A server with one key, whose device ann's picture holds until somebody cancels it."""
    studio = make_scripted(with_key=True).start()
    held = studio.submit(prompt="forever", user="ann")
    until(lambda: studio.job(held["id"])["state"] == "running")
    return studio


def batch(studio: Studio, user: str, rows: int) -> dict[str, Any]:
    """A batch, once the rows that wait for the device are jobs."""
    job = {"operation": "generate", "prompt": "row {{number}}", "steps": 2}
    table = [{"number": str(number)} for number in range(rows)]
    asked = {"operation": "batch", "job": job, "rows": table, "user": user}
    answer = studio.request("POST", "/v1/jobs", json=asked)
    assert answer.status_code == 202, answer.text
    made = answer.json()
    until(lambda: len(rows_of(studio, made)) >= min(rows, 10))
    return dict(made)


def rows_of(studio: Studio, made: dict[str, Any]) -> list[dict[str, Any]]:
    return list(studio.request("GET", "/v1/jobs", params={"parent_id": made["id"], "limit": 100}).json()["data"])


def order(studio: Studio, number: int) -> list[str]:
    """Let go of the device; the prompts of the pictures that are painted then, in order."""
    [held] = studio.request("GET", "/v1/jobs", params={"state": "running", "user": "ann"}).json()["data"][-1:]
    studio.request("POST", f"/v1/jobs/{held['id']}/cancel")
    log = studio.folder / "data" / "painted.log"
    until(lambda: log.exists() and len(log.read_text().splitlines()) >= number)
    return [line.partition("\t")[0] for line in log.read_text().splitlines()[:number]]


def test_the_second_persons_first_picture_waits_for_one_picture_at_most(studio: Studio) -> None:
    for number in range(6):
        studio.submit(prompt=f"ann {number}", steps=2, user="ann")
    bobs = [studio.submit(prompt=f"bob {number}", steps=2, user="bob") for number in range(3)]
    assert [studio.job(job["id"])["queue_position"] for job in bobs] == [1, 3, 5]
    assert order(studio, 9) == ["bob 0", "ann 0", "bob 1", "ann 1", "bob 2", "ann 2", "ann 3", "ann 4", "ann 5"]


def test_who_names_nobody_is_one_person_of_the_key(studio: Studio) -> None:
    for number in range(3):
        studio.submit(prompt=f"ann {number}", steps=2, user="ann")
    for number in range(3):
        studio.submit(prompt=f"nobody {number}", steps=2)
    assert order(studio, 6) == ["nobody 0", "ann 0", "nobody 1", "ann 1", "nobody 2", "ann 2"]


def test_a_single_picture_waits_for_one_row_of_anothers_long_batch(studio: Studio) -> None:
    batch(studio, "ann", 100)
    single = studio.submit(prompt="bob", steps=2, user="bob")
    assert studio.job(single["id"])["queue_position"] == 1
    assert order(studio, 3) == ["bob", "row 0", "row 1"]


def test_a_batch_waits_for_one_picture_of_anothers_many(studio: Studio) -> None:
    for number in range(4):
        studio.submit(prompt=f"ann {number}", steps=2, user="ann")
    batch(studio, "bob", 2)
    assert order(studio, 6) == ["row 0", "ann 0", "row 1", "ann 1", "ann 2", "ann 3"]
