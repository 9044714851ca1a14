"""What reviewers see of a held picture besides: its source, its scores, what it was made from, and the verdict."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.reviewing import Scene, held_edit, painted_and_held


@pytest.fixture
def scene(app: Flask, parts: Services, worker: Worker) -> Scene:
    """An edit that waits for a reviewer."""
    return held_edit(app, parts, worker)


def listed(scene: Scene, who: str, query: str = "?review=held") -> list[dict[str, Any]]:
    """What somebody finds in the list."""
    answer = scene.ask(who, "GET", f"/v1/images{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.get_json()["data"])


def opened(scene: Scene, url: str) -> int:
    """What the link answers to somebody without a key."""
    split = urlsplit(url)
    return scene.ask("nobody", "GET", f"{split.path}?{split.query}").status_code


@pytest.mark.parametrize("who", ["reviewer", "operator"])
def test_reviewers_see_the_source_the_scores_and_the_picture_before(scene: Scene, who: str) -> None:
    scene.submit("owner", operation="generate", prompt="a cup", steps=2, hold=True)
    painted_and_held(scene.parts, True)
    scored, edited = listed(scene, who)
    assert scored["reviewer"] == {
        "owner": "shop",
        "key": "owner",
        "scores": {"nsfw": 0.6},
        "made_from": [],
        "by": None,
        "at": None,
        "note": None,
    }
    [before] = edited["reviewer"]["made_from"]
    assert before["id"] == scene.input_id == edited["parent_ids"][0]
    assert [opened(scene, before[name]) for name in ("url", "thumbnail_url")] == [200, 200]
    chain = scene.ask(who, "GET", f"/v1/images/{scene.image.id}/chain").get_json()
    assert chain["image"]["reviewer"]["made_from"][0]["id"] == before["id"]


def test_nobody_else_sees_them_before_or_after_the_verdict(scene: Scene) -> None:
    assert scene.verdict("reviewer", "approved", note="a secret note").status_code == 200
    for who in ("owner", "rival"):
        assert all(image["reviewer"] is None for image in listed(scene, who, ""))
    assert [image["reviewer"] for image in listed(scene, "owner", "?review=approved")] == [None]
    answer = scene.ask("owner", "GET", f"/v1/images/{scene.image.id}/chain")
    assert "a secret note" not in answer.text
    assert answer.get_json()["image"]["reviewer"] is None


@pytest.mark.parametrize("state", ["approved", "rejected"])
def test_verdicts_are_found_with_who_decided_by_reviewers_and_by_operators_of_all_owners(
    scene: Scene, state: str
) -> None:
    scene.verdict("reviewer", state, user="ann", note="look at the hand", reasons=["six fingers"])
    for who in ("reviewer", "operator"):
        [image] = listed(scene, who, f"?review={state}")
        assert (image["id"], image["review"]) == (scene.image.id, state)
        seen = image["reviewer"]
        assert (seen["by"], seen["note"]) == ("reviewer (ann)", "look at the hand")
        assert seen["at"] >= image["created_at"]
        assert opened(scene, image["url"]) == 200
    for who in ("rival", "operator"):
        assert listed(scene, who, "") == []
        assert listed(scene, who, "?review=none") == []
    assert listed(scene, "rival", f"?review={state}") == []
    assert [image["id"] for image in listed(scene, "reviewer", "?review=none")] == [scene.input_id]


def test_pictures_that_nobody_asked_about_have_no_reviewer(scene: Scene) -> None:
    assert [image["reviewer"] for image in listed(scene, "reviewer", "?source=upload")] == [None]
