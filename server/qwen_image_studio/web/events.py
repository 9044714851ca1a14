"""One stream of server-sent events about everything of a caller's: jobs, images, reviews, health."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from flask import Blueprint, Response, request, stream_with_context

from qwen_image_studio.contract.pictures import EventsQuery, Kind, StreamedEvent
from qwen_image_studio.contract.words import Review
from qwen_image_studio.jobs.following import Look, SeenImage, SeenJob
from qwen_image_studio.jobs.review import reviews
from qwen_image_studio.system.threads import LOOKS
from qwen_image_studio.web.auth import Admission, caller
from qwen_image_studio.web.jobs import KEEP_ALIVE_S, PACE_S
from qwen_image_studio.web.links import as_paths
from qwen_image_studio.web.pictures import for_reviewers, listed
from qwen_image_studio.web.present import job_list
from qwen_image_studio.web.review import REVIEWS
from qwen_image_studio.web.routing import route, services
from qwen_image_studio.web.streams import LOOK_BACK_S, News, Stream
from qwen_image_studio.web.waiting import CROWD_PER_S

blueprint = Blueprint("events", __name__, url_prefix="/v1/events")

RESUMED_S = 3600.0
"""Time for which a stream can be gone and go on where it was, in seconds; after more the lists are to be read anew."""
COMMIT_S = 60.0
"""Longest time from the moment that a change notes as its own to its commit, in seconds: a stream that goes on tells
again what is that old.
"""
LONGEST_S = 900.0
"""Time after which a stream ends, and its reader comes again with his key, in seconds."""
LEAST_RETRY_S = 2.0
"""Time after which readers come again, in seconds; later in a crowd."""
REPLACED_RETRY_S = 3600.0
"""The same for one whose stream was replaced by others of the same caller."""
SAME_LINKS_S = 60.0
"""Time for which what was written is told as it is, with its links, in seconds."""
_CURSOR = re.compile(r"[1-9][0-9]{12}", re.ASCII)


@route(
    blueprint,
    "GET",
    "",
    returns="text/event-stream",
    streams=StreamedEvent,
    errors=("scope_missing",),
    guests=True,
    headers={"Last-Event-ID": "Sent by browsers that reconnect; the stream goes on from there."},
)
def events(query: EventsQuery) -> Response:
    """Follow everything of yours as server-sent events: `job`, `image`, and where asked for `review` and `health`.

    It begins with the jobs that have not ended. `job` carries a JobView without its request, `image` and `review` a
    ListedImage as it is now, `health` the server's state. `reset` says that too much was missed: read the lists again.
    `end` says that this stream was replaced by newer ones of yours. After a quarter of an hour a stream ends, or soon
    after its key has changed; a reader that comes again with its last id misses nothing.
    """
    if Kind.REVIEW in query.named:
        caller().check_scope(*REVIEWS)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    told = stream_with_context(_told(*_begun(query)))
    return Response(told, mimetype="text/event-stream", headers=headers)


def _begun(query: EventsQuery) -> tuple[Callable[[], Stream], float | None]:
    """Return what makes the stream, and the time (Unix seconds) since when its reader has missed what happened: now for
    a new one, None where nobody can tell what he has missed.
    """
    who, now, last = caller(), services().store.database.now(), request.headers.get("Last-Event-ID")
    missed: float | None = now
    if last is not None:
        at = int(last) / 1000 if _CURSOR.fullmatch(last) else 0.0
        missed = at - COMMIT_S if now - RESUMED_S <= at <= now + COMMIT_S else None
    since = min(missed or now, now - LOOK_BACK_S)
    link, of_link = None, frozenset[str]()
    if who.guest is not None:
        link, of_link = who.guest.id, services().store.guests.seen(who.guest)
    whose = (who.owner, who.key, query.user, link)
    sees_withheld = reviews(who, who.owner)
    return partial(Stream, who.owner, query.user, query.named, sees_withheld, whose, since, link, of_link), missed


def _told(made: Callable[[], Stream], missed: float | None) -> Iterator[str]:
    """Yield the events of a stream, from the first to its end."""
    changes, began, stream, admission = services().changes, time.monotonic(), made(), Admission()
    with changes.following(stream):
        at = services().store.database.now()
        # One who comes again keeps his own cursor until all that he missed is told.
        cursor = "" if "Last-Event-ID" in request.headers else f"id: {_milliseconds(at)}\n"
        yield f"retry: {_milliseconds(max(LEAST_RETRY_S, changes.watches / CROWD_PER_S))}\n{cursor}\n"
        look = LOOKS.run(partial(_missed, stream.owner, missed))
        if look is None:
            yield 'event: reset\ndata: {"reason": "Too much was missed: read the lists again."}\n\n'
            look = LOOKS.run(partial(_missed, stream.owner, at))
        stream.note(look or Look((), ()), at, changes.streams.health() if Kind.HEALTH in stream.kinds else None)
        yield LOOKS.run(partial(_written, stream, stream.take()))
        while time.monotonic() - began < LONGEST_S and admission.holds():
            pace_s = max(PACE_S, changes.watches / CROWD_PER_S)
            if not stream.wait(KEEP_ALIVE_S, pace_s):
                yield f": still here\nid: {_milliseconds(stream.until)}\n\n"
            elif stream.replaced:
                yield f"retry: {_milliseconds(REPLACED_RETRY_S)}\nevent: end\n"
                yield 'data: {"reason": "Newer streams of yours have replaced this one."}\n\n'
                return
            else:
                yield LOOKS.run(partial(_written, stream, stream.take()))


def _missed(owner: str, since: float | None) -> Look | None:
    return None if since is None else services().store.following.missed(owner, since)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


# -- writing: what several streams tell is written once ------------------------------------------------------------


def _written(stream: Stream, news: News) -> str:
    """Return the events of some news, with the cursor at the last one."""
    way = (as_paths(), stream.guest is None, int(time.time() / SAME_LINKS_S))
    written = services().changes.streams.written
    events = [("job", text) for text in written.of(news.jobs, way, _jobs_written)]
    if Kind.IMAGE in stream.kinds:
        events += [("image", text) for text in written.of(news.images, way, _images_written)]
    if Kind.REVIEW in stream.kinds:
        reviewed = [image for image in news.images if image.review is not Review.NONE]
        events += [("review", text) for text in written.of(reviewed, ("review", way), _reviewed_written)]
    if news.health is not None:
        events.append(("health", news.health))
    told = "".join(f"event: {name}\ndata: {text}\n\n" for name, text in events)
    return f"{told}id: {_milliseconds(news.until)}\n\n"


def _jobs_written(seen: Sequence[SeenJob]) -> dict[str, str]:
    found = services().store.following.jobs([each.id for each in seen])
    return {view.id: view.model_dump_json(exclude={"request"}) for view in job_list(found, has_more=False).data}


def _images_written(seen: Sequence[SeenImage]) -> dict[str, str]:
    found = services().store.pictures.of([each.id for each in seen], with_deleted=True)
    return {picture.image.id: listed(picture).model_dump_json() for picture in found}


def _reviewed_written(seen: Sequence[SeenImage]) -> dict[str, str]:
    found = services().store.pictures.of([each.id for each in seen], with_deleted=True)
    return {image_id: image.model_dump_json() for image_id, image in for_reviewers(found).items()}
