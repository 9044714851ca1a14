"""What only stores in a bucket can suffer: pages of lists, broken answers, refusals, keys and signatures."""

import logging
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.gallery import Gallery
from qwen_image_studio.gallery.bucket import bucket_of
from qwen_image_studio.gallery.links import open_links
from qwen_image_studio.gallery.pruning import Pruning
from qwen_image_studio.gallery.s3 import S3Store, open_s3
from qwen_image_studio.gallery.trial import try_store
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from tests.support.scripted_s3 import ACCESS_KEY, SECRET, Answer, ScriptedS3, error, file, says
from tests.support.servers.objects import KEY as S3RVER
from tests.support.servers.objects import Moto, ObjectStore
from tests.support.waiting import until

KEY = "2026/11/21/img_1.png"
DATA = os.urandom(300_000)


def opened(server: ObjectStore, **changes: object) -> S3Store:
    """The store of a server with a place of its own."""
    return open_s3(Settings.model_validate({**server.settings, **changes}))


@pytest.fixture(autouse=True)
def no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's credentials are found, and no machine's role is looked for."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")


# -- reading -------------------------------------------------------------------------------------------------------


def test_a_file_is_read_in_one_request_from_where_reading_begins() -> None:
    with ScriptedS3(file(DATA)) as server:
        with server.store().open(KEY).stream as stream:
            assert b"".join(iter(lambda: stream.read(64 * 1024), b"")) == DATA
        assert len(server.asked) == 1
        with server.store().open(KEY).stream as stream:
            stream.seek(200_000)
            assert b"".join(iter(lambda: stream.read(10_000), b"")) == DATA[200_000:]
        assert [headers.get("range") for _, _, headers in server.asked] == [None, None, "bytes=200000-"]
        assert server.asked[-1][2]["if-match"] == '"abc"'


def test_an_answer_that_breaks_off_is_read_on_from_there() -> None:
    with ScriptedS3(file(DATA, sent=150_000), file(DATA)) as server:
        with server.store().open(KEY).stream as stream:
            assert stream.read() == DATA
        assert server.asked[1][2]["range"] == "bytes=150000-"


def test_what_breaks_off_again_and_again_is_no_file() -> None:
    with ScriptedS3(file(DATA, sent=100_000), file(DATA, sent=0)) as server:
        with server.store().open(KEY).stream as stream, pytest.raises(StudioError) as caught:
            stream.read()
    assert caught.value.code == "storage_failed"


def test_a_file_that_was_replaced_meanwhile_is_not_mixed() -> None:
    with ScriptedS3(file(DATA, sent=100_000), file(DATA[::-1], tag="def")) as server:
        with server.store().open(KEY).stream as stream, pytest.raises(StudioError, match="PreconditionFailed"):
            stream.read()


# -- putting and listing -------------------------------------------------------------------------------------------


def test_a_put_is_one_plain_request() -> None:
    with ScriptedS3(says(200, ETag='"abc"')) as server:
        server.store().put(KEY, DATA, "image/png")
        [(method, path, headers)] = server.asked
    assert (method, path) == ("PUT", f"/pictures/{KEY}")
    assert (headers["content-type"], headers["cache-control"]) == ("image/png", "max-age=3600, immutable")
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
    forms = {"x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm", "transfer-encoding", "content-encoding"}
    assert not forms & headers.keys(), "other stores than AWS refuse these"


@pytest.mark.parametrize("refusal", [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_store_without_conditional_puts_puts_once_all_the_same(refusal: tuple[int, str]) -> None:
    with ScriptedS3(says(404), error(*refusal), says(200, ETag='"abc"')) as server:
        assert server.store().put_once(KEY, b"x", "text/plain")
        assert [(method, "if-none-match" in headers) for method, _, headers in server.asked] == [
            ("HEAD", False), ("PUT", True), ("PUT", False),
        ]  # fmt: skip


def test_more_files_than_a_page_are_listed_page_by_page(moto: ObjectStore) -> None:
    store, other = opened(moto), opened(moto)
    other.put("other.png", b"x", "image/png")
    names = {f"2026/11/21/{number}.png" for number in range(1100)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, b"x", "image/png"), names))
    asked: list[str] = []
    store.client.meta.events.register("before-send.s3.ListObjectsV2", lambda request, **_: asked.append(request.url))
    listed = store.keys()
    next(listed)
    assert len(asked) == 1, "the next page is asked for when it is needed"
    assert {key for key, _ in store.keys()} == names


