"""kill -9 of a worker while it signs: no row and no file of that attempt, and the next one signs its own."""

from collections.abc import Callable
from pathlib import Path

import requests

from tests.faults.test_kills import assert_whole, stored_files
from tests.support.authority import Silence, active, authority, seen
from tests.support.studio import Studio
from tests.support.waiting import until


def test_a_worker_killed_while_it_signs_leaves_nothing(make_scripted: Callable[..., Studio], tmp_path: Path) -> None:
    with Silence() as silence:  # which holds each signature up until somebody gives in
        studio = make_scripted(**authority().issue().files(tmp_path / "keys"), c2pa_tsa_url=silence.url).start()
        job = studio.submit(prompt="a cup", steps=2, seed=7)
        silence.await_call()
        assert not [name for name in stored_files(studio) if job["id"] in name]
        assert studio.job(job["id"])["images"] == []
        assert studio.kill_one("worker")
        until(lambda: studio.job(job["id"])["attempt"] == 2)
        done = studio.finished(job["id"])
    assert_whole(studio, done)
    assert done["attempt"] == 2
    assert any("time-stamping authority did not answer" in each for each in done["warnings"])
    assert len([name for name in stored_files(studio) if job["id"] in name]) == 2
    [image] = done["images"]
    active(seen(requests.get(image["url"], timeout=60).content, "image/png"))
    assert image["sha256"] != image["unsigned_sha256"]
    assert "PRIVATE KEY" not in studio.log.read_text()
