"""Answers that need no painting where time has passed: since the submit, within a batch, over a restart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from qwen_image_studio.contract.words import Prompts
from qwen_image_studio.database.tables import jobs, usage
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.contract.test_cache_api import ASK, look, painted, sent
from tests.support.database import with_tables
from tests.support.worker import scripted_worker

ANY: dict[str, Any] = {"seed": None, "cache": True}
TABLE = [{"colour": "red"}, {"colour": "green"}]


# -- while it waits ------------------------------------------------------------------------------------------------


def test_what_was_painted_while_a_job_waited_answers_it(client: FlaskClient, worker: Worker, store: JobStore) -> None:
    first = sent(client, **ANY)
    second = sent(client, **ANY, conversation="c1", user="ann", webhook_url="https://example.com/hook")
    other = sent(client, seed=None, prompt="a blue car")
    assert [second["state"], second["cached"]] == ["queued", False]
    assert worker.run_next()
    assert worker.run_next(), "the job behind it is claimed"
    assert not worker.run_next()
    done = look(client, second["id"])
    assert (done["state"], done["cache"], done["attempt"], done["user"]) == ("succeeded", "exact", 0, "ann")
    assert done["images"][0]["sha256"] == look(client, first["id"])["images"][0]["sha256"]
    assert done["request"]["seed"] == done["images"][0]["seed"] == look(client, first["id"])["request"]["seed"]
    assert look(client, other["id"])["cached"] is False
    assert store.outbox.counts().waiting == 1
    last = store.images.last("local", "c1", 0)
    assert last is not None
    assert last.id == done["images"][0]["id"]


def test_a_job_that_is_to_be_painted_anew_is(client: FlaskClient, worker: Worker) -> None:
    for _ in range(2):
        sent(client, cache=False)
    assert worker.run_next()
    assert worker.run_next()


def test_a_similar_one_answers_while_it_waits(client: FlaskClient, worker: Worker) -> None:
    sent(client)
    second = sent(client, prompt="A red apple", cache="similar")
    assert worker.run_next()
    assert not worker.run_next()
    assert look(client, second["id"])["similar_prompt"] == ASK["prompt"]


def test_images_are_given_back_where_the_answer_came_while_it_waited(
    client: FlaskClient, worker: Worker, store: JobStore
) -> None:
    first, second = sent(client, **ANY, n=3), sent(client, **ANY, n=3)
    assert worker.run_next()
    assert not worker.run_next()
    costs = {row.job_id: row for row in _usage(store)}
    assert (costs[first["id"]].images, costs[second["id"]].images, costs[second["id"]].cached) == (3, 0, True)


def _usage(store: JobStore) -> Any:
    with store.database.reading() as connection:
        return connection.execute(select(usage)).all()


# -- batches -------------------------------------------------------------------------------------------------------


def batch(client: FlaskClient, light: Worker, worker: Worker, rows: Any = TABLE, **more: Any) -> tuple[Any, int]:
    """A batch until its end, and how many jobs were painted for it."""
    job = {"operation": "generate", "prompt": "a {{colour}} cup", "steps": 2, "size": "64x64", **more.pop("job", {})}
    answer = client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": rows, **more})
    assert answer.status_code == 202, answer.text
    while light.run_next() or worker.run_next():
        pass
    rows_of = client.get(f"/v1/jobs?parent_id={answer.get_json()['id']}").get_json()["data"]
    count = sum(not row["cached"] for row in rows_of)
    return look(client, answer.get_json()["id"]), count


def test_a_batch_with_a_seed_that_is_sent_again_paints_nothing(
    client: FlaskClient, light: Worker, worker: Worker, store: JobStore
) -> None:
    first, count = batch(client, light, worker, job={"seed": 7})
    assert (first["state"], count) == ("succeeded", 2)
    second, count = batch(client, light, worker, job={"seed": 7})
    assert (second["state"], second["rows"]["succeeded"], count) == ("succeeded", 2, 0)
    assert [image["sha256"] for image in second["images"]] == [image["sha256"] for image in first["images"]]
    assert second["cached"] is False, "its rows are"
    costs = {row.job_id: row.images for row in _usage(store)}
    assert (costs[first["id"]], costs[second["id"]]) == (2, 0)
    assert batch(client, light, worker, job={"seed": 7}, seed_mode="fixed")[1] == 1, "the first row has the same seed"


@pytest.mark.parametrize(
    ("job", "more", "painted_again"),
    [
        pytest.param({}, {}, 2, id="no seed"),
        pytest.param({"seed": 7, "cache": False}, {}, 2, id="not wanted"),
        pytest.param({"cache": True}, {}, 0, id="asked for"),
        pytest.param({"seed": 7}, {"hold": True}, 2, id="to be held"),
    ],
)
def test_when_rows_are_answered(
    client: FlaskClient, light: Worker, worker: Worker, job: Any, more: Any, painted_again: int
) -> None:
    assert batch(client, light, worker, job={"seed": 7})[1] == 2
    assert batch(client, light, worker, job=job, **more)[1] == painted_again


def test_equal_rows_are_painted_once_where_any_picture_will_do(
    client: FlaskClient, light: Worker, worker: Worker
) -> None:
    done, count = batch(client, light, worker, rows=[*TABLE, *TABLE], job={"cache": True})
    assert (done["rows"]["succeeded"], count) == (4, 2)


def test_a_held_batch_answers_nobody(client: FlaskClient, light: Worker, worker: Worker, store: JobStore) -> None:
    batch(client, light, worker, job={"seed": 7}, hold=True)
    with store.database.reading() as connection:
        assert set(connection.scalars(select(jobs.c.cache_key))) == {None}


# -- another server over the same data -----------------------------------------------------------------------------

Serve = Callable[..., tuple[FlaskClient, Worker]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start a server over one data folder, with some settings."""

    def served(folder: str = "data", **changes: Any) -> tuple[FlaskClient, Worker]:
        settings = Settings(_env_file=None, data_dir=tmp_path / folder, models="miniature", **changes)
        if not settings.data_dir.exists():
            with_tables(settings)
        app = create_app(settings, configured_models(settings, card_gib=0))
        parts: Services = app.extensions["qwen-image-studio"]
        return app.test_client(), scripted_worker(parts)

    return served


