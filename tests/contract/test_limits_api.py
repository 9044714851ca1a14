"""Limits and usage over HTTP: refused, told in headers, looked up, added up."""

import csv
import io
from collections.abc import Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.account import LimitsView
from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Policy, Scope
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png
from tests.support.worker import working

CUP = {"operation": "generate", "prompt": "a cup", "steps": 2}


@pytest.fixture
def keys(parts: Services) -> KeyStore:
    """The application's keys."""
    return parts.keys


def bearer(keys: KeyStore, limits: KeyLimits | None = None, *, name: str = "dify", **more: Any) -> dict[str, str]:
    """The header of a new key of the shop's."""
    return {"Authorization": f"Bearer {keys.add(name, 'shop', limits=limits or KeyLimits(), **more)}"}


def fields(text: str) -> Mapping[str, Mapping[str, str]]:
    """A list of structured fields: the parameters of each, by its name."""
    parsed = {}
    for member in text.split(", "):
        name, *parameters = member.split(";")
        parsed[name.strip('"')] = dict(parameter.split("=") for parameter in parameters)
    return parsed


# -- refusing ------------------------------------------------------------------------------------------------------


def test_beyond_the_images_of_a_day_is_429_with_when_and_what_is_left(client: FlaskClient, keys: KeyStore) -> None:
    headers = bearer(keys, KeyLimits(key=Limits(images_per_day=3)))
    assert client.post("/v1/jobs", json={**CUP, "n": 2}, headers=headers).status_code == 202
    answer = client.post("/v1/jobs", json={**CUP, "n": 2}, headers=headers)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (429, "quota_exceeded", "rate_limit_error")
    assert "of which 1 are left; this asks for 2" in error["message"]
    assert 0 < int(answer.headers["Retry-After"]) <= 86400
    assert fields(answer.headers["RateLimit"])["images-per-day"]["r"] == "1"


def test_openais_routes_count_and_refuse_alike(client: FlaskClient, keys: KeyStore, worker: Worker) -> None:
    headers = bearer(keys, KeyLimits(person=Limits(requests_per_minute=1)))
    body = {"prompt": "a cup", "user": "ann"}
    assert client.post("/v1/jobs", json={**CUP, "user": "ann"}, headers=headers).status_code == 202
    answer = client.post("/v1/images/generations", json=body, headers=headers)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (429, "rate_limited")
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    [(name, left)] = fields(answer.headers["RateLimit"]).items()
    assert (name, left["r"]) == ("requests-per-minute-of-person", "0")
    assert 0 <= int(answer.headers["Retry-After"]) - int(left["t"]) <= 1, "the headers are written a moment later"
    assert "X-Should-Retry" not in answer.headers, "a client waits for the next minute"
    files = {"image": (io.BytesIO(png()), "a.png"), "prompt": "make it red", "user": "ann"}
    assert client.post("/v1/images/edits", data=files, headers=headers).status_code == 429


def test_openais_clients_try_once_where_a_day_has_to_pass(client: FlaskClient, keys: KeyStore) -> None:
    headers = bearer(keys, KeyLimits(key=Limits(images_per_month=0)))
    answer = client.post("/v1/images/generations", json={"prompt": "a cup"}, headers=headers)
    assert (answer.status_code, answer.headers["X-Should-Retry"]) == (429, "false")


def test_what_is_refused_leaves_no_files(client: FlaskClient, keys: KeyStore, parts: Services) -> None:
    headers = bearer(keys, KeyLimits(key=Limits(jobs_at_once=0)))
    data = {"params": '{"operation": "edit", "prompt": "make it red"}', "image": (io.BytesIO(png()), "a.png")}
    assert client.post("/v1/jobs", data=data, headers=headers).status_code == 429
    assert not [path for path in (parts.settings.data_dir / "images").rglob("*") if path.is_file()]


def test_a_batch_counts_n_for_each_row(client: FlaskClient, keys: KeyStore) -> None:
    headers = bearer(keys, KeyLimits(key=Limits(images_per_month=9)))
    rows = [{"item": "cup", "n": 2}, {"item": "hat", "n": 3}, {"item": "dog"}]
    batch = {"operation": "batch", "job": {**CUP, "prompt": "a {{item}}", "n": "{{n}}"}, "rows": rows}
    answer = client.post("/v1/jobs", json=batch, headers=headers)
    assert answer.status_code == 202
    assert fields(answer.headers["RateLimit"])["images-per-month"]["r"] == "3"
    assert client.post("/v1/jobs", json=batch, headers=headers).status_code == 429