def test_a_large_bucket_is_looked_through_in_little_memory(tmp_path: Path) -> None:
    """Leftovers of a bucket with 20 pages; nothing of it is kept but the page at hand."""
    settings = Settings(data_dir=tmp_path)
    with open_store(settings) as jobs, ScriptedS3(pages(20, jobs.forgetting.installation().encode())) as server:
        pruning = Pruning(Gallery(server.store(), jobs, open_links(settings)), jobs, settings, dry_run=True)
        pieces = pruning.pieces(None)
        next(pieces)  # boto3 and its client are there from now on
        tracemalloc.start()
        for _ in pieces:
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert pruning.pruned.leftovers == 20_000
    assert peak < 10 * 2**20


def pages(count: int, mark: bytes) -> Answer:
    """A list of so many pages with 1000 old pictures each; whatever is read is the mark."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        query = parse_qs(urlsplit(handler.path).query)
        if "list-type" not in query:
            return file(mark)(handler)
        page = int(query.get("continuation-token", ["0"])[0])
        keys = (f"2026/01/02/img_{page * 1000 + number:024x}.png" for number in range(1000))
        rest = "<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;a&quot;</ETag><Size>1</Size>"
        listed = "".join(f"<Contents><Key>{key}</Key>{rest}</Contents>" for key in keys)
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{page + 1}</NextContinuationToken>"
        end = more if page + 1 < count else "<IsTruncated>false</IsTruncated>"
        body = f"<ListBucketResult>{listed}{end}</ListBucketResult>".encode()
        return says(200, body, Content_Type="application/xml")(handler)

    return answer


DIES_IN_PUT = """
import sys
from qwen_image_studio.gallery.s3 import open_s3
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
store = open_s3(Settings(_env_file=None))
store.put("before.png", b"x", "image/png")
print("now", flush=True)
sys.stdin.readline()
store.put("2026/11/21/img_1.png", bytes(64_000_000), "image/png")
"""


def test_a_put_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    with Moto() as server:
        told = server.settings
        store = open_s3(Settings.model_validate(told))
        environment = {f"STUDIO_{name.upper()}": value for name, value in told.items()}
        environment |= {"PYTHONPATH": ":".join(sys.path), "STUDIO_DATA_DIR": str(tmp_path)}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", DIES_IN_PUT], env=environment, **pipes) as putting:
            assert putting.stdin is not None
            assert putting.stdout is not None
            assert putting.stdout.readline() == b"now\n"
            server.freeze()
            putting.stdin.write(b"\n")
            putting.stdin.flush()
            until(lambda: queued_for(server.port) > 100_000)  # it is in the middle of the file
            putting.send_signal(signal.SIGKILL)
        server.thaw()
        assert [key for key, _ in store.keys()] == ["before.png"]


def queued_for(port: int) -> int:
    """The bytes that lie in the kernel for who listens on a port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(line[4].split(":")[1], 16) for line in lines if line[1].endswith(f":{port:04X}"))


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (error(404, "NoSuchKey"), "not_found", "There is no such image"),
        (error(404, "NoSuchBucket"), "storage_failed", "NoSuchBucket, HTTP 404"),
        (error(403, "AccessDenied"), "storage_failed", "AccessDenied, HTTP 403"),
        (error(403, "SignatureDoesNotMatch"), "storage_failed", "SignatureDoesNotMatch, HTTP 403"),
        (error(503, "SlowDown"), "storage_failed", "SlowDown, HTTP 503"),
        (says(500), "storage_failed", "HTTP 500"),
    ],
)
def test_errors_of_the_store_are_told_without_what_it_repeats(
    answer: Answer, code: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedS3(answer) as server, pytest.raises(StudioError) as caught:
        server.store().open(KEY).stream.read()
    assert caught.value.code == code
    assert told in caught.value.message
    for secret in (SECRET, ACCESS_KEY, "AWS4-HMAC"):
        assert secret not in caught.value.message + caplog.text


def test_a_store_that_is_away_fails_every_call() -> None:
    with ScriptedS3(says(200)) as server:
        store = server.store()
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: store.put(KEY, b"x", "image/png"),
        "put_once": lambda: store.put_once(KEY, b"x", "image/png"),
        "open": lambda: store.open(KEY),
        "delete": lambda: store.delete(KEY),
        "keys": lambda: list(store.keys()),
    }
    for name, call in calls.items():
        with pytest.raises(StudioError, match="it cannot be reached") as caught:
            call()
        assert caught.value.code == "storage_failed", name
    with pytest.raises(StudioError, match="it cannot be reached"):
        try_store(store)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (error(404, "NoSuchBucket"), "there is no bucket 'pictures' at http.*; create it"),
        (error(403, "AccessDenied"), "the credentials may not list the files in bucket .*allow s3:ListBucket"),
        (error(403, "InvalidAccessKeyId"), "does not accept the credentials .*correct STUDIO_STORAGE_ACCESS_KEY"),
        (error(403, "SignatureDoesNotMatch"), "does not accept the credentials"),
        (error(403, "RequestTimeTooSkewed"), "the clock of this machine is too far"),
        (error(400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"), "write region=eu-west-3"),
        (error(301, "PermanentRedirect", x_amz_bucket_region="eu-west-3"), "lies in the region eu-west-3"),
        (
            says(200, b"<ListBucketResult/>", Content_Type="application/xml", x_amz_bucket_region="eu-west-3"),
            "lies in the region eu-west-3",
        ),
    ],
)
def test_a_trial_says_what_to_change(answer: Answer, told: str) -> None:
    with ScriptedS3(answer) as server, pytest.raises(CannotServe, match=f"^STUDIO_STORAGE_URL: .*{told}") as caught:
        try_store(server.store())
    assert SECRET not in str(caught.value)


