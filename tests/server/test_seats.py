"""Seats: one process at a time is the worker of a device in a DATA_DIR, and knows who was it before."""

import os
import socket
import threading
from pathlib import Path

import pytest

from qwen_image_studio.contract.words import Lane, Operation, State, WorkerState
from qwen_image_studio.jobs import NewJob, WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.seats import all_seats, holding, new_name, seat_of, worker_lock, worker_name, worker_note
from qwen_image_studio.worker.process import take_back
from tests.support.database import with_tables
from tests.support.waiting import until


def test_a_name_tells_host_and_device_and_belongs_to_one_process() -> None:
    host, device, mark = worker_name("cuda:0").split("/")
    assert (host, device) == (socket.gethostname(), "cuda:0")
    assert worker_name("cuda:0") == f"{host}/cuda:0/{mark}"
    assert worker_name("cpu", "pod-7").startswith("pod-7/cpu/")
    assert new_name("cpu") != new_name("cpu")
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, worker_name("cuda:0").encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 99).decode() != worker_name("cuda:0")


def test_whoever_gets_the_lock_knows_who_had_it_before_until_all_is_taken_back(tmp_path: Path) -> None:
    with holding(tmp_path, "cuda:0", "h/cuda:0/1") as first:
        assert (first.before, seat_of(tmp_path, "cuda:0").taken) == ([], True)
    assert not seat_of(tmp_path, "cuda:0").taken
    with holding(tmp_path, "cuda:0", "h/cuda:0/2") as second:
        assert second.before == ["h/cuda:0/1"]
    with holding(tmp_path, "cuda:0", "h/cuda:0/3") as third:  # the one before died before it had taken anything back
        assert third.before == ["h/cuda:0/2", "h/cuda:0/1"]
        third.took_back()
        assert [(seat.device, seat.name, list(seat.before)) for seat in all_seats(tmp_path)] == [
            ("cuda:0", "h/cuda:0/3", [])
        ]


def test_a_lock_of_an_earlier_version_proves_that_its_one_name_is_dead(tmp_path: Path) -> None:
    worker_lock(tmp_path, "cpu").touch()
    worker_note(tmp_path, "cpu").touch()
    with holding(tmp_path, "cpu") as seat:
        assert seat.before == [f"{socket.gethostname()}/cpu"]
    with holding(tmp_path, "light") as fresh:
        assert fresh.before == []


def test_a_second_process_says_that_it_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    got = threading.Event()

    def wait() -> None:
        with holding(tmp_path, "cpu", "h/cpu/2"):
            got.set()

    with holding(tmp_path, "cpu", "h/cpu/1"):
        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: "this one waits" in caplog.text)
        assert not got.is_set()
    thread.join()
    assert got.is_set()


def test_a_worker_takes_back_what_those_before_it_held_and_nothing_of_another_container(tmp_path: Path) -> None:
    """Fault O: both have the same host name and device."""
    settings = with_tables(Settings(_env_file=None, data_dir=tmp_path))
    asked = NewJob("ann", Operation.GENERATE, Lane.PAINT, "small", "quality", {})
    with open_store(settings) as store:
        own, others = (store.jobs.submit(asked, queue_limit=9)[0].id for _ in range(2))
        for name in ("h/cpu/1", "h/cpu/2"):
            assert store.leases.claim(name, Lane.PAINT, ["small"]) is not None
            store.workers.note(WorkerReport(name, "cpu", WorkerState.BUSY, None, "", 1.0))
        with holding(tmp_path, "cpu", "h/cpu/1"):
            pass
        with holding(tmp_path, "cpu", "h/cpu/3") as seat:
            take_back(store, seat)
        assert [store.jobs.get(job_id).state for job_id in (own, others)] == [State.QUEUED, State.RUNNING]
        assert [report.name for report in store.workers.all()] == ["h/cpu/2"]
    assert seat_of(tmp_path, "cpu").before == []