def test_reads_do_not_count(client: FlaskClient, keys: KeyStore) -> None:
    headers = bearer(keys, KeyLimits(key=Limits(requests_per_minute=1)))
    for _ in range(3):
        assert client.get("/v1/jobs", headers=headers).status_code == 200
    job = client.post("/v1/jobs", json=CUP, headers=headers)
    assert job.status_code == 202
    assert client.get(f"/v1/jobs/{job.get_json()['id']}", headers=headers).status_code == 200
    assert client.post(f"/v1/jobs/{job.get_json()['id']}/cancel", headers=headers).status_code == 200


def test_a_new_limit_holds_at_once(client: FlaskClient, keys: KeyStore) -> None:
    headers = bearer(keys)
    answer = client.post("/v1/jobs", json=CUP, headers=headers)
    assert answer.status_code == 202
    assert "RateLimit" not in answer.headers
    keys.limit("dify", KeyLimits(key=Limits(images_per_day=1)))
    assert client.post("/v1/jobs", json=CUP, headers=headers).status_code == 429
    keys.limit("dify", KeyLimits())
    assert client.post("/v1/jobs", json=CUP, headers=headers).status_code == 202


# -- size and steps ------------------------------------------------------------------------------------------------

SMALL = Limits(max_pixels=64 * 64, max_steps=4)
TOO_LARGE: list[tuple[dict[str, Any], str]] = [
    ({**CUP, "width": 96, "height": 96}, "width"),
    ({**CUP, "size": "96x96"}, "size"),
    ({**CUP, "aspect_ratio": "16:9"}, "aspect_ratio"),
    (CUP, "size"),
    ({**CUP, "size": "64x64", "steps": 5}, "steps"),
    ({**CUP, "size": "64x64", "steps": None}, "steps"),
    ({"operation": "edit", "prompt": "make it red", "steps": 2, "image": True}, "image"),
    ({"operation": "outpaint", "steps": 2, "left": 64, "image": True}, "left"),
    (
        {"operation": "batch", "job": {**CUP, "size": "{{size}}"}, "rows": [{"size": "64x64"}, {"size": "96x96"}]},
        "rows[1]",
    ),
]


@pytest.mark.parametrize(("asked", "param"), TOO_LARGE, ids=[param for _, param in TOO_LARGE])
@pytest.mark.parametrize("whose", ["key", "person"])
def test_the_largest_size_and_steps_are_those_of_the_plan(
    client: FlaskClient, keys: KeyStore, asked: dict[str, Any], param: str, whose: str
) -> None:
    free = bearer(keys, name="free")
    large = client.post(
        "/v1/images",
        data={"image": (io.BytesIO(png(200, 200)), "a.png")},
        headers=free,
        content_type="multipart/form-data",
    ).get_json()["id"]
    asked = {name: large if value is True else value for name, value in asked.items() if value is not None}
    headers = bearer(keys, KeyLimits(**{whose: SMALL}))
    answer = client.post("/v1/jobs", json=asked, headers=headers)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, "invalid_value", param)
    largest = "at most 4" if "steps" in param else "4096 pixels"
    assert largest in error["message"]
    assert ("each person of the API key 'dify'" if whose == "person" else "the API key 'dify'") in error["message"]
    if "steps" not in param:
        assert "ask for at most 64x64" in error["message"]
    assert client.post("/v1/jobs", json={**CUP, "size": "64x64"}, headers=headers).status_code == 202


def test_a_row_that_turns_out_too_large_fails_with_that_sentence(
    client: FlaskClient, keys: KeyStore, light: Worker
) -> None:
    headers = bearer(keys, KeyLimits(key=SMALL))
    data = {"image": (io.BytesIO(png(200, 200)), "a.png")}
    large = client.post("/v1/images", data=data, headers=headers, content_type="multipart/form-data").get_json()["id"]
    job = {"operation": "edit", "prompt": "make it {{colour}}", "image": large, "steps": 2}
    batch = client.post(
        "/v1/jobs", json={"operation": "batch", "job": job, "rows": [{"colour": "red"}]}, headers=headers
    ).get_json()["id"]
    while client.get(f"/v1/jobs/{batch}", headers=headers).get_json()["state"] in {"queued", "running"}:
        assert light.run_next()
    [row] = client.get(f"/v1/jobs?parent_id={batch}", headers=headers).get_json()["data"]
    assert (row["state"], row["error"]["code"]) == ("failed", "invalid_value")
    assert "ask for at most 64x64" in row["error"]["message"]


