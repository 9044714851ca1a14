"""A held picture on every way out of the server, for everybody who may ask."""

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from urllib.parse import urlsplit

import pytest
from flask import Flask
from werkzeug.wrappers import Response

from qwen_image_studio.jobs import StoredImage
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png
from tests.support.reviewing import WHO, Scene, held_edit


@pytest.fixture
def scene(app: Flask, parts: Services, worker: Worker) -> Scene:
    """An edit that waits for a reviewer."""
    return held_edit(app, parts, worker)


Way = Callable[[Scene, str], Response]
EDIT = {"operation": "edit", "prompt": "make it red", "steps": 2}
REGION = {"operation": "inpaint", "prompt": "a cat"}


def _path(url: str) -> str:
    split = urlsplit(url)
    return f"{split.path}?{split.query}"


def _link(key: Callable[[StoredImage], str | None]) -> Way:
    return lambda scene, who: scene.ask(who, "GET", _path(scene.parts.gallery.link(str(key(scene.image)))))


def _begun(scene: Scene, who: str, path: str, until: str, **headers: str) -> Response:
    """An event stream as far as it was read: to the first piece with a word."""
    answer = scene.app.test_client().get(path, headers={**scene.headers[who], **headers}, buffered=False)
    if answer.status_code != 200:
        return answer
    told = b""
    for piece in answer.response:
        told += piece if isinstance(piece, bytes) else str(piece).encode()
        if until.encode() in told:
            break
    answer.close()
    return Response(told, 200)


def _edit_as_openai(scene: Scene, who: str) -> Response:
    return scene.ask(who, "POST", "/v1/images/edits", json={"prompt": "make it red", "image": scene.image.id})


def _batch(scene: Scene, who: str) -> Response:
    job = {**EDIT, "image": "{{picture}}"}
    return scene.submit(who, operation="batch", job=job, rows=[{"picture": scene.image.id}])


def _batch_of_links(scene: Scene, who: str) -> Response:
    rows = [{"picture": scene.parts.gallery.link(scene.image.key)}]
    return scene.submit(who, operation="batch", job={**EDIT, "image": "{{picture}}"}, rows=rows)


def _mask(scene: Scene, who: str) -> Response:
    params = json.dumps({**REGION, "mask": scene.image.id})
    return scene.ask(who, "POST", "/v1/jobs", data={"params": params, "image": (BytesIO(png()), "a.png")})


