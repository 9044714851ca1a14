"""The list of API keys over HTTP: what operators see of each, and that no key or hash is in it."""

from collections.abc import Mapping

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Policy, Scope
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.web.routing import Services


@pytest.fixture
def keys(parts: Services) -> KeyStore:
    """The application's keys."""
    return parts.keys


def bearer(key: str) -> dict[str, str]:
    """The header of a key."""
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def operator(keys: KeyStore) -> Mapping[str, str]:
    """The header of an operator's key, the first of all."""
    return bearer(keys.add("ops", scopes=[Scope.OPERATE]))


def test_operators_see_what_each_key_may_and_has_used(
    client: FlaskClient, keys: KeyStore, operator: Mapping[str, str]
) -> None:
    limits = KeyLimits(key=Limits(images_per_day=5, max_steps=30), person=Limits(jobs_at_once=2))
    dify = keys.add("dify", "shop", [Scope.EDIT, Scope.GENERATE], limits, Policy.STRICT)
    asked = {"operation": "generate", "prompt": "a cup", "steps": 2, "n": 2, "user": "ann"}
    assert client.post("/v1/jobs", json=asked, headers=bearer(dify)).status_code == 202
    page = client.get("/v1/keys", headers=operator).get_json()
    assert [key["name"] for key in page["data"]] == ["ops", "dify"]
    assert page["has_more"] is False
    key = page["data"][1]
    assert (key["owner"], key["can"], key["policy"]) == ("shop", ["generate", "edit"], "strict")
    day = key["limits"]["images_per_day"]
    assert (day["limit"], day["used"], day["left"]) == (5, 2, 3)
    assert (key["limits"]["jobs_at_once"]["limit"], key["limits"]["jobs_at_once"]["used"]) == (None, 1)
    assert (key["limits"]["max_steps"], key["limits_of_each_person"]) == (30, {"jobs_at_once": 2})
    assert (key["revoked_at"], key["rotating_until"]) == (None, None)
    assert page["data"][0]["policy"] is None


def test_no_key_and_no_hash_is_told(client: FlaskClient, keys: KeyStore, operator: Mapping[str, str]) -> None:
    old = keys.add("dify")
    new = keys.rotate("dify", overlap_s=3600)
    answer = client.get("/v1/keys", headers=operator)
    assert "qis_" not in answer.text
    assert not {old, new} & set(answer.text.split('"'))
    assert "hash" not in answer.text
    assert answer.get_json()["data"][1]["rotating_until"] > answer.get_json()["data"][1]["created_at"]


def test_revoked_keys_come_last_and_pages_follow_one_another(
    client: FlaskClient, keys: KeyStore, operator: Mapping[str, str]
) -> None:
    for name in ("a", "b", "c"):
        keys.add(name)
    keys.revoke("a")
    names: list[str] = []
    more = True
    while more:
        after = f"&after={names[-1]}" if names else ""
        page = client.get(f"/v1/keys?limit=2{after}", headers=operator).get_json()
        names += [key["name"] for key in page["data"]]
        more = page["has_more"]
    assert names == ["ops", "b", "c", "a"]
    assert page["data"][-1]["revoked_at"] is not None
    assert client.get("/v1/keys?after=nobody", headers=operator).status_code == 404


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.OPERATE])
def test_nobody_else_sees_keys(client: FlaskClient, keys: KeyStore, scope: Scope) -> None:
    assert client.get("/v1/keys", headers=bearer(keys.add("other", scopes=[scope]))).status_code == 403
    assert client.get("/v1/keys").status_code == 401


def test_without_keys_the_list_is_empty(client: FlaskClient) -> None:
    assert client.get("/v1/keys").get_json()["data"] == []
