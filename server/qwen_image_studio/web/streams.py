"""Streams of everything of an owner's: one look at the tables serves all of them, whoever follows whom."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from qwen_image_studio.contract.pictures import Kind
from qwen_image_studio.jobs import JobStore, Tag
from qwen_image_studio.jobs.following import Look, SeenImage, SeenJob
from qwen_image_studio.jobs.news import QUEUE
from qwen_image_studio.system import threads

STREAMS_AT_ONCE = 8
"""Largest number of streams of one key and person; with one more the oldest is told to end."""
LOOK_BACK_S = 10.0
"""Time by which a look goes back for what was committed late or told by a word that was lost, in seconds."""
HEALTH_S = 5.0
"""Least time between two looks at the server's health, in seconds."""
_What = TypeVar("_What")
_Seen = TypeVar("_Seen", SeenJob, SeenImage)
_REMEMBERED = 5000
"""Largest number of jobs, and of images, that a stream remembers having told."""


@dataclass(frozen=True)
class News:
    """What a stream is to tell now."""

    jobs: Sequence[SeenJob]
    images: Sequence[SeenImage]
    health: str | None
    until: float
    """Time of the look up to which all has been told with this, in Unix seconds."""


@dataclass
class Stream:
    """What one caller follows. `whose` tells callers apart who share the limit of streams at once."""

    owner: str
    user: str | None
    kinds: Collection[Kind]
    sees_withheld: bool
    """Whether images that wait for a verdict are told."""
    whose: object
    since: float
    """Time before which nothing is news, in Unix seconds."""
    guest: str | None = None
    """The link whose jobs and images alone are told."""
    of_link: Collection[str] = ()
    """Ids of the images that a guest sees besides."""
    replaced: bool = False
    """Whether it is to end, since its caller has opened others."""
    until: float = 0.0
    """Time of the last look, in Unix seconds."""
    _jobs: dict[str, SeenJob] = field(default_factory=dict)
    _images: dict[str, SeenImage] = field(default_factory=dict)
    _health: str | None = None
    _is_urgent: bool = False
    _told_jobs: OrderedDict[str, Tag] = field(default_factory=OrderedDict)
    _told_images: OrderedDict[str, object] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _event: threads.Event = field(default_factory=threads.new_event)

    def note(self, look: Look, at: float, health: str | None = None) -> None:
        """Note what is new to it in a look that was made at a time (Unix seconds); and the health, where it is told."""
        with self._lock:
            for job in look.jobs if Kind.JOB in self.kinds else ():
                if self._is_for(job) and self._told_jobs.get(job.id) != job.tag:
                    before = self._told_jobs.get(job.id)
                    self._is_urgent |= before is None or before.version != job.tag.version
                    _remember(self._told_jobs, job.id, job.tag)
                    self._jobs[job.id] = job
            for image in look.images:
                if self._is_new(image):
                    _remember(self._told_images, image.id, (image.is_deleted, image.review))
                    self._images[image.id], self._is_urgent = image, True
            if health is not None and Kind.HEALTH in self.kinds:
                self._health, self._is_urgent = health, True
            self.until = at
        if self._jobs or self._is_urgent:
            self._event.set()

    def end(self) -> None:
        """Have it end."""
        self.replaced = True
        self._event.set()

    def wait(self, timeout: float, pace_s: float) -> bool:
        """Sleep until there is something to tell, for `timeout` seconds at most; return whether there is. What is mere
        progress is told after `pace_s` seconds at the earliest.
        """
        began = time.monotonic()
        while not (self.replaced or self._is_urgent):
            left = began + (min(pace_s, timeout) if self._jobs else timeout) - time.monotonic()
            if left <= 0:
                return bool(self._jobs)
            if self._event.wait(left):
                self._event.clear()
        return True

    def take(self) -> News:
        """Return what is to be told, once."""
        with self._lock:
            news = News(list(self._jobs.values()), list(self._images.values()), self._health, self.until)
            self._jobs, self._images, self._health, self._is_urgent = {}, {}, None, False
            return news

    def _is_for(self, seen: SeenJob | SeenImage) -> bool:
        is_seen = self.guest in {None, seen.guest} or seen.id in self.of_link
        return is_seen and seen.owner == self.owner and self.user in {None, seen.user}

    def _is_new(self, image: SeenImage) -> bool:
        if not self._is_for(image) or image.changed_at < self.since:
            return False
        if image.review.withheld and not self.sees_withheld:
            return False
        return self._told_images.get(image.id) != (image.is_deleted, image.review)


