"""Attacks with ordinary requests, small: while they go on, everybody else is answered. Those of the wire are in
`test_callers`, what each costs is a table of ``make bench-limits``.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import requests

from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.support.studio import SCRIPTED, Studio

AT_ONCE = 10
CLIENTS = 32
QUEUE = 10


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server without keys, whose queue holds all that is sent here."""
    with Studio(tmp_path_factory.mktemp("roomy"), **SCRIPTED, queue_limit=2000) as server:
        yield server


def under_attack(studio: Studio, attack: Callable[[], requests.Response]) -> list[int]:
    """Attack several times at once, and ask for health meanwhile; the statuses of the attack's answers."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        attacks = [threads.submit(attack) for _ in range(AT_ONCE)]
        assert requests.get(f"{studio.url}/v1/health", timeout=60).status_code == 200
        return [each.result().status_code for each in attacks]


@pytest.mark.parametrize("part", ["<|", "<|a|>", "<think>", "{{ a", "\0", "e\u0301\u200b"])
def test_texts_that_were_made_to_be_dear_hold_nobody_up(roomy: Studio, part: str) -> None:
    """B3: in a prompt, and in a prompt of a batch with many rows."""
    text = part * (7000 // len(part))
    batch = {
        "operation": "batch",
        "job": {"operation": "generate", "prompt": "{{a}}"},
        "rows": [{"a": text[:2000]}] * 300,
    }
    for body in ({"operation": "generate", "prompt": text, "steps": 2}, batch):
        answers = under_attack(roomy, partial(roomy.request, "POST", "/v1/jobs", json=body))
        assert set(answers) <= {202, 400, 413, 422, 429}


def png_of_many_chunks(count: int) -> bytes:
    """A small PNG with so many text chunks."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * (8 * 25)))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"tEXt", b"a\0b") * count + pixels + chunk(b"IEND", b"")


def run_length_bmp(side: int) -> bytes:
    """A BMP of runs (BI_RLE8), which ends after its first pixel: a few bytes for any number of pixels."""
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 4, 2835, 2835, 256, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 1024 + 4, 0, 0, 14 + 40 + 1024) + info + bytes(1024) + b"\1\0\0\1"


@pytest.mark.parametrize("file", [png_of_many_chunks(200_000), run_length_bmp(7000), b"\xff" * 5_000_000])
def test_files_that_were_made_to_be_dear_hold_nobody_up(roomy: Studio, file: bytes) -> None:
    """B5: they are refused before anything is decoded."""
    assert set(under_attack(roomy, partial(roomy.edit, file))) == {422}


def test_a_page_of_another_site_changes_nothing(roomy: Studio) -> None:
    """B6: as a browser sends it, with a form of that page."""
    newest = roomy.submit(steps=2)["id"]
    sent = roomy.request(
        "POST", "/v1/jobs", headers={"Origin": "https://evil.example"},
        files={"params": (None, '{"operation": "generate", "prompt": "a cup"}')},
    )  # fmt: skip
    assert (sent.status_code, sent.json()["error"]["code"]) == (403, "foreign_page")
    assert roomy.request("GET", "/v1/jobs").json()["data"][0]["id"] == newest


def test_one_owner_cannot_fill_the_queue_for_all(make_scripted: Callable[..., Studio]) -> None:
    """B7: whoever comes next finds a place."""
    studio = make_scripted(with_key=True, queue_limit=QUEUE, shutdown_grace_s=0.5).start()
    body = {"operation": "generate", "prompt": "forever"}
    people = [{**body, "user": f"person {number}"} for number in range(QUEUE + 5)]
    answers = [studio.request("POST", "/v1/jobs", json=asked) for asked in people]
    assert [answer.status_code for answer in answers][-1] == 429
    assert "Your share of the queue is full" in answers[-1].json()["error"]["message"]
    studio.api_key = KeyStore(open_database(Settings(data_dir=studio.folder / "data"))).add("another")
    assert studio.submit()["state"] == "queued"


def test_many_submits_at_once_are_all_kept(roomy: Studio) -> None:
    """B8: they wait for their turn to write, and none is sent away."""
    body = {"operation": "generate", "prompt": "a cup", "steps": 2}
    with ThreadPoolExecutor(CLIENTS) as threads:
        sent = [threads.submit(roomy.request, "POST", "/v1/jobs", json=body) for _ in range(4 * CLIENTS)]
        assert {each.result().status_code for each in sent} == {202}
