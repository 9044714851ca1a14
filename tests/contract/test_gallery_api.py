"""Images as a gallery meets them: the list with its filters and pages, history, and links as paths."""

import json
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import Review, Scope
from qwen_image_studio.jobs import JobStore, StoredImage
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.database import with_tables
from tests.support.pictures import png

PATHS = {"Accept": "application/json;links=path"}


def painted(client: FlaskClient, worker: Worker, files: Mapping[str, bytes] | None = None, **asked: Any) -> Any:
    """A finished job's view."""
    params = {"operation": "generate", "prompt": "a cup", "steps": 2, **asked}
    form: dict[str, Any] = {name: (BytesIO(data), "x.png") for name, data in (files or {}).items()}
    answer = client.post("/v1/jobs", data={"params": json.dumps(params), **form}) if files else None
    answer = answer or client.post("/v1/jobs", json=params)
    assert answer.status_code == 202, answer.text
    while worker.run_next():
        pass
    return client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json()


def listed(client: FlaskClient, query: str = "", **headers: str) -> Any:
    """A page of the list."""
    answer = client.get(f"/v1/images{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def ids(page: Any) -> list[str]:
    return [image["id"] for image in page["data"]]


def test_images_are_listed_newest_first_with_what_made_them(client: FlaskClient, worker: Worker) -> None:
    first = painted(client, worker, prompt="a red cup")["images"][0]["id"]
    job = painted(client, worker, operation="edit", prompt="make it blue", image=first, user="ann")
    page = listed(client)
    assert ids(page) == [job["images"][0]["id"], first]
    assert (page["has_more"], page["total"]) == (False, 2)
    shown = page["data"][0]
    assert {name: shown[name] for name in ("operation", "model", "tier", "prompt", "source", "user", "review")} == {
        "operation": "edit",
        "model": "miniature",
        "tier": "quality",
        "prompt": "make it blue",
        "source": "made",
        "user": "ann",
        "review": "none",
    }
    assert shown["parent_ids"] == [first]
    assert (shown["job_id"], shown["url"]) == (job["id"], job["images"][0]["url"])


def test_masks_are_neither_listed_nor_parents(client: FlaskClient, worker: Worker) -> None:
    sent = {"image": png(), "mask": png(colour="white")}
    painted(client, worker, sent, operation="inpaint", prompt="a cat")
    made, source = listed(client)["data"]
    assert (made["source"], source["source"]) == ("made", "upload")
    assert made["parent_ids"] == [source["id"]]
    assert (source["operation"], source["prompt"], source["parent_ids"]) == (None, None, [])


def test_pages_follow_one_another_without_a_gap(client: FlaskClient, worker: Worker) -> None:
    painted(client, worker, n=7)
    found, after = [], ""
    while True:
        page = listed(client, f"?limit=3{after}")
        found += ids(page)
        assert page["total"] == 7
        if not page["has_more"]:
            break
        after = f"&after={found[-1]}"
    assert found == ids(listed(client))
    assert len(set(found)) == 7


def test_a_page_goes_on_after_an_image_that_was_deleted_meanwhile(client: FlaskClient, worker: Worker) -> None:
    painted(client, worker, n=3)
    first, second, third = ids(listed(client))
    client.delete(f"/v1/images/{second}")
    assert ids(listed(client, f"?after={second}")) == [third]
    assert ids(listed(client)) == [first, third]


FILTERS = {
    "operation=generate": {"cup", "杯子", "100%"},
    "operation=edit": {"blue"},
    "operation=adjust": {"flip"},
    "operation=edit,inpaint,adjust": {"blue", "flip"},
    "model=miniature": {"cup", "杯子", "100%", "blue"},
    "model=cv": {"flip"},
    "q=CUP": {"cup"},
    "q=红色": {"杯子"},
    "q=100%25": {"100%"},
    "q=_": set(),
    "source=upload": {"upload"},
    "rows=false": {"cup", "杯子", "100%", "blue", "flip", "upload"},
    "source=made": {"cup", "杯子", "100%", "blue", "flip"},
    "user=ann": {"cup"},
    "conversation=c1": {"blue"},
    "source=made&operation=generate&q=cup": {"cup"},
    "review=held": set(),
}


@pytest.fixture
def gallery(client: FlaskClient, worker: Worker, light: Worker) -> dict[str, str]:
    """Some images, by a word for each; the words by id."""
    upload = client.post("/v1/images", data={"image": (BytesIO(png()), "x.png")}).get_json()["id"]
    asked: dict[str, dict[str, Any]] = {
        "cup": {"prompt": "a Cup", "user": "ann"},
        "杯子": {"prompt": "一个红色的杯子"},
        "100%": {"prompt": "100% wool"},
        "blue": {"operation": "edit", "prompt": "make it blue", "image": upload, "conversation": "c1"},
    }
    found = {painted(client, worker, **params)["images"][0]["id"]: word for word, params in asked.items()}
    flip = {"operation": "adjust", "adjustments": [{"do": "flip", "axis": "horizontal"}], "image": upload}
    job = client.post("/v1/jobs", json=flip).get_json()
    assert light.run_next()
    flipped = client.get(f"/v1/jobs/{job['id']}").get_json()["images"][0]["id"]
    return {**found, upload: "upload", flipped: "flip"}


@pytest.mark.parametrize("query", FILTERS)
def test_a_filter_keeps_what_it_names(client: FlaskClient, gallery: dict[str, str], query: str) -> None:
    page = listed(client, f"?{query}")
    assert {gallery[each] for each in ids(page)} == FILTERS[query]
    assert page["total"] == len(page["data"])


def test_the_rows_of_a_batch_are_listed_and_found_by_it(client: FlaskClient, worker: Worker, light: Worker) -> None:
    body = {"operation": "generate", "prompt": "a {{thing}}", "steps": 2}
    asked = {"operation": "batch", "job": body, "rows": [{"thing": "cup"}, {"thing": "cat"}]}
    batch = client.post("/v1/jobs", json=asked)
    batch_id = batch.get_json()["id"]
    while light.run_next() or worker.run_next():
        pass
    rows = listed(client, f"?parent_id={batch_id}")
    assert {image["prompt"] for image in rows["data"]} == {"a cup", "a cat"}
    assert {image["parent_id"] for image in rows["data"]} == {batch_id}
    [sheet] = listed(client, "?operation=batch")["data"]
    assert (sheet["job_id"], sheet["parent_id"]) == (batch_id, None)
    assert listed(client)["total"] == 3
    upload = client.post("/v1/images", data={"image": (BytesIO(png()), "x.png")}).get_json()["id"]
    without = listed(client, "?rows=false")
    assert (ids(without), without["total"]) == ([upload, sheet["id"]], 2)
    alone = painted(client, worker, prompt="a cup")["id"]
    batches = client.get("/v1/jobs?operation=batch,campaign").get_json()["data"]
    assert [(job["id"], job["rows"]["succeeded"]) for job in batches] == [(batch_id, 2)]
    assert [job["id"] for job in client.get("/v1/jobs?operation=generate").get_json()["data"]] == [alone]


def test_a_search_says_where_prompts_are_not_kept(tmp_path: Path) -> None:
    settings = with_tables(Settings(data_dir=tmp_path, models="miniature", prompts="dropped"))
    client = create_app(settings, configured_models(settings, card_gib=0)).test_client()
    assert "STUDIO_PROMPTS" in listed(client, "?q=cup")["note"]
    assert listed(client)["note"] is None


def test_what_a_list_cannot_be_asked_is_named(client: FlaskClient) -> None:
    for query, param in (("limit=0", "limit"), ("source=x", "source"), ("review=x", "review"), ("colour=x", "colour")):
        answer = client.get(f"/v1/images?{query}")
        assert (answer.status_code, answer.get_json()["error"]["param"]) == (422, param)
    assert client.get("/v1/images?after=img_1").status_code == 404


def test_everybody_lists_and_follows_only_his_own(parts: Services, client: FlaskClient, worker: Worker) -> None:
    image = painted(client, worker)["images"][0]["id"]
    key = {"Authorization": f"Bearer {parts.keys.add('bob')}"}
    assert listed(client, "", **key)["data"] == []
    assert client.get(f"/v1/images?after={image}", headers=key).status_code == 404
    assert client.get(f"/v1/images/{image}/chain", headers=key).status_code == 404


# -- review --------------------------------------------------------------------------------------------------------


def held(store: JobStore, owner: str) -> str:
    """An image of an owner that waits for a verdict."""
    image = StoredImage("img_held", owner, "k", "t", 8, 8, "image/png", 9, "0" * 64, created_at=1.0)
    store.images.add(replace(image, review=Review.HELD))
    return image.id


@pytest.mark.parametrize(
    ("scopes", "query", "is_shown"),
    [
        ((Scope.GENERATE,), "", False),
        ((Scope.GENERATE,), "?review=held", False),
        ((Scope.REVIEW,), "", True),
        ((Scope.REVIEW,), "?review=held", True),
        ((Scope.REVIEW,), "?review=approved", False),
        ((Scope.OPERATE,), "?review=held", True),
    ],
)
def test_held_images_are_listed_for_reviewers_alone(
    parts: Services, store: JobStore, client: FlaskClient, scopes: tuple[Scope, ...], query: str, is_shown: bool
) -> None:
    key = parts.keys.add("ann", scopes=scopes)
    owner = "zoe" if Scope.OPERATE in scopes else "ann"
    image = held(store, owner)
    headers = {"Authorization": f"Bearer {key}"}
    assert ids(listed(client, query, **headers)) == ([image] if is_shown else [])
    assert listed(client, query, **headers)["total"] == int(is_shown)
    assert client.get(f"/v1/images/{image}/chain", headers=headers).status_code == (
        200 if Scope.GENERATE not in scopes else 403
    )


# -- history -------------------------------------------------------------------------------------------------------


def test_a_chain_tells_what_an_image_was_made_from_and_what_was_made_from_it(
    client: FlaskClient, worker: Worker
) -> None:
    upload = client.post("/v1/images", data={"image": (BytesIO(png()), "x.png")}).get_json()["id"]
    other = painted(client, worker)["images"][0]["id"]
    second = painted(client, worker, operation="edit", prompt="red", image=[upload, other])["images"][0]["id"]
    third = painted(client, worker, operation="edit", prompt="green", image=second, n=2)["images"]
    chain = client.get(f"/v1/images/{second}/chain").get_json()
    assert chain["image"]["id"] == second
    assert [each["id"] for each in chain["ancestors"]] == [upload, other]
    assert [each["id"] for each in chain["descendants"]] == [each["id"] for each in third]
    assert not chain["truncated"]
    whole = client.get(f"/v1/images/{upload}/chain").get_json()
    assert [each["id"] for each in whole["descendants"]] == [second, *[each["id"] for each in third]]
    assert whole["ancestors"] == []


def test_a_chain_is_bounded(client: FlaskClient, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_image_studio.jobs.pictures.MOST_RELATED", 3)
    upload = client.post("/v1/images", data={"image": (BytesIO(png()), "x.png")}).get_json()["id"]
    painted(client, worker, operation="edit", prompt="red", image=upload, n=5)
    chain = client.get(f"/v1/images/{upload}/chain").get_json()
    assert (len(chain["descendants"]), chain["truncated"]) == (3, True)


# -- links ---------------------------------------------------------------------------------------------------------


def links(view: Any) -> list[str]:
    """All links to files of an answer; that to the page is there to be handed on, and is whole for everybody."""
    if isinstance(view, list):
        return [link for each in view for link in links(each)]
    if not isinstance(view, dict):
        return []
    named = {name: text for name, text in view.items() if name.endswith("url") and name != "studio_url"}
    own = [text for text in named.values() if isinstance(text, str)]
    return own + [link for each in view.values() for link in links(each)]


def test_links_are_paths_where_they_are_asked_for(client: FlaskClient, worker: Worker) -> None:
    job = painted(client, worker, {"image": png()}, operation="edit", prompt="make it red")
    image = job["images"][0]["id"]
    for path in (f"/v1/jobs/{job['id']}", "/v1/jobs", "/v1/images", f"/v1/images/{image}", f"/v1/images/{image}/chain"):
        whole = links(client.get(path).get_json())
        as_paths = links(client.get(path, headers=PATHS).get_json())
        assert [link.partition("/files/")[2] for link in whole] == [link.partition("/files/")[2] for link in as_paths]
        assert all(link.startswith("http://127.0.0.1:8300/files/") for link in whole)
        assert len(as_paths) >= 3
        assert all(link.startswith("/files/") for link in as_paths)
    assert client.get(as_paths[0]).status_code == 200


@pytest.mark.parametrize(
    ("accept", "is_path"),
    [
        ("application/json;links=path", True),
        ('application/json; links="path"', True),
        ("application/json;links=path, */*;q=0.5", True),
        ("application/json;links=paths", False),
        ("*/*", False),
    ],
)
def test_how_links_are_asked_for(client: FlaskClient, worker: Worker, accept: str, is_path: bool) -> None:
    painted(client, worker)
    [link] = {image["url"] for image in listed(client, Accept=accept)["data"]}
    assert link.startswith("/files/") is is_path
