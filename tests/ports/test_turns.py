"""Whose turn it is: owners, then persons, then a person's jobs and batches; and places in the queue say the same."""

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from qwen_image_studio.contract.words import Lane, Operation, Precision, Tier
from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.gallery.pruning import TURNS_S, Pruning
from qwen_image_studio.jobs import Job, JobStore, Lease, NewJob
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.planning.plan import Variant
from qwen_image_studio.settings import Settings
from tests.ports.test_job_store import LIMIT, new, submit, variant_of
from tests.support.database import with_tables

MODELS = ["small", "large"]


def opened(folder: Path) -> JobStore:
    return open_store(with_tables(Settings(_env_file=None, data_dir=folder, affinity_patience_s=20, queue_share=1)))


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    """A store without jobs."""
    return opened(tmp_path)


def made(store: JobStore, rows: int, owner: str = "dify", user: str | None = None, now: float = 0) -> Job:
    """A batch of which every row is a job; batches whose rows have ended are ended before."""
    parent = NewJob(owner, Operation.BATCH, Lane.LIGHT, "", "quality", {}, rows=rows, user=user)
    batch = store.jobs.submit(parent, queue_limit=LIMIT, now=now)[0]
    while (lease := light(store, now)).job.id != batch.id:
        store.leases.finish(lease, [], [], now=now)
    for row in range(rows):
        assert store.rows.add(lease, row, new(owner), now=now)
    store.leases.release(lease, now)
    return batch


def light(store: JobStore, now: float) -> Lease:
    lease = store.leases.claim("light", Lane.LIGHT, now=now)
    assert lease is not None
    return lease


def painted(store: JobStore, now: float, loaded: str | None = None) -> Job:
    """Let the next one be painted."""
    lease = store.leases.claim("w1", Lane.PAINT, MODELS, variant_of(loaded) if loaded else None, now=now)
    assert lease is not None
    store.leases.finish(lease, [], [], now=now)
    return lease.job


def order(store: JobStore, of: Callable[[Job], object], count: int, now: float = 100) -> list[object]:
    """Let so many be painted, a second each; what each of them was."""
    return [of(painted(store, now + number)) for number in range(count)]


def test_of_two_people_on_one_key_the_second_waits_for_one_picture_at_most(store: JobStore) -> None:
    for number in range(30):
        submit(store, "dify", now=number, user="ann")
    assert order(store, lambda job: job.user, 10, now=50) == ["ann"] * 10
    first = submit(store, "dify", now=61, user="bob")
    submit(store, "dify", now=61, user="bob")
    assert store.jobs.tags([first.id])[first.id].place == 1
    assert order(store, lambda job: job.user, 5) == ["bob", "ann", "bob", "ann", "ann"]


def test_all_jobs_of_a_key_without_a_user_are_one_persons(store: JobStore) -> None:
    for number in range(6):
        submit(store, "dify", now=number)
    submit(store, "dify", now=10, user="ann")
    submit(store, "dify", now=10, user="ann")
    assert order(store, lambda job: job.user, 6) == [None, "ann", None, "ann", None, None]


def test_people_of_two_keys_are_not_one_another(store: JobStore) -> None:
    for owner in ("one", "two"):
        for _ in range(2):
            submit(store, owner, now=1, user="ann")
    assert order(store, lambda job: job.owner, 4) == ["one", "two", "one", "two"]


def test_an_owner_of_fifty_people_gets_what_an_owner_of_one_gets(store: JobStore) -> None:
    for number in range(LIMIT - 10):
        submit(store, "dify", now=1, user=f"person {number}")
    for _ in range(8):
        submit(store, "alone", now=2)
    owners = order(store, lambda job: job.owner, 16)
    assert Counter(owners) == {"dify": 8, "alone": 8}
    assert owners == ["dify", "alone"] * 8