NOT_HIS = (404, "not_found")
HELD = (403, "held_for_review")
NO_KEY = (401, "invalid_api_key")
UNKNOWN = (422, "image_not_found")
SEEN = (200, "")
WAYS: Mapping[str, tuple[Way, tuple[tuple[int, str], ...]]] = {
    # what each of WHO is answered
    "its record": (
        lambda scene, who: scene.ask(who, "GET", f"/v1/images/{scene.image.id}"),
        (HELD, SEEN, SEEN, NOT_HIS, NO_KEY),
    ),
    "its bytes": (
        lambda scene, who: scene.ask(who, "GET", f"/v1/images/{scene.image.id}/content"),
        (HELD, SEEN, SEEN, NOT_HIS, NO_KEY),
    ),
    "its history": (
        lambda scene, who: scene.ask(who, "GET", f"/v1/images/{scene.image.id}/chain"),
        (HELD, SEEN, SEEN, NOT_HIS, NO_KEY),
    ),
    "the list of images": (lambda scene, who: scene.ask(who, "GET", "/v1/images"), (SEEN,) * 4 + (NO_KEY,)),
    "the list of held images": (
        lambda scene, who: scene.ask(who, "GET", "/v1/images?review=held"),
        (SEEN,) * 4 + (NO_KEY,),
    ),
    "the history of its input": (
        lambda scene, who: scene.ask(who, "GET", f"/v1/images/{scene.input_id}/chain"),
        (SEEN, SEEN, NOT_HIS, NOT_HIS, NO_KEY),
    ),
    "a link to it": (_link(lambda image: image.key), (HELD,) * 5),
    "a link to its thumbnail": (_link(lambda image: image.thumbnail_key), (HELD,) * 5),
    "a link to its comparison": (_link(lambda image: image.comparison_key), (HELD,) * 5),
    "its job": (
        lambda scene, who: scene.ask(who, "GET", f"/v1/jobs/{scene.job_id}"),
        (SEEN, SEEN, NOT_HIS, NOT_HIS, NO_KEY),
    ),
    "the list of jobs": (lambda scene, who: scene.ask(who, "GET", "/v1/jobs"), (SEEN,) * 4 + (NO_KEY,)),
    "the events of its job": (
        lambda scene, who: _begun(scene, who, f"/v1/jobs/{scene.job_id}/events", until="event: job"),
        (SEEN, SEEN, NOT_HIS, NOT_HIS, NO_KEY),
    ),
    "the ZIP of its job": (
        lambda scene, who: scene.ask(who, "GET", f"/v1/jobs/{scene.job_id}/archive"),
        (NOT_HIS,) * 4 + (NO_KEY,),
    ),
    "a link to the ZIP": (
        lambda scene, who: scene.ask(who, "GET", _path(scene.parts.gallery.archive_link(scene.job_id))),
        (NOT_HIS,) * 5,
    ),
    "an edit of it": (
        lambda scene, who: scene.submit(who, **EDIT, image=scene.image.id),
        (HELD, HELD, UNKNOWN, UNKNOWN, NO_KEY),
    ),
    "an edit of its link": (
        lambda scene, who: scene.submit(who, **EDIT, image=scene.parts.gallery.link(scene.image.key)),
        (HELD,) * 4 + (NO_KEY,),
    ),
    "an edit of a reviewer's link": (
        lambda scene, who: scene.submit(who, **EDIT, image=scene.parts.gallery.link(scene.image.key, review=True)),
        (HELD,) * 4 + (NO_KEY,),
    ),
    "an upload of a reviewer's link": (
        lambda scene, who: scene.ask(
            who, "POST", "/v1/images", json={"url": scene.parts.gallery.link(scene.image.key, review=True)}
        ),
        (HELD,) * 4 + (NO_KEY,),
    ),
    "an edit of its thumbnail's link": (
        lambda scene, who: scene.submit(who, **EDIT, image=scene.parts.gallery.link(scene.image.thumbnail_key)),
        (HELD,) * 4 + (NO_KEY,),
    ),
    "an adjustment": (
        lambda scene, who: scene.submit(who, operation="adjust", prompt="blur it", image=scene.image.id),
        (HELD, HELD, UNKNOWN, UNKNOWN, NO_KEY),
    ),
    "its use as a mask": (_mask, (HELD, HELD, UNKNOWN, UNKNOWN, NO_KEY)),
    "an edit of the conversation's last": (
        lambda scene, who: scene.submit(who, **EDIT, conversation="c1"),
        (HELD, HELD, UNKNOWN, UNKNOWN, NO_KEY),
    ),
    "a row of a batch": (_batch, (HELD, HELD, (202, ""), (202, ""), NO_KEY)),  # such a row fails: see below
    "a row of a batch with its link": (_batch_of_links, (HELD, HELD, (202, ""), (202, ""), NO_KEY)),
    "an edit as OpenAI asks for it": (_edit_as_openai, (HELD, HELD, *((400, "image_not_found"),) * 2, NO_KEY)),
    "its deletion": (
        lambda scene, who: scene.ask(who, "DELETE", f"/v1/images/{scene.image.id}"),
        ((409, "image_in_use"),) * 2 + (NOT_HIS, NOT_HIS, NO_KEY),
    ),
    "the deletion of its job": (
        lambda scene, who: scene.ask(who, "DELETE", f"/v1/jobs/{scene.job_id}"),
        ((409, "job_not_ended"),) * 2 + (NOT_HIS, NOT_HIS, NO_KEY),
    ),
    "a verdict that is none": (
        lambda scene, who: scene.verdict(who, "maybe"),
        ((403, "scope_missing"), *((422, "invalid_value"),) * 3, NO_KEY),
    ),
}  # fmt: skip


REVIEWING = {
    "its record",
    "its bytes",
    "its history",
    "the list of images",
    "the list of held images",
    "the history of its input",
}
"""Ways that are open to reviewers."""


@pytest.mark.parametrize("way", WAYS)
def test_a_held_picture_leaves_by_no_way_but_a_reviewers(scene: Scene, way: str) -> None:
    ask, answers = WAYS[way]
    for who, expected in zip(WHO, answers, strict=True):
        answer = ask(scene, who)
        body = answer.get_json(silent=True) or {}
        assert (answer.status_code, (body.get("error") or {}).get("code", "")) == expected, f"{way}, {who}"
        reviews = who in {"reviewer", "operator"} and way in REVIEWING
        assert (answer.data == scene.secret) == (reviews and way == "its bytes"), f"{way}, {who}"
        if expected == HELD and way != "an edit of the conversation's last":
            assert scene.image.id in body["error"]["message"]
        if expected == HELD:
            assert scene.job_id in body["error"]["message"]
        if not reviews and expected == SEEN:
            assert scene.image.id not in answer.get_data(as_text=True), f"{way}, {who}"
            assert scene.image.key not in answer.get_data(as_text=True)
    assert scene.view()["state"] == "review"


def test_reviewers_find_what_is_held_of_their_owner_and_operators_of_all(scene: Scene) -> None:
    for who, seen in {"owner": 0, "reviewer": 1, "operator": 1, "rival": 0}.items():
        found = scene.ask(who, "GET", "/v1/images?review=held").get_json()["data"]
        assert [image["id"] for image in found] == [scene.image.id] * seen, who


def test_the_stream_of_everything_tells_reviewers_alone_of_a_held_picture(scene: Scene) -> None:
    since = str(int((scene.parts.store.jobs.get(scene.job_id).created_at - 1) * 1000))
    for who, seen in {"owner": False, "reviewer": True}.items():
        begun = _begun(scene, who, "/v1/events?kinds=job,image", "event: job", **{"Last-Event-ID": since})
        told = begun.get_data(as_text=True)
        assert '"state":"review"' in told
        assert (scene.image.id in told) == seen, who
