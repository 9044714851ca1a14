"""B11: the log. Whatever callers send, an entry is one line, and no byte in it commands a terminal."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import LogFormat
from qwen_image_studio.system.logs import MOST_CHARS, carried, write_log
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker

FORGED = "1999-12-31 23:59:59,000 INFO qwen_image_studio.web.edge: forged"
HOSTILE = ["\n", "\r", "\r\n", "\x1b[2J", "\x9b31m", "\x85", "\u2028", "\u202e", "\x07", "\x00", "\ud800"]


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What a process of the server writes to its log."""
    root, factory = logging.getLogger(), logging.getLogRecordFactory()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    written = StringIO()
    write_log(written)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.setLogRecordFactory(factory)


def lines(log: StringIO) -> list[str]:
    """The lines of a log, as any reader may divide them; all can be printed."""
    found = log.getvalue().splitlines()
    assert all(line.isprintable() for line in found), found
    assert log.getvalue().count("\n") == len(found)
    return found


def test_a_row_of_a_batch_writes_no_line_of_its_own(client: FlaskClient, light: Worker, log: StringIO) -> None:
    rows = [{"image": f"img_{hostile}{FORGED}"} for hostile in HOSTILE if hostile.isascii() and hostile != "\0"]
    job = {"operation": "edit", "prompt": "rotate it 90 degrees", "image": "{{image}}"}
    answer = client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": rows})
    assert answer.status_code == 202, answer.text
    while light.run_next():
        pass
    told = [line for line in lines(log) if "qwen_image_studio.worker.batches: job" in line]
    assert len(told) == len(rows)
    assert not [line for line in lines(log) if line.startswith(FORGED[:16])]


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_a_text_writes_no_line_of_its_own(log: StringIO, hostile: str) -> None:
    logging.getLogger("x").info("image %s", f"{hostile}{FORGED}")
    [line] = lines(log)
    assert line.endswith(FORGED)


def test_no_part_of_a_request_writes_a_line_of_its_own(client: FlaskClient, log: StringIO) -> None:
    for hostile in ("\n", "\x1b[2J", "\u2028"):
        client.get(f"/v1/jobs/{quote(hostile + FORGED)}")
        client.open("/v1/jobs", method=f"GET{hostile if hostile.isascii() else ''}")
        client.post("/v1/jobs", json={"operation": "generate", "prompt": f"x{hostile}{FORGED}", "steps": "x"})
    assert len(lines(log)) == 9
    assert not [line for line in lines(log) if line.startswith(FORGED[:16])]


def test_a_traceback_is_told_from_entries_by_the_beginning_of_its_lines(log: StringIO) -> None:
    try:
        raise ValueError(f"bad value 'a\n{FORGED}\x1b[2J'")
    except ValueError:
        logging.getLogger("library").exception("job %s failed", "job_1\nx")
    first, *rest = lines(log)
    assert first.endswith(" ERROR library: job job_1\\nx failed")
    assert rest[0] == "  | Traceback (most recent call last):"
    assert all(line.startswith("  | ") for line in rest)
    assert rest[-1] == f"  | {FORGED}\\x1b[2J'"


def test_a_formatter_of_a_library_gets_the_same(log: StringIO) -> None:
    own = StringIO()
    logger = logging.Logger("gunicorn.error")
    handler = logging.StreamHandler(own)
    handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s"))
    logger.addHandler(handler)
    logger.warning("Invalid request: %s", f"GET /\n{FORGED}\x1b[2J")
    assert len(lines(own)) == 1
    assert log.getvalue() == ""


def test_a_text_without_end_is_cut(log: StringIO) -> None:
    logging.getLogger("x").info("image %s", "a" * 10**6)
    [line] = lines(log)
    assert len(line) < MOST_CHARS + 200
    assert line.endswith("more characters)")