def test_a_single_picture_beside_another_persons_batch_is_next_but_one(store: JobStore) -> None:
    made(store, 20, user="ann")
    order(store, lambda job: job.user, 3, now=50)
    picture = submit(store, "dify", now=60, user="bob")
    assert store.jobs.tags([picture.id])[picture.id].place == 1
    assert order(store, lambda job: job.id == picture.id, 2) == [True, False]


def test_the_batch_of_one_waits_for_one_picture_of_another(store: JobStore) -> None:
    for number in range(10):
        submit(store, "dify", now=number, user="ann")
    order(store, lambda job: job.user, 3, now=50)
    made(store, 5, user="bob", now=60)
    assert order(store, lambda job: job.user, 4) == ["bob", "ann", "bob", "ann"]


def test_a_persons_batches_take_turns_beside_the_same_persons_other_jobs(store: JobStore) -> None:
    first, second = (made(store, 4, user="ann", now=number) for number in range(2))
    for _ in range(4):
        submit(store, "dify", now=10, user="ann")
    submit(store, "dify", now=11, user="bob")
    names = {first.id: "1", second.id: "2", None: "-"}
    of = "".join(
        str(names[job.parent_id]) if job.user == "ann" else "b" for job in (painted(store, 100 + n) for n in range(9))
    )
    assert of == "-b1-2-1-2"


def test_a_row_waits_for_its_model_as_its_person_does(store: JobStore) -> None:
    """What `affinity_patience_s` promises is kept for each person: ann's other pictures do not count as bob's."""
    for user in ("ann", "bob"):
        submit(store, "dify", now=1, user=user, model="large")
    for _ in range(9):
        submit(store, "dify", now=1, user="ann")
    assert painted(store, 10, "small").model == "small"
    painter = [(job.user, job.model) for job in (painted(store, 25 + n, "small") for n in range(3))]
    assert painter == [("bob", "large"), ("ann", "large"), ("ann", "small")]


def test_a_long_name_is_a_person_too(store: JobStore) -> None:
    for _ in range(3):
        submit(store, "dify", now=1, user="a" * 500)
    submit(store, "dify", now=2, user="a" * 500 + "b")
    assert [len(str(user)) for user in order(store, lambda job: job.user, 4)] == [500, 501, 500, 500]


def test_turns_of_a_batch_are_forgotten_with_its_end_and_those_of_people_stay(store: JobStore) -> None:
    made(store, 1, user="ann", now=1)
    painted(store, 2)
    store.leases.finish(light(store, 3), [], [], now=3)
    with store.database.reading() as connection:
        found = connection.exec_driver_sql("SELECT person, party FROM turns WHERE lane = 'paint'").all()
        paintings = connection.exec_driver_sql("SELECT COUNT(*) FROM paintings").scalar()
    assert {tuple(row) for row in found} == {("", "***"), ("ann", "**"), ("ann", "*")}
    assert paintings == 0


def test_people_who_were_served_long_ago_are_forgotten(store: JobStore, tmp_path: Path) -> None:
    """Their names are data about people, and there is a row for each who ever asked."""
    for number, user in enumerate(("ann", "bob")):
        submit(store, "dify", now=number, user=user)
        painted(store, 100 + 1000 * number)
    settings_ = Settings(_env_file=None, data_dir=tmp_path)
    for _ in Pruning(open_gallery(settings_, store), store, settings_).pieces(None, now=TURNS_S + 500):
        pass
    with store.database.reading() as connection:
        for table in ("turns", "paintings"):
            persons = connection.exec_driver_sql(f"SELECT DISTINCT person FROM {table}")  # noqa: S608 - our own
            assert "ann" not in (found := set(persons.scalars()))
            assert "bob" in found


Asked = tuple[str, str | None, int]
"""Owner, person, and the number of rows, which is 0 for a single picture."""
_asked = st.tuples(st.sampled_from("ab"), st.sampled_from([None, "x", "y"]), st.integers(0, 3))