# -- what is left --------------------------------------------------------------------------------------------------


def test_every_answer_to_a_submit_tells_what_is_left(client: FlaskClient, keys: KeyStore, worker: Worker) -> None:
    limits = KeyLimits(key=Limits(images_per_day=9, jobs_at_once=4), person=Limits(images_per_month=5))
    answer = client.post("/v1/jobs", json={**CUP, "n": 2, "user": "ann"}, headers=bearer(keys, limits))
    policies = fields(answer.headers["RateLimit-Policy"])
    assert policies["jobs-at-once"] == {"q": "4", "qu": '"concurrent-requests"'}
    assert policies["images-per-day"] == {"q": "9", "w": "86400", "qu": '"images"'}
    assert policies["images-per-month-of-person"]["q"] == "5"
    left = fields(answer.headers["RateLimit"])
    assert {name: values["r"] for name, values in left.items()} == {
        "jobs-at-once": "3",
        "images-per-day": "7",
        "images-per-month-of-person": "3",
    }
    assert 0 < int(left["images-per-day"]["t"]) <= 86400
    assert int(left["images-per-day"]["t"]) <= int(left["images-per-month-of-person"]["t"])


@pytest.mark.parametrize("stream", [False, True])
def test_openais_answers_tell_it_too(client: FlaskClient, keys: KeyStore, worker: Worker, *, stream: bool) -> None:
    headers = bearer(keys, KeyLimits(person=Limits(images_per_day=5)))
    with working(worker):
        body = {"prompt": "a cup", "n": 2, "user": "ann", "stream": stream}
        answer = client.post("/v1/images/generations", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
    assert fields(answer.headers["RateLimit"])["images-per-day-of-person"]["r"] == "3"


def test_the_contract_tells_of_the_headers(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    for path, status in (("/v1/jobs", "202"), ("/v1/images/generations", "200"), ("/v1/images/edits", "200")):
        for code in (status, "429"):
            told = paths[path]["post"]["responses"][code]["headers"]
            assert set(told) == {"RateLimit", "RateLimit-Policy"}, f"{path} {code}"
    assert "headers" not in paths["/v1/jobs"]["get"]["responses"]["200"]


def test_me_is_the_key_with_what_it_may_and_has_used(client: FlaskClient, keys: KeyStore) -> None:
    limits = KeyLimits(key=Limits(images_per_day=9, max_pixels=10**6), person=Limits(images_per_day=4))
    headers = bearer(keys, limits, scopes=[Scope.GENERATE, Scope.REVIEW], policy=Policy.STRICT)
    client.post("/v1/jobs", json={**CUP, "n": 3, "user": "ann"}, headers=headers)
    me = client.get("/v1/me", headers=headers).get_json()
    assert (me["kind"], me["owner"], me["key"], me["can"]) == ("key", "shop", "dify", ["generate", "review"])
    assert me["person"] is None
    day = me["limits"]["images_per_day"]
    assert (day["limit"], day["used"], day["left"], day["resets_at"] % 86400) == (9, 3, 6, 0)
    assert me["limits"]["images_per_month"]["limit"] is None
    assert me["limits"]["images_per_month"]["used"] == 3
    assert me["limits"]["jobs_at_once"] == {"limit": None, "used": 1, "left": None, "resets_at": None}
    assert (me["limits"]["max_pixels"], me["limits"]["max_steps"]) == (10**6, None)
    for user, left in (("ann", 1), ("bob", 4)):
        person = client.get("/v1/me", query_string={"user": user}, headers=headers).get_json()["person"]
        assert (person["person"], person["limits"]["images_per_day"]["left"]) == (user, left)


def test_me_tells_of_every_limit_that_there_is() -> None:
    assert list(LimitsView.model_fields) == list(Limits.model_fields)


def test_without_keys_me_is_this_machine(client: FlaskClient) -> None:
    client.post("/v1/jobs", json=CUP)
    me = client.get("/v1/me").get_json()
    assert (me["kind"], me["owner"], me["key"], me["can"]) == ("loopback", "local", None, list(Scope))
    assert me["limits"]["images_per_day"]["used"] == 1


# -- usage ---------------------------------------------------------------------------------------------------------


def spent(client: FlaskClient, headers: Mapping[str, str], query: str = "") -> list[tuple[Any, ...]]:
    """Key, person, model and pictures of each line."""
    data = client.get(f"/v1/usage{query}", headers=headers).get_json()["data"]
    return [(line["key"], line["person"], line["model"], line["pictures"]) for line in data]


def test_usage_is_added_up_by_key_person_and_model(client: FlaskClient, keys: KeyStore, worker: Worker) -> None:
    shop, other = bearer(keys), {"Authorization": f"Bearer {keys.add('press', 'press')}"}
    operator = {"Authorization": f"Bearer {keys.add('ops', 'ops', [Scope.OPERATE])}"}
    for headers, user, n in ((shop, "ann", 2), (shop, "bob", 1), (shop, "bob", 1), (other, "cid", 1)):
        assert client.post("/v1/jobs", json={**CUP, "user": user, "n": n}, headers=headers).status_code == 202
        assert worker.run_next()
    assert spent(client, shop) == [("dify", "ann", "miniature", 2), ("dify", "bob", "miniature", 2)]
    assert spent(client, shop, "?group=key") == [("dify", None, None, 4)]
    assert spent(client, operator, "?group=key") == [("press", None, None, 1), ("dify", None, None, 4)]
    assert spent(client, operator, "?group=model") == [(None, None, "miniature", 5)]
    assert spent(client, shop, "?month=2020-01") == []
    [line] = client.get("/v1/usage?group=month", headers=operator).get_json()["data"]
    assert line["pictures"] == 5
    assert line["megapixel_steps"] > 0
    assert line["month"] is not None
    assert line["key"] is line["owner"] is None


def test_usage_stays_when_its_jobs_are_deleted(client: FlaskClient, keys: KeyStore, worker: Worker) -> None:
    headers = bearer(keys)
    job = client.post("/v1/jobs", json=CUP, headers=headers).get_json()["id"]
    assert worker.run_next()
    before = client.get("/v1/usage", headers=headers).get_json()
    assert client.delete(f"/v1/jobs/{job}", headers=headers).status_code == 204
    assert client.get("/v1/usage", headers=headers).get_json() == before
    assert before["data"][0]["pictures"] == 1


def test_usage_comes_as_csv_in_which_nothing_is_a_formula(client: FlaskClient, keys: KeyStore, worker: Worker) -> None:
    headers = bearer(keys)
    people = ["=1+1", "+49 30", "-x", "@ann", 'ann, "the" artist', "安"]
    for user in people:
        client.post("/v1/jobs", json={**CUP, "user": user}, headers=headers)
        assert worker.run_next()
    answer = client.get("/v1/usage", headers={**headers, "Accept": "text/csv"})
    assert answer.mimetype == "text/csv"
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert {line["person"] for line in lines} == {"'=1+1", "'+49 30", "'-x", "'@ann", 'ann, "the" artist', "安"}
    assert all((line["key"], line["pictures"]) == ("dify", "1") for line in lines)
    assert client.get("/v1/usage?format=csv", headers=headers).text == answer.text
    assert client.get("/v1/usage", headers={**headers, "Accept": "*/*"}).is_json


@pytest.mark.parametrize("query", ["month=2026-13", "month=November", "group=colour", "group=", "format=xml", "user=x"])
def test_usage_says_which_parameter_is_wrong(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/v1/usage?{query}")
    assert answer.status_code == 422
    error = answer.get_json()["error"]
    assert error["param"] == query.partition("=")[0]
    assert "pattern" not in error["message"]
    assert error["param"] != "month" or "a month such as 2026-11" in error["message"]


# -- keys ----------------------------------------------------------------------------------------------------------


def test_a_rotated_key_works_beside_the_new_one_until_its_time_is_over(client: FlaskClient, keys: KeyStore) -> None:
    first = keys.add("dify", "shop", [Scope.GENERATE])
    second = keys.rotate("dify", 60, now=1000.0)
    assert first != second
    for now, old_works in ((1000.0, True), (1059.9, True), (1060.0, False)):
        assert (keys.caller(first, now) is not None) == old_works
        assert keys.caller(second, now) == keys.caller(second)
    third = keys.rotate("dify", 0)
    assert [keys.caller(key) is not None for key in (first, second, third)] == [False, False, True]
    assert client.get("/v1/me", headers={"Authorization": f"Bearer {third}"}).get_json()["can"] == ["generate"]
    assert keys.revoke("dify")
    assert keys.caller(third) is None


def test_revoking_a_key_ends_the_one_before_its_rotation_too(keys: KeyStore) -> None:
    first = keys.add("dify")
    keys.rotate("dify", 3600)
    assert keys.caller(first) is not None
    keys.revoke("dify")
    assert keys.caller(first) is None