def test_a_hit_after_a_restart(serve: Serve) -> None:
    first = painted(*serve())
    client, _ = serve()
    second = sent(client)
    assert second["cache"] == "exact"
    assert client.get(second["images"][0]["url"]).status_code == 200
    assert second["images"][0]["sha256"] == first["images"][0]["sha256"]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"mark": "AI"}, id="mark"),
        pytest.param({"label_producer": "Shop"}, id="label_producer"),
        pytest.param({"prompts": "dropped"}, id="prompts"),
        pytest.param({"review_change": 0.5}, id="review_change"),
        pytest.param({"safety": "standard"}, id="safety"),
    ],
)
def test_a_server_with_other_settings_paints_anew(serve: Serve, changed: dict[str, Any]) -> None:
    painted(*serve())
    assert sent(serve(**changed)[0])["state"] == "queued"


@pytest.mark.parametrize("prompts", [Prompts.HASHED, Prompts.DROPPED])
def test_where_prompts_are_not_kept_keys_tell_none(serve: Serve, prompts: Prompts) -> None:
    kept, _ = serve()
    sent(kept, cache=False)
    client, worker = serve(prompts=prompts)
    assert worker.run_next()
    painted(client, worker)
    hit = sent(client)
    assert (hit["cache"], hit["request"]["prompt"]) == ("exact", None)
    assert sent(client, prompt="A red apple", cache="similar")["state"] == "queued"
    store: JobStore = client.application.extensions["qwen-image-studio"].store
    stored = store.jobs.get(hit["id"])
    assert stored.similar_key is stored.similar_prompt is None
    assert not any("red apple" in str(value) for value in vars(stored).values())
    elsewhere, its_worker = serve("elsewhere", prompts=prompts)
    same = painted(elsewhere, its_worker)
    its_store: JobStore = elsewhere.application.extensions["qwen-image-studio"].store
    assert its_store.jobs.get(same["id"]).cache_key != stored.cache_key, "with another secret"