class Written:
    """The events that were written last, by what they tell and in which way: several streams tell the same."""

    def __init__(self, most: int = 500) -> None:
        self._most, self._lock = most, threading.Lock()
        self._texts: OrderedDict[object, str] = OrderedDict()

    def of(self, seen: Sequence[_Seen], way: object, write: Callable[[Sequence[_Seen]], dict[str, str]]) -> list[str]:
        """Return the JSON of what was seen, written now by `write` where it is new; what is gone is left out."""
        with self._lock:
            if fresh := [each for each in seen if (way, each) not in self._texts]:
                made = write(fresh)
                self._texts |= {(way, each): made[each.id] for each in fresh if each.id in made}
            found = [text for each in seen if (text := self._texts.get((way, each))) is not None]
            while len(self._texts) > self._most:
                self._texts.popitem(last=False)
        return found


class Streams:
    """All streams of a process. `Changes` lets them look whenever it hears of something."""

    def __init__(self, store: JobStore, health: Callable[[], str] | None = None) -> None:
        """`health` returns the server's health as JSON."""
        self._store, self._read_health = store, health
        self.written = Written()
        self._lock = threading.Lock()
        self._streams: list[Stream] = []
        self._health: str | None = None
        self._health_at = -HEALTH_S

    def add(self, stream: Stream) -> None:
        """Let a stream hear of news from now on; the oldest of the same caller is told to end where he has too many."""
        with self._lock:
            self._streams.append(stream)
            own = [each for each in self._streams if each.whose == stream.whose and not each.replaced]
            for each in own[:-STREAMS_AT_ONCE]:
                each.end()

    def remove(self, stream: Stream) -> None:
        """Let a stream hear of nothing more."""
        with self._lock:
            self._streams.remove(stream)

    def look(self, words: Collection[str], *, whole: bool) -> None:
        """Look once for all streams: at what the words name, and with `whole` also at whatever may have changed.

        Raises StudioError.
        """
        with self._lock:
            streams = list(self._streams)
        if not streams or not (words or whole):
            return
        at = self._store.database.now()
        look = partial(
            self._store.following.look,
            {word for word in words if word != QUEUE},
            with_waiting=QUEUE in words,
            since=at - LOOK_BACK_S if whole else None,
        )
        seen = threads.LOOKS.run(look)
        health = self._fresh_health(streams) if whole else None
        for stream in streams:
            stream.note(seen, at, health)

    def health(self) -> str | None:
        """Return the server's health as JSON, a few seconds old at most."""
        if self._read_health is not None and time.monotonic() - self._health_at >= HEALTH_S:
            self._health_at, self._health = time.monotonic(), threads.LOOKS.run(self._read_health)
        return self._health

    def _fresh_health(self, streams: Sequence[Stream]) -> str | None:
        """Return the health where somebody follows it and it has changed."""
        is_due = time.monotonic() - self._health_at >= HEALTH_S
        if self._read_health is None or not is_due or not any(Kind.HEALTH in each.kinds for each in streams):
            return None
        self._health_at, before = time.monotonic(), self._health
        self._health = threads.LOOKS.run(self._read_health)
        return None if self._health == before else self._health


def _remember(told: OrderedDict[str, _What], name: str, what: _What) -> None:
    told[name] = what
    told.move_to_end(name)
    if len(told) > _REMEMBERED:
        told.popitem(last=False)