def test_a_trial_without_the_right_to_put_says_so() -> None:
    page = says(200, b"<ListBucketResult/>", Content_Type="application/xml")
    with ScriptedS3(page, error(403, "AccessDenied")) as server, pytest.raises(CannotServe, match="may not put a file"):
        try_store(server.store())


def test_a_trial_without_credentials_says_so(moto: ObjectStore) -> None:
    store = S3Store(bucket_of(moto.url))
    with pytest.raises(CannotServe, match=r"there are no credentials .*set STUDIO_STORAGE_ACCESS_KEY"):
        try_store(store)


def test_a_trial_leaves_nothing(moto: ObjectStore, nanio: ObjectStore, s3rver: ObjectStore) -> None:
    for server in (moto, nanio, s3rver):
        store = opened(server)
        try_store(store)
        assert list(store.keys()) == []


def test_a_trial_of_wrong_keys(nanio: ObjectStore) -> None:
    for wrong in ({"storage_access_key": "OTHER"}, {"storage_secret_key": "OTHER"}):
        with pytest.raises(CannotServe, match="does not accept the credentials"):
            try_store(opened(nanio, **wrong))


def test_the_credentials_of_the_environment_are_found(nanio: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3RVER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3RVER)
    try_store(opened(nanio, storage_access_key="", storage_secret_key=""))


def test_one_client_for_all_threads() -> None:
    with ScriptedS3(file(DATA)) as server, ThreadPoolExecutor(16) as pool:
        store = server.store()
        assert len({id(client) for client in pool.map(lambda _: store.client, range(64))}) == 1
