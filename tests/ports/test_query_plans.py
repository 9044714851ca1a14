"""No statement in the life of a job reads the past: each finds its rows by an index."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.dialects import postgresql

from qwen_image_studio.contract.caller import Caller, Guest
from qwen_image_studio.contract.words import Lane, Operation, Review, Scope, Source, State
from qwen_image_studio.jobs import JobStore, NewJob, Progress, StoredImage, open_store
from qwen_image_studio.jobs.pictures import Wanted
from qwen_image_studio.jobs.ranking import NEXT
from qwen_image_studio.jobs.review import Verdict
from qwen_image_studio.jobs.states import Lookup
from qwen_image_studio.settings import Settings
from tests.ports.test_job_store import LIMIT, new, picture, submit, variant_of
from tests.support.database import sqlite_alone

pytestmark = sqlite_alone("its query plans, step by step")

_SMALL = ("jobs_waiting", "jobs_running", "jobs_open", "deliveries_due", "deliveries_dead")
"""Indexes that hold only what has not ended: reading one of them whole is no look at the past."""
_OF_STATEMENTS = {
    "heads",
    "first",
    "waiting",
    "parties",
    "own",
    "other",
    "sought",
    "places_2",
    "anon_1",
    "submits",
    "CONSTANT",
}
"""Tables that a statement makes for itself, of what waits."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    """A store with a little of everything."""
    with open_store(Settings(data_dir=tmp_path, lease_s=10, affinity_patience_s=20)) as store:
        for owner in ("ann", "bob", "cid"):
            submit(store, owner)
            submit(store, owner, lane=Lane.LIGHT, model="")
        parent = NewJob("ann", Operation.BATCH, Lane.LIGHT, "", "quality", {}, rows=3)
        store.jobs.submit(parent, queue_limit=LIMIT)
        yield store


@contextmanager
def planned(store: JobStore) -> Iterator[list[str]]:
    """Collect the steps of the query plans of all statements of the block."""
    steps: list[str] = []

    def explain(
        connection: Connection, cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> None:
        if statement.split()[0] in {"SELECT", "UPDATE", "DELETE", "WITH"}:
            fresh = cursor.connection.cursor()
            fresh.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps.extend(row[3] for row in fresh.fetchall())

    event.listen(store.database.engine, "before_cursor_execute", explain)
    yield steps
    event.remove(store.database.engine, "before_cursor_execute", explain)


def reads_of_the_past(steps: list[str]) -> list[str]:
    """The steps that go through a whole table, which may hold what ended long ago."""
    scanned = [(step, match[1]) for step in steps if (match := re.match(r"SCAN (\w+)", step))]
    return [step for step, name in scanned if name not in _OF_STATEMENTS and not any(each in step for each in _SMALL)]


def test_a_claim_reads_what_waits_by_its_index(store: JobStore) -> None:
    with planned(store) as steps:
        lease = store.leases.claim("w1", Lane.PAINT, ["small"], variant_of("small"))
        light = store.leases.claim("light", Lane.LIGHT)
    assert lease is not None
    assert light is not None
    of_party = "owner=? AND person=? AND party=? AND variant>?"
    for step in (of_party, "owner=? AND person=? AND party>?", "owner=? AND person>?", "owner>?"):
        assert f"SEARCH jobs USING COVERING INDEX jobs_waiting (lane=? AND {step})" in steps
    of_turn = "lane=? AND owner=? AND person=? AND party=?"
    for turn in ("of_owner", "of_person", "of_kind", "its_own"):
        assert f"SEARCH {turn} USING INDEX sqlite_autoindex_turns_1 ({of_turn}) LEFT-JOIN" in steps
    assert any("batch USING INDEX batches (state=? AND lane=?)" in step for step in steps)
    assert reads_of_the_past(steps) == []


def test_a_place_is_counted_in_the_index_of_what_waits(store: JobStore) -> None:
    waiting = [submit(store, "ann").id for _ in range(3)]
    with planned(store) as steps:
        tags = store.jobs.tags(waiting)
    assert [tags[job_id].place for job_id in waiting] == [4, 5, 6]
    assert "SCAN jobs USING COVERING INDEX jobs_waiting" in steps
    assert "SEARCH before USING COVERING INDEX jobs_waiting (lane=? AND owner=? AND person=? AND party=?)" in steps
    assert reads_of_the_past(steps) == []


def test_nothing_in_the_life_of_a_job_reads_the_past(store: JobStore) -> None:
    with planned(store) as steps:
        job = store.jobs.submit(new("dan", idempotency_key="k"), queue_limit=LIMIT)[0]
        assert store.jobs.unfinished("dan", job.fingerprint) is not None
        store.jobs.page("dan", limit=5, after=None, state=State.QUEUED)
        store.jobs.counts()
        while (lease := store.leases.claim("w1", Lane.PAINT, ["small"])) is not None and lease.job.id != job.id:
            store.leases.finish(lease, [], [])
        assert lease is not None
        store.leases.renew(lease, Progress("denoising", 1, 2))
        store.leases.overdue()
        store.leases.finish(lease, [picture(job)], [])
        store.images.of_jobs([job.id])
        store.leases.abandon("w2")
        batch = store.leases.claim("light", Lane.LIGHT)
        while batch is not None and batch.job.rows is None:
            store.leases.finish(batch, [], [])
            batch = store.leases.claim("light", Lane.LIGHT)
        assert batch is not None
        store.rows.add(batch, 0, new())
        store.rows.counts([batch.job.id])
        store.jobs.cancel(batch.job.id, "ann")
        store.forgetting.forget_job(job.id, "dan")
    assert reads_of_the_past(steps) == []


def test_who_shares_a_job_is_found_by_indexes(store: JobStore) -> None:
    asked = new("dan", idempotency_key="k", share_key="s" * 64)
    store.jobs.submit(asked, queue_limit=LIMIT)
    with planned(store) as steps:
        job = store.jobs.submit(replace(asked, idempotency_key="l"), queue_limit=LIMIT)[0]
        assert store.jobs.unfinished("dan", job.fingerprint) is not None
        store.jobs.cancel(job.id, "dan", key="k")
    assert job.shared == 2
    for step in (
        "SEARCH jobs USING INDEX jobs_by_key (owner=? AND idempotency_key=?)",
        "SEARCH shares USING INDEX shares_by_key (owner=? AND idempotency_key=?)",
        "SEARCH jobs USING INDEX jobs_shared (owner=? AND share_key=?)",
        "SEARCH jobs USING INDEX jobs_open (owner=?)",
        "SEARCH shares USING INDEX ix_shares_job_id (job_id=?)",
    ):
        assert step in steps
    assert reads_of_the_past(steps) == []


def test_a_verdict_reads_the_image_and_its_job_alone(store: JobStore) -> None:
    batch = store.leases.claim("light", Lane.LIGHT)
    while batch is not None and batch.job.rows is None:
        store.leases.finish(batch, [], [])
        batch = store.leases.claim("light", Lane.LIGHT)
    assert batch is not None
    with planned(store) as steps:
        for row in range(3):
            store.rows.add(batch, row, new())
        store.leases.release(batch)
        while (lease := store.leases.claim("w1", Lane.PAINT, ["small"])) is not None:
            store.leases.finish(lease, [replace(picture(lease.job), review=Review.HELD)], [])
        waiting = store.leases.claim("light", Lane.LIGHT)
        assert waiting is not None
        store.leases.release(waiting)
        store.rows.counts([batch.job.id])
        *decided, cancelled = store.rows.of_batch(batch.job.id)
        for job in decided:
            store.reviews.look(f"img_{job.id}_0", Caller())
            store.images.held_behind("k0.png")
            store.reviews.decide(f"img_{job.id}_0", Verdict(Review.APPROVED), Caller())
        store.jobs.cancel(cancelled.id, cancelled.owner)
    assert reads_of_the_past(steps) == []


def test_lists_of_what_has_not_ended_and_of_what_has_read_nothing_else(store: JobStore) -> None:
    last = store.jobs.page("ann", limit=1, after=None, state=State.QUEUED)[0][0]
    with planned(store) as steps:
        store.jobs.page("ann", limit=5, after=last.id, state=State.QUEUED)
        store.leases.refuse_unserved(["small"])
        store.forgetting.ended_jobs(0.0)
    assert [step for step in steps if "INDEX" in step and step.split()[1] == "jobs"] == [
        "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)",
        "SEARCH jobs USING INDEX jobs_open (owner=?)",
        "SEARCH jobs USING COVERING INDEX sqlite_autoindex_jobs_1 (id=?)",
        "SEARCH jobs USING INDEX jobs_waiting (lane=?)",
        "SEARCH jobs USING INDEX jobs_ended (finished_at>? AND finished_at<?)",
    ]
    assert reads_of_the_past(steps) == []


def test_a_claim_without_models_is_one_that_postgresql_understands() -> None:
    texts, numbers = ("loaded", "weights", "model", "queued", "running"), {"since": 0.0, "now": 0.0, "few_rows": 1}
    values = {"lane": "light", "models": [], "left": [], **dict.fromkeys(texts, ""), **numbers}
    claim = NEXT.bindparams(**values)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy has no types there
    sql = claim.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    assert "head.model IN (SELECT CAST(NULL AS VARCHAR) WHERE 1!=1)" in str(sql)
    assert "head.variant NOT IN (SELECT CAST(NULL AS VARCHAR) WHERE 1!=1)" in str(sql)


def test_a_page_of_images_and_their_number_are_read_by_their_index(store: JobStore) -> None:
    kept = [picture_of("ann", f"img_{number}", created_at=float(number)) for number in range(200)]
    for image in kept:
        store.images.add(image)
    reader, caller = Caller("ann", "k", {Scope.REVIEW}), Caller("ann", "k", {Scope.GENERATE})
    for who in (caller, reader):
        for wanted in (Wanted(), Wanted(source=Source.UPLOAD), Wanted(rows=False)):
            with planned(store) as steps:
                page, has_more, total = store.pictures.page(who, wanted, limit=60, after="img_100", count_to=10_000)
            assert ([each.image.id for each in page[:2]], has_more, total) == (["img_99", "img_98"], True, 200)
            assert [step for step in steps if "images" in step] == [
                "SEARCH images USING INDEX sqlite_autoindex_images_1 (id=?)",
                "SEARCH images USING INDEX images_by_owner (owner=? AND (created_at,id)<(?,?))",
                "SEARCH images USING COVERING INDEX images_by_owner (owner=?)",
            ]
            assert not [step for step in steps if "TEMP B-TREE" in step], "nothing is sorted"


def test_history_is_followed_by_indexes(store: JobStore) -> None:
    store.images.add(picture_of("ann", "img_1"))
    job = submit(store, "ann", inputs=["img_1"])
    while (lease := store.leases.claim("w1", Lane.PAINT, ["small"])) is not None and lease.job.id != job.id:
        store.leases.finish(lease, [], [])
    assert lease is not None
    made = picture(job)
    store.leases.finish(lease, [made], [])
    with planned(store) as steps:
        related = store.pictures.related("img_1", Caller("ann"))
    assert [each.image.id for each in related.descendants] == [made.id]
    assert reads_of_the_past(steps) == []


def test_what_a_guest_sees_and_did_is_found_by_indexes(store: JobStore) -> None:
    guest = Guest("guest_1", "img_1", 0.0, jobs=20)
    for number in range(200):
        store.images.add(picture_of("ann", f"img_{number}", created_at=float(number)))
    mine = store.jobs.submit(replace(new("ann"), guest=guest, inputs=["img_1"]), queue_limit=LIMIT)[0]
    who = Caller("ann", "k", {Scope.EDIT}, guest=guest)
    with planned(store) as steps:
        assert [image.image.id for image in store.pictures.page(who, Wanted(), limit=9, after=None, count_to=9)[0]] == [
            "img_1"
        ]
        assert store.images.get("img_1", "ann", guest).id == "img_1"
        assert store.jobs.get(mine.id, "ann", guest).id == mine.id
        assert [job.id for job in store.jobs.page("ann", limit=9, after=None, state=None, guest=guest)[0]] == [mine.id]
        assert store.guests.used(guest) == 1
        store.guests.check_upload(guest)
        assert store.guests.linked("img_1") is None
    assert reads_of_the_past(steps) == []
    assert not [step for step in steps if "images_by_owner" in step], "they are few, and their owner's are many"


def picture_of(owner: str, image_id: str, created_at: float = 1.0) -> StoredImage:
    """An uploaded image."""
    return StoredImage(
        image_id, owner, f"{image_id}.png", f"{image_id}.webp", 8, 8, "image/png", 9, "0" * 64, created_at=created_at
    )


def test_what_answers_a_job_is_found_by_its_key(store: JobStore) -> None:
    asked: dict[str, Any] = {"plan": {"prompt": "杯子", "seeds": [5]}, "cache_key": "c", "similar_key": "s", "seed": 5}
    first = submit(store, **asked, lookup=Lookup(5, similar=True))
    lease = store.leases.claim("w1", Lane.PAINT, ["small"], variant_of("small"))
    while lease is not None and lease.job.id != first.id:
        lease = store.leases.claim("w1", Lane.PAINT, ["small"], variant_of("small"))
    assert lease is not None
    store.leases.finish(lease, [picture(lease.job)], [])
    for lookup in (Lookup(5, similar=True), Lookup(None, similar=True)):
        seeded = " AND seed=?" if lookup.seed else ""
        with planned(store) as steps:
            for cache_key, how in (("c", "exact"), ("another", "similar"), ("another", None)):
                similar_key = "s" if how else "another"
                keys = {"cache_key": cache_key, "similar_key": similar_key}
                assert submit(store, **{**asked, **keys}, lookup=lookup).cache == how
        for name, key in (("cached", "cache_key"), ("similar", "similar_key")):
            assert f"SEARCH jobs USING INDEX jobs_{name} (owner=? AND {key}=?{seeded})" in steps
        assert any("SEARCH images USING INDEX ix_images_job_id (job_id=?)" in step for step in steps)
        assert reads_of_the_past(steps) == []
        again = submit(store, **{**asked, "cache_key": "another", "similar_key": "another"}, lookup=lookup)
        assert again.cache is None


def test_what_is_deleted_answers_no_more_by_its_files(store: JobStore) -> None:
    job = submit(store, plan={"seeds": [5]}, cache_key="c", seed=5)
    lease = store.leases.claim("w1", Lane.PAINT, ["small"])
    while lease is not None and lease.job.id != job.id:
        lease = store.leases.claim("w1", Lane.PAINT, ["small"])
    assert lease is not None
    store.leases.finish(lease, [picture(lease.job)], [])
    with planned(store) as steps:
        store.forgetting.forget_image(picture(job).id, "ann")
    assert any("SEARCH images USING INDEX images_by_key (key=?)" in step for step in steps)
    assert reads_of_the_past(steps) == []
