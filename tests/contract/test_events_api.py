"""One stream about everything of a caller's: what it tells, that nothing is lost over a reconnect, what it costs."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from qwen_image_studio.contract.answers import JobView
from qwen_image_studio.contract.pictures import ListedImage
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png
from tests.support.waiting import PATIENCE_S, until

ASK = {"operation": "generate", "prompt": "a cup", "steps": 2}


class Told(NamedTuple):
    """One event; `name` is empty for a line that only says how things are."""

    name: str
    data: Any
    fields: dict[str, str]


def fields_of(text: str) -> dict[str, str]:
    """The fields of one event, comments under an empty name."""
    named = (line.partition(": ") for line in text.splitlines())
    return {name: value for name, _, value in named}


class Stream:
    """A reader of a stream; a thread of its own reads, as a browser does."""

    def __init__(self, app: Flask, query: str = "", **headers: str) -> None:
        self.told: list[Told] = []
        self.retry = 0
        self.cursor: str | None = headers.get("Last-Event-ID")
        self._stops = False
        self._thread = threading.Thread(target=self._read, args=(app, query, headers), daemon=True)
        self._thread.start()

    def _read(self, app: Flask, query: str, headers: dict[str, str]) -> None:
        answer = app.test_client().get(f"/v1/events{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        rest = ""
        for piece in answer.iter_encoded():
            *whole, rest = (rest + piece.decode()).split("\n\n")
            for text in whole:
                self._take(fields_of(text))
            if self._stops:
                break
        answer.close()

    def _take(self, fields: dict[str, str]) -> None:
        self.cursor = fields.get("id", self.cursor)
        self.retry = int(fields.get("retry", self.retry))
        if "event" in fields:
            self.told.append(Told(fields["event"], json.loads(fields["data"]), fields))

    def of(self, name: str) -> list[Any]:
        """What was told under a name."""
        return [each.data for each in self.told if each.name == name]

    def states(self, job_id: str) -> list[str]:
        """The states of a job as they were told, each once."""
        return list(dict.fromkeys(job["state"] for job in self.of("job") if job["id"] == job_id))

    def leave(self) -> None:
        """Stop reading as soon as something more comes."""
        self._stops = True

    def ended(self) -> None:
        """Wait until the stream has ended."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def test_a_stream_says_at_once_from_where_it_can_go_on(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_image_studio.web.events.LONGEST_S", 0.0)
    stream = Stream(app)
    stream.ended()
    assert stream.cursor is not None


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life come often, so that a reader that leaves is seen soon."""
    monkeypatch.setattr("qwen_image_studio.web.events.KEEP_ALIVE_S", 0.1)


@contextmanager
def following(app: Flask, query: str = "", **headers: str) -> Iterator[Stream]:
    """A stream that is read until the end of the block."""
    stream = Stream(app, query, **headers)
    until(lambda: stream.retry)  # it hears of everything from its first line on
    yield stream
    stream.leave()
    stream.ended()


def submitted(client: FlaskClient, **asked: Any) -> str:
    """The id of a job."""
    answer = client.post("/v1/jobs", json={**ASK, **asked})
    assert answer.status_code == 202, answer.text
    return str(answer.get_json()["id"])


def test_all_of_a_callers_jobs_and_images_are_told(app: Flask, client: FlaskClient, worker: Worker) -> None:
    with following(app) as stream:
        first, second = submitted(client), submitted(client, n=2)
        until(lambda: len({job["id"] for job in stream.of("job")}) == 2)
        while worker.run_next():
            pass
        until(lambda: [stream.states(each)[-1] for each in (first, second)] == ["succeeded", "succeeded"])
        until(lambda: len(stream.of("image")) == 3)
    for job in stream.of("job"):
        assert "request" not in job
        JobView.model_validate(job)
    for image in stream.of("image"):
        ListedImage.model_validate(image)
    assert {image["job_id"] for image in stream.of("image")} == {first, second}


def test_a_stream_begins_with_what_has_not_ended(app: Flask, client: FlaskClient, worker: Worker) -> None:
    done = submitted(client)
    assert worker.run_next()
    waiting = submitted(client)
    with following(app) as stream:
        until(lambda: stream.states(waiting) == ["queued"])
    assert done not in {job["id"] for job in stream.of("job")}


def test_places_in_the_queue_are_told_as_they_change(app: Flask, client: FlaskClient, worker: Worker) -> None:
    submitted(client)
    second = submitted(client)
    with following(app) as stream:
        until(lambda: stream.states(second))
        assert worker.run_next()
        until(lambda: [job["queue_position"] for job in stream.of("job") if job["id"] == second] == [2, 1])


def test_uploads_and_deletions_are_told(app: Flask, client: FlaskClient, worker: Worker) -> None:
    submitted(client)
    assert worker.run_next()
    made = client.get("/v1/images").get_json()["data"][0]["id"]
    with following(app) as stream:
        upload = client.post("/v1/images", data={"image": (BytesIO(png()), "x.png")}).get_json()["id"]
        until(lambda: [(image["id"], image["deleted"]) for image in stream.of("image")][-1:] == [(upload, False)])
        for image_id in (made, upload):
            assert client.delete(f"/v1/images/{image_id}").status_code == 204
        gone = {(made, True), (upload, True)}
        until(lambda: gone <= {(image["id"], image["deleted"]) for image in stream.of("image")})


def test_the_rows_of_a_batch_are_told_by_their_batch_and_their_images(
    app: Flask, client: FlaskClient, worker: Worker, light: Worker
) -> None:
    with following(app) as stream:
        body = {"operation": "generate", "prompt": "a {{thing}}", "steps": 2}
        asked = {"operation": "batch", "job": body, "rows": [{"thing": "cup"}, {"thing": "cat"}]}
        batch = client.post("/v1/jobs", json=asked).get_json()["id"]
        while light.run_next() or worker.run_next():
            pass
        until(lambda: stream.states(batch)[-1:] == ["succeeded"])
        until(lambda: len(stream.of("image")) == 3)
    assert {job["id"] for job in stream.of("job")} == {batch}
    assert {image["parent_id"] for image in stream.of("image")} == {batch, None}


def test_health_is_told_where_it_is_asked_for(app: Flask) -> None:
    with following(app, "?kinds=health") as stream:
        until(lambda: stream.of("health"))
    assert stream.of("health")[0]["state"] == "starting"


# -- whose -----------------------------------------------------------------------------------------------------------


def test_nobody_hears_of_others(app: Flask, parts: Services, client: FlaskClient, worker: Worker) -> None:
    keys = {name: {"Authorization": f"Bearer {parts.keys.add(name)}"} for name in ("ann", "bob")}
    with following(app, **keys["ann"]) as ann, following(app, **keys["bob"]) as bob:
        job = client.post("/v1/jobs", json=ASK, headers=keys["ann"]).get_json()["id"]
        assert worker.run_next()
        until(lambda: ann.states(job)[-1:] == ["succeeded"])
        other = client.post("/v1/jobs", json=ASK, headers=keys["bob"]).get_json()["id"]
        until(lambda: bob.states(other))
    assert {each["id"] for each in bob.of("job")} == {other}
    assert bob.of("image") == []


def test_one_person_is_followed_alone(app: Flask, client: FlaskClient, worker: Worker) -> None:
    with following(app, "?user=ann") as stream:
        submitted(client, user="bob")
        own = submitted(client, user="ann")
        while worker.run_next():
            pass
        until(lambda: stream.states(own)[-1:] == ["succeeded"])
        until(lambda: stream.of("image"))
    assert {each["id"] for each in stream.of("job")} == {own}
    assert {each["user"] for each in stream.of("image")} == {"ann"}


def test_held_images_are_told_to_reviewers_and_to_others_once_they_are_approved(
    app: Flask, parts: Services, client: FlaskClient, worker: Worker
) -> None:
    def key(*scopes: Scope) -> dict[str, str]:
        secret = parts.keys.add(f"k{len(scopes)}{scopes[0]}", owner="ann", scopes=scopes)
        return {"Authorization": f"Bearer {secret}"}

    author, reviewer = key(Scope.GENERATE), key(Scope.REVIEW)
    with (
        following(app, "?kinds=job,image", **author) as plain,
        following(app, "?kinds=review", **reviewer) as reviews,
    ):
        job = client.post("/v1/jobs", json={**ASK, "hold": True}, headers=author).get_json()["id"]
        assert worker.run_next()
        until(lambda: [image["review"] for image in reviews.of("review")] == ["held"])
        until(lambda: plain.states(job)[-1:] == ["review"])
        assert plain.of("image") == []
        image = reviews.of("review")[0]["id"]
        verdict = {"state": "approved"}
        assert client.post(f"/v1/images/{image}/review", json=verdict, headers=reviewer).status_code == 200
        until(lambda: [each["id"] for each in plain.of("image")] == [image])
        until(lambda: [each["review"] for each in reviews.of("review")] == ["held", "approved"])
        assert [each["reviewer"]["by"] for each in reviews.of("review")] == [None, "k1review"]
        assert [each["reviewer"] for each in plain.of("image")] == [None]
    refused = client.get("/v1/events?kinds=review", headers=author)
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (403, "scope_missing")


# -- reconnecting ----------------------------------------------------------------------------------------------------


def test_what_happens_while_a_reader_is_away_is_told_when_he_comes_again(
    app: Flask, client: FlaskClient, worker: Worker
) -> None:
    first = submitted(client)
    with following(app) as stream:
        until(lambda: stream.states(first) and stream.cursor)
        cursor = str(stream.cursor)
    assert worker.run_next()
    second = submitted(client)
    assert worker.run_next()
    upload = client.post("/v1/images", data={"image": (BytesIO(png()), "x.png")}).get_json()["id"]
    gone = client.get(f"/v1/jobs/{second}").get_json()["images"][0]["id"]
    client.delete(f"/v1/images/{gone}")
    waiting = submitted(client)
    with following(app, **{"Last-Event-ID": cursor}) as again:
        until(lambda: [again.states(each) for each in (first, second, waiting)] == [["succeeded"]] * 2 + [["queued"]])
        told = {(gone, True), (upload, False)}
        until(lambda: told <= {(image["id"], image["deleted"]) for image in again.of("image")})
    assert again.of("reset") == []


@pytest.mark.parametrize("cursor", ["1", "1000000000000", "9999999999999", "x", "-1", "1e12"])
def test_a_reader_who_was_away_too_long_is_told_to_read_the_lists(app: Flask, client: FlaskClient, cursor: str) -> None:
    waiting = submitted(client)
    with following(app, **{"Last-Event-ID": cursor}) as stream:
        until(lambda: stream.states(waiting) == ["queued"])
    assert stream.told[0].name == "reset"
    assert len(stream.of("reset")) == 1


def test_more_than_can_be_told_again_is_a_reset(
    app: Flask, client: FlaskClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with following(app) as stream:
        until(lambda: stream.cursor)
        cursor = str(stream.cursor)
    for _ in range(4):
        submitted(client)
    while worker.run_next():
        pass
    monkeypatch.setattr("qwen_image_studio.jobs.following.MOST_MISSED", 3)
    with following(app, **{"Last-Event-ID": cursor}) as again:
        until(lambda: again.of("reset"))


def test_news_that_no_word_told_of_is_found_all_the_same(
    app: Flask, client: FlaskClient, worker: Worker, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with following(app) as stream:
        until(lambda: stream.cursor)
        monkeypatch.setattr(type(store.bell), "ring", lambda *_: None)
        job = submitted(client)
        assert worker.run_next()
        until(lambda: stream.states(job)[-1:] == ["succeeded"])
        until(lambda: stream.of("image"))


# -- cost and limits -------------------------------------------------------------------------------------------------


def test_one_change_is_looked_at_once_however_many_follow(
    app: Flask, client: FlaskClient, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen_image_studio.web.streams.STREAMS_AT_ONCE", 100)
    monkeypatch.setattr("qwen_image_studio.jobs.news.pipes.PipeEar.look_s", 3600.0)
    monkeypatch.setattr("qwen_image_studio.web.events.PACE_S", 0.0)
    read: list[str] = []

    def note(*arguments: Any) -> None:
        if threading.current_thread() not in own:
            read.append(arguments[2])

    with ExitStack() as stack:
        streams = [stack.enter_context(following(app)) for _ in range(30)]
        until(lambda: all(stream.cursor for stream in streams))
        own = [threading.current_thread()]
        event.listen(store.database.engine, "before_cursor_execute", note)
        job = submitted(client)
        until(lambda: all(stream.states(job) for stream in streams))
        event.remove(store.database.engine, "before_cursor_execute", note)
    selects = [statement for statement in read if statement.startswith("SELECT")]
    assert len(selects) < 15, "\n".join(selects)


def test_the_oldest_of_too_many_streams_is_told_to_end(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_image_studio.web.streams.STREAMS_AT_ONCE", 2)
    with following(app) as first, following(app) as second, following(app, "?user=ann") as other:
        with following(app) as third:
            first.ended()
            assert first.told[-1].name == "end"
            assert first.retry > 60_000, "a browser does not come again at once"
            assert all(each.of("end") == [] for each in (second, third, other))


def test_a_stream_ends_by_itself_so_that_the_key_is_looked_at_again(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen_image_studio.web.events.LONGEST_S", 0.2)
    stream = Stream(app)
    stream.ended()
    assert stream.of("end") == []
    assert 1000 < stream.retry < 60_000


@pytest.mark.parametrize("query", ["?kinds=", "?kinds=jobs", "?kinds=job;image", "?kind=job", "?user="])
def test_what_cannot_be_followed_is_named(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/v1/events{query}")
    error = answer.get_json()["error"]
    assert (answer.status_code, error["param"]) == (422, query[1:].partition("=")[0])
    assert not query.startswith("?kinds") or "takes job, image, review, health" in error["message"]


def test_links_of_events_are_paths_where_they_are_asked_for(app: Flask, client: FlaskClient, worker: Worker) -> None:
    with following(app, Accept="text/event-stream, application/json;links=path") as paths, following(app) as whole:
        submitted(client)
        assert worker.run_next()
        until(lambda: paths.of("image") and whole.of("image"))
    assert paths.of("image")[0]["url"].startswith("/files/")
    assert whole.of("image")[0]["url"].startswith("http://127.0.0.1:8300/files/")
