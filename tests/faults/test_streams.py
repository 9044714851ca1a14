"""Who follows everything of his misses nothing where the server is killed and started again meanwhile."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from tests.support.studio import SCRIPTED, Studio


def told(answer: requests.Response, cursors: list[str]) -> Iterator[tuple[str, Any]]:
    """The name and data of each event as it comes; the cursors are kept as a browser does."""
    name = ""
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        field, _, value = line.partition(": ")
        if field == "id":
            cursors.append(value)
        elif field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_a_stream_goes_on_over_a_kill_of_the_server(tmp_path: Path) -> None:
    cursors: list[str] = []
    with Studio(tmp_path, **SCRIPTED) as studio:
        first = studio.submit(prompt="pace=0.1", steps=20)["id"]
        with studio.request("GET", "/v1/events", stream=True) as answer:
            events = told(answer, cursors)
            assert next(data for _, data in events if data["state"] == "running")["id"] == first
            studio.kill()
        studio.start()
        second = studio.submit()["id"]
        assert [studio.finished(each)["state"] for each in (first, second)] == ["succeeded", "succeeded"]
        with studio.request("GET", "/v1/events", stream=True, headers={"Last-Event-ID": cursors[-1]}) as answer:
            seen: set[tuple[str, str]] = set()
            for name, data in told(answer, cursors):
                assert name != "reset"
                seen.add((name, data["id"] if name == "job" else data["job_id"]))
                if len(seen) == 4:
                    break
    assert seen == {("job", first), ("job", second), ("image", first), ("image", second)}
