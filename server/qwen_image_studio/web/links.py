"""Links in answers: whole addresses; or paths, for a page that was opened under another name than the public one. The
studio's page, which shows only what comes from where it came from itself, gets paths whatever it asks.
"""

import re
from urllib.parse import urlsplit

from flask import g, request

from qwen_image_studio.jobs import StoredImage
from qwen_image_studio.web.auth import caller, cookie_sent
from qwen_image_studio.web.routing import services

_AS_PATHS = re.compile(r";\s*links\s*=\s*\"?path\"?\s*(?:[;,]|$)", re.IGNORECASE)


def link_to(key: str, *, review: bool = False) -> str:
    """Return a link to a file, which expires; one for `review` opens for reviewers alone."""
    return shown(services().gallery.link(key, review=review))


def preview_link(key: str, step: int) -> str:
    """Return a link to a preview as it is at a step."""
    return shown(services().gallery.preview_link(key, step))


def archive_link(job_id: str) -> str:
    """Return a link to the ZIP of a job's images."""
    return shown(services().gallery.archive_link(job_id))


def studio_link(image: StoredImage, key: str | None) -> str | None:
    """Return a link by which whoever has it may see and change an image on the page, on account of the API key that it
    was made with. It is a whole address for everybody, since it is there to be handed on. None for guests, and for an
    image that no such link opens.
    """
    parts = services()
    if caller().guest is not None or not parts.sessions.gives_links:
        return None
    if image.job_id is None or image.is_mask or not image.is_given_out or not _is_active(key):
        return None
    return parts.sessions.link(image.id)


def _is_active(key: str | None) -> bool:
    """Return whether a key works still; several images of one answer have few keys."""
    if key == caller().key:
        return True
    known: dict[str | None, bool] = g.setdefault("active_keys", {})
    if key not in known:
        known[key] = key is not None and services().keys.active(key) is not None
    return known[key]


def shown(url: str) -> str:
    """Return a link of this server as the current request asks for it: the page, and `Accept:
    application/json;links=path`, get the path, with the path of the public address before it.
    """
    if not as_paths():
        return url
    split = urlsplit(services().settings.address)
    return url.removeprefix(f"{split.scheme}://{split.netloc}")


def as_paths() -> bool:
    """Return whether the current request asks for links as paths, or comes from this server's own page."""
    return from_own_page() or _AS_PATHS.search(request.headers.get("Accept", "")) is not None


def from_own_page() -> bool:
    """Return whether the current request comes from a page of this very server, as browsers say; over plain http from
    another machine they do not, and the page's cookie says so, which they show to requests of this site alone.
    """
    site = request.headers.get("Sec-Fetch-Site")
    return cookie_sent() is not None if site is None else site == "same-origin"