@settings(max_examples=30, deadline=None)
@given(earlier=st.lists(_asked, max_size=5), done=st.integers(0, 8), later=st.lists(_asked, min_size=1, max_size=8))
def test_places_tell_the_order_in_which_jobs_are_painted(earlier: list[Asked], done: int, later: list[Asked]) -> None:
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as store:
        for asked, painted_after, now in ((earlier, done, 1.0), (later, 0, 100.0)):
            for owner, user, rows in asked:
                made(store, rows, owner, user, now) if rows else submit(store, owner, now, user=user)
            painted_after = min(painted_after, len(waiting(store)))
            order(store, lambda job: job.id, painted_after, now=now + 1)
        ids = waiting(store)
        places = {job_id: tag.place or 0 for job_id, tag in store.jobs.tags(ids).items()}
        assert sorted(places.values()) == list(range(1, len(ids) + 1))
        assert order(store, lambda job: job.id, len(ids), now=200) == sorted(ids, key=lambda job_id: places[job_id])


def waiting(store: JobStore) -> list[str]:
    with store.database.reading() as connection:
        queued = "SELECT id FROM jobs WHERE state = 'queued' AND lane = 'paint'"
        return list(connection.exec_driver_sql(queued).scalars())


# -- variants ------------------------------------------------------------------------------------------------------


def variants_painted(store: JobStore, loaded: Variant, now: float) -> list[str]:
    """Let all that waits be painted by a worker that has that loaded; the key of the variant of each."""
    keys = []
    while lease := store.leases.claim("w1", Lane.PAINT, MODELS, loaded, now=now):
        store.leases.finish(lease, [], [], now=now)
        keys.append(lease.job.variant)
    return keys


def test_the_loaded_variant_goes_first_then_its_weights_then_its_model(store: JobStore) -> None:
    loaded = variant_of("small")
    others = [
        variant_of("large"),
        replace(loaded, precision=Precision.FP8, tier=Tier.BALANCED),
        replace(loaded, tier=Tier.TURBO),
        replace(loaded, lora="ink-wash"),
        loaded,
    ]
    for number, each in enumerate(others):  # what would be best comes last
        own = {"model": each.model, "variant": str(each), "weights": each.weights}
        submit(store, f"owner {number}", now=number, **own)
    large, balanced, turbo, with_lora, same = map(str, others)
    assert variants_painted(store, loaded, now=10) == [same, turbo, with_lora, balanced, large]


@pytest.mark.parametrize("lora", ["", "ink-wash"])
def test_after_a_turbo_or_a_lora_the_same_again_goes_before_quality(store: JobStore, lora: str) -> None:
    quality, loaded = variant_of("small"), replace(variant_of("small"), tier=Tier.TURBO, lora=lora)
    for number, each in enumerate([variant_of("large"), quality, loaded]):
        submit(store, "ann", now=number, model=each.model, variant=str(each), weights=each.weights)
    assert variants_painted(store, loaded, now=10) == [str(loaded), str(quality), str(variant_of("large"))]


def test_another_model_waits_for_turbos_of_the_loaded_weights_no_longer_than_for_its_own(store: JobStore) -> None:
    turbo = replace(variant_of("small"), tier=Tier.TURBO)
    waiting = submit(store, "ann", now=0, model="large")
    for number in range(40):
        submit(store, "bob", now=number, variant=str(turbo), weights=turbo.weights)
    before = 0
    while painted(store, now=1.0 + before, loaded="small").id != waiting.id:
        before += 1
    assert before == 20


def test_the_key_of_a_variant_fits_into_its_column_however_many_loras_there_are(store: JobStore) -> None:
    names = ["+".join(letter * 64 for letter in letters) for letters in ("abcd", "abce", "ab")]
    keys = [str(replace(variant_of("Qwen-Image-Edit-2509"), lora=name)) for name in names]
    assert len(set(keys)) == 3
    assert max(map(len, keys)) <= 255
    assert keys[2].endswith(names[2])
    assert submit(store, variant=keys[0]).variant == keys[0]
