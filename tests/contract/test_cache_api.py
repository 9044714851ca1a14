"""Answers that need no painting, over HTTP: what answers whom, and what a job is like that was answered so."""

import json
import zipfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import select, update

from qwen_image_studio.contract.answers import JobView
from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Policy, Review, Scope
from qwen_image_studio.database.tables import jobs, usage
from qwen_image_studio.imaging.received import stored_form
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.jobs.calls import Sought
from qwen_image_studio.loading import told
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import picture, png, saved
from tests.support.reviewing import painted_and_held

ASK: dict[str, Any] = {"operation": "generate", "prompt": "a red apple", "steps": 2, "size": "64x64", "seed": 5}
EDIT: dict[str, Any] = {"operation": "edit", "prompt": "make it green", "steps": 2, "seed": 5, "prefer": "model"}
Headers = Mapping[str, str]


def sent(client: FlaskClient, headers: Headers | None = None, **changes: Any) -> dict[str, Any]:
    """A submit; None takes a parameter out."""
    body = {name: value for name, value in {**ASK, **changes}.items() if value is not None}
    answer = client.post("/v1/jobs", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    JobView.model_validate(answer.get_json())
    return dict(answer.get_json())


def look(client: FlaskClient, job_id: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/jobs/{job_id}").get_json())


def painted(client: FlaskClient, worker: Worker, headers: Headers | None = None, **changes: Any) -> dict[str, Any]:
    """A job that was painted, as it is in the end."""
    job = sent(client, headers, **changes)
    assert worker.run_next(), job
    return dict(client.get(f"/v1/jobs/{job['id']}", headers=headers).get_json())


def upload(client: FlaskClient, data: bytes, **params: Any) -> dict[str, Any]:
    """A submit with a file."""
    form = {"params": json.dumps(params), "image": (BytesIO(data), "a.png")}
    answer = client.post("/v1/jobs", data=form)
    assert answer.status_code == 202, answer.text
    return dict(answer.get_json())


def key(parts: Services, name: str, owner: str = "shop", **more: Any) -> Headers:
    return {"Authorization": f"Bearer {parts.keys.add(name, owner, **more)}"}


# -- what answers --------------------------------------------------------------------------------------------------


def test_an_equal_request_is_answered_at_once_with_the_same_picture(client: FlaskClient, worker: Worker) -> None:
    first = painted(client, worker, n=2)
    second = sent(client, n=2)
    assert (second["state"], second["cached"], second["cache"], second["attempt"]) == ("succeeded", True, "exact", 0)
    assert (first["cached"], first["cache"], second["similar_prompt"]) == (False, None, None)
    assert not worker.run_next()
    assert second == look(client, second["id"]) | {"images": second["images"], "archive_url": second["archive_url"]}
    for one, other in zip(first["images"], second["images"], strict=True):
        assert one["id"] != other["id"]
        assert (one["sha256"], one["seed"], one["width"]) == (other["sha256"], other["seed"], other["width"])
        assert client.get(one["url"]).data == client.get(other["url"]).data
        assert client.get(other["thumbnail_url"]).status_code == 200
        assert client.get(f"/v1/images/{other['id']}").get_json()["job_id"] == second["id"]
    assert second["finished_at"] == second["created_at"]


@pytest.mark.parametrize(
    ("first", "second", "cache"),
    [
        pytest.param({}, {}, "exact", id="seed"),
        pytest.param({}, {"cache": True}, "exact", id="seed, asked for"),
        pytest.param({}, {"seed": 6}, None, id="another seed"),
        pytest.param({}, {"seed": 6, "cache": True}, None, id="another seed, asked for"),
        pytest.param({}, {"cache": False}, None, id="not wanted"),
        pytest.param({}, {"seed": None}, None, id="no seed"),
        pytest.param({}, {"seed": -1}, None, id="a random seed"),
        pytest.param({}, {"seed": None, "cache": True}, "exact", id="no seed, asked for"),
        pytest.param({"seed": None}, {"seed": None, "cache": True}, "exact", id="drawn seed, asked for"),
        pytest.param({"cache": False}, {}, "exact", id="was painted anew"),
        pytest.param({}, {"n": 2}, None, id="more images"),
        pytest.param({"n": 2}, {}, None, id="fewer images"),
        pytest.param({}, {"hold": True}, None, id="to be held"),
        pytest.param({}, {"steps": 3}, None, id="more steps"),
        pytest.param({}, {"tier": "quality", "output_quality": 95}, "exact", id="default said"),
        pytest.param({}, {"output_format": "webp"}, None, id="another format"),
        pytest.param({}, {"conversation": "c", "user": "u"}, "exact", id="another caller"),
        pytest.param({}, {"prompt": "A red  apple"}, None, id="alike, not wanted"),
        pytest.param({}, {"prompt": "A red  apple", "cache": True}, None, id="alike, exact wanted"),
        pytest.param({}, {"prompt": "A red  apple", "cache": "similar"}, "similar", id="alike"),
        pytest.param({}, {"cache": "similar"}, "exact", id="equal, alike would do"),
        pytest.param({}, {"prompt": "A red apple", "cache": "similar", "seed": 6}, None, id="alike, another seed"),
        pytest.param({}, {"prompt": "A red apple", "cache": "similar", "seed": None}, "similar", id="alike, any seed"),
        pytest.param({}, {"prompt": "no red apple", "cache": "similar"}, None, id="negation"),
        pytest.param({}, {"prompt": "a blue apple", "cache": "similar"}, None, id="colour"),
        pytest.param({"prompt": "3个苹果"}, {"prompt": "4个苹果", "cache": "similar"}, None, id="数字"),
        pytest.param({"prompt": "左边的猫"}, {"prompt": "右边的猫", "cache": "similar"}, None, id="左右"),
    ],
)
def test_what_answers_what(
    client: FlaskClient, worker: Worker, first: dict[str, Any], second: dict[str, Any], cache: str | None
) -> None:
    before = painted(client, worker, **first)
    after = sent(client, **second)
    assert after["cache"] == cache
    assert after["state"] == ("queued" if cache is None else "succeeded")
    if cache is not None:
        assert [image["sha256"] for image in after["images"]] == [image["sha256"] for image in before["images"]]


def test_the_seed_that_was_taken_is_told(client: FlaskClient, worker: Worker, store: JobStore) -> None:
    painted(client, worker, n=2)
    job = sent(client, n=2, seed=None, cache=True)
    assert [image["seed"] for image in job["images"]] == [5, 6]
    assert job["request"]["seed"] == 5
    assert store.jobs.get(job["id"]).plan["seeds"] == [5, 6]
    assert sent(client, n=2)["cached"], "the copies answer who asks for that seed"


def test_the_newest_answers(client: FlaskClient, worker: Worker) -> None:
    for seed in (9, 7, 8):
        painted(client, worker, seed=seed)
    assert sent(client, seed=None, cache=True)["images"][0]["seed"] == 8


def test_a_similar_answer_says_whose_it_is(client: FlaskClient, worker: Worker) -> None:
    first = painted(client, worker)
    second = sent(client, prompt="A RED apple", cache="similar")
    assert second["similar_prompt"] == ASK["prompt"]
    assert second["request"]["prompt"] == "A RED apple"
    [told] = set(second["warnings"]) - set(first["warnings"])
    assert "cache=false has them painted anew" in told


def test_a_similar_answer_is_no_exact_one_for_the_next(client: FlaskClient, worker: Worker) -> None:
    painted(client, worker)
    sent(client, prompt="A RED apple", cache="similar")
    assert sent(client, prompt="A RED apple")["state"] == "queued"
    third = sent(client, prompt="a red Apple", cache="similar")
    assert third["similar_prompt"] == ASK["prompt"], "that is what was painted"
    exact = sent(client)
    assert (exact["cache"], exact["similar_prompt"]) == ("exact", None)
    assert len(third["warnings"]) == len(exact["warnings"]) + 1


def test_only_what_was_said_of_the_pictures_is_said_again(client: FlaskClient, worker: Worker) -> None:
    size = {"size": None, "width": None}
    first = sent(client, prompt="large@1 apple", aspect_ratio="5:4", **size)
    assert any("5:4 was painted as" in warning for warning in first["warnings"])
    while worker.run_next():  # again once memory has run out
        pass
    second = sent(client, prompt="large@1 apple", aspect_ratio="4:3", **size)
    assert second["cache"] == "exact"
    assert not any("5:4" in warning for warning in second["warnings"])
    assert "Sparing." in second["warnings"]


def test_an_owner_never_gets_what_another_has_painted(client: FlaskClient, worker: Worker, parts: Services) -> None:
    mine, ours, rivals = key(parts, "mine"), key(parts, "ours"), key(parts, "rivals", "rival")
    painted(client, worker, mine)
    for cache in (None, True, "similar"):
        assert sent(client, rivals, cache=cache)["cached"] is False
    assert sent(client, ours)["cached"] is True


def test_a_key_with_another_policy_gets_a_picture_of_its_own(
    client: FlaskClient, worker: Worker, parts: Services
) -> None:
    painted(client, worker, key(parts, "open"))
    assert sent(client, key(parts, "strict", policy=Policy.STRICT))["state"] == "queued"
    assert sent(client, key(parts, "off", policy=Policy.OFF))["cached"]


@pytest.mark.parametrize("revision", ["another", None])
def test_other_weights_paint_anew(
    client: FlaskClient, worker: Worker, store: JobStore, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    painted(client, worker)
    monkeypatch.setattr(told, "revision_of", lambda _: revision)
    job = sent(client)
    assert job["state"] == "queued"
    assert (store.jobs.get(job["id"]).cache_key is None) is (revision is None)


# -- inputs --------------------------------------------------------------------------------------------------------


def test_a_picture_that_was_fetched_and_sent_again_is_the_same(client: FlaskClient, worker: Worker) -> None:
    image = painted(client, worker)["images"][0]
    first = painted(client, worker, **EDIT, size=None, image=image["id"])
    for data in (client.get(image["url"]).data, saved(Image.open(BytesIO(client.get(image["url"]).data)), "BMP")):
        second = upload(client, data, **EDIT)
        assert (second["cache"], second["images"][0]["sha256"]) == ("exact", first["images"][0]["sha256"])
    assert upload(client, png(64, 64, "blue"), **EDIT)["cached"] is False


def test_a_lossy_picture_is_known_by_its_file(client: FlaskClient, worker: Worker, store: JobStore) -> None:
    image = painted(client, worker, output_format="jpeg")["images"][0]
    assert store.images.get(image["id"]).pixels is None
    painted(client, worker, **EDIT, size=None, image=image["id"])
    assert sent(client, **EDIT, size=None, image=image["id"])["cached"]
    assert upload(client, client.get(image["url"]).data, **EDIT)["cached"] is False


def test_the_mask_is_one_of_the_inputs(client: FlaskClient, worker: Worker) -> None:
    def part(x: int) -> dict[str, Any]:
        region = {"x": x, "y": 0, "width": 16, "height": 16}
        return upload(client, png(64, 64), operation="inpaint", prompt="a cat", seed=1, steps=2, region=region)

    part(8)
    assert worker.run_next()
    assert part(8)["cached"]
    assert part(9)["state"] == "queued"


def test_adjustments_are_answered_where_that_is_asked_for(client: FlaskClient, light: Worker, worker: Worker) -> None:
    blur: dict[str, Any] = {"operation": "adjust", "prompt": "blur it"}
    mine = picture()
    upload(client, saved(mine, "PNG"), **blur)
    assert light.run_next()
    assert upload(client, saved(mine, "PNG"), **blur)["state"] == "queued"
    assert upload(client, saved(mine, "PNG"), **blur, cache=True)["cache"] == "exact"
    assert light.run_next()
    made = painted(client, worker)["images"][0]  # the same pixels as a file that says nothing of a model
    bare = saved(Image.open(BytesIO(client.get(made["url"]).data)).copy(), "BMP")
    upload(client, bare, **blur)
    assert light.run_next()
    assert sent(client, **{**blur, "steps": None, "size": None, "seed": None}, image=made["id"], cache=True)[
        "state"
    ] == ("queued"), "its file has to say that a model painted it"


def test_what_is_made_of_a_doubtful_picture_answers_nothing(
    client: FlaskClient, worker: Worker, parts: Services, store: JobStore
) -> None:
    received = stored_form(Image.new("RGB", (64, 64), "red"))
    doubtful = parts.gallery.add(received, "local", scores={"nsfw": 0.5})
    plain = parts.gallery.add(received, "local")
    painted(client, worker, **EDIT, size=None, image=plain.id)
    assert sent(client, **EDIT, size=None, image=plain.id)["cached"]
    job = sent(client, **EDIT, size=None, image=doubtful.id)
    assert job["state"] == "queued"
    assert store.jobs.get(job["id"]).cache_key is None


def test_pictures_that_no_classifier_has_seen_are_painted_anew(
    client: FlaskClient, worker: Worker, store: JobStore
) -> None:
    job = painted(client, worker)
    with store.database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job["id"]).values(safety="unavailable"))
    assert sent(client)["state"] == "queued"


# -- deleted, held -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deleted", ["image of the first", "image of the copy", "first job", "copy"])
def test_what_was_deleted_answers_nothing_and_the_others_keep_theirs(
    client: FlaskClient, worker: Worker, deleted: str
) -> None:
    first, copy = painted(client, worker, n=2), sent(client, n=2)
    gone, kept = (copy, first) if "copy" in deleted else (first, copy)
    address = f"/v1/images/{gone['images'][1]['id']}" if "image" in deleted else f"/v1/jobs/{gone['id']}"
    assert client.delete(address).status_code == 204
    assert sent(client, n=2)["state"] == "queued"
    for image in kept["images"]:
        assert client.get(image["url"]).status_code == client.get(image["thumbnail_url"]).status_code == 200
    assert client.delete(f"/v1/jobs/{kept['id']}").status_code == 204
    assert client.get(kept["images"][1]["url"]).status_code == 404


def test_a_picture_whose_file_is_gone_is_painted_anew_once_that_is_noticed(
    client: FlaskClient, worker: Worker, store: JobStore, parts: Services
) -> None:
    first = painted(client, worker)["images"][0]
    parts.gallery.files.delete(store.images.get(first["id"]).key)
    lost = sent(client)["images"][0]
    answer = client.get(lost["url"])
    assert (answer.status_code, "make it again" in answer.text) == (404, True)
    again = painted(client, worker)["images"][0]
    assert client.get(again["url"]).status_code == 200
    assert sent(client)["images"][0]["sha256"] == again["sha256"]


@pytest.mark.parametrize(
    ("held", "verdicts", "answers"),
    [
        pytest.param([True], [], False, id="held"),
        pytest.param([True], ["rejected"], False, id="rejected"),
        pytest.param([True], ["approved"], True, id="approved"),
        pytest.param([True, False], [], False, id="one held"),
        pytest.param([True, False], ["rejected"], False, id="one rejected"),
        pytest.param([True, True], ["approved", "approved"], True, id="both approved"),
    ],
)
def test_what_is_withheld_answers_nothing(
    client: FlaskClient, parts: Services, store: JobStore, held: list[bool], verdicts: list[str], answers: bool
) -> None:
    sent(client, n=len(held))
    ids = painted_and_held(parts, *held)
    for image_id, verdict in zip(ids, verdicts, strict=False):
        answer = client.post(f"/v1/images/{image_id}/review", json={"state": verdict, "reasons": ["taste"]})
        assert answer.status_code == 200, answer.text
    job = sent(client, n=len(held))
    assert (job["state"] == "succeeded", job["cached"]) == (answers, answers)
    for image in job["images"] if answers else []:
        copy = store.images.get(image["id"])
        assert (copy.review, copy.scores) == (Review.APPROVED, {"nsfw": 0.6}), "nobody is asked again"


# -- a job like any other ------------------------------------------------------------------------------------------


def test_a_hit_takes_no_place_and_no_images_but_counts_as_a_request(
    client: FlaskClient, worker: Worker, parts: Services
) -> None:
    limits = Limits(images_per_day=1, jobs_at_once=1, requests_per_minute=4)
    headers = key(parts, "dify", limits=KeyLimits(key=limits))
    painted(client, worker, headers)
    assert sent(client, headers)["cached"]
    assert client.post("/v1/jobs", json={**ASK, "seed": 6}, headers=headers).status_code == 429
    assert sent(client, headers)["cached"]
    assert sent(client, headers)["cached"]
    answer = client.post("/v1/jobs", json=ASK, headers=headers)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (429, "rate_limited")


def test_a_full_queue_turns_no_hit_away(client: FlaskClient, worker: Worker, parts: Services) -> None:
    image = painted(client, worker)["images"][0]
    painted(client, worker, **EDIT, size=None, image=image["id"])
    for seed in range(parts.settings.queue_limit):
        if client.post("/v1/jobs", json={**ASK, "seed": seed, "steps": 3}).status_code == 429:
            break
    assert client.post("/v1/jobs", json={**ASK, "steps": 4}).status_code == 429
    assert sent(client)["cached"]
    assert upload(client, client.get(image["url"]).data, **EDIT)["cached"]


def test_a_hit_is_written_down_as_one(client: FlaskClient, worker: Worker, store: JobStore, parts: Services) -> None:
    headers = key(parts, "dify", scopes=tuple(Scope))
    first, second = painted(client, worker, headers, n=2), sent(client, headers, n=2)
    with store.database.reading() as connection:
        rows = {row.job_id: row for row in connection.execute(select(usage))}
    assert (rows[first["id"]].cached, rows[first["id"]].images, rows[first["id"]].pictures) == (False, 2, 2)
    used = rows[second["id"]]
    assert (used.cached, used.images, used.pictures, used.megapixel_steps, used.device_s) == (True, 0, 0, 0, 0)
    hit, painting = store.calls.page(Sought(), 9)[0]
    assert (hit.job_id, hit.cached, hit.images, hit.phases) == (second["id"], True, 2, None)
    assert (painting.cached, painting.images) == (False, 2)
    metrics = client.get("/metrics", headers=headers).text
    assert 'studio_jobs_cached_total{cache="exact",model="miniature"} 1.0' in metrics
    assert 'studio_usage_images_total{model="miniature"} 2.0' in metrics
    assert 'studio_jobs_total{model="miniature",outcome="succeeded"} 2.0' in metrics


def test_who_is_to_be_told_of_a_hit_is_told(client: FlaskClient, worker: Worker, store: JobStore) -> None:
    painted(client, worker)
    assert sent(client, webhook_url="https://example.com/hook")["cached"]
    assert store.outbox.counts().waiting == 1


def test_a_key_of_idempotency_gives_the_same_hit_again(client: FlaskClient, worker: Worker) -> None:
    painted(client, worker)
    first, second = (sent(client, {"Idempotency-Key": "k1"}) for _ in range(2))
    assert first["id"] == second["id"]


def test_a_conversation_goes_on_with_a_hit(client: FlaskClient, worker: Worker, store: JobStore) -> None:
    painted(client, worker)
    hit = sent(client, conversation="c1")
    edited = sent(client, **EDIT, size=None, conversation="c1")
    assert store.jobs.get(edited["id"]).inputs == (hit["images"][0]["id"],)


def test_a_hit_has_an_archive_and_a_chain_of_its_own(client: FlaskClient, worker: Worker) -> None:
    image = painted(client, worker)["images"][0]
    painted(client, worker, **EDIT, size=None, image=image["id"])
    hit = upload(client, client.get(image["url"]).data, **EDIT)
    with zipfile.ZipFile(BytesIO(client.get(hit["archive_url"]).data)) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".png")]
        assert archive.read(name) == client.get(hit["images"][0]["url"]).data
    chain = client.get(f"/v1/images/{hit['images'][0]['id']}/chain").get_json()
    [sent_again] = chain["ancestors"]
    assert sent_again["id"] != image["id"]
    assert hit["images"][0]["comparison_url"] is not None
    assert client.get(hit["images"][0]["comparison_url"]).status_code == 200


def test_openais_client_is_answered_at_once(client: FlaskClient, worker: Worker) -> None:
    first = painted(client, worker)
    body = {"prompt": ASK["prompt"], "seed": 5, "steps": 2, "size": "64x64"}  # seed and steps by extra_body
    answer = client.post("/v1/images/generations", json=body)  # which no worker paints
    assert answer.status_code == 200
    path = first["images"][0]["url"].partition("?")[0]
    assert answer.get_json()["data"][0]["url"].partition("?")[0] == path


def test_openais_client_is_told_for_which_prompt_a_similar_picture_was_painted(
    client: FlaskClient, worker: Worker
) -> None:
    painted(client, worker)
    body = {"prompt": "A RED apple", "seed": 5, "steps": 2, "size": "64x64", "cache": "similar"}
    [item] = client.post("/v1/images/generations", json=body).get_json()["data"]
    assert item["revised_prompt"] == ASK["prompt"]