def test_plain_text_of_any_language_stays_as_it_is(log: StringIO) -> None:
    logging.getLogger("x").info("红苹果 crème brûlée 🍎 %s", "مرحبا")
    assert lines(log)[0].endswith(" INFO x: 红苹果 crème brûlée 🍎 مرحبا")


def test_the_fault_of_an_engine_is_logged_as_one_entry(client: FlaskClient, worker: Worker, log: StringIO) -> None:
    client.post("/v1/jobs", json={"operation": "generate", "prompt": "bug@1 always", "steps": 2})
    assert worker.run_next()
    assert any("a bug in the engine" in line and line.startswith("  | ") for line in lines(log))


# -- as JSON -------------------------------------------------------------------------------------------------------


@pytest.fixture
def entries(log: StringIO) -> Callable[[], list[dict[str, Any]]]:
    """The entries of a log that is written as JSON."""
    logging.getLogger().handlers.clear()
    write_log(log, LogFormat.JSON)
    return lambda: [json.loads(line) for line in lines(log)]


Entries = Callable[[], list[dict[str, Any]]]


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_an_entry_as_json_is_one_line_too(entries: Entries, hostile: str) -> None:
    try:
        raise ValueError(f"{hostile}{FORGED}")
    except ValueError:
        logging.getLogger("x").exception("image %s", f"{hostile}{FORGED}")
    [entry] = entries()
    assert (entry["level"], entry["logger"]) == ("error", "x")
    assert entry["message"].endswith(FORGED)
    assert entry["exception"].startswith("Traceback (most recent call last):")


def test_an_entry_of_a_request_names_it_and_whose_it_is(client: FlaskClient, parts: Services, entries: Entries) -> None:
    headers = {"Authorization": f"Bearer {parts.keys.add('web', 'shop')}", "X-Request-Id": "req-1"}
    client.get("/v1/models", headers=headers)
    [entry] = [each for each in entries() if each["logger"] == "qwen_image_studio.web.edge"]
    assert (entry["request_id"], entry["owner"], entry["key"]) == ("req-1", "shop", "web")
    client.get("/v1/health/live", headers={"X-Request-Id": "req-2"})
    logging.getLogger("x").info("between")
    assert entries()[-1].get("owner") is None


def test_an_entry_of_a_request_without_the_scope_names_the_key(
    client: FlaskClient, parts: Services, entries: Entries
) -> None:
    headers = {"Authorization": f"Bearer {parts.keys.add('web', 'shop')}"}
    assert client.get("/v1/queue", headers=headers).status_code == 403
    [entry] = [each for each in entries() if each["logger"] == "qwen_image_studio.web.edge"]
    assert (entry["owner"], entry["key"]) == ("shop", "web")


def test_the_entries_of_another_thread_name_the_request(client: FlaskClient, entries: Entries) -> None:
    client.post("/v1/jobs", json={"operation": "generate", "prompt": "x"}, headers={"X-Request-Id": "req-3"})
    seen = threading.Thread(target=carried(lambda: logging.getLogger("thread").info("here")))
    seen.start()
    seen.join()
    [entry] = [each for each in entries() if each["logger"] == "thread"]
    assert entry["request_id"] == "req-3"


def test_the_entries_of_a_worker_name_the_job_and_its_request(
    client: FlaskClient, worker: Worker, entries: Entries
) -> None:
    body = {"operation": "generate", "prompt": "bug@1 always", "steps": 2}
    job = client.post("/v1/jobs", json=body, headers={"X-Request-Id": "req-4"}).get_json()
    assert worker.run_next()
    of_worker = [each for each in entries() if each["logger"].startswith("qwen_image_studio.worker")]
    assert of_worker
    assert {(each["job_id"], each["request_id"], each["owner"]) for each in of_worker} == {
        (job["id"], "req-4", "local")
    }
    assert not worker.run_next()
    logging.getLogger("x").info("idle")
    assert "job_id" not in entries()[-1]
