"""Where no app is named, as in the new Agent: images go to Dify as files of its own, or as bytes if it takes none."""

from collections.abc import Iterator
from email.parser import BytesParser
from typing import Any

import pytest

from tests.plugin.test_tools import GENERATION_VARIABLES
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import CANARY, PROVIDER
from tests.support.scripted import PNG, SUCCEEDED, Answer, Call, ScriptedServer, ScriptedStudio

UPLOAD_S = 10
"""How long the plugin gives Dify for each half of an upload."""


class Uploads(ScriptedServer):
    """Dify's end of an upload: it says where to, and takes what comes. ``status`` and ``refused`` make it fail."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.status, self.refused = 201, False
        self.asked: list[dict[str, Any]] = []

    def hook(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Answer the reverse call."""
        self.asked.append(asked)
        if self.refused:
            raise PermissionError("not for plugins")
        yield {"url": f"{self.url}/files/upload/for-plugin?sign=s"}

    @property
    def contents(self) -> list[bytes]:
        """The files that came, in order."""
        return [_file_of(call) for call in self.calls]

    def _take(self, call: Call) -> Answer:
        number = len(self.calls)
        about = {"name": f"{number}.png", "size": 1, "extension": ".png", "mime_type": "image/png"}
        link = f"http://api:5001/files/tools/kept{number}.png?sign=s"
        return Answer(self.status, {"id": f"kept{number}", **about, "preview_url": link})


def _file_of(call: Call) -> bytes:
    head = f"Content-Type: {call.headers['Content-Type']}\r\n\r\n".encode()
    [content] = [
        part.get_payload(decode=True)
        for part in BytesParser().parsebytes(head + call.body).walk()
        if part.get_filename()
    ]
    assert isinstance(content, bytes)
    return content


@pytest.fixture
def uploads(plugin: Daemon) -> Iterator[Uploads]:
    """Dify takes uploads while this is there."""
    with Uploads() as server:
        plugin.hooks["upload_file"] = server.hook
        yield server
    del plugin.hooks["upload_file"]


@pytest.fixture
def painted_two(scripted: ScriptedStudio) -> ScriptedStudio:
    """A studio that paints two images."""
    scripted.count = 2
    return scripted


def generate(plugin: Daemon, credentials: dict[str, object], app_id: str | None = None) -> Outcome:
    """Ask for two images, as the new Agent does unless an app is named."""
    asked = {"prompt": "a red apple", "n": 2}
    outcome = plugin.invoke(PROVIDER, "image_generation", asked, credentials, app_id=app_id)
    outcome.raise_on_error()
    return outcome


def links(outcome: Outcome) -> list[tuple[str, Any]]:
    """Dify's own files among the messages: their paths and what is said of them."""
    return [(one["message"]["text"], one["meta"]) for one in outcome.raw if one["type"] == "image_link"]


def test_a_surface_without_an_app_gets_files_of_difys_own(
    plugin: Daemon, painted_two: ScriptedStudio, credentials: dict[str, object], uploads: Uploads
) -> None:
    outcome = generate(plugin, credentials)
    assert outcome.blobs == [], "the new Agent would hand their bytes to the language model"
    assert links(outcome) == [
        ("/files/tools/kept1.png", {"mime_type": "image/png", "filename": "img0.png"}),
        ("/files/tools/kept2.png", {"mime_type": "image/png", "filename": "img1.png"}),
    ]
    assert uploads.contents == [PNG, PNG]
    assert uploads.asked[0] == {"filename": "img0.png", "mimetype": "image/png"}
    [text] = outcome.texts
    for position in (0, 1):
        assert f"![image](https://studio.example/files/img{position}?sign=s)" in text
    assert text.count("\n") == 1
    assert set(outcome.variables) == GENERATION_VARIABLES
    assert all("Authorization" not in call.headers for call in uploads.calls), "the studio's key is not Dify's to see"


@pytest.mark.parametrize(("status", "refused"), [(500, False), (413, False), (201, True)])
def test_where_dify_takes_no_file_the_bytes_go_after_one_attempt(
    plugin: Daemon,
    painted_two: ScriptedStudio,
    credentials: dict[str, object],
    uploads: Uploads,
    status: int,
    refused: bool,
) -> None:
    uploads.status, uploads.refused = status, refused
    outcome = generate(plugin, credentials)
    assert [blob.content for blob in outcome.blobs] == [PNG, PNG]
    assert links(outcome) == []
    assert len(uploads.asked) == 1
    assert CANARY not in str(outcome.raw)


def test_near_the_end_of_the_budget_no_upload_is_tried(
    plugin: Daemon, painted_two: ScriptedStudio, credentials: dict[str, object], uploads: Uploads
) -> None:
    late = Answer(200, painted_two.view("job0", SUCCEEDED), delay_s=30 - 2 * UPLOAD_S + 0.5)
    painted_two.script["GET /v1/jobs/job0"].append(late)
    outcome = generate(plugin, credentials | {"time_budget": 30})
    assert [blob.content for blob in outcome.blobs] == [PNG, PNG]
    assert uploads.asked == []


def test_a_surface_with_an_app_shows_bytes_and_is_not_asked(
    plugin: Daemon, painted_two: ScriptedStudio, credentials: dict[str, object], uploads: Uploads
) -> None:
    outcome = generate(plugin, credentials, app_id="app-1")
    assert [blob.content for blob in outcome.blobs] == [PNG, PNG]
    assert uploads.asked == []
    assert "![image]" not in outcome.texts[0], "Dify shows it; a second one by the language model would be too many"
