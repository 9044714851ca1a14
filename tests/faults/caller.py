"""Somebody who calls the plugin's tools over a network that breaks, and what must be true of it all the same."""

import hashlib
import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image

from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.support.daemon import Daemon, Failure, Outcome
from tests.support.dify import PROVIDER
from tests.support.studio import Studio
from tests.support.waiting import PATIENCE_S

PATIENT_S = 240
"""Time budget in seconds of who waits for a picture, however slow a loaded machine paints it."""
_numbers = itertools.count(1001, step=10)


@dataclass
class Caller:
    """An owner with a key of its own, who calls the tools of one plugin process."""

    plugin: Daemon
    studio: Studio
    server_url: str
    number: int = field(default_factory=lambda: next(_numbers))
    """Also the first seed of what it asks for; the next ones are its own, too."""
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.key = KeyStore(open_database(Settings(data_dir=self.studio.folder / "data"))).add(f"caller-{self.number}")

    def invoke(
        self, tool: str, *, budget: int = PATIENT_S, on_progress: Callable[[str], None] | None = None, **given: Any
    ) -> Outcome:
        """Call a tool, whatever comes of it; what it says must never hold the key or a traceback."""
        credentials = {"server_url": self.server_url, "api_key": self.key, "time_budget": budget}
        outcome = self.plugin.invoke(PROVIDER, tool, given, credentials, timeout=budget + 30, on_progress=on_progress)
        said = b"\n".join(self.plugin.lines).decode() + self.plugin.stderr()
        assert self.key not in said
        assert "Traceback" not in self.plugin.stderr()
        assert "Traceback" not in str(outcome.variables)
        if outcome.error is not None:
            assert_plain(outcome.error)
        return outcome

    def paint(self, prompt: str = "a cup", **given: Any) -> Outcome:
        """Call image_generation."""
        return self.invoke("image_generation", prompt=prompt, seed=self.number, **{"steps": 2, **given})

    def jobs(self, **query: str) -> list[dict[str, Any]]:
        """The owner's jobs as the server lists them, without the rows of batches."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = self.studio.request("GET", "/v1/jobs", params={"limit": "100", **query}, headers=headers)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    def painted(self, seed: int | None = None) -> int:
        """How often the engine painted a picture of this seed to its end."""
        log = (self.studio.folder / "data" / "painted.log").read_text()
        return [line.rpartition("\t")[2] for line in log.splitlines()].count(str(seed or self.number))


def assert_plain(error: Failure) -> None:
    """A sentence for a person. The newest SDK adds a traceback by itself: it must not show what was beneath."""
    assert 'File "' not in error.message
    assert "Traceback" not in error.message
    told = json.dumps(error.args)
    for beneath in ("client.py", "exchange.py", "connection.py", "urllib3", "During handling", "direct cause"):
        assert beneath not in told


def assert_one_picture(caller: Caller, outcome: Outcome, *, attempt: int = 1) -> None:
    """One job at the server, painted once; one picture stored, and it came back whole."""
    outcome.raise_on_error()
    [job] = caller.jobs()
    assert (job["id"], job["state"], job["attempt"]) == (outcome.variables["job_id"], "succeeded", attempt)
    assert caller.painted() == 1
    [image], [blob] = job["images"], outcome.blobs
    assert hashlib.sha256(blob.content).hexdigest() == image["sha256"]
    picture = Image.open(BytesIO(blob.content)).convert("RGB")
    assert picture.size == (image["width"], image["height"])
    assert picture.getpixel((0, 0)) == (caller.number % 256, caller.number // 256 % 256, 128)
    stored = (caller.studio.folder / "data" / "images").rglob(f"{job['id']}*.png")
    assert len(list(stored)) == 1


def assert_told(outcome: Outcome, trouble: str) -> None:
    """Progress says why it takes longer; of calls that end within three seconds it says nothing."""
    assert trouble in outcome.variables["progress"].lower()


def waits_at(barrier: threading.Barrier, beginning: str) -> Callable[[str], None]:
    """A watcher of progress that waits at the barrier at the first line with this beginning, and only there."""
    met = threading.Event()

    def watch(line: str) -> None:
        if line.startswith(beginning) and not met.is_set():
            met.set()
            barrier.wait(PATIENCE_S)

    return watch


class FullQueue:
    """Somebody else's jobs: one that is painted and as many as may wait; use as a context manager."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._jobs: list[str] = []

    def __enter__(self) -> "FullQueue":
        self._jobs.append(self._studio.submit(prompt="forever")["id"])
        while self._studio.job(self._jobs[0], wait=5)["state"] != "running":
            pass
        self._jobs += [self._studio.submit()["id"] for _ in range(2)]
        return self

    def drain(self) -> None:
        """Cancel what still waits."""
        for job_id in self._jobs[::-1]:
            self._studio.request("POST", f"/v1/jobs/{job_id}/cancel")
        for job_id in self._jobs:
            self._studio.finished(job_id)
        self._jobs.clear()

    def __exit__(self, *_: object) -> None:
        self.drain()
