"""Links in answers: whole addresses; or paths, for a page that was opened under another name than the public one."""

import re
from urllib.parse import urlsplit

from flask import request

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


def shown(url: str) -> str:
    """Return a link of this server as the current request asks for it: `Accept: application/json;links=path` gets the
    path, with the path of the public address before it.
    """
    if not as_paths():
        return url
    split = urlsplit(services().settings.address)
    return url.removeprefix(f"{split.scheme}://{split.netloc}")


def as_paths() -> bool:
    """Return whether the current request asks for links as paths."""
    return _AS_PATHS.search(request.headers.get("Accept", "")) is not None
