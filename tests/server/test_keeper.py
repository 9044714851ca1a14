"""The lease keeper beside a job that reports nothing: what it was told is not forgotten while the database is busy."""

import sqlite3
from pathlib import Path

import pytest

from qwen_image_studio.contract.errors import Cancelled
from qwen_image_studio.contract.words import Lane, Operation
from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.jobs import NewJob
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.worker.keeper import LeaseKeeper
from tests.support.database import with_tables
from tests.support.waiting import until


def test_a_cancel_that_meets_a_busy_database_is_read_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("qwen_image_studio.database.sqlite.BUSY_TIMEOUT_MS", 10)
    settings = with_tables(Settings(_env_file=None, data_dir=tmp_path, lease_s=36_000))  # never renewed for its age
    with open_store(settings) as store:
        new = NewJob("ann", Operation.GENERATE, Lane.PAINT, "small", "quality", plan={}, variant="small/quality")
        job = store.jobs.submit(new, queue_limit=1)[0]
        lease = store.leases.claim("w1", Lane.PAINT, ["small"])
        assert lease is not None
        with LeaseKeeper(store, lease, open_gallery(settings, store), settings) as keeper:
            store.jobs.cancel(job.id, "ann")
            blocker = sqlite3.connect(str(store.database.engine.url.database), isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            keeper.hear({job.id})
            until(lambda: "The job store is busy" in caplog.text)
            blocker.execute("ROLLBACK")
            blocker.close()

            def is_told() -> bool:
                try:
                    keeper.report("", 0, 0)
                except Cancelled:
                    return True
                return False

            until(is_told)
