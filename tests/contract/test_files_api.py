"""Files over HTTP: conditions and ranges as RFC 9110 has them, and large files in pieces."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from flask.testing import FlaskClient

from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.jobs import StoredImage
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.routing import Services
from tests.support.studio import Studio

DATA = bytes(range(256)) * 40
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
KEY = "2026/11/21/img_1.png"


def image_of(data: bytes, owner: str = "local") -> StoredImage:
    """The row of an image with that file."""
    return StoredImage(
        id="img_1", owner=owner, key=KEY, thumbnail_key=KEY, width=8, height=8, mime_type="image/png",
        bytes=len(data), sha256="ab" * 32, created_at=1.0,
    )  # fmt: skip


Ask = Callable[..., Any]


@pytest.fixture(params=["content", "link"])
def ask(request: pytest.FixtureRequest, client: FlaskClient, parts: Services) -> Ask:
    """Ask for one file in each of the two ways, with headers."""
    parts.gallery.files.put(KEY, DATA, "image/png")
    parts.store.images.add(image_of(DATA))
    address = "/v1/images/img_1/content" if request.param == "content" else parts.gallery.link(KEY)

    def asked(method: str = "GET", **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.open(address, method=method, headers=named)

    return asked


def test_the_whole_file_comes_with_a_strong_tag(ask: Ask) -> None:
    answer = ask()
    assert (answer.status_code, answer.data, answer.mimetype) == (200, DATA, "image/png")
    tag, is_weak = answer.get_etag()
    assert (bool(tag), is_weak) == (True, False)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.content_length == len(DATA)
    assert ask().headers["ETag"] == answer.headers["ETag"]


def test_a_file_that_is_known_is_not_sent_again(ask: Ask) -> None:
    tag = ask().headers["ETag"]
    for known in (tag, f'"other", {tag}', "*", f"W/{tag}"):
        answer = ask(If_None_Match=known)
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == tag
        assert "max-age" in answer.headers["Cache-Control"]
    assert ask(If_None_Match='"other"').status_code == 200


def test_the_condition_comes_before_the_range(ask: Ask) -> None:
    tag = ask().headers["ETag"]
    assert ask(If_None_Match=tag, Range="bytes=0-1").status_code == 304
    assert ask(If_None_Match='"other"', Range="bytes=0-1").status_code == 206
    answer = ask(If_Match='"other"', Range="bytes=0-1")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (412, "precondition_failed")
    for there in (tag, "*"):
        assert ask(If_Match=there).status_code == 200
    assert ask(If_Match="*", Range="bytes=0-1").status_code == 206


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("0-0", 0, 0),
        ("0-99", 0, 99),
        ("100-", 100, 10239),
        ("-7", 10233, 10239),
        ("-99999", 0, 10239),
        ("10000-99999", 10000, 10239),
    ],
)
def test_a_range_comes_alone(ask: Ask, asked: str, first: int, last: int) -> None:
    answer = ask(Range=f"bytes={asked}")
    assert (answer.status_code, answer.data) == (206, DATA[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert answer.content_length == last - first + 1
    answer.close()


@pytest.mark.parametrize("asked", ["10240-", "99999-100000"])
def test_a_range_beyond_the_end_tells_the_length(ask: Ask, asked: str) -> None:
    answer = ask(Range=f"bytes={asked}")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=0-1", "bytes=x", "bytes=5-2", "nonsense", ""])
def test_a_range_of_another_kind_is_the_whole_file(ask: Ask, asked: str) -> None:
    answer = ask(Range=asked)
    assert (answer.status_code, answer.data) == (200, DATA)


def test_a_range_of_another_version_is_the_whole_file(ask: Ask) -> None:
    tag = ask().headers["ETag"]
    for condition, status in ((tag, 206), ('"other"', 200), (f"W/{tag}", 200), (DATE, 200)):
        answer = ask(Range="bytes=0-1", If_Range=condition)
        assert answer.status_code == status, condition
        answer.close()


def test_head_tells_what_get_would(ask: Ask) -> None:
    answer = ask("HEAD", Range="bytes=0-1")
    assert (answer.status_code, answer.data, answer.content_length) == (200, b"", len(DATA))
    assert answer.headers["ETag"] == ask().headers["ETag"]
    assert ask("HEAD", If_None_Match=answer.headers["ETag"]).status_code == 304


def test_a_file_that_was_replaced_has_another_tag(client: FlaskClient, parts: Services) -> None:
    """As a preview is at every step."""
    parts.store.images.add(image_of(DATA))
    tags = set()
    for data in (b"one", b"two"):
        parts.gallery.files.put(KEY, data, "image/png")
        answer = client.get(parts.gallery.link(KEY))
        assert answer.data == data
        tags.add(answer.headers["ETag"])
    assert len(tags) == 2


def test_every_answer_lets_go_of_its_file(ask: Ask) -> None:
    tag = ask().headers["ETag"]
    held = len(os.listdir("/proc/self/fd"))
    for headers in ({}, {"If_None_Match": tag}, {"Range": "bytes=9-"}, {"Range": "bytes=99999-"}, {"If_Match": '"x"'}):
        for _ in range(20):
            ask(**headers).close()
    assert len(os.listdir("/proc/self/fd")) <= held


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A web process over a real socket, with one image of 50 MB."""
    studio = Studio(tmp_path_factory.mktemp("large"))
    settings = Settings(_env_file=None, data_dir=studio.folder / "data", port=studio.port)
    store = open_store(settings)
    gallery = open_gallery(settings, store)
    data = os.urandom(1_000_000) * 50
    gallery.files.put(KEY, data, "image/png")
    store.images.add(image_of(data))
    studio.process = studio.spawn("web")
    studio.wait_for_state("starting")
    yield studio, gallery.link(KEY), data
    studio.stop()


def peak_kb(process: psutil.Process) -> int:
    """The largest resident memory that the process has had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.processes
def test_a_large_file_costs_little_memory(web: Any) -> None:
    studio, url, data = web
    assert requests.get(url, headers={"Range": "bytes=0-9"}, timeout=60).content == data[:10]
    before = {process: peak_kb(process) for process in studio.family()}
    for _ in range(3):
        assert requests.get(url, timeout=60).content == data
    answer = requests.get(url, headers={"Range": f"bytes={len(data) - 20_000_000}-"}, timeout=60)
    assert (answer.status_code, answer.content) == (206, data[-20_000_000:])
    for process, peak in before.items():
        assert peak_kb(process) - peak < 10_000, "the file was read whole"


def test_a_caller_who_leaves_in_the_middle_leaves_nothing_open(web: Any) -> None:
    studio, url, _ = web
    for _ in range(3):
        answer = requests.get(url, stream=True, timeout=60)
        next(answer.iter_content(100_000))
        answer.close()
    assert requests.get(url, headers={"Range": "bytes=5-6"}, timeout=60).status_code == 206
    workers = studio.family()

    def held() -> list[str]:
        return [file.path for process in workers for file in process.open_files() if file.path.endswith("img_1.png")]

    for _ in range(100):
        if not held():
            break
        requests.get(url, headers={"Range": "bytes=0-0"}, timeout=60)
    assert held() == []
